"""Acquisitions made of others: one after the other, weighed against each other, or against what a label costs."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from scipy.stats import rankdata

from ralseg.agents.acquisitions.base import BY_SCORE, Acquisition, Batch, Scored, at_most, prefiltered
from ralseg.agents.acquisitions.reducers import PREDICTED_SHARES, Reducer
from ralseg.agents.acquisitions.uncertainty import Entropy
from ralseg.features.view import CandidatesView
from ralseg.foundation import Count, PositiveShare, RalsegError, Range, Settings

ENTROPY = Entropy()
Weight = Annotated[float, Range(0, below=True)]


@dataclass(frozen=True, kw_only=True)
class Stage(Settings, group="stages"):
    """One acquisition of several in a row, and how much it leaves to the next.

    Attributes:
        by: the acquisition.
        per_image: it keeps so many candidates of each image, looked at image by image.
        among: of `per_image`: of at most so many candidates of the image, drawn at random; None: of all.
        share: it keeps this share of all candidates, and no fewer than are to be chosen.
    """

    by: Acquisition
    per_image: Count | None = None
    among: Count | None = None
    share: PositiveShare | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.among is not None and self.per_image is None:
            raise RalsegError("among is for stages with per_image; set both or neither")


@dataclass(frozen=True, kw_only=True)
class Stages(Acquisition):
    """Acquisitions in a row: each chooses among what the one before it has kept, the last one makes the choice.

    Coverage, then uncertainty, is the two-stage method of eDALD. A stage leaves one candidate or more of every slate.

    Attributes:
        stages: all but the last say what they keep, by `per_image` or `share`.
    """

    name = "stages"

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        kept = [(stage.per_image is not None) + (stage.share is not None) for stage in self.stages]
        if not kept or kept[-1] or any(count != 1 for count in kept[:-1]):
            raise RalsegError("every stage but the last keeps either per_image or share, the last one neither of them")
        if replace(self.selection, ties=BY_SCORE.ties) != BY_SCORE:
            raise RalsegError("give the selection to the last stage, which chooses; of the whole only ties hold")

    @property
    def sees_truth(self) -> bool:
        """See `Acquisition`."""
        return any(stage.by.sees_truth for stage in self.stages)

    @cached_property
    def reducers(self) -> tuple[Reducer, ...]:
        """See `Acquisition.reducers`."""
        return tuple(reducer for stage in self.stages for reducer in stage.by.needs)

    def select(self, candidates: CandidatesView, choices: int, rng: np.random.Generator) -> np.ndarray:
        """See `Acquisition.select`; the last stage's own selection holds."""
        whole = candidates
        if candidates.slates is not None:
            # Few enough to be looked at together; a pool is looked at image by image.
            candidates.compute()
        for number, stage in enumerate(self.stages[:-1]):
            candidates = _kept(candidates, stage, choices, rng, first=not number)
        last = self.stages[-1].by
        if candidates is not whole and isinstance(last, Batch):
            last = replace(last, prefilter=0)
        chosen = candidates.units[last.select(candidates, choices, rng)]
        order = np.argsort(whole.units)
        return order[np.searchsorted(whole.units, chosen, sorter=order)]


