"""Reducible loss: what the learner can still learn from a unit, for training policies where labels are known."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ralseg.envs.targets import Targets
from ralseg.features.arrays import Array
from ralseg.features.prediction import Prediction, as_array
from ralseg.features.units import Reducer, Units
from ralseg.foundation import Kept
from ralseg.segmentation.devices import to_device
from ralseg.segmentation.learners import Learner

KEPT_BYTES = 1 << 28
"""The most bytes of predictions of the informed network that are kept."""


class ReducibleLoss:
    """The learner's loss on each unit minus that of an informed network, which was trained on all labels of the pool.

    A high loss alone is no reason to buy a unit: some errors (at borders, from label noise) remain in an informed
    network, too, and are subtracted here. After the reducible holdout loss of Mindermann et al. (ICML 2022, eq. 3),
    with the pool in place of their holdout set. With a `LookAhead` as the informed network it is the change that the
    next steps on the labels of D_R and D_T would make.

    Args:
        targets: true labels.
    """

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._kept: Kept[Tensor] = Kept(KEPT_BYTES, replace=True)

    def reducer(self, name: str, informed: Callable[[], Learner], weights: np.ndarray) -> Reducer:
        """A reducer for `name`, (B, units) float32: nats, the mean over the unit's pixels; void pixels count as 0.

        Args:
            name: the name of the result.
            informed: returns the informed network; called when there is a prediction to compare with.
            weights: (C,) weights of the classes in the learner's loss.
        """

        def find(prediction: Prediction, units: Units) -> Array:
            targets = self._targets(prediction.images, (prediction.logits.shape[-2], prediction.logits.shape[-1]))
            logits = torch.as_tensor(prediction.logits).float()
            gain = self._informed_on(informed(), prediction.images, targets) - logits.log_softmax(1)
            # Targets are pixel counts, while a map holds the mean of each of its cells.
            cell = units.height * units.width / (targets.shape[-2] * targets.shape[-1])
            weighted = torch.einsum("c,bchw,bchw->bhw", to_device(weights, targets.device), targets, gain)
            return units.pool(as_array(weighted / cell))

        return Reducer(name, find)

    def _informed_on(self, network: Learner, images: Sequence[int], like: Tensor) -> Tensor:
        """(B, C, h, w) log probabilities of the classes by the informed network."""
        found: dict[int, Tensor] = {}
        for image in images:
            if (kept := self._kept.get((network.version, image))) is not None:
                found[image] = kept
        for prediction in network.predict([image for image in images if image not in found]):
            rows = torch.as_tensor(prediction.logits).float().log_softmax(1)
            for image, row in zip(prediction.images, rows.to(like.device), strict=True):
                found[image] = row
                self._kept.put((network.version, image), row, row.nbytes)
        return torch.stack([found[image] for image in images])
