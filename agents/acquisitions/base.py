"""The base of all acquisitions: a choice among candidates by a formula without learned parameters."""

from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar

import numpy as np

from ralseg.agents.acquisitions.limits import Limits
from ralseg.agents.acquisitions.reducers import Reducer
from ralseg.agents.acquisitions.selection import Selection
from ralseg.features.view import CandidatesView
from ralseg.foundation import RalsegError, Range, Settings

BY_SCORE = Selection()


@dataclass(frozen=True, kw_only=True)
class Acquisition(Settings):
    """Chooses among candidates. The fields of the class are the options of the acquisition.

    Attributes:
        selection: quotas and random perturbation, see `Selection`.
        name: its name on the command line.
        sees_truth: whether it is a reference that sees true labels; such a reference is no contender and no bound.
    """

    selection: Selection = BY_SCORE

    name: ClassVar[str]
    sees_truth: ClassVar[bool] = False

    reducers: ClassVar[tuple[Reducer, ...]] = ()
    """The reducers that the formula needs; a cached property where they depend on the options."""

    @property
    def needs(self) -> tuple[Reducer, ...]:
        """All reducers that the view must compute, one per name (the first)."""
        named = {reducer.name: reducer for reducer in reversed((*self.reducers, *self.selection.needs))}
        return tuple(reversed(named.values()))

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(group=getattr(cls, "name", ""), **arguments)

    def __getstate__(self) -> dict[str, Any]:
        # Reducers hold functions and cannot be pickled; another process makes them again.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def select(self, candidates: CandidatesView, choices: int, rng: np.random.Generator) -> np.ndarray:
        """Choose some of the candidates.

        Args:
            candidates: the open candidates. Ties go to the first of them, so shuffle them beforehand.
            choices: the number to choose.
            rng: the generator of all random decisions.

        Returns:
            (at most choices,) int64 indices in the order of choice; fewer if the quotas allow fewer.

        Raises:
            RalsegError: if the prediction contains NaN.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Scored(Acquisition):
    """An acquisition that scores candidates one by one.

    Attributes:
        lowest: the lowest possible score; -inf if there is none.
    """

    lowest: ClassVar[float] = 0.0

    def score(self, candidates: CandidatesView) -> np.ndarray:
        """(n,) float scores, the larger the better; a function of the candidates alone.

        Unless it is overridden, it is what the first of the `reducers` finds.
        """
        if not self.reducers:
            raise NotImplementedError
        return candidates.reduced(self.reducers[0].name)

    def select(self, candidates: CandidatesView, choices: int, rng: np.random.Generator) -> np.ndarray:
        """See `Acquisition.select`."""
        if not len(candidates):
            return np.empty(0, np.int64)
        score = self.score(candidates)
        if np.isnan(score).any():
            raise RalsegError("the score of a candidate is NaN; the network's prediction is damaged")
        return self.selection.chosen(
            self.selection.preference(score, self.lowest, candidates, rng), candidates, choices
        )


@dataclass(frozen=True, kw_only=True)
class Batch(Acquisition):
    """An acquisition that chooses a set: the value of a candidate depends on the other candidates chosen.

    Attributes:
        prefilter: if the whole pool is on offer, the number of candidates per image that take part, drawn at random; 0
            for all. A pool of pixels has too many to compare them all. It is raised if fewer than `choices` would take
            part.
    """

    prefilter: Annotated[int, Range(0)] = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.selection.scored:
            raise RalsegError("there are no scores for selection.stochastic or top_share; leave them out")

    def choose(self, candidates: CandidatesView, choices: int, limits: Limits, rng: np.random.Generator) -> np.ndarray:
        """Choose like `select` among at least one candidate, under the given limits."""
        raise NotImplementedError

    def select(self, candidates: CandidatesView, choices: int, rng: np.random.Generator) -> np.ndarray:
        """See `Acquisition.select`."""
        if not len(candidates) or not choices:
            return np.empty(0, np.int64)
        taking_part = np.arange(len(candidates))
        if self.prefilter and candidates.slates is None:
            taking_part = prefiltered(candidates.images, self.prefilter, choices, rng)
            candidates = candidates.take(taking_part)
        limits = self.selection.limits(candidates, choices)
        return taking_part[self.choose(candidates, choices, limits, rng)]


def prefiltered(images: np.ndarray, count: int, choices: int, rng: np.random.Generator) -> np.ndarray:
    """`at_most` with `count`, raised until there are `choices` members if possible."""
    sizes = np.unique(images, return_counts=True)[1]
    while np.minimum(sizes, count).sum() < min(choices, len(images)):
        count *= 2
    return at_most(images, count, rng)


def at_most(images: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of at most `count` members of each image, drawn at random, ascending."""
    order = rng.permutation(len(images))
    order = order[np.argsort(images[order], kind="stable")]
    _, starts = np.unique(images[order], return_index=True)
    rank = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
    return np.sort(order[rank < count])
