"""True labels of whole images as targets for logits, for credit and references in training."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ralseg.foundation import Kept
from ralseg.segmentation.devices import to_device
from ralseg.segmentation.labels import soft_targets
from ralseg.segmentation.store import ImageStore

KEPT_BYTES = 1 << 28
"""The most bytes of targets that are kept, first come, first kept; all of a pool of large images would not fit."""


class Targets:
    """True pixels per class in each cell of the logits' map, counted when an image is first used.

    Args:
        store: the labels.
        classes: number of classes C.
        device: the device of the targets.
    """

    def __init__(self, store: ImageStore, classes: int, device: torch.device) -> None:
        self._store, self._classes, self._device = store, classes, device
        self._kept: Kept[Tensor] = Kept(KEPT_BYTES, replace=False)

    def __call__(self, images: Sequence[int], size: tuple[int, int]) -> Tensor:
        """(B, C, h, w) float32 on the device for B images (store indices) of one size."""
        return torch.stack([self._of(image, size) for image in images])

    def _of(self, image: int, size: tuple[int, int]) -> Tensor:
        target = self._kept.get((image, size))
        if target is None:
            counts = soft_targets(self._store.label(image), self._classes, size)
            target = to_device(counts, self._device)
            self._kept.put((image, size), target, target.nbytes)
        return target
