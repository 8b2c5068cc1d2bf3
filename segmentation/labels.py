"""Partial labels: the known part of label maps, and the targets that a learner is trained on."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets import IGNORE
from ralseg.segmentation.store import ImageStore


class PartialLabels:
    """Label maps that are void until their units are revealed.

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

    def __getstate__(self) -> dict[str, Any]:
        # Targets are larger than labels, and made of them again when they are needed.
        return self.__dict__ | {"_targets": {}}

    @property
    def images(self) -> list[int]:
        """Store indices of the images with a revealed unit, in the order of their first one."""
        return list(self._maps)

    def __len__(self) -> int:
        return len(self._maps)

    def label(self, image: int) -> np.ndarray:
        """(H, W) uint8: the known part of one label map, `IGNORE` elsewhere."""
        return self._maps[image]

    def counts(self, image: int) -> np.ndarray:
        """(C,) int64, revealed pixels per class of one image."""
        return _counts(self._maps[image], self.classes)

    def reveal(self, image: int, size: tuple[int, int], box: Iterable[int], values: np.ndarray) -> np.ndarray:
        """Make the labels of one unit known.

        Args:
            image: index in the store.
            size: (H, W) of the label map.
            box: y, x, height, width of the unit in pixels.
            values: (height, width) uint8, ids 0..C-1 or `IGNORE`.

        Returns:
            (C,) int64, pixels per class of the unit.

        Raises:
            RalsegError: if the values do not fill the box, the box leaves the image or overlaps a labelled unit, or an
                id is out of range.
        """
        box = y, x, _, _ = tuple(box)
        self.check(image, size, box, values)
        window = self._window(image, size, box)
        if (window != IGNORE).any():
            raise RalsegError(f"image {image}: part of box {box} is labelled already; reveal it once")
        window[:] = values
        counts = _counts(values, self.classes)
        self.class_counts += counts
        if image in self._targets:
            target = self._targets[image]
            part, row, column = _cell_counts(values, self.classes, target.shape[1:], (y, x), size)
            target[:, row : row + part.shape[1], column : column + part.shape[2]] += part
        return counts

    def correct(self, image: int, size: tuple[int, int], box: Iterable[int], values: np.ndarray) -> np.ndarray:
        """Replace the labels of one unit; see `reveal` for arguments, result and errors."""
        box = tuple(box)
        self.check(image, size, box, values)
        window = self._window(image, size, box)
        self.class_counts -= _counts(window, self.classes)
        window[:] = IGNORE
        # Corrections are rare, so the targets are simply counted again when they are needed next.
        self._targets.pop(image, None)
        return self.reveal(image, size, box, values)

    def check(self, image: int, size: tuple[int, int], box: Iterable[int], values: np.ndarray) -> None:
        """Refuse values that do not fit a box; see `reveal` for arguments and errors."""
        y, x, height, width = box
        if values.shape != (height, width) or y < 0 or x < 0 or y + height > size[0] or x + width > size[1]:
            raise RalsegError(f"image {image}: labels {values.shape} do not fit box {(y, x, height, width)} of {size}")
        if values.dtype != np.uint8:
            raise RalsegError(f"image {image}: labels are {values.dtype}; give uint8 ids, {IGNORE} where not labelled")
        known = values[values != IGNORE]
        if known.size and known.max() >= self.classes:
            raise RalsegError(
                f"image {image}: label id {known.max()} in box {(y, x)}; ids go from 0 to {self.classes - 1}"
            )

    def _window(self, image: int, size: tuple[int, int], box: Sequence[int]) -> np.ndarray:
        if image not in self._maps:
            self._maps[image] = np.full(size, IGNORE, np.uint8)
        y, x, height, width = box
        return self._maps[image][y : y + height, x : x + width]

    def targets(self, image: int, size: tuple[int, int]) -> np.ndarray:
        """Revealed pixels per class in each cell of a coarser map; see `soft_targets`.

        Args:
            image: store index; at least one unit of the image must be revealed.
            size: (h, w) of the logits.

        Returns:
            (C, h, w) float32, kept up to date; do not write to it.
        """
        if image not in self._targets or self._targets[image].shape[1:] != tuple(size):
            self._targets[image] = soft_targets(self._maps[image], self.classes, size)
        return self._targets[image]


