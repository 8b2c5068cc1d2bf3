"""The oracle, which answers requests for labels: ground truth in simulation, people otherwise."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ralseg.envs.records import Unit
from ralseg.segmentation.store import ImageStore


class Oracle(Protocol):
    """A source of labels, which may answer at once, later, for some of the units, or never."""

    def answer(self, units: Sequence[Unit]) -> Sequence[np.ndarray | None]:
        """The labels of units that were asked for.

        Args:
            units: image name, y, x, height, width (pixels) of each; units without an answer are passed again in every
                turn.

        Returns:
            One (height, width) uint8 array per unit: class ids 0..C-1, 255 where not labelled (never background); None
            if there is no answer yet.
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
        """See `Oracle.answer`; all units are answered at once."""
        return [self._store.label(self._store.index(name))[y : y + h, x : x + w] for name, y, x, h, w in units]
