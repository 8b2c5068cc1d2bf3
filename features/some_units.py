"""A selection of a grid's units, pooled at a cost proportional to the area that they cover."""

from collections.abc import Sequence

import numpy as np

from ralseg.features.arrays import Array, cast, check_finite, factor, namespace
from ralseg.foundation import RalsegError


class SomeUnits:
    """A selection of a grid's units, optionally cut into pieces; see `UnitGrid.only`.

    Means are as those of the grid: a map pixel is weighted by its overlap with the unit.

    Args:
        row_edges: (rows + 1,) row edges of the grid, pixels.
        column_edges: (columns + 1,) column edges of the grid, pixels.
        units: (n,) unit numbers within the grid.
        parts: number of pieces along each side of a unit; piece (i, j) of unit u is number u x parts^2 + i x parts + j.

    Attributes:
        units: (n,) int64.
        areas: (n x parts^2,) float64 pixels.

    Raises:
        RalsegError: if a number is out of range or parts below 1.
    """

    def __init__(
        self, row_edges: np.ndarray, column_edges: np.ndarray, units: Sequence[int] | np.ndarray, parts: int = 1
    ) -> None:
        self.units = np.asarray(units, np.int64)
        there = (len(row_edges) - 1) * (len(column_edges) - 1)
        if parts < 1 or (self.units.size and not 0 <= self.units.min() <= self.units.max() < there):
            raise RalsegError(f"unit grid: units {units} in {parts} parts; there are {there} units, 1 part or more")
        self.height, self.width, self._parts = int(row_edges[-1]), int(column_edges[-1]), parts
        self._edges = row_edges, column_edges
        row, column = np.divmod(self.units, len(column_edges) - 1)
        pieces = np.arange(parts)
        # Piece i of a unit goes from its start plus i / parts of its length on; in units of 1 / parts of a pixel.
        self._rows = _pieces(row_edges, row, parts)[:, np.repeat(pieces, parts)].reshape(-1, 2)
        self._columns = _pieces(column_edges, column, parts)[:, np.tile(pieces, parts)].reshape(-1, 2)
        self.areas = np.diff(self._rows)[:, 0] * np.diff(self._columns)[:, 0] / parts**2

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def single_pixels(self) -> bool:
        """Whether the units are single pixels."""
        return len(self._edges[0]) > self.height and len(self._edges[1]) > self.width

    def split(self, parts: int) -> "SomeUnits":
        """The same units, each cut into `parts` x `parts` pieces."""
        return SomeUnits(*self._edges, self.units, parts)

    def pool(self, maps: Array) -> Array:
        """Area-weighted mean of each map (..., h, w) over each unit or piece, (..., n) float32.

        Raises:
            RalsegError: as `UnitGrid.pool`, but NaN and infinities are only noticed in map pixels that the units touch.
                The other methods raise the same error.
        """
        return cast(self.average(maps), "float32")

    def average(self, maps: Array) -> Array:
        """The means of `pool` in the precision of the computation; see `UnitGrid.average`."""
        return self._average_vectors(poolable(maps, 2)[..., None])[..., 0]

    def pool_vectors(self, maps: Array) -> Array:
        """`pool` of maps (..., h, w, D) whose last dimension is a vector, (..., n, D); see `UnitGrid.pool_vectors`."""
        return cast(self._average_vectors(poolable(maps, 3)), "float32")

    def pool_products(self, first: Array, second: Array) -> Array:
        """Area-weighted mean over each unit or piece of the outer product of two vectors at each pixel.

        Args:
            first: (..., h, w, C).
            second: (..., h, w, D), of the same pixels.

        Returns:
            (..., n, C x D) float32.
        """
        (one, weights), (other, _) = (self._touched(factor(poolable(maps, 3))) for maps in (first, second))
        products = namespace(one).einsum("us,...usc,...usd->...ucd", weights, one, other)
        *batch, c, d = products.shape
        return cast(finite_means(products.reshape(*batch, c * d)), "float32")

    def largest(self, maps: Array) -> Array:
        """The largest value of each map (..., h, w) among the pixels that a unit or piece touches, (..., n)."""
        return namespace(maps).amax(self._touched(poolable(maps, 2)[..., None])[0][..., 0], axis=-1)

    def _average_vectors(self, maps: Array) -> Array:
        touched, weights = self._touched(factor(maps))
        return finite_means(namespace(maps).einsum("us,...usd->...ud", weights, touched))

    def _touched(self, maps: Array) -> tuple[Array, Array]:
        """The map pixels (..., n, span, D) that each unit touches, and their weights (n, span) in its mean."""
        h, w = maps.shape[-3:-1]
        rows, row_weights = _span(self._rows, self.height * self._parts, h)
        columns, column_weights = _span(self._columns, self.width * self._parts, w)
        span = rows.shape[1] * columns.shape[1]
        index = (rows[:, :, None] * w + columns[:, None, :]).reshape(len(self), span)
        weights = (row_weights[:, :, None] * column_weights[:, None, :]).reshape(len(self), span)
        weights = namespace(maps).asarray(weights, dtype=maps.dtype, device=maps.device)
        return maps.reshape(*maps.shape[:-3], h * w, maps.shape[-1])[..., index, :], weights


def poolable(maps: Array, dimensions: int) -> Array:
    """The maps, once checked for the dimensions that pooling needs.

    Raises:
        RalsegError: if one of the last `dimensions` dimensions is missing or empty.
    """
    shape = tuple(maps.shape)
    if len(shape) < dimensions or 0 in shape[-dimensions:]:
        wanted = "(..., height, width)" if dimensions == 2 else "(..., height, width, numbers)"
        raise RalsegError(f"unit grid: maps of shape {shape} cannot be pooled; give {wanted}")
    return maps


def finite_means(means: Array) -> Array:
    """The means, once checked to be finite if they are on the host.

    Raises:
        RalsegError: if one is NaN or infinite.
    """
    check_finite(means, "unit grid: a map to be pooled holds NaN or infinities; mend the prediction it came from")
    return means


def _pieces(edges: np.ndarray, units: np.ndarray, parts: int) -> np.ndarray:
    """(n, parts, 2) int64: where the pieces of units along one side begin and end, in 1 / parts of a pixel."""
    start, length = edges[units, None], np.diff(edges)[units, None]
    cuts = start * parts + length * np.arange(parts + 1)
    return np.stack([cuts[:, :-1], cuts[:, 1:]], axis=-1)


def _span(pieces: np.ndarray, size: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Map pixels along one side that each piece touches.

    Args:
        pieces: (n, 2) begin and end, whole numbers.
        size: of the side in the same unit.
        samples: map pixels along the side.

    Returns:
        (n, longest) int64 indices, a shorter span repeats its last; (n, longest) float64 weights, which sum to 1.
    """
    start, stop = (pieces * samples).T[..., None]
    first, end = start // size, -(-stop // size)
    index = first + np.arange((end - first).max(initial=1))
    overlap = np.minimum(stop, (index + 1) * size) - np.maximum(start, index * size)
    return np.minimum(index, end - 1), np.maximum(overlap, 0) / (stop - start)
