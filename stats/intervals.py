"""Confidence intervals of paired differences between two policies."""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from ralseg.foundation import RalsegError

SEEDS_FOR_BOOTSTRAP = 5
# Resamples drawn at once, so that memory stays below about 16 B x 500 x training seeds x draws.
BLOCK = 500


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
        method: "nested bootstrap", "t over training seeds" or "t over draws, one training seed".
    """

    mean: float
    low: float
    high: float
    standard_error: float
    n: int
    level: float
    method: str


def paired_interval(
    differences: np.ndarray, level: float = 0.95, rng: np.random.Generator | None = None, resamples: int = 10_000
) -> Interval:
    """Interval of the mean of paired differences.

    With five training seeds or more: percentile bootstrap that resamples training seeds and then draws within each.
    With two to four: t interval over the seeds' means. With one: t interval over its draws, which knows nothing of how
    much training itself varies, and says so in `method`.

    Bootstrap intervals of few things are too narrow: with as much spread between seeds as within, a nominal 95 % held
    the truth in 88 % of simulated runs with 5 training seeds, 92 % with 10 or 20.

    Args:
        differences: (training_seeds, draws) of one policy less the other, the same draw in both.
        level: probability of the interval, between 0 and 1.
        rng: draws the resamples; needed with five training seeds or more.
        resamples: of the bootstrap, 1 or more.

    Raises:
        RalsegError: on another shape, NaN or infinities, a single number, a bad level, or no rng where it is needed.
    """
    differences = _finite("differences", differences)
    if differences.ndim != 2 or differences.size < 2:
        raise RalsegError(
            f"interval: differences of shape {differences.shape}; give (training seeds, draws), 2 or more"
        )
    if not 0 < level < 1 or resamples < 1:
        raise RalsegError(
            f"interval: level {level} and {resamples} resamples; give 0 < level < 1 and 1 resample or more"
        )
    seeds = len(differences)
    if seeds == 1:
        return _t_interval(differences[0], level, "t over draws, one training seed")
    if seeds < SEEDS_FOR_BOOTSTRAP:
        return _t_interval(differences.mean(axis=1), level, "t over training seeds")
    if rng is None:
        raise RalsegError(f"interval: {seeds} training seeds are bootstrapped; give a random generator as rng")
    means = np.concatenate(
        [_resampled_means(differences, min(BLOCK, resamples - i), rng) for i in range(0, resamples, BLOCK)]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    mean = float(differences.mean())
    return Interval(mean, float(low), float(high), float(means.std()), seeds, level, "nested bootstrap")


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
    dev, test = _finite("dev", dev), _finite("test", test)
    if dev.shape != test.shape:
        raise RalsegError(f"two-set mean: dev {dev.shape} and test {test.shape} differ; give the same runs of both")
    return (dev + test) / 2


def _resampled_means(differences: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    seeds, draws = differences.shape
    seed = rng.integers(seeds, size=(count, seeds, 1))
    draw = rng.integers(draws, size=(count, seeds, draws))
    return differences[seed, draw].mean(axis=(1, 2))


def _t_interval(values: np.ndarray, level: float, method: str) -> Interval:
    n = len(values)
    mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(n))
    reach = float(stdtrit(n - 1, (1 + level) / 2)) * error
    return Interval(mean, mean - reach, mean + reach, error, n, level, method)


def _finite(name: str, values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise RalsegError(f"{name}: holds NaN or infinities; leave out the runs that failed, in both policies")
    return values
