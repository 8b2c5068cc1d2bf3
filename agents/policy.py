"""What every policy has in common: it chooses one candidate of each slate, or several of a whole pool."""

from typing import Any, Protocol

import numpy as np


class Policy(Protocol):
    """An acquisition or a trained query network."""

    @property
    def needs(self) -> tuple:
        """The reducers whose rows it reads from the view."""
        ...

    @property
    def needs_observation(self) -> bool:
        """Whether it reads the view's observation."""
        ...

    def select(self, view: Any, rng: np.random.Generator) -> np.ndarray:
        """Choose among the candidates of a view.

        Args:
            view: what is on offer, a `CandidatesView`.
            rng: draws whatever the policy leaves to chance.

        Returns:
            (K,) int64 indices into the slates, -1 where a slate has no candidate left; of a whole pool, at most K
            indices into it.
        """
        ...
