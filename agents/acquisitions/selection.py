"""Selection by scores with quotas, suppression and randomness, for any acquisition."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from ralseg.agents.acquisitions.limits import Limits
from ralseg.agents.acquisitions.overlap import separated_pixels
from ralseg.agents.acquisitions.reducers import PREDICTED_SHARES, Reducer
from ralseg.features.view import CandidatesView
from ralseg.foundation import Count, Positive, PositiveShare, RalsegError, Range, Settings

Stochastic = Literal["power", "softmax", "softrank"]


@dataclass(frozen=True)
class Selection(Settings, group="selection"):
    """Rules for the selection of candidates beyond their score; all that are set apply together.

    If the game offers slates, one candidate of each slate is selected in any case.

    Attributes:
        per_image: the most choices in one image (PixelPick, RIPU).
        per_group: whether each group of images (clip, city) gets its share of the choices: the number of choices times
            its share of the candidates, rounded; the last group gets the rest (STAL).
        per_class: whether the choices are spread evenly over the classes predicted for most of each unit.
        every: only images whose place in their group (by the numbers in names: a clip's time) is a multiple of this
            take part, as long as there are any: 5 is a pool thinned to every fifth image (Best Practices, A2D2-3K).
        separation: the centres of two units of an image are more than this many pixels apart, along the longer side
            (RIPU: 2 for regions of 3 x 3).
        stochastic: perturb scores by Gumbel noise (Kirsch et al., 2023), which draws without replacement: `power` in
            proportion to score^beta, `softmax` to exp(beta x score), `softrank` to rank^-beta. None for no noise.
        beta: the exponent of `stochastic`; the larger, the less noise.
        top_share: the share of candidates of each image, those with the highest scores, from which the choice is
            uniformly random (PixelPick uses 0.05). None to choose from all by score.
        ties: `random`, or `lowest` for the candidate that comes first.

    Raises:
        RalsegError: if a number is out of range, both `stochastic` and `top_share` are set, or `beta` without
            `stochastic`.
    """

    per_image: Count | None = None
    per_group: bool = False
    per_class: bool = False
    every: Count | None = None
    separation: Annotated[int, Range(0)] | None = None
    stochastic: Stochastic | None = None
    beta: Positive = 1.0
    top_share: PositiveShare | None = None
    ties: Literal["random", "lowest"] = "random"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stochastic is None and self.beta != 1:
            raise RalsegError(f"beta={self.beta} is for stochastic; set that, too")
        if self.top_share is not None and self.stochastic is not None:
            raise RalsegError("top_share selects by chance alone, stochastic by scores; set one of them")

    @property
    def needs(self) -> tuple[Reducer, ...]:
        """The reducers that the rules need."""
        return (PREDICTED_SHARES,) if self.per_class else ()

    @property
    def scored(self) -> bool:
        """Whether a rule changes scores, and so needs an acquisition with scores."""
        return self.stochastic is not None or self.top_share is not None

    def limits(self, candidates: CandidatesView, choices: int) -> "Quotas":
        """The limits of a selection from some candidates, before the first choice."""
        limits = Quotas(len(candidates))
        if candidates.slates is not None:
            limits.allow(candidates.slates, 1)
        if self.every is not None:
            limits.open &= _in_turn(candidates, self.every)
        if self.per_image is not None:
            limits.allow(candidates.images, self.per_image)
        if self.per_group:
            limits.allow(*in_proportion(candidates.groups, choices))
        if self.per_class:
            classes = candidates.reduced(PREDICTED_SHARES.name).argmax(axis=1)
            limits.allow(*evenly(classes, choices))
        if self.separation is not None:
            limits.separate(candidates.images, candidates.boxes, self.separation)
        return limits

    def chosen(self, preference: np.ndarray, candidates: CandidatesView, choices: int) -> np.ndarray:
        """The highest preferences (n,) that the limits allow, see `best`."""
        whole = self.every is None and candidates.slates is None
        if self.separation is not None and whole and not (self.per_group or self.per_class):
            boxes = candidates.boxes
            if (boxes[:, 2:] == 1).all():
                # Pixels have a faster way of their own.
                given = choices, self.per_image, self.separation
                return separated_pixels(preference, candidates.images, boxes[:, :2], *given)
        return best(preference, choices, self.limits(candidates, choices))

    def preference(
        self, score: np.ndarray, lowest: float, candidates: CandidatesView, rng: np.random.Generator
    ) -> np.ndarray:
        """The scores (n,) after random perturbation, by which candidates are chosen; -inf for those left out.

        Args:
            score: (n,) float, the larger the better.
            lowest: the lowest possible score; -inf if there is none.
            candidates: the candidates.
            rng: the generator of the perturbation.

        Raises:
            RalsegError: if `power` is set and scores have no lowest value.
        """
        if self.top_share is not None:
            return _chance_in_the_top(score, candidates.images, self.top_share, rng)
        if self.stochastic is None:
            return score
        noise = rng.gumbel(size=len(score))
        if self.stochastic == "softmax":
            return self.beta * score + noise
        if self.stochastic == "softrank":
            rank = np.empty(len(score))
            rank[np.argsort(-score, kind="stable")] = np.arange(1, len(score) + 1)
            return noise - self.beta * np.log(rank)
        if not np.isfinite(lowest):
            raise RalsegError("selection.stochastic=power needs scores of 0 or more; use softmax or softrank")
        return self.beta * np.log(np.maximum(score - lowest, np.finfo(float).tiny)) + noise


class Quotas:
    """The limits of a selection; see `ralseg.agents.acquisitions.limits.Limits`.

    Args:
        size: number of candidates.

    Attributes:
        open: (size,) bool, True for candidates that may be selected.
    """

    def __init__(self, size: int) -> None:
        self.open = np.ones(size, bool)
        self._groups: list[tuple[np.ndarray, np.ndarray, list[np.ndarray]]] = []
        self._apart: tuple[np.ndarray, list[np.ndarray], np.ndarray, int] | None = None

    def allow(self, groups: np.ndarray, most: int | np.ndarray) -> None:
        """Limit the number of choices in each group.

        Args:
            groups: (size,) whole numbers, 0 or more.
            most: the most choices in every group, or (groups,) of each.
        """
        number, members = _members(groups)
        left = np.broadcast_to(most, (len(members),) if np.ndim(most) == 0 else np.shape(most)).copy()
        left = left if np.ndim(most) == 0 else left[np.unique(groups)]
        for empty in np.flatnonzero(left < 1):
            self.open[members[empty]] = False
        self._groups.append((number, left, members))

    def separate(self, images: np.ndarray, boxes: np.ndarray, distance: int) -> None:
        """Keep the centres of an image's units more than `distance` pixels apart along the longer side."""
        number, members = _members(images)
        self._apart = number, members, boxes[:, :2] * 2 + boxes[:, 2:], 2 * distance

    def take(self, index: int) -> None:
        """Record a choice."""
        self.open[index] = False
        for number, left, members in self._groups:
            group = number[index]
            left[group] -= 1
            if left[group] < 1:
                self.open[members[group]] = False
        if self._apart is not None:
            number, members, centres, distance = self._apart
            near = members[number[index]]
            self.open[near[np.abs(centres[near] - centres[index]).max(axis=1) <= distance]] = False


def best(score: np.ndarray, choices: int, limits: Limits) -> np.ndarray:
    """The highest scores that the limits allow, one after the other; ties go to the lowest index.

    Args:
        score: (n,) float; -inf is never chosen.
        choices: number of choices.
        limits: see `Limits`; changed by the choices.

    Returns:
        (at most choices,) int64 indices in the order of choice.

    Raises:
        RalsegError: if a score is NaN.
    """
    if np.isnan(score).any():
        raise RalsegError("the score of a candidate is NaN; the network's prediction is damaged")
    limits.open &= score > -np.inf
    found: list[int] = []
    done, block = 0, max(1024, 4 * choices)
    # Only the leading scores are sorted; more of them if limits have closed those.
    while len(found) < choices and done < len(score) and limits.open.any():
        leading = _leading(score, block)
        for index in (new := leading[done:])[limits.open[new]].tolist():
            if limits.open[index]:
                limits.take(index)
                found.append(index)
                if len(found) == choices:
                    break
        done, block = len(leading), 8 * block
    return np.array(found, np.int64)


def in_proportion(groups: np.ndarray, choices: int) -> tuple[np.ndarray, np.ndarray]:
    """Quotas in proportion to the size of groups, rounded; the last group gets the rest (STAL).

    Returns:
        (n,) int64 number of each candidate's group, (groups,) int64 quotas.
    """
    _, number, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    quotas = np.rint(choices * sizes / max(len(groups), 1)).astype(np.int64)
    if len(quotas):
        quotas[-1] = max(0, choices - quotas[:-1].sum())
    return number, quotas


def evenly(groups: np.ndarray, choices: int) -> tuple[np.ndarray, np.ndarray]:
    """Quotas as equal as the sizes of groups allow; the largest groups get the remainder.

    Returns:
        See `in_proportion`.
    """
    _, number, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    quotas, left = np.zeros(len(sizes), np.int64), min(choices, len(groups))
    # The smallest groups come first, and what they cannot use goes to the larger ones.
    for place, group in enumerate(np.argsort(sizes, kind="stable")):
        quotas[group] = min(sizes[group], left // (len(sizes) - place))
        left -= quotas[group]
    return number, quotas


def _in_turn(candidates: CandidatesView, every: int) -> np.ndarray:
    """(n,) bool: whether the image is one of every so many in its group; all are, in a slate that has none."""
    slates = np.zeros(len(candidates), np.int64) if candidates.slates is None else candidates.slates
    in_turn = candidates.frames % every == 0
    return in_turn | ~np.isin(slates, slates[in_turn])


def _members(groups: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The group of each candidate, counted from 0, and the candidates of each group."""
    _, number, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return number, np.split(np.argsort(number, kind="stable"), np.cumsum(sizes)[:-1]) if len(sizes) else []


def _leading(score: np.ndarray, count: int) -> np.ndarray:
    """Indices of the highest scores, descending, ties by index."""
    if count >= len(score):
        return np.argsort(-score, kind="stable")
    bar = np.partition(score, len(score) - count)[len(score) - count]
    above, equal = np.flatnonzero(score > bar), np.flatnonzero(score == bar)
    return np.concatenate([above[np.argsort(-score[above], kind="stable")], equal[: count - len(above)]])


def _chance_in_the_top(score: np.ndarray, images: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    chance = np.full(len(score), -np.inf)
    for members in _members(images)[1]:
        top = members[_leading(score[members], max(1, round(share * len(members))))]
        chance[top] = rng.random(len(top))
    return chance
