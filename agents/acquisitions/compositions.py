"""Acquisitions composed of others: in stages, as a sum of ranks, or divided by the cost of a label."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from scipy.stats import rankdata

from ralseg.agents.acquisitions.base import BY_SCORE, Acquisition, Batch, Scored, at_most, prefiltered
from ralseg.agents.acquisitions.reducers import PREDICTED_SHARES, Reducer
from ralseg.agents.acquisitions.uncertainty import Entropy
from ralseg.features.clicks import PREDICTED_CLICKS
from ralseg.features.view import CandidatesView
from ralseg.foundation import Count, PositiveShare, RalsegError, Range, Settings, give_back_memory

ENTROPY = Entropy()
Weight = Annotated[float, Range(0, below=True)]


@dataclass(frozen=True, kw_only=True)
class Stage(Settings, group="stages"):
    """One acquisition in a sequence, and how many candidates it keeps for the next.

    Attributes:
        by: the acquisition.
        per_image: number of candidates kept of each image, chosen image by image.
        among: with `per_image`, the most candidates of an image that are compared, drawn at random; None for all.
        share: share of all candidates that is kept, but never fewer than are to be chosen.
        at_once: with `share`, the most candidates that are compared with each other: more are split at random into
            parts, each of which keeps its share. Time and memory of a coverage then grow with the pool and not with its
            square.
    """

    by: Acquisition
    per_image: Count | None = None
    among: Count | None = None
    share: PositiveShare | None = None
    at_once: Count | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.at_once is not None and self.share is None:
            raise RalsegError("at_once is for stages with a share; set both or neither")
        if self.among is not None and self.per_image is None:
            raise RalsegError("among is for stages with per_image; set both or neither")


@dataclass(frozen=True, kw_only=True)
class Stages(Acquisition):
    """A sequence of acquisitions: each selects from the candidates that the previous one kept; the last one chooses.

    Coverage followed by uncertainty is the two-stage method of eDALD. A stage keeps at least one candidate per slate.

    Attributes:
        stages: the stages; all but the last set `per_image` or `share`.
    """

    name = "stages"

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        kept = [(stage.per_image is not None) + (stage.share is not None) for stage in self.stages]
        if not kept or kept[-1] or any(count != 1 for count in kept[:-1]):
            raise RalsegError("every stage but the last keeps either per_image or share, the last one neither of them")
        if replace(self.selection, ties=BY_SCORE.ties) != BY_SCORE:
            raise RalsegError(
                "set the selection on the last stage, which chooses; only ties can be set for all of them"
            )

    @property
    def sees_truth(self) -> bool:
        """See `Acquisition`."""
        return any(stage.by.sees_truth for stage in self.stages)

    @cached_property
    def reducers(self) -> tuple[Reducer, ...]:
        """See `Acquisition.reducers`."""
        return tuple(reducer for stage in self.stages for reducer in stage.by.needs)

    def select(self, candidates: CandidatesView, choices: int, rng: np.random.Generator) -> np.ndarray:
        """See `Acquisition.select`; the selection of the last stage applies."""
        whole = candidates
        if candidates.slates is not None:
            # Slates are small enough to be predicted together; a pool is processed image by image.
            candidates.compute()
        # One pass of an image serves all stages, but pixels by themselves are predicted for the stage that they reach.
        for number, stage in enumerate(self.stages[:-1]):
            seen = candidates.only_for(stage.by.needs) if candidates.reads_pixels else candidates
            candidates = _kept(seen, stage, choices, rng, first=not number)
        last = self.stages[-1].by
        if candidates.reads_pixels:
            candidates = candidates.only_for(last.needs)
        if len(self.stages) > 1 and isinstance(last, Batch):
            last = replace(last, prefilter=0)
        chosen = candidates.units[last.select(candidates, choices, rng)]
        order = np.argsort(whole.units)
        return order[np.searchsorted(whole.units, chosen, sorter=order)]


@dataclass(frozen=True, kw_only=True)
class ColdStart(Acquisition):
    """One acquisition as long as nothing is bought, and another one afterwards.

    Methods that start alike are compared by what they choose, and one method with several starts by where it begins.

    Attributes:
        first: the acquisition of the first choice.
        then: the acquisition of all further choices.
    """

    name = "cold_start"

    first: Acquisition
    then: Acquisition

    def __post_init__(self) -> None:
        super().__post_init__()
        if replace(self.selection, ties=BY_SCORE.ties) != BY_SCORE:
            raise RalsegError("set the selection on `first` and `then`, which choose; only ties can be set for both")

    @property
    def sees_truth(self) -> bool:
        """See `Acquisition`."""
        return self.first.sees_truth or self.then.sees_truth

    @cached_property
    def reducers(self) -> tuple[Reducer, ...]:
        """See `Acquisition.reducers`."""
        return (*self.first.needs, *self.then.needs)

    def select(self, candidates: CandidatesView, choices: int, rng: np.random.Generator) -> np.ndarray:
        """See `Acquisition.select`; the selection of the part that chooses applies."""
        bought = candidates.labelled_counts.any()
        part = self.then if bought else self.first
        return part.select(candidates.only_for(part.needs), choices, rng)


@dataclass(frozen=True, kw_only=True)
class RankSum(Scored):
    """The weighted sum of the ranks by several scores, which may have any scale.

    Attributes:
        of: acquisitions with scores.
        weights: one weight each, 0 or more; None for equal weights.
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
        """See `Scored.score`; a rank is above 0 and at most 1, and equal scores share their mean rank."""
        weights = self.weights or (1.0,) * len(self.of)
        ranks = [rankdata(_scored(part).score(candidates)) / len(candidates) for part in self.of]
        return np.einsum("a,an->n", weights, ranks)


