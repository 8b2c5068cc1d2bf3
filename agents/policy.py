"""The interface of every policy, which chooses one candidate of each slate or several of a whole pool."""

from typing import Any, Protocol

import numpy as np


class Policy(Protocol):
    """An acquisition or a trained query network."""

    @property
    def needs(self) -> tuple:
        """The reducers whose results it reads from the view."""
        ...

    @property
    def needs_observation(self) -> bool:
        """Whether it reads the view's observation."""
        ...

    @property
    def dropout(self) -> bool:
        """Whether it reads noisy predictions by dropout, which the network must have."""
        ...

    def select(self, view: Any, rng: np.random.Generator) -> np.ndarray:
        """Choose among the candidates of a view.

        Args:
            view: the candidates on offer, a `CandidatesView`.
            rng: the generator of all random decisions.

        Returns:
            (K,) int64 indices into the slates, -1 where a slate has no candidate left; for a whole pool, at most K
            indices into it.
        """
        ...