@dataclass(frozen=True, kw_only=True)
class RankSum(Scored):
    """The weighted sum of the ranks that several scores give, so that scores of any scale can be added.

    Attributes:
        of: acquisitions with scores.
        weights: one each; None: all alike.
    """

    name = "rank_sum"

    of: tuple[Acquisition, ...]
    weights: tuple[Weight, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.of or (self.weights is not None and len(self.weights) != len(self.of)):
            raise RalsegError("give one acquisition or more in `of`, and as many weights, or none")
        if without := next((part.name for part in self.of if not isinstance(part, Scored)), None):
            raise RalsegError(f"{without} chooses sets and has no scores; use it in stages")
        _check_selections(self.name, self.of)

    @property
    def sees_truth(self) -> bool:
        """See `Acquisition`."""
        return any(part.sees_truth for part in self.of)

    @cached_property
    def reducers(self) -> tuple[Reducer, ...]:
        """See `Acquisition.reducers`."""
        return tuple(reducer for part in self.of for reducer in part.reducers)

    def score(self, candidates: CandidatesView) -> np.ndarray:
        """See `Scored.score`; a rank is above 0 and at most 1, equal scores share the mean of theirs."""
        weights = self.weights or (1.0,) * len(self.of)
        ranks = [rankdata(_scored(part).score(candidates)) / len(candidates) for part in self.of]
        return np.einsum("a,an->n", weights, ranks)


@dataclass(frozen=True, kw_only=True)
class CostAware(Scored):
    """A score divided by what the label is predicted to cost.

    Attributes:
        of: an acquisition with scores that have a lowest value, which counts as 0.
        cost: `clicks`: classes predicted in the unit, a click each; `pixels`: the unit's.
    """

    name = "cost_aware"

    of: Acquisition = ENTROPY
    cost: Literal["clicks", "pixels"] = "clicks"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.of, Scored) or not np.isfinite(self.of.lowest):
            raise RalsegError(f"{self.of.name} has no scores of 0 or more to divide; take another one")
        _check_selections(self.name, (self.of,))

    @property
    def sees_truth(self) -> bool:
        """See `Acquisition`."""
        return self.of.sees_truth

    @cached_property
    def reducers(self) -> tuple[Reducer, ...]:
        """See `Acquisition.reducers`."""
        return (*self.of.reducers, *((PREDICTED_SHARES,) if self.cost == "clicks" else ()))

    def score(self, candidates: CandidatesView) -> np.ndarray:
        """See `Scored.score`; the acquisition's score above its lowest, per click or pixel."""
        if self.cost == "pixels":
            cost = candidates.areas
        else:
            cost = (candidates.reduced(PREDICTED_SHARES.name) > 0).sum(axis=1)
        of = _scored(self.of)
        return (of.score(candidates) - of.lowest) / cost


def _scored(part: Acquisition) -> Scored:
    assert isinstance(part, Scored)  # others were refused when the composition was made
    return part


def _check_selections(name: str, parts: tuple[Acquisition, ...]) -> None:
    """Refuse parts that select in a way of their own: only their scores are read."""
    if chooses := next((part.name for part in parts if part.selection != BY_SCORE), None):
        raise RalsegError(f"the selection of {chooses} is not looked at; give it to {name} itself")


def _kept(
    candidates: CandidatesView, stage: Stage, choices: int, rng: np.random.Generator, first: bool
) -> CandidatesView:
    by = replace(stage.by, prefilter=0) if isinstance(stage.by, Batch) else stage.by
    # Slates hold for the choice, not for what is kept to choose from.
    if (per_image := stage.per_image) is not None:
        looked_at = candidates if stage.among is None else candidates.take(at_most(candidates.images, stage.among, rng))
        kept = looked_at.narrowed(lambda image: by.select(image.unslated(), per_image, rng))
    else:
        assert stage.share is not None  # `Stages` refuses a stage that says neither
        prefilter = stage.by.prefilter if isinstance(stage.by, Batch) else 0
        if first and candidates.slates is None and prefilter:
            candidates = candidates.take(prefiltered(candidates.images, prefilter, choices, rng))
        count = max(choices, round(stage.share * len(candidates)))
        kept = candidates.take(np.sort(by.select(candidates.unslated(), count, rng)))
    if candidates.slates is None:
        return kept
    assert kept.slates is not None
    missing = np.flatnonzero(~np.isin(candidates.slates, kept.slates))
    if not len(missing):
        return kept
    more = missing[by.select(candidates.take(missing), len(np.unique(candidates.slates[missing])), rng)]
    return candidates.take(np.sort(np.concatenate([np.flatnonzero(np.isin(candidates.units, kept.units)), more])))
