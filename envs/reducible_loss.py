"""Reducible loss: what a unit's label still has to teach, known in learning only, where the labels are at hand."""

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
"""Predictions of the informed network of so many bytes are kept."""


class ReducibleLoss:
    """The learner's loss on each unit, less that of an informed network: one taught with all labels of the pool.

    The loss of a unit is high where the learner is wrong, but what is wrong for good (borders, noise of the labels) is
    no reason to buy it: it stays wrong in an informed network, too. After the reducible holdout loss of Mindermann et
    al. (ICML 2022, eq. 3), with the pool in the place of their holdout set. With a `LookAhead` for the informed network
    it is what the next steps on the labels of D_R and D_T would change.

    Args:
        targets: true labels.
    """

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._kept: Kept[Tensor] = Kept(KEPT_BYTES, replace=True)

    def reducer(self, name: str, informed: Callable[[], Learner], weights: np.ndarray) -> Reducer:
        """Finds `name`, (B, units) float32: nats, the mean over the unit's pixels; void pixels count as 0.

        Args:
            name: under which it is found.
            informed: gives the informed network; called when a prediction is there to compare with.
            weights: (C,) of the classes in the learner's loss.
        """

        def find(prediction: Prediction, units: Units) -> Array:
            targets = self._targets(prediction.images, (prediction.logits.shape[-2], prediction.logits.shape[-1]))
            logits = torch.as_tensor(prediction.logits).float()
            gain = self._informed_on(informed(), prediction.images, targets) - logits.log_softmax(1)
            # Targets count pixels; a map holds means over its cells.
            cell = units.height * units.width / (targets.shape[-2] * targets.shape[-1])
            weighted = torch.einsum("c,bchw,bchw->bhw", to_device(weights, targets.device), targets, gain)
            return units.pool(as_array(weighted / cell))

        return Reducer(name, find)

    def _informed_on(self, network: Learner, images: Sequence[int], like: Tensor) -> Tensor:
        """(B, C, h, w) logarithms of the informed network's class probabilities."""
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
