"""The candidates view: all that a chooser may look at, computed when it is first looked at, once."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from ralseg.envs.open_candidates import Candidates, CandidatesSource, checked_rows
from ralseg.envs.reducers import UnitReducer


class ViewSource(CandidatesSource, Protocol):
    """The game behind a view."""

    def observe(self, units: np.ndarray, mask: np.ndarray, features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The observation of these candidates."""


class CandidatesView:
    """What is offered in one step.

    Args:
        source: the game.
        units: (K, N) int64 flat unit numbers of the pool, -1 where there is none; (1, units) of a whole pool.
        mask: as large, bool, True where a unit may be chosen.
        labelled_counts: (C,) int64 pixels per class bought so far.
        reducers: what the chooser will ask for, so that one forward pass serves all of it.
        observed: whether it will ask for the observation.
        choices: how many units the step asks for; None: one of each slate.
    """

    def __init__(
        self,
        source: ViewSource,
        units: np.ndarray,
        mask: np.ndarray,
        labelled_counts: np.ndarray,
        reducers: Sequence[UnitReducer] = (),
        observed: bool = True,
        choices: int | None = None,
    ) -> None:
        self.units, self.mask, self.labelled_counts = units, mask, labelled_counts
        self.choices = len(units) if choices is None else choices
        self._whole = choices is not None
        self._source, self._reducers, self._observed = source, tuple(reducers), observed
        self._features: dict[str, np.ndarray] | None = None
        self._observation: dict[str, np.ndarray] | None = None
        self._truth: np.ndarray | None = None

    @property
    def candidates(self) -> Candidates:
        """The open candidates, one after the other."""
        slates, places = np.nonzero(self.mask)
        given = None if self._whole else slates, places, self.choices, self.labelled_counts, self._reducers
        return Candidates(self._source, self.units[self.mask], *given)

    @property
    def observation(self) -> dict[str, np.ndarray]:
        """`state` (S, F) float32, `candidates` (K, N, F') float32, `mask` (K, N) int8."""
        if self._observation is None:
            if not self._observed:
                self._observed, self._features = True, None
            self._observation = self._source.observe(self.units, self.mask, self._reduced())
        return self._observation

    def reduced(self, name: str) -> np.ndarray:
        """What a reducer found for each candidate, (K, N, ...); 0 where there is none.

        Raises:
            RalsegError: if no reducer announced it, or it holds NaN.
        """
        return self._spread(checked_rows(self._reduced(), name))

    @property
    def true_counts(self) -> np.ndarray:
        """(K, N, C) int64 true pixels per class: for references that see the truth, never for contenders."""
        if self._truth is None:
            self._truth = self._spread(self._source.true_counts(self.units[self.units >= 0]))
        return self._truth

    def _reduced(self) -> dict[str, np.ndarray]:
        if self._features is None:
            units = self.units[self.units >= 0]
            self._features = self._source.reduce_candidates(units, self._reducers, self._observed)
        return self._features

    def _spread(self, rows: np.ndarray) -> np.ndarray:
        spread = np.zeros((*self.units.shape, *rows.shape[1:]), rows.dtype)
        spread[self.units >= 0] = rows
        return spread
