"""Confidence intervals of paired differences between two policies."""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from ralseg.foundation import RalsegError
from ralseg.stats.arrays import finite, runs
from ralseg.stats.resampling import RESAMPLES, SEEDS_FOR_BOOTSTRAP, Resamples, shared


@dataclass(frozen=True)
class Interval:
    """A mean and how far to trust it.

    Args:
        mean: of all differences.
        low: lower end of the interval.
        high: upper end.
        standard_error: of the mean.
        n: independent things that it rests on: training seeds, or draws where there is one training seed.
        level: probability that the interval is built for.
        method: "nested bootstrap" (or crossed, see `Resamples`), "t over training seeds" or "t over draws, one training
            seed"; of figures without a t interval "nested bootstrap of few training seeds" or "bootstrap over draws,
            one training seed".
    """

    mean: float
    low: float
    high: float
    standard_error: float
    n: int
    level: float
    method: str


def paired_interval(
    differences: np.ndarray,
    level: float = 0.95,
    rng: np.random.Generator | Resamples | None = None,
    resamples: int = RESAMPLES,
) -> Interval:
    """Interval of the mean of paired differences.

    With five training seeds or more: percentile bootstrap that resamples training seeds and then draws within each.
    With two to four: t interval over the seeds' means. With one: t interval over its draws, which knows nothing of how
    much training itself varies, and says so in `method`.

    Bootstrap intervals of few things are too narrow: with as much spread between seeds as within, a nominal 95 % held
    the truth in 88 % of simulated runs with 5 training seeds, 92 % with 10 or 20. Against a base whose draws are the
    same for all training seeds it is less, see `Resamples`.

    Args:
        differences: (training_seeds, draws) of one policy less the other, the same draw in both.
        level: probability of the interval, between 0 and 1.
        rng: draws the resamples, or has them; needed with five training seeds or more.
        resamples: of the bootstrap, 1 or more, if rng is a generator.

    Raises:
        RalsegError: on another shape, NaN or infinities, a single number, a bad level, or no rng where it is needed.
    """
    differences = runs("interval", differences)
    check_level(level)
    seeds = len(differences)
    if seeds == 1:
        return _t_interval(differences[0], level, "t over draws, one training seed")
    if seeds < SEEDS_FOR_BOOTSTRAP:
        return _t_interval(differences.mean(axis=1), level, "t over training seeds")
    rng = shared(rng, resamples)
    return percentile_interval(differences.mean(), rng.means(differences), level, *rng.basis(*differences.shape))


def percentile_interval(figure: float, resampled: np.ndarray, level: float, n: int, method: str) -> Interval:
    """Interval of a figure from its bootstrap.

    Args:
        figure: of the runs themselves.
        resampled: (n,) the same of each resample.
        level: probability of the interval, between 0 and 1.
        n: independent things that it rests on.
        method: of the bootstrap.
    """
    check_level(level)
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(figure), float(low), float(high), float(resampled.std()), n, level, method)


def check_level(level: float) -> None:
    """Refuse what is no probability of an interval.

    Raises:
        RalsegError: unless 0 < level < 1.
    """
    if not 0 < level < 1:
        raise RalsegError(f"interval: level {level}; give 0 < level < 1")


def two_set_mean(dev: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Mean of the figures on dev and on test, the one that claims are made on.

    Args:
        dev: any shape.
        test: the same shape, the same runs in the same order.

    Returns:
        float64 of that shape.

    Raises:
        RalsegError: if the shapes differ, or on NaN or infinities.
    """
    dev, test = finite("dev", dev), finite("test", test)
    if dev.shape != test.shape:
        raise RalsegError(f"two-set mean: dev {dev.shape} and test {test.shape} differ; give the same runs of both")
    return (dev + test) / 2


def _t_interval(values: np.ndarray, level: float, method: str) -> Interval:
    n = len(values)
    mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(n))
    reach = float(stdtrit(n - 1, (1 + level) / 2)) * error
    return Interval(mean, mean - reach, mean + reach, error, n, level, method)
