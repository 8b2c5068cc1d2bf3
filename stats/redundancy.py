"""Redundancy of a pool of images: how much nearer an image's neighbours in sequence are than all others."""

from typing import NamedTuple

import numpy as np

from ralseg.foundation import RalsegError
from ralseg.stats.collapse import distances_of

AROUND = 12
"""Images on either side in sequence that count as an image's neighbourhood."""
FEWEST = 5 * AROUND
"""Fewer images cannot tell a neighbourhood from the rest."""
NEAR = 0.5
"""An image is a near copy of another if their distance is below this share of that to its thirteenth neighbour."""


class Redundancy(NamedTuple):
    """What the embedding of a pool says about its redundancy.

    Attributes:
        in_sequence: mean over all images of log(distance to the nearest image outside the neighbourhood in sequence /
            distance to the nearest image), less what it would be if the neighbourhood were as many random images. 0 in
            a pool without sequence; 0.25 says that the nearest image in sequence is 1.28 times nearer.
        low: lower end of its 95 % interval.
        high: upper end.
        copies: share of images that have a near copy anywhere in the pool, 0 to 1.
    """

    in_sequence: float
    low: float
    high: float
    copies: float


def redundancy(points: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> Redundancy:
    """Measure the redundancy of a pool.

    The expectation under random neighbourhoods is exact: the nearest image that is left after m of n - 1 were left out
    is the r-th nearest with a hypergeometric probability. The interval is that of a bootstrap of blocks of images that
    follow each other, as their values go together.

    Args:
        points: (n, D) finite, the embeddings in sequence: images of a group lie together, by the order of their names
            or times.
        groups: (n,) the group (clip, city) of each.
        rng: draws the bootstrap.

    Raises:
        RalsegError: if there are fewer than 60 images, or the shapes do not fit.
    """
    points, groups = np.asarray(points, np.float64), np.asarray(groups)
    count = len(points)
    if points.ndim != 2 or groups.shape != (count,) or not np.isfinite(points).all():
        raise RalsegError(f"redundancy: points {points.shape} and groups {groups.shape} are not (n, D) and (n,)")
    if count < FEWEST:
        raise RalsegError(f"redundancy: {count} images are too few to measure it; at least {FEWEST} are needed")
    begins = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    sizes = np.diff(np.r_[begins, count])
    first = np.maximum(np.arange(count) - AROUND, np.repeat(begins, sizes))
    last = np.minimum(np.arange(count) + AROUND + 1, np.repeat(begins + sizes, sizes))
    excess, copies = np.empty(count), np.empty(count, bool)
    for begin in range(0, count, 512):
        rows = np.arange(begin, min(begin + 512, count))
        apart = distances_of(points, rows)
        apart[np.arange(len(rows)), rows] = np.inf
        nearest = np.sort(np.partition(apart, 2 * AROUND, axis=1)[:, : 2 * AROUND + 1], axis=1)
        columns = np.arange(count)
        outside = np.where((columns >= first[rows, None]) & (columns < last[rows, None]), np.inf, apart).min(axis=1)
        # Copies to the pixel have distance 0, which would count as infinitely near.
        floor = np.maximum(1e-3 * nearest[:, -1], np.finfo(np.float64).tiny)[:, None]
        logs = np.log(np.maximum(nearest, floor))
        chance = _first_left(last[rows] - first[rows] - 1, count - 1, 2 * AROUND + 1)
        excess[rows] = np.log(np.maximum(outside, floor[:, 0])) - (chance * logs).sum(axis=1)
        copies[rows] = nearest[:, 0] < NEAR * nearest[:, AROUND]
    low, high = _block_interval(excess, begins, sizes, rng)
    return Redundancy(float(excess.mean()), low, high, float(copies.mean()))


def _first_left(out: np.ndarray, total: int, ranks: int) -> np.ndarray:
    """(n, ranks) probability that rank r is the first left, if `out` (n,) of `total` are left out at random."""
    taken = np.arange(ranks - 1)
    still_out = np.maximum(out[:, None] - taken, 0) / (total - taken)
    before = np.concatenate([np.ones((len(out), 1)), np.cumprod(still_out, axis=1)], axis=1)
    return before * (1 - np.concatenate([still_out, np.zeros((len(out), 1))], axis=1))


def _block_interval(
    values: np.ndarray, begins: np.ndarray, sizes: np.ndarray, rng: np.random.Generator, draws: int = 2000
) -> tuple[float, float]:
    starts = np.concatenate([np.arange(begin, begin + size, AROUND) for begin, size in zip(begins, sizes, strict=True)])
    sums, lengths = np.add.reduceat(values, starts), np.diff(np.r_[starts, len(values)])
    drawn = rng.integers(len(starts), size=(draws, len(starts)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / lengths[drawn].sum(axis=1), (0.025, 0.975))
    return float(low), float(high)
