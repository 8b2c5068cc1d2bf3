"""Mode collapse: how far a choice from a pool is concentrated, beside random choices of as many from the same pool."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ralseg.foundation import RalsegError


class Reach(NamedTuple):
    """Mean distances of nested choices of different sizes; the last axis is that of the sizes.

    Attributes:
        within: mean distance of a chosen point to the nearest other chosen one; NaN where fewer than two are chosen.
        to: mean distance of a point of the pool to the nearest chosen one; a chosen point has 0. NaN without any.
    """

    within: np.ndarray
    to: np.ndarray


def distances(points: np.ndarray) -> np.ndarray:
    """Euclidean distances between all points of a pool.

    Args:
        points: (n, D) finite.

    Returns:
        (n, n) float32, 0 for points that differ by no more than rounding. It takes 4 B x n^2 of memory.

    Raises:
        RalsegError: on another shape, NaN or infinities.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or not np.isfinite(points).all():
        raise RalsegError(f"distances: points of shape {points.shape} are not (n, D) or not finite")
    found = np.empty((len(points), len(points)), np.float32)
    for begin in range(0, len(points), 512):
        rows = np.arange(begin, min(begin + 512, len(points)))
        found[rows] = distances_of(points, rows)
    return found


def distances_of(points: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Distances of some points to all, (len(rows), n) float64; see `distances`.

    Args:
        points: (n, D) float64, finite.
        rows: (m,) numbers of points.
    """
    # In float64, for near copies are what this is about, and float32 would lose their distances.
    points = points - points.mean(axis=0, keepdims=True)
    norms = np.square(points).sum(axis=1)
    scale = norms[rows, None] + norms
    squared = scale - 2 * points[rows] @ points.T
    return np.sqrt(np.where(squared > 32 * np.finfo(np.float64).eps * scale, squared, 0))


def reach(apart: np.ndarray, order: Sequence[int] | np.ndarray, sizes: Sequence[int]) -> Reach:
    """How far apart, and how far from the pool, the first points of an order are.

    Args:
        apart: (n, n) distances between the points of the pool.
        order: (k,) numbers of different points in the order of choosing.
        sizes: (s,) how many of the first are meant, ascending, 0 to k.

    Returns:
        (s,) float64 each.

    Raises:
        RalsegError: if a point is chosen twice, or the sizes do not ascend within 0 to k.
    """
    order, steps = np.asarray(order, np.int64), np.array([0, *sizes], np.int64)
    if len(set(order.tolist())) != len(order) or (np.diff(steps) < 0).any() or steps[-1] > len(order):
        raise RalsegError(f"reach: {len(order)} points in order and sizes {list(sizes)}; each point once, ascending")
    to, own = np.full(len(apart), np.inf), np.full(len(order), np.inf)
    found = np.full((2, len(sizes)), np.nan)
    for number, (begin, end) in enumerate(pairwise(steps)):
        rows = apart[order[begin:end]]
        to = np.minimum(to, rows.min(axis=0, initial=np.inf))
        among = rows[:, order[:end]].astype(np.float64)
        among[np.arange(end - begin), np.arange(begin, end)] = np.inf
        own[:end] = np.minimum(own[:end], among.min(axis=0, initial=np.inf))
        own[begin:end] = among.min(axis=1, initial=np.inf)
        if end > 1:
            found[0, number] = own[:end].mean()
        if end > 0:
            found[1, number] = to.mean()
    return Reach(*found)


def effective_number(counts: ArrayLike) -> np.ndarray:
    """How many groups of the same size would be as evenly spread: exp of the entropy of the shares (Hill, 1973).

    Args:
        counts: (..., G) members of each group, 0 or more.

    Returns:
        (...) float64: 1 where all are of one group, to G where all groups have as many; 0 without any member.
    """
    counts = np.asarray(counts, np.float64)
    total = counts.sum(axis=-1, keepdims=True)
    shares = counts / np.where(total > 0, total, 1)
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=-1)
    return np.where(total[..., 0] > 0, np.exp(entropy), 0.0)
