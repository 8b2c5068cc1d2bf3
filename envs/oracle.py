"""Who answers: ground truth in simulation, people otherwise."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ralseg.envs.records import Unit
from ralseg.segmentation.store import ImageStore


class Oracle(Protocol):
    """Whoever knows labels, now, later, of some units, or never."""

    def answer(self, units: Sequence[Unit]) -> Sequence[np.ndarray | None]:
        """The labels of units that were asked for.

        Args:
            units: image name, y, x, height, width of each; those without an answer are asked for again in each turn.

        Returns:
            (height, width) uint8 of each: ids 0..C-1, 255 where not labelled (never background); None: no answer yet.
        """
        ...


class GroundTruth:
    """The data set's own labels.

    Args:
        store: the labels.
    """

    def __init__(self, store: ImageStore) -> None:
        self._store = store

    def answer(self, units: Sequence[Unit]) -> list[np.ndarray]:
        """See `Oracle.answer`; everything is answered at once."""
        return [self._store.label(self._store.index(name))[y : y + h, x : x + w] for name, y, x, h, w in units]
