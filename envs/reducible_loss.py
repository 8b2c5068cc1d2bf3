"""Reducible loss: what a unit's label still has to teach, known in learning only, where the labels are at hand."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ralseg.envs.reducers import predicted
from ralseg.envs.targets import Targets
from ralseg.features import SomeUnits, UnitGrid
from ralseg.features.prediction import Prediction, as_array
from ralseg.foundation import Kept, RalsegError
from ralseg.segmentation.devices import to_device
from ralseg.segmentation.learners import Learner

KEPT_BYTES = 1 << 28
"""Predictions of the informed network of so many bytes are kept."""


@dataclass(frozen=True)
class FromGame:
    """A reducer that only a game can provide, asked for by name; see `ralseg.envs.UnitReducer`."""

    name: str

    noise: ClassVar[None] = None
    labelled: ClassVar[bool] = False

    def __call__(self, prediction: Prediction, images: Sequence[int], grid: UnitGrid | SomeUnits) -> Mapping:
        """Never called: the game puts its own in its place."""
        raise RalsegError(f"{self.name} is known to a game that sees true labels alone; ask such a game for it")


class ReducibleLoss:
    """The learner's loss on each unit, less that of an informed network: one taught with all labels of the pool.

    The loss of a unit is high where the learner is wrong, but what is wrong for good (borders, noise of the labels) is
    no reason to buy it: it stays wrong in an informed network, too. After the reducible holdout loss of Mindermann et
    al. (ICML 2022, eq. 3), with the pool in the place of their holdout set. With a `LookAhead` for the informed network
    it is what the next steps on the labels of D_R and D_T would change.

    Args:
        name: under which it is found.
        targets: true labels.
        informed: gives the informed network as it is now.
        weights: gives the (C,) weights of the classes in the learner's loss as they are now.
    """

    noise, labelled = None, False

    def __init__(
        self, name: str, targets: Targets, informed: Callable[[], Learner], weights: Callable[[], np.ndarray]
    ) -> None:
        self.name = name
        self._targets, self._informed, self._weights = targets, informed, weights
        self._kept: Kept[Tensor] = Kept(KEPT_BYTES, replace=True)

    def __call__(
        self, prediction: Prediction, images: Sequence[int], grid: UnitGrid | SomeUnits
    ) -> Mapping[str, np.ndarray]:
        """A reducer: name -> (B, units) float32, nats, mean over the unit's pixels; void pixels give 0."""
        targets = self._targets(images, prediction.logits.shape[-2:])
        gain = self._informed_on(images, targets) - prediction.logits.float().log_softmax(1)
        weights = to_device(self._weights(), targets.device)
        # Targets count pixels; a map holds means over its cells.
        cell = grid.height * grid.width / (targets.shape[-2] * targets.shape[-1])
        return {self.name: grid.pool(as_array(torch.einsum("c,bchw,bchw->bhw", weights, targets, gain) / cell))}

    def _informed_on(self, images: Sequence[int], like: Tensor) -> Tensor:
        """(B, C, h, w) logarithms of the informed network's class probabilities."""
        network = self._informed()
        found = {image: self._kept.get((network.version, image)) for image in images}
        if missing := [image for image, kept in found.items() if kept is None]:

            def logarithms(prediction: Prediction, images: Sequence[int]) -> Mapping[str, Tensor]:
                return {"logarithms": prediction.logits.float().log_softmax(1)}

            rows = predicted(network, missing, [logarithms])["logarithms"]
            for image, row in zip(missing, rows, strict=True):
                found[image] = to_device(row, like.device)
                self._kept.put((network.version, image), found[image], row.nbytes)
        return torch.stack([found[image] for image in images])
