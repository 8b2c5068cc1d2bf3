"""Batches that cover a cloud of points by similarity: MaxHerding and ProbCover, exact and lazy.

Every candidate has an upper bound of its gain. Only a few leading ones, the front, are updated after each pick; when
the best of the front falls behind the best bound outside, all bounds are renewed by matrix products. Ties go to the
lowest index.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.spatial.distance import pdist, squareform

from ralseg.agents.acquisitions.clouds import TILE, Cloud, blocks, clouds, leading
from ralseg.agents.acquisitions.limits import Limits
from ralseg.agents.acquisitions.spread import clusters, k_center

LEAST_FRONT = 256
"""Number of candidates in the smallest front, used when few similarities have changed."""
MEMORY = 256 * 2**20
"""Bytes of kernel columns that MaxHerding keeps; the whole matrix is kept if it fits."""
RESOLUTION = 1e-12
"""Gains that differ by less than this share of the number of points tie, because the rest is rounding."""
SAMPLE = 2000
"""The most points whose pairwise distances determine a bandwidth or a radius."""


class Kernel(Protocol):
    """A similarity, 1 at distance 0 and falling to 0."""

    def __call__(self, squared_distances: np.ndarray) -> np.ndarray:
        """Similarities of the same shape and dtype, 0 to 1; the argument is not changed."""
        ...


@dataclass(frozen=True)
class Rbf:
    """exp(-(distance / bandwidth)^2), for a bandwidth above 0."""

    bandwidth: float

    def __call__(self, squared_distances: np.ndarray) -> np.ndarray:
        """See `Kernel`."""
        scaled = squared_distances * squared_distances.dtype.type(-(self.bandwidth**-2))
        return np.exp(scaled, out=scaled)


@dataclass(frozen=True)
class TopHat:
    """1 up to distance `radius` and 0 beyond, for a radius of 0 or more."""

    radius: float

    def __call__(self, squared_distances: np.ndarray) -> np.ndarray:
        """See `Kernel`."""
        return (squared_distances <= self.radius**2).astype(squared_distances.dtype)


def max_herding(points: np.ndarray, labelled: np.ndarray, picks: int, limits: Limits, kernel: Kernel) -> np.ndarray:
    """MaxHerding (Bae, Noh & Sutherland, ECCV 2024): the greedy maximum of generalised coverage.

    Each pick j has the largest gain sum_i max(0, K_ij - m_i), where m_i is the largest similarity of point i to a
    labelled or picked point (0 without any) and i runs over all points, open or not. Gains are summed in float64 and
    compared in steps of 1e-12 of the number of points, so that gains that tie in theory tie here.

    Args:
        points: (n, D) float32 or float64.
        labelled: (m, D) float, m may be 0.
        picks: number of picks.
        limits: decide which points may be picked.
        kernel: the similarity.

    Returns:
        (picks,) int64 in the order of picking, fewer if the limits allow fewer.

    Raises:
        RalsegError: if a shape is wrong or a value is not finite.
    """
    cloud, known = clouds(points, labelled)
    chosen: list[int] = []
    herd = _herd(cloud, known, limits, kernel)
    while len(chosen) < picks and (found := next(herd, None)):
        chosen.append(found[0])
        limits.take(found[0])
    return np.array(chosen, np.int64)


def prob_cover(points: np.ndarray, labelled: np.ndarray, picks: int, limits: Limits, radius: float) -> np.ndarray:
    """ProbCover (Yehuda et al., NeurIPS 2022): each pick has the most points within `radius` not yet covered.

    This is MaxHerding with a top-hat kernel. The paper does not say what follows when no pick covers a new point; here
    k-center greedy continues, with all labelled and picked points as centres.

    Args:
        points: (n, D) float32 or float64.
        labelled: (m, D) float, m may be 0; points within their balls count as covered.
        picks: number of picks.
        limits: decide which points may be picked.
        radius: radius of the balls, in the units of the points; see `purity_radius`.

    Returns:
        (picks,) int64 in the order of picking, fewer if the limits allow fewer.

    Raises:
        RalsegError: if a shape is wrong or a value is not finite.
    """
    cloud, known = clouds(points, labelled)
    chosen: list[int] = []
    herd = _herd(cloud, known, limits, TopHat(radius))
    while len(chosen) < picks and (found := next(herd, None)) and found[1] > 0:
        chosen.append(found[0])
        limits.take(found[0])
    centres = np.concatenate([known.points, cloud.points[chosen]])
    rest = k_center(cloud.points, centres, picks - len(chosen), limits)
    return np.concatenate([np.array(chosen, np.int64), rest])


def median_bandwidth(points: np.ndarray, rng: np.random.Generator) -> float:
    """MaxHerding's bandwidth of the RBF kernel: twice the median distance among 1 % of the points.

    Args:
        points: (n, D) float.
        rng: draws the sample of 10 to 2000 points.

    Returns:
        The bandwidth, without distances of 0; 1 if there is no other distance, when every choice covers the same.

    Raises:
        RalsegError: if a shape is wrong or a value is not finite.
    """
    distances = pdist(_sample(points, int(np.clip(len(points) // 100, 10, SAMPLE)), rng))
    distances = distances[distances > 0]
    return 2 * float(np.median(distances)) if distances.size else 1.0


def purity_radius(points: np.ndarray, classes_count: int, rng: np.random.Generator, purity: float = 0.95) -> float:
    """ProbCover's radius: the largest one at which a share `purity` of the points have pure balls.

    A ball is pure if all its points are in the k-means cluster of its centre; clusters stand for classes. The radii
    tried are 200 equal steps up to the largest distance.

    Args:
        points: (n, D) float, at least one.
        classes_count: number of clusters, 1 or more.
        rng: draws the sample of at most 2000 points and the seeds of k-means.
        purity: 0 to 1.

    Raises:
        RalsegError: if a shape is wrong or a value is not finite.
    """
    sample = _sample(points, SAMPLE, rng)
    own = clusters(sample, classes_count, rng)
    distances = squareform(pdist(sample))
    radii = np.linspace(0, distances.max(), 201)
    to_others = np.where(own[:, None] == own, np.inf, distances).min(axis=1)
    return float(radii[(to_others > radii[:, None]).mean(axis=1) >= purity].max(initial=0))


def _sample(points: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    cloud, _ = clouds(points, points[:0])
    if len(cloud) <= size:
        return cloud.points.astype(np.float64)
    return cloud.points[rng.choice(len(cloud), size, replace=False)].astype(np.float64)


def _herd(cloud: Cloud, known: Cloud, limits: Limits, kernel: Kernel) -> Iterator[tuple[int, float]]:
    """Picks with their gains in steps of RESOLUTION; each must be taken from the limits before the next is generated.

    A gain falls by the contributions of those points whose best similarity has risen. Only their rows of the kernel
    matrix are read: about n rows in total, where the definition reads n rows for every pick.
    """
    n = len(cloud)
    weights = np.full(n, 1 / (RESOLUTION * max(n, 1)))
    capacity = max(1, MEMORY // (cloud.points.itemsize * max(n, 1)))
    best = _best(cloud, known, kernel)
    gains, before = np.zeros(n), np.full_like(best, -1)
    while limits.open.any():
        front, rest = np.flatnonzero(limits.open), (np.inf, n)
        whole = len(front) <= capacity
        if not whole:
            changed = np.flatnonzero(best > before)
            if 2 * len(changed) > n:
                gains[front] = _computed_rises(cloud, front, np.arange(n), kernel, best, None, weights)
            else:
                gains[front] -= _computed_rises(cloud, front, changed, kernel, before, best, weights)
            before = best.copy()
            front, rest = leading(np.rint(gains), limits.open, min(max(len(changed), LEAST_FRONT), capacity))
        similar = _similarities(cloud, cloud[front], kernel)
        exact = _rises(similar, best, None, weights) if whole else gains[front]
        while True:
            ranked = np.where(limits.open[front], np.rint(exact), -np.inf)
            at = int(ranked.argmax())
            if ranked[at] == -np.inf or (-ranked[at], front[at]) > rest:
                break
            yield int(front[at]), float(ranked[at])
            # The whole matrix is symmetric, and a row is contiguous in memory.
            column = similar[at] if len(front) == n else similar[:, at]
            rows = np.flatnonzero(column > best)
            low, best[rows] = best[rows], column[rows]
            if 2 * len(rows) > n:
                exact = _rises(similar, best, None, weights)
            else:
                exact -= _rises(similar[rows], low, best[rows], weights[rows])


def _rises(similar: np.ndarray, low: np.ndarray, high: np.ndarray | None, weights: np.ndarray) -> np.ndarray:
    """sum_i w_i (min(max(K_ij, low_i), high_i) - low_i) of every column j, in float64; `high` None is no bound."""
    found = np.zeros(similar.shape[1])
    for rows in blocks(len(similar), max(1, TILE * TILE // max(1, similar.shape[1]))):
        least = low[rows, None]
        rise = np.maximum(similar[rows], least)
        if high is not None:
            np.minimum(rise, high[rows, None], out=rise)
        rise -= least
        found += weights[rows] @ rise.astype(np.float64, copy=False)
    return found


def _computed_rises(
    cloud: Cloud,
    columns: np.ndarray,
    rows: np.ndarray,
    kernel: Kernel,
    low: np.ndarray,
    high: np.ndarray | None,
    weights: np.ndarray,
) -> np.ndarray:
    """`_rises` of some columns and rows of a kernel matrix that is never held as a whole."""
    found = np.zeros(len(columns))
    for some in blocks(len(rows), TILE):
        chosen = rows[some]
        own, bound = cloud[chosen], None if high is None else high[chosen]
        for part in blocks(len(columns), TILE):
            similar = kernel(own.squared_distances(cloud[columns[part]]))
            found[part] += _rises(similar, low[chosen], bound, weights[chosen])
    return found


def _similarities(cloud: Cloud, others: Cloud, kernel: Kernel) -> np.ndarray:
    """(n, m) kernel matrix."""
    found = np.empty((len(cloud), len(others)), cloud.points.dtype)
    for columns in blocks(len(others), TILE):
        for rows in blocks(len(cloud), TILE):
            found[rows, columns] = kernel(cloud[rows].squared_distances(others[columns]))
    return found


def _best(cloud: Cloud, others: Cloud, kernel: Kernel) -> np.ndarray:
    """(n,) largest similarity to one of the others, 0 if there are none."""
    found = np.zeros(len(cloud), cloud.points.dtype)
    for columns in blocks(len(others), TILE):
        for rows in blocks(len(cloud), TILE):
            similar = kernel(cloud[rows].squared_distances(others[columns]))
            np.maximum(found[rows], similar.max(axis=1), out=found[rows])
    return found
