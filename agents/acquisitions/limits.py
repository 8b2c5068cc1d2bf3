"""Limits of a batch: the candidates that may still be picked, and those that each pick excludes."""

from typing import Protocol

import numpy as np


class Limits(Protocol):
    """The interface between batch methods and the limits of a selection.

    Attributes:
        open: (n,) bool, True where a candidate may still be picked; it changes with every `take`.
    """

    open: np.ndarray

    def take(self, index: int) -> None:
        """Record a pick, which closes itself and all that it excludes (a full quota, overlapping neighbours)."""


class Free:
    """No limits: a pick closes only itself.

    Args:
        count: number n of candidates.
    """

    def __init__(self, count: int) -> None:
        self.open = np.ones(count, bool)

    def take(self, index: int) -> None:
        """See `Limits.take`."""
        self.open[index] = False
