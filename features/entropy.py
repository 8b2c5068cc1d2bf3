"""Entropy of a unit in numbers: pooled to a small grid of minima, means and maxima, or summarised in four figures."""

from collections.abc import Callable

import numpy as np

from ralseg.features.grid import UnitGrid
from ralseg.foundation import RalsegError


def entropy_pools(entropy_map: np.ndarray, grid: UnitGrid, bins: int = 8) -> np.ndarray:
    """Minimum, mean and maximum of the entropy in `bins` x `bins` bins of each unit (RALIS section 3.2).

    A bin runs from the floor of its first edge to the ceiling of its last, as adaptive pooling has it, so neighbours
    may share a map pixel and a map coarser than the bins repeats its own.

    Args:
        entropy_map: (..., h, w) nats, at any resolution that covers the image.
        grid: the image's units.
        bins: along each side of a unit, 1 or more.

    Returns:
        (..., units, 3 * bins * bins) float32: all minima, then all means, then all maxima, each row by row.

    Raises:
        RalsegError: if the map has no two spatial dimensions or holds NaN or infinities.
    """
    return _pools(entropy_map, grid, bins, _adaptive)


def released_entropy_pools(entropy_map: np.ndarray, grid: UnitGrid, bins: int = 8) -> np.ndarray:
    """`entropy_pools` with the bins of RALIS's released code: side // bins pixels, what is left over dropped.

    The released code writes the minimum as 5 - maxpool(5 - H), which is the minimum. Arguments, result and errors are
    those of `entropy_pools`.

    Raises:
        RalsegError: also if a unit has fewer pixels along a side than bins.
    """
    if min(np.diff(grid.row_edges).min(), np.diff(grid.column_edges).min()) < bins:
        raise RalsegError(f"entropy pools: a unit is under {bins} pixels; take the published variant or fewer bins")
    return _pools(entropy_map, grid, bins, _fixed)


def uncertainty_summary(entropy_map: np.ndarray, margin_map: np.ndarray, grid: UnitGrid) -> np.ndarray:
    """Four figures of each unit: mean, standard deviation and maximum of the entropy (nats), mean margin.

    Args:
        entropy_map: (..., h, w) nats, at any resolution that covers the image.
        margin_map: (..., h, w) in [0, 1], of the same shape.
        grid: the image's units.

    Returns:
        (..., units, 4) float32. Mean and deviation weigh a map pixel by its overlap with the unit; the maximum is over
        all map pixels that the unit touches.

    Raises:
        RalsegError: if the maps differ in shape, have no two spatial dimensions, or hold NaN or infinities.
    """
    entropy_map, margin_map = np.asarray(entropy_map), np.asarray(margin_map)
    if entropy_map.shape != margin_map.shape:
        raise RalsegError(f"uncertainty: entropy {entropy_map.shape} and margin {margin_map.shape} differ in shape")
    # The variance is a difference of near equals where a unit is even: float64 keeps it.
    entropy = entropy_map.astype(np.float64)
    mean = grid.average(entropy)
    variance = np.maximum(grid.average(entropy * entropy) - mean * mean, 0)
    h, w = entropy.shape[-2:]
    highest = _extreme(np.max, entropy, _adaptive(grid.row_edges, 1, h), _adaptive(grid.column_edges, 1, w))
    highest = highest.reshape(mean.shape)
    return np.stack([mean, np.sqrt(variance), highest, grid.average(margin_map)], axis=-1).astype(np.float32)


def _pools(maps: np.ndarray, grid: UnitGrid, bins: int, spans: Callable) -> np.ndarray:
    maps = np.asarray(maps, dtype=np.float32)
    if bins < 1 or maps.ndim < 2 or 0 in maps.shape[-2:] or not np.isfinite(maps).all():
        raise RalsegError(f"entropy pools: {bins} bins of a map {maps.shape}; give a finite (..., h, w) and 1 bin up")
    rows = spans(grid.row_edges, bins, maps.shape[-2])
    columns = spans(grid.column_edges, bins, maps.shape[-1])
    mean = _averages(rows, maps.shape[-2]) @ maps @ _averages(columns, maps.shape[-1]).T
    pools = np.stack([_extreme(np.min, maps, rows, columns), mean, _extreme(np.max, maps, rows, columns)])
    pools = pools.reshape(3, *maps.shape[:-2], grid.rows, bins, grid.columns, bins)
    # To (..., grid rows, grid columns, 3, bins, bins).
    pools = np.moveaxis(pools, (0, -4, -2, -3, -1), (-3, -5, -4, -2, -1))
    return pools.reshape(*maps.shape[:-2], len(grid), 3 * bins * bins)


def _adaptive(edges: np.ndarray, bins: int, samples: int) -> np.ndarray:
    """(2, units * bins) first and one past the last of `samples` in each bin: adaptive bins over the whole side."""
    return _spans(edges, bins, np.diff(edges), samples)


def _fixed(edges: np.ndarray, bins: int, samples: int) -> np.ndarray:
    """As `_adaptive`, with bins of a whole number of image pixels."""
    return _spans(edges, bins, np.diff(edges) // bins * bins, samples)


def _spans(edges: np.ndarray, bins: int, covered: np.ndarray, samples: int) -> np.ndarray:
    # Cuts are whole numbers of 1 / bins pixel, so floor and ceiling are exact at every resolution.
    cuts = edges[:-1, None] * bins + covered[:, None] * np.arange(bins + 1)
    extent = edges[-1] * bins
    return np.stack([cuts[:, :-1] * samples // extent, -(-cuts[:, 1:] * samples // extent)]).reshape(2, -1)


def _averages(spans: np.ndarray, samples: int) -> np.ndarray:
    """(spans, samples) weights of the mean over each span."""
    position = np.arange(samples)
    inside = (position >= spans[0][:, None]) & (position < spans[1][:, None])
    return (inside / (spans[1] - spans[0])[:, None]).astype(np.float32)


def _extreme(reduce: Callable, maps: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """`reduce` (np.min or np.max) over the rectangles rows x columns: (..., row spans, column spans)."""
    maps = reduce(maps[..., _members(rows), :], axis=-3)
    return reduce(maps[..., _members(columns)], axis=-2)


def _members(spans: np.ndarray) -> np.ndarray:
    """(longest, spans) indices in each span; a shorter one repeats its last, which changes no extreme."""
    longest = (spans[1] - spans[0]).max()
    return np.minimum(spans[0] + np.arange(longest)[:, None], spans[1] - 1)
