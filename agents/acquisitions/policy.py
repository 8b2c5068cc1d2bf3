"""An acquisition as a policy of the game."""

import warnings

import numpy as np

from ralseg.agents.acquisitions.base import Acquisition
from ralseg.agents.acquisitions.reducers import Reducer
from ralseg.features.view import CandidatesView


class FixedPolicy:
    """Plays by an acquisition; see `ralseg.agents.policy.Policy`.

    Args:
        acquisition: the formula.
    """

    needs_observation = False

    def __init__(self, acquisition: Acquisition) -> None:
        self.acquisition = acquisition

    @property
    def needs(self) -> tuple[Reducer, ...]:
        """What a view must reduce for it."""
        return self.acquisition.needs

    def select(self, view: CandidatesView, rng: np.random.Generator) -> np.ndarray:
        """Choose.

        Args:
            view: what is on offer.
            rng: of ties and of whatever the acquisition leaves to chance.

        Returns:
            (K,) int64 indices, one into each slate, -1 where a slate has no candidate. Where the whole pool is on
            offer: (at most K,) indices into it; a warning says if there are fewer than were asked for.
        """
        candidates = view
        if self.acquisition.selection.ties == "random":
            # The first of equals is chosen: in a random order, that is any of them.
            candidates = candidates.take(rng.permutation(len(candidates)))
        chosen = self.acquisition.select(candidates, candidates.choices, rng)
        if candidates.slates is None:
            if len(chosen) < candidates.choices:
                warnings.warn(
                    f"{self.acquisition.name}: {candidates.choices} units were asked for, {len(chosen)} are left under "
                    "its quotas; these are taken",
                    stacklevel=2,
                )
            return candidates.places[chosen]
        choice = np.full(candidates.choices, -1, np.int64)
        choice[candidates.slates[chosen]] = candidates.places[chosen]
        return choice
