"""The entropy of a unit: pooled to a small grid of minima, means and maxima, or summarised in four figures."""

from collections.abc import Callable

import numpy as np

from ralseg.features.arrays import Array, cast, check_finite, constant, factor, namespace
from ralseg.features.grid import UnitGrid, unit_edges
from ralseg.foundation import RalsegError


def entropy_pools(entropy_map: Array, grid: UnitGrid, bins: int = 8) -> Array:
    """Minimum, mean and maximum of the entropy in `bins` x `bins` bins of each unit (RALIS section 3.2).

    As in adaptive pooling, a bin runs from the floor of its first edge to the ceiling of its last one. Neighbouring
    bins may therefore share a map pixel, and a map that is coarser than the bins repeats its pixels.

    Args:
        entropy_map: (..., h, w) nats, numpy array or torch tensor, at any resolution that covers the image.
        grid: the image's units.
        bins: number of bins along each side of a unit, 1 or more.

    Returns:
        (..., units, 3 * bins * bins) float32, of the same kind and on the same device: all minima, then all means, then
        all maxima, each in row-major order. NaN stays NaN.

    Raises:
        RalsegError: if the map has no two spatial dimensions or (on the host) holds NaN or infinities.
    """
    return _pools(entropy_map, grid, bins, _adaptive)


def released_entropy_pools(entropy_map: Array, grid: UnitGrid, bins: int = 8) -> Array:
    """`entropy_pools` with the bins of RALIS's released code: side // bins pixels each, the remainder being dropped.

    The released code writes the minimum as 5 - maxpool(5 - H), which is the minimum. Arguments, result and errors are
    those of `entropy_pools`.

    Raises:
        RalsegError: also if a unit has fewer pixels along a side than bins.
    """
    if min(np.diff(grid.row_edges).min(), np.diff(grid.column_edges).min()) < bins:
        raise RalsegError(f"entropy pools: a unit is under {bins} pixels; take the published variant or fewer bins")
    return _pools(entropy_map, grid, bins, _fixed)


def uncertainty_summary(entropy_map: Array, margin_map: Array, grid: UnitGrid) -> Array:
    """Four figures of each unit: mean, standard deviation and maximum of the entropy (nats), and the mean margin.

    Args:
        entropy_map: (..., h, w) nats, numpy array or torch tensor, at any resolution that covers the image.
        margin_map: (..., h, w) in [0, 1], of the same kind and shape.
        grid: the image's units.

    Returns:
        (..., units, 4) float32, of the same kind and on the same device. Mean and deviation weigh a map pixel by its
        overlap with the unit; the maximum is over all map pixels that the unit touches. NaN stays NaN.

    Raises:
        RalsegError: if the maps differ in shape, have no two spatial dimensions, or (on the host) hold NaN or
            infinities.
    """
    if entropy_map.shape != margin_map.shape:
        shapes = tuple(entropy_map.shape), tuple(margin_map.shape)
        raise RalsegError(f"uncertainty: entropy {shapes[0]} and margin {shapes[1]} differ in shape")
    xp = namespace(entropy_map)
    # The variance is a difference of near equals where a unit is even: float64 keeps it.
    entropy, margin = cast(entropy_map, "float64"), cast(margin_map, "float64")
    mean, square, margin = grid.average(xp.stack([entropy, entropy * entropy, margin]))
    deviation = xp.sqrt(xp.clip(square - mean * mean, 0, None))
    highest = _extreme(xp.amax, entropy, grid, 1, _adaptive).reshape(mean.shape)
    return cast(xp.stack([mean, deviation, highest, margin], axis=-1), "float32")


def _pools(maps: Array, grid: UnitGrid, bins: int, spans: Callable) -> Array:
    if bins < 1 or len(maps.shape) < 2 or 0 in maps.shape[-2:]:
        raise RalsegError(f"entropy pools: {bins} bins of a map {tuple(maps.shape)}; give (..., h, w) and 1 bin up")
    xp, maps = namespace(maps), cast(maps, "float32")
    check_finite(maps, "entropy pools: the entropy map is not finite; mend the prediction it came from")
    *batch, h, w = maps.shape
    mean = factor(maps)
    rows, columns = (constant(mean, _averages, spans, *side) for side in _sides(grid, bins, h, w))
    mean = cast(rows @ mean @ columns.T, "float32")
    pools = xp.stack([_extreme(xp.amin, maps, grid, bins, spans), mean, _extreme(xp.amax, maps, grid, bins, spans)])
    pools = pools.reshape(3, *batch, grid.rows, bins, grid.columns, bins)
    # To (..., grid rows, grid columns, 3, bins, bins).
    pools = xp.moveaxis(pools, (0, -4, -2, -3, -1), (-3, -5, -4, -2, -1))
    return pools.reshape(*batch, len(grid), 3 * bins * bins)


def _sides(grid: UnitGrid, bins: int, h: int, w: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What the bins along each side depend on: size of the image, of a unit, bins of a unit, samples."""
    return (grid.height, grid.unit_height, bins, h), (grid.width, grid.unit_width, bins, w)


def _extreme(reduce: Callable, maps: Array, grid: UnitGrid, bins: int, spans: Callable) -> Array:
    """`reduce` (amin or amax) over each bin: (..., row spans, column spans)."""
    rows, columns = (constant(maps, _members, spans, *side) for side in _sides(grid, bins, *maps.shape[-2:]))
    return reduce(reduce(maps[..., rows, :], axis=-3)[..., columns], axis=-2)


def _adaptive(size: int, unit: int, bins: int, samples: int) -> np.ndarray:
    """(2, units * bins) first and one past the last of `samples` in each bin: adaptive bins over the whole side."""
    edges = unit_edges(size, unit)
    return _spans(edges, bins, np.diff(edges), samples)


def _fixed(size: int, unit: int, bins: int, samples: int) -> np.ndarray:
    """As `_adaptive`, with bins of a whole number of image pixels."""
    edges = unit_edges(size, unit)
    return _spans(edges, bins, np.diff(edges) // bins * bins, samples)


def _spans(edges: np.ndarray, bins: int, covered: np.ndarray, samples: int) -> np.ndarray:
    # Cuts are whole numbers of 1 / bins pixel, so floor and ceiling are exact at every resolution.
    cuts = edges[:-1, None] * bins + covered[:, None] * np.arange(bins + 1)
    extent = edges[-1] * bins
    return np.stack([cuts[:, :-1] * samples // extent, -(-cuts[:, 1:] * samples // extent)]).reshape(2, -1)


def _averages(spans: Callable, *side: int) -> np.ndarray:
    """(spans, samples) weights of the mean over each span."""
    first, end = spans(*side)[..., None]
    position = np.arange(side[-1])
    return ((position >= first) & (position < end)) / (end - first)


def _members(spans: Callable, *side: int) -> np.ndarray:
    """(longest, spans) indices in each span; a shorter one repeats its last, which changes no extreme."""
    first, end = spans(*side)
    return np.minimum(first + np.arange((end - first).max())[:, None], end - 1)
