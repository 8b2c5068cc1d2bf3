"""True pixels per class of units, for references that see true labels in training."""

import numpy as np

from ralseg.envs.pool import Pool
from ralseg.foundation import Kept

KEPT_BYTES = 1 << 26
"""The most bytes of counts that are kept; those of all units of a large pool, or of pixels, would not fit."""


class TrueCounts:
    """True pixels per class of a pool's units, counted image by image when first used.

    Args:
        pool: the units.
        classes: number of classes C.
    """

    def __init__(self, pool: Pool, classes: int) -> None:
        self._pool, self._classes = pool, classes
        self._kept: Kept[np.ndarray] = Kept(KEPT_BYTES, replace=False)

    def __call__(self, units: np.ndarray) -> np.ndarray:
        """(n, C) int64 true pixels per class of n units."""
        order, images, local = self._pool.by_image(units)
        counts = [self._of(image)[rows] for image, rows in zip(images, local, strict=True)]
        found = np.empty((len(units), self._classes), np.int64)
        found[order] = np.concatenate(counts) if counts else 0
        return found

    def _of(self, image: int) -> np.ndarray:
        counts = self._kept.get(image)
        if counts is None:
            counts = self._pool.grid(image).class_counts(self._pool.store.label(image), self._classes).astype(np.int32)
            self._kept.put(image, counts, counts.nbytes)
        return counts
