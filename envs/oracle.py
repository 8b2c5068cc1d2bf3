"""Who answers: ground truth in simulation."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from ralseg.segmentation.store import ImageStore


class Oracle(Protocol):
    """Whoever knows labels."""

    def reveal(self, image: int, box: Iterable[int]) -> np.ndarray:
        """The label of one unit.

        Args:
            image: index in the store.
            box: y, x, height, width, pixels.

        Returns:
            (height, width) uint8, ids 0..C-1, 255 where not labelled (never background).
        """


class GroundTruth:
    """The data set's own labels."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store

    def reveal(self, image: int, box: Iterable[int]) -> np.ndarray:
        """See `Oracle.reveal`."""
        y, x, height, width = box
        return self._store.label(image)[y : y + height, x : x + width]
