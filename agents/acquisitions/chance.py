"""Choices that do not ask how certain the network is."""

import numpy as np

from ralseg.agents.acquisitions.base import Acquisition, View
from ralseg.features import UnitGrid, class_map, predicted_shares
from ralseg.segmentation.networks import as_array


class Random(Acquisition):
    """Every candidate alike."""

    name = "random"

    def score(self, view: View, rng: np.random.Generator) -> np.ndarray:
        """See `Acquisition.score`; uniform in [0, 1)."""
        return rng.random(view.mask.shape)


class _Shares:
    """A reducer: the share of each class in the unit's prediction."""

    draws = 0

    def __call__(self, prediction, images, grid: UnitGrid) -> dict[str, np.ndarray]:
        logits = as_array(prediction.logits)
        return {"predicted_shares": predicted_shares(class_map(logits), grid, logits.shape[1])}


class ClassAwareRandom(Acquisition):
    """Random choice balanced over predicted classes: the baseline that heuristics must beat.

    In each slate a class is drawn, all classes that some candidate is predicted to hold alike; then a candidate is
    drawn with a chance in proportion to its pixels of that class.
    """

    name = "class_aware_random"
    needs = (_Shares(),)

    def score(self, view: View, rng: np.random.Generator) -> np.ndarray:
        """See `Acquisition.score`; Gumbel-perturbed log shares of the drawn class (the largest is a draw by share)."""
        shares = np.where(view.mask[..., None], view.reduced("predicted_shares"), 0)
        present = shares.sum(axis=1) > 0
        drawn = np.where(present, rng.random(present.shape), -1).argmax(axis=1)
        share = np.take_along_axis(shares, drawn[:, None, None], axis=2)[..., 0]
        gumbel = rng.gumbel(size=share.shape)
        # A candidate without the class comes after all that have it; where none has any, chance alone decides.
        return np.where(share > 0, np.log(np.maximum(share, 1e-30)) + gumbel, gumbel - 1e6)
