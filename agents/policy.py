"""Whatever chooses: one candidate of each slate, or several of a whole pool."""

from typing import Protocol

import numpy as np


class Policy(Protocol):
    """An acquisition or a trained query network.

    Attributes:
        needs: the reducers that it reads from the view.
        needs_observation: whether it reads the view's observation.
    """

    needs: tuple
    needs_observation: bool

    def select(self, view, rng: np.random.Generator) -> np.ndarray:
        """(K,) int64 indices into the slates, -1 where a slate has no candidate left; of a whole pool, at most K."""
