"""Partial labels: what a learner may know of the label maps, and the targets it is trained on."""

from collections.abc import Iterable, Sequence

import numpy as np

from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets import IGNORE
from ralseg.segmentation.store import ImageStore


class PartialLabels:
    """Label maps that are void until units of them are revealed.

    Args:
        classes: number of classes C.

    Attributes:
        class_counts: (C,) int64, revealed pixels per class.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.class_counts = np.zeros(classes, np.int64)
        self._maps: dict[int, np.ndarray] = {}
        self._targets: dict[int, np.ndarray] = {}

    @property
    def images(self) -> list[int]:
        """Indices of the images of which something is revealed, in the order of their first unit."""
        return list(self._maps)

    def __len__(self) -> int:
        return len(self._maps)

    def label(self, image: int) -> np.ndarray:
        """(H, W) uint8: what is known of one label map, `IGNORE` elsewhere."""
        return self._maps[image]

    def reveal(self, image: int, size: tuple[int, int], box: Iterable[int], values: np.ndarray) -> None:
        """Make the labels of one unit known.

        Args:
            image: index in the store.
            size: (H, W) of the label map.
            box: y, x, height, width of the unit, pixels.
            values: (height, width) uint8, ids 0..C-1 or `IGNORE`.

        Raises:
            RalsegError: if the values do not fill the box, the box leaves the image or overlaps what is labelled, or an
                id is out of range.
        """
        y, x, height, width = box
        if values.shape != (height, width) or y < 0 or x < 0 or y + height > size[0] or x + width > size[1]:
            raise RalsegError(f"image {image}: labels {values.shape} do not fit box {(y, x, height, width)} of {size}")
        known = values[values != IGNORE]
        if known.size and known.max() >= self.classes:
            raise RalsegError(
                f"image {image}: label id {known.max()} in box {(y, x)}; ids go from 0 to {self.classes - 1}"
            )
        if image not in self._maps:
            self._maps[image] = np.full(size, IGNORE, np.uint8)
        window = self._maps[image][y : y + height, x : x + width]
        if (window != IGNORE).any():
            raise RalsegError(f"image {image}: part of box {(y, x, height, width)} is labelled already; reveal it once")
        window[:] = values
        self.class_counts += np.bincount(known, minlength=self.classes)
        if image in self._targets:
            target = self._targets[image]
            target += soft_targets(values, self.classes, target.shape[1:], (y, x), size)

    def targets(self, image: int, size: tuple[int, int]) -> np.ndarray:
        """Revealed pixels per class in each cell of a coarser map; see `soft_targets`.

        Args:
            image: index in the store; something of it must be revealed.
            size: (h, w) of the logits.

        Returns:
            (C, h, w) float32, kept up to date; not to be written to.
        """
        if image not in self._targets or self._targets[image].shape[1:] != tuple(size):
            self._targets[image] = soft_targets(self._maps[image], self.classes, size)
        return self._targets[image]


def revealed(store: ImageStore, images: Sequence[int]) -> PartialLabels:
    """The full labels of some images of a store."""
    labels = PartialLabels(len(store.dataset.classes))
    for i in images:
        labels.reveal(i, store.size(i), (0, 0, *store.size(i)), store.label(i))
    return labels


def soft_targets(
    labels: np.ndarray,
    classes: int,
    size: tuple[int, int],
    offset: tuple[int, int] = (0, 0),
    full: tuple[int, int] | None = None,
) -> np.ndarray:
    """Pixels per class in each cell of a coarser map, so that no labelled pixel is lost to down-sampling.

    Cross-entropy against these counts is the cross-entropy of every labelled pixel against the nearest cell's logits.

    Args:
        labels: (H, W) uint8; ids >= C are void.
        classes: number of classes C.
        size: (h, w) of the coarser map.
        offset: where `labels` lies in the image, if it is a part of one.
        full: (height, width) of that image; default: the labels' own.

    Returns:
        (C, h, w) float32 counts.
    """
    height, width = full or labels.shape
    h, w = size
    row = (np.arange(offset[0], offset[0] + labels.shape[0]) * h // height).astype(np.int32)
    column = (np.arange(offset[1], offset[1] + labels.shape[1]) * w // width).astype(np.int32)
    index = np.minimum(labels, classes).astype(np.int32) * (h * w) + (row[:, None] * w + column)
    counts = np.bincount(index.ravel(), minlength=(classes + 1) * h * w)[: classes * h * w]
    return counts.reshape(classes, h, w).astype(np.float32)
