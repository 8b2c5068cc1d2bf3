"""An acquisition as a policy of the game."""

import warnings

import numpy as np

from ralseg.agents.acquisitions.base import Acquisition
from ralseg.agents.acquisitions.reducers import Reducer
from ralseg.features.view import CandidatesView


class FixedPolicy:
    """A policy that chooses by an acquisition; see `ralseg.agents.policy.Policy`.

    Args:
        acquisition: the formula.
    """

    needs_observation = False

    def __init__(self, acquisition: Acquisition) -> None:
        self.acquisition = acquisition

    @property
    def needs(self) -> tuple[Reducer, ...]:
        """The reducers that its view needs."""
        return self.acquisition.needs

    @property
    def dropout(self) -> bool:
        """See `Policy.dropout`."""
        return any(reducer.noise is not None and reducer.noise.kind == "dropout" for reducer in self.needs)

    def select(self, view: CandidatesView, rng: np.random.Generator) -> np.ndarray:
        """Choose from a view.

        Args:
            view: the candidates on offer.
            rng: breaks ties and draws whatever the acquisition draws at random.

        Returns:
            (K,) int64 indices, one into each slate, -1 for a slate without a candidate. If the whole pool is on offer,
            (at most K,) indices into it, with a warning if there are fewer than K.
        """
        candidates = view
        if self.acquisition.selection.ties == "random":
            # The first of equal candidates is chosen, so a random order breaks ties at random.
            candidates = candidates.take(rng.permutation(len(candidates)))
        chosen = self.acquisition.select(candidates, candidates.choices, rng)
        if candidates.slates is None:
            if len(chosen) < candidates.choices:
                warnings.warn(
                    f"{self.acquisition.name}: {candidates.choices} units are wanted and its quotas allow only "
                    f"{len(chosen)}, which are chosen",
                    stacklevel=2,
                )
            return candidates.places[chosen]
        choice = np.full(candidates.choices, -1, np.int64)
        choice[candidates.slates[chosen]] = candidates.places[chosen]
        return choice
