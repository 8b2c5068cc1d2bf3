"""Which candidates may still be picked, and what each pick excludes."""

from typing import Protocol

import numpy as np


class Limits(Protocol):
    """What batch methods ask before every pick and tell after it.

    Attributes:
        open: (n,) bool, True where a candidate may still be picked; live, to be read again after every `take`.
    """

    open: np.ndarray

    def take(self, index: int) -> None:
        """Record a pick: closes it and whatever it excludes (its group's quota is full, neighbours that overlap)."""


class Free:
    """No limits: nothing but the pick itself is closed.

    Args:
        count: number n of candidates.
    """

    def __init__(self, count: int) -> None:
        self.open = np.ones(count, bool)

    def take(self, index: int) -> None:
        """See `Limits.take`."""
        self.open[index] = False
