"""Figures of one policy against another, or over all its runs, whose intervals are bootstrapped."""

from typing import NamedTuple

import numpy as np

from ralseg.foundation import RalsegError
from ralseg.stats.arrays import runs
from ralseg.stats.intervals import Interval, check_level, paired_interval, percentile_interval
from ralseg.stats.resampling import Resamples, shared


def interquartile_mean(
    values: np.ndarray, rng: np.random.Generator | Resamples | None = None, level: float = 0.95
) -> Interval:
    """Mean of the middle half of the runs (IQM; Agarwal et al., NeurIPS 2021), with its bootstrap interval.

    Where a quarter of the runs is no whole number, the runs at the quartiles count in part.

    Args:
        values: (training_seeds, draws).
        rng: draws the resamples, or holds them already.
        level: probability of the interval, between 0 and 1.

    Raises:
        RalsegError: on another shape, NaN or infinities, a single run, or no rng.
    """
    values = runs("interquartile mean", values)
    n, order = values.size, np.argsort(values, axis=None)
    ascending = values.ravel()[order]
    # A run counts by how much of it lies between the quartiles; summed by parts, so that one product does it.
    steps = np.append(ascending[:-1] - ascending[1:], ascending[-1])

    def middle(times: np.ndarray) -> np.ndarray:
        return (times.cumsum(axis=-1).clip(n / 4, 3 * n / 4) @ steps - n / 4 * ascending[0]) / (n / 2)

    rng = shared(rng)
    resampled = middle(rng.times(*values.shape)[:, order])
    return percentile_interval(float(middle(np.ones(n))), resampled, level, *rng.basis(*values.shape))


def share_of_paired_wins(
    differences: np.ndarray, rng: np.random.Generator | Resamples | None = None, level: float = 0.95
) -> Interval:
    """Share of the pairs that a policy wins, 0 to 1; a tie is half a win.

    It is not rliable's probability of improvement (Agarwal et al., NeurIPS 2021), which compares each run of the one
    with every run of the other: here run i is only compared with run i, which met the same draws.

    An interval of no width, where all pairs were won or lost, says that the bootstrap saw nothing else; no more.

    Args:
        differences: (training_seeds, draws) of one policy less the other.
        rng: draws the resamples, or holds them already.
        level: probability of the interval, between 0 and 1.

    Raises:
        RalsegError: see `interquartile_mean`.
    """
    won = (np.sign(runs("share of paired wins", differences)) + 1) / 2
    rng = shared(rng)
    return percentile_interval(won.mean(), rng.means(won), level, *rng.basis(*won.shape))


class AdvantageWon(NamedTuple):
    """How much of what is known to be winnable was won.

    Attributes:
        share: 1 is all; None unless the interval of the advantage is above 0.
        advantage: of the reference over the base.
    """

    share: Interval | None
    advantage: Interval


def advantage_won(
    policy: np.ndarray,
    base: np.ndarray,
    reference: np.ndarray,
    rng: np.random.Generator | Resamples | None = None,
    level: float = 0.95,
) -> AdvantageWon:
    """(policy - base) / (reference - base), a ratio of means, with its bootstrap interval.

    Numerator and denominator are resampled together. If the denominator's own interval is not above 0 there may be
    nothing to win: a ratio would have no finite interval (Fieller 1954), and none is given.

    Args:
        policy: (training_seeds, draws).
        base: the same runs; one training seed stands for all of them.
        reference: (training_seeds, draws), as `base`.
        rng: draws the resamples, or holds them already.
        level: probability of the intervals, between 0 and 1.

    Raises:
        RalsegError: on arrays that do not match, NaN or infinities, a single run, or no rng.
    """
    policy, base, reference = (runs("share of an advantage", values) for values in (policy, base, reference))
    try:
        won, winnable = np.broadcast_arrays(policy - base, reference - base)
    except ValueError as error:
        shapes = f"{policy.shape}, {base.shape} and {reference.shape}"
        raise RalsegError(f"share of an advantage: runs of shapes {shapes} do not match; give the same") from error
    check_level(level)
    rng = shared(rng)
    advantage = paired_interval(reference - base, level, rng)
    if advantage.low <= 0:
        return AdvantageWon(None, advantage)
    ratios = rng.means(won) / rng.means(winnable)
    share = won.mean() / winnable.mean()
    return AdvantageWon(percentile_interval(share, ratios, level, *rng.basis(*won.shape)), advantage)
