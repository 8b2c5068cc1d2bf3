"""Labels of whole images as targets of the logits: for what sees the truth, in learning."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ralseg.foundation import Kept
from ralseg.segmentation.devices import to_device
from ralseg.segmentation.labels import soft_targets
from ralseg.segmentation.learners import Learner
from ralseg.segmentation.store import ImageStore

KEPT_BYTES = 1 << 28
"""Targets of so many bytes are kept, the first to come: a pool of large images would fill the memory."""


class Targets:
    """Counts of the true pixels per class in each cell of the logits' map, counted when an image is first asked for.

    Args:
        learner: whose classes and device are meant.
        store: the labels.
    """

    def __init__(self, learner: Learner, store: ImageStore) -> None:
        self._learner, self._store = learner, store
        self._kept: Kept[Tensor] = Kept(KEPT_BYTES, replace=False)

    def __call__(self, images: Sequence[int], size: tuple[int, int]) -> Tensor:
        """(B, C, h, w) float32 on the learner's device for B images (indices in the store) of one size."""
        return torch.stack([self._of(image, tuple(size)) for image in images])

    def label(self, image: int) -> np.ndarray:
        """The true label map of an image: uint8 (H, W)."""
        return self._store.label(image)

    def _of(self, image: int, size: tuple[int, int]) -> Tensor:
        target = self._kept.get(image)
        if target is None:
            counts = soft_targets(self.label(image), self._learner.classes, size)
            target = to_device(counts, self._learner.device)
            self._kept.put(image, target, target.nbytes)
        return target
