"""The candidates view: all that a chooser may look at, computed when it is first looked at, once."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from ralseg.features import UnitGrid
from ralseg.foundation import RalsegError
from ralseg.segmentation.networks import Prediction


class UnitReducer(Protocol):
    """What an acquisition keeps of a prediction.

    Attributes:
        draws: number M of noisy predictions that it reads, 0 for none.
    """

    draws: int

    def __call__(self, prediction: Prediction, images: Sequence[int], grid: UnitGrid) -> Mapping[str, np.ndarray]:
        """Name -> (B, units, ...) for a batch of images (indices in the store) of one size and grid."""


class ViewSource(Protocol):
    """The game behind a view."""

    def reduce_candidates(
        self, units: np.ndarray, reducers: Sequence[UnitReducer], observed: bool
    ) -> dict[str, np.ndarray]:
        """Name -> (n, ...) for n units, one forward pass per image; with the observation's features if `observed`."""

    def observe(self, units: np.ndarray, mask: np.ndarray, features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The observation of these candidates."""

    def true_counts(self, units: np.ndarray) -> np.ndarray:
        """(n, C) int64 true pixels per class of n units."""


class CandidatesView:
    """What is offered in one step.

    Args:
        source: the game.
        units: (K, N) int64 flat unit numbers of the pool, -1 where there is none.
        mask: (K, N) bool, True where a unit may be chosen.
        labelled_counts: (C,) int64 pixels per class bought so far.
        reducers: what the chooser will ask for, so that one forward pass serves all of it.
        observed: whether it will ask for the observation.
    """

    def __init__(
        self,
        source: ViewSource,
        units: np.ndarray,
        mask: np.ndarray,
        labelled_counts: np.ndarray,
        reducers: Sequence[UnitReducer] = (),
        observed: bool = True,
    ) -> None:
        self.units, self.mask, self.labelled_counts = units, mask, labelled_counts
        self._source, self._reducers, self._observed = source, tuple(reducers), observed
        self._features: dict[str, np.ndarray] | None = None
        self._observation: dict[str, np.ndarray] | None = None
        self._truth: np.ndarray | None = None

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
        rows = self._reduced()
        if name not in rows:
            raise RalsegError(f"the view holds no {name!r}; announce its reducer in the acquisition's `needs`")
        if np.isnan(rows[name]).any():
            raise RalsegError(f"{name!r} of a candidate is NaN; the network's prediction is damaged")
        return self._spread(rows[name])

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