@dataclass(frozen=True, kw_only=True)
class CostAware(Scored):
    """A score divided by the predicted cost of the label.

    Attributes:
        of: an acquisition whose scores have a lowest value, which counts as 0.
        cost: `clicks` (the number of classes predicted in the unit, one click each), `polygon` (the clicks that outline
            its predicted segments as polygons, see `polygon_clicks`) or `pixels` (of the unit).
    """

    name = "cost_aware"

    of: Acquisition = ENTROPY
    cost: Literal["clicks", "polygon", "pixels"] = "clicks"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.of, Scored) or not np.isfinite(self.of.lowest):
            raise RalsegError(f"{self.of.name} has no scores with a lowest value; choose another one")
        _check_selections(self.name, (self.of,))

    @property
    def sees_truth(self) -> bool:
        """See `Acquisition`."""
        return self.of.sees_truth

    @cached_property
    def reducers(self) -> tuple[Reducer, ...]:
        """See `Acquisition.reducers`."""
        needed = {"clicks": (PREDICTED_SHARES,), "polygon": (PREDICTED_CLICKS,), "pixels": ()}
        return (*self.of.reducers, *needed[self.cost])

    def score(self, candidates: CandidatesView) -> np.ndarray:
        """See `Scored.score`; the acquisition's score above its lowest value, per click or pixel."""
        if self.cost == "pixels":
            cost = candidates.areas
        elif self.cost == "polygon":
            cost = candidates.reduced(PREDICTED_CLICKS.name)
        else:
            cost = (candidates.reduced(PREDICTED_SHARES.name) > 0).sum(axis=1)
        of = _scored(self.of)
        return (of.score(candidates) - of.lowest) / cost


def _scored(part: Acquisition) -> Scored:
    assert isinstance(part, Scored)  # the composition refuses all others when it is made
    return part


def _check_selections(name: str, parts: tuple[Acquisition, ...]) -> None:
    """Refuse parts with a selection of their own, because only their scores are used."""
    if chooses := next((part.name for part in parts if part.selection != BY_SCORE), None):
        raise RalsegError(f"the selection of {chooses} would be ignored; set it on {name} itself")


def _kept(
    candidates: CandidatesView, stage: Stage, choices: int, rng: np.random.Generator, first: bool
) -> CandidatesView:
    by = replace(stage.by, prefilter=0) if isinstance(stage.by, Batch) else stage.by
    # Slates constrain the final choice, not the candidates kept for it.
    if (per_image := stage.per_image) is not None:
        looked_at = candidates if stage.among is None else candidates.take(at_most(candidates.images, stage.among, rng))
        kept = looked_at.narrowed(lambda image: by.select(image.unslated(), per_image, rng))
    else:
        assert stage.share is not None  # `Stages` refuses a stage that says neither
        prefilter = stage.by.prefilter if isinstance(stage.by, Batch) else 0
        if first and candidates.slates is None and prefilter:
            candidates = candidates.take(prefiltered(candidates.images, prefilter, choices, rng))
        count = max(choices, round(stage.share * len(candidates)))
        parts = max(1, -(-len(candidates) // (stage.at_once or len(candidates) or 1)))
        order = np.arange(len(candidates)) if parts == 1 else rng.permutation(len(candidates))
        # What a stage looks at is computed once for it and those after it; one that looks at nothing comes before that.
        seen = candidates if candidates.slates is None and not by.needs else candidates.unslated()
        chosen = []
        for members, quota in zip(np.array_split(order, parts), np.array_split(np.arange(count), parts), strict=True):
            chosen.append(members[by.select(seen.take(members), len(quota), rng)])
            if parts > 1:
                # What one part leaves behind would be added to what the next one needs.
                give_back_memory()
        kept = candidates.take(np.sort(np.concatenate(chosen)))
    if candidates.slates is None:
        return kept
    assert kept.slates is not None
    missing = np.flatnonzero(~np.isin(candidates.slates, kept.slates))
    if not len(missing):
        return kept
    more = missing[by.select(candidates.take(missing), len(np.unique(candidates.slates[missing])), rng)]
    return candidates.take(np.sort(np.concatenate([np.flatnonzero(np.isin(candidates.units, kept.units)), more])))