class FullLabels:
    """The full labels of some images of a store, read where they lie, with the reading half of `PartialLabels`.

    Args:
        store: images and labels.
        images: store indices.

    Attributes:
        classes: number of classes C.
        images: store indices.
        class_counts: (C,) int64, pixels per class of all images.
    """

    def __init__(self, store: ImageStore, images: Sequence[int]) -> None:
        self._store = store
        self.classes, self.images = len(store.dataset.classes), list(images)
        self._counts = dict(zip(self.images, store.class_counts()[self.images], strict=True))
        self.class_counts = sum(self._counts.values(), np.zeros(self.classes, np.int64))

    def __len__(self) -> int:
        return len(self.images)

    def counts(self, image: int) -> np.ndarray:
        """(C,) int64, pixels per class of one image."""
        return self._counts[image]

    def label(self, image: int) -> np.ndarray:
        """(H, W) uint8: one label map."""
        return self._store.label(image)

    def targets(self, image: int, size: tuple[int, int]) -> np.ndarray:
        """Pixels per class in each cell of a coarser map; see `soft_targets`."""
        return soft_targets(self.label(image), self.classes, size)


def revealed(store: ImageStore, images: Sequence[int]) -> PartialLabels:
    """The full labels of some images of a store."""
    labels = PartialLabels(len(store.dataset.classes))
    for i in images:
        labels.reveal(i, store.size(i), (0, 0, *store.size(i)), store.label(i))
    return labels


def soft_targets(labels: np.ndarray, classes: int, size: tuple[int, int]) -> np.ndarray:
    """Pixels per class in each cell of a coarser map, so that down-sampling loses no labelled pixel.

    Cross-entropy against these counts equals the cross-entropy of every labelled pixel with the nearest cell's logits.

    Args:
        labels: (H, W) uint8; ids >= C are void.
        classes: number of classes C.
        size: (h, w) of the coarser map.

    Returns:
        (C, h, w) float32 counts.
    """
    counts, row, column = _cell_counts(labels, classes, size, (0, 0), labels.shape)
    found = np.zeros((classes, *size), np.float32)
    found[:, row : row + counts.shape[1], column : column + counts.shape[2]] = counts
    return found


def _counts(values: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(values.ravel(), minlength=IGNORE + 1)[:classes]


def _cell_counts(
    labels: np.ndarray, classes: int, size: tuple[int, int], offset: tuple[int, int], full: tuple[int, int]
) -> tuple[np.ndarray, int, int]:
    """`soft_targets` of a part of an image that begins at `offset`, for only those cells that it touches.

    Returns:
        (C, rows, columns) float32 counts, first row, first column.
    """
    (row, first_row, rows), (column, first_column, columns) = (
        _cells_of(start, length, cells, whole)
        for start, length, cells, whole in zip(offset, labels.shape, size, full, strict=True)
    )
    index = np.minimum(labels, classes).astype(np.int32) * (rows * columns) + (row[:, None] * columns + column)
    counts = np.bincount(index.ravel(), minlength=(classes + 1) * rows * columns)[: classes * rows * columns]
    return counts.reshape(classes, rows, columns).astype(np.float32), first_row, first_column


def _cells_of(start: int, length: int, cells: int, whole: int) -> tuple[np.ndarray, int, int]:
    """The cell of each pixel relative to the first touched one, the first touched cell, and their number."""
    cell = np.arange(start, start + length, dtype=np.int64) * cells // whole
    return (cell - cell[0]).astype(np.int32), int(cell[0]), int(cell[-1] - cell[0]) + 1
