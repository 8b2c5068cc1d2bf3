"""Choices by chance or by time, which do not depend on the network's uncertainty."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from ralseg.agents.acquisitions.base import Batch, Scored
from ralseg.agents.acquisitions.limits import Limits
from ralseg.agents.acquisitions.reducers import PREDICTED_SHARES, Reducer
from ralseg.agents.acquisitions.selection import best
from ralseg.features.view import CandidatesView
from ralseg.foundation import Range


@dataclass(frozen=True, kw_only=True)
class Random(Scored):
    """Uniformly random choice."""

    name = "random"

    def score(self, candidates: CandidatesView) -> np.ndarray:
        """See `Scored.score`; all scores are 0, and ties are broken at random."""
        return np.zeros(len(candidates))


@dataclass(frozen=True, kw_only=True)
class ClassAwareRandom(Batch):
    """Random choice balanced over predicted classes, a baseline that heuristics must beat.

    Each choice first draws a class, uniformly among those predicted in some open candidate, and then a candidate in
    proportion to its share of that class. Slates are treated one by one.
    """

    name = "class_aware_random"

    @property
    def reducers(self) -> tuple[Reducer, ...]:
        """See `Acquisition.reducers`."""
        return (PREDICTED_SHARES,)

    def choose(self, candidates: CandidatesView, choices: int, limits: Limits, rng: np.random.Generator) -> np.ndarray:
        """See `Batch.choose`."""
        shares = candidates.reduced(PREDICTED_SHARES.name)
        slates = np.zeros(len(candidates), np.int64) if candidates.slates is None else candidates.slates
        each = np.unique(slates) if candidates.slates is not None else np.zeros(choices, np.int64)
        found: list[int] = []
        for slate in each[:choices]:
            among = np.flatnonzero(limits.open & (slates == slate))
            if not len(among):
                continue
            present = np.flatnonzero(shares[among].any(axis=0))
            share = shares[among, rng.choice(present)].astype(float)
            found.append(int(rng.choice(among, p=share / share.sum())))
            limits.take(found[-1])
        return np.array(found, np.int64)


@dataclass(frozen=True, kw_only=True)
class UniformInTime(Batch):
    """Candidates spread evenly over the time of each group (Best Practices, GCPR 2023: Uniform).

    The open candidates stand in a row, group after group and each group in the order of its frames. From a random place
    on, every (n / choices)-th of them is chosen, so that each has the same chance and each group its share.
    """

    name = "uniform_in_time"

    prefilter: Annotated[int, Range(0)] = 0

    def choose(self, candidates: CandidatesView, choices: int, limits: Limits, rng: np.random.Generator) -> np.ndarray:
        """See `Batch.choose`; where limits close a candidate, the next one in time takes its place."""
        row = np.lexsort((candidates.frames, candidates.groups))
        steps = np.arange(len(row)) * choices / len(row) + rng.random()
        waiting = np.empty(len(row))
        waiting[row] = steps % 1
        return best(-waiting, choices, limits)
