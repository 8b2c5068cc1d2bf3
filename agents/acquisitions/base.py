"""What an acquisition is: a choice among candidates by a formula, with no parameters to learn."""

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
    """Chooses among candidates. Its fields are its options.

    Attributes:
        selection: quotas and chance, see `Selection`.
        name: its name on the command line.
        sees_truth: whether it is a reference that sees true labels, and so neither a contender nor a bound.
    """

    selection: Selection = BY_SCORE

    name: ClassVar[str]
    sees_truth: ClassVar[bool] = False

    reducers: ClassVar[tuple[Reducer, ...]] = ()
    """What its formula reads of a prediction; a cached property where that depends on its options."""

    @property
    def needs(self) -> tuple[Reducer, ...]:
        """All that must be announced to the view; of reducers of one name, the first."""
        named = {reducer.name: reducer for reducer in reversed((*self.reducers, *self.selection.needs))}
        return tuple(reversed(named.values()))

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(group=getattr(cls, "name", ""), **arguments)

    def __getstate__(self) -> dict[str, Any]:
        # Reducers are functions and cannot be sent to another process: there they are made anew.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def select(self, candidates: CandidatesView, choices: int, rng: np.random.Generator) -> np.ndarray:
        """Choose some of the candidates.

        Args:
            candidates: those that are open.
            choices: how many.
            rng: of whatever is left to chance. Ties go to the candidate that comes first: shuffle them beforehand.

        Returns:
            (at most choices,) int64 indices in the order of choice; fewer where quotas leave fewer.

        Raises:
            RalsegError: if the prediction holds NaN.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Scored(Acquisition):
    """An acquisition that scores candidates one by one.

    Attributes:
        lowest: that a score can be.
    """

    lowest: ClassVar[float] = 0.0

    def score(self, candidates: CandidatesView) -> np.ndarray:
        """(n,) float; the larger the better. A function of the candidates alone, one by one.

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
    """An acquisition that chooses a set: what one candidate is worth depends on the others that are chosen.

    Attributes:
        prefilter: where the whole pool is on offer: candidates of each image that take part, drawn at random; 0: all.
            A pool of pixels has more of them than can be compared. More take part where these are fewer than choices.
    """

    prefilter: Annotated[int, Range(0)] = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.selection.scored:
            raise RalsegError("there are no scores for selection.stochastic or top_share; leave them out")

    def choose(self, candidates: CandidatesView, choices: int, limits: Limits, rng: np.random.Generator) -> np.ndarray:
        """Choose among one candidate or more; as `select`, under limits that are made already."""
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
    """`at_most` of `count`, or of so many more that there is enough to choose from."""
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
