"""The unit grid: how an image is divided into the units whose labels are bought."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ralseg.features.arrays import Array, cast, constant, factor
from ralseg.features.some_units import SomeUnits, finite_means, poolable
from ralseg.foundation import RalsegError


@dataclass(frozen=True)
class UnitGrid:
    """The units of an image of a given size, numbered row by row.

    Units at the lower and right borders may be smaller; none is padded or dropped. For whole images the unit is as
    large as the image, for single pixels it is 1 x 1.

    Args:
        height: height of the image in pixels.
        width: width of the image in pixels.
        unit_height: height of a whole unit in pixels, 1 to `height`.
        unit_width: width of a whole unit in pixels, 1 to `width`.

    Raises:
        RalsegError: if a size is no whole number of 1 or more, or a unit is larger than the image.
    """

    height: int
    width: int
    unit_height: int
    unit_width: int

    def __post_init__(self):
        sizes = (self.height, self.width, self.unit_height, self.unit_width)
        if any(not isinstance(size, int | np.integer) or isinstance(size, bool) or size < 1 for size in sizes):
            raise RalsegError(f"unit grid: sizes {sizes} must be whole numbers of 1 or more")
        if self.unit_height > self.height or self.unit_width > self.width:
            raise RalsegError(
                f"unit grid: a unit of {self.unit_height} x {self.unit_width} (height x width) is larger than the "
                f"image of {self.height} x {self.width}; make the unit smaller, or take UnitGrid.of_images"
            )

    @classmethod
    def of_images(cls, height: int, width: int) -> "UnitGrid":
        """The grid of one unit, the whole image."""
        return cls(height, width, height, width)

    @classmethod
    def of_pixels(cls, height: int, width: int) -> "UnitGrid":
        """The grid whose units are single pixels."""
        return cls(height, width, 1, 1)

    @property
    def rows(self) -> int:
        """Rows of units."""
        return -(-self.height // self.unit_height)

    @property
    def columns(self) -> int:
        """Columns of units."""
        return -(-self.width // self.unit_width)

    @property
    def single_pixels(self) -> bool:
        """Whether the units are single pixels."""
        return self.unit_height == self.unit_width == 1

    def __len__(self) -> int:
        return self.rows * self.columns

    @cached_property
    def row_edges(self) -> np.ndarray:
        """(rows + 1,) int64: unit row r covers the pixel rows row_edges[r] to row_edges[r + 1]."""
        return unit_edges(self.height, self.unit_height)

    @cached_property
    def column_edges(self) -> np.ndarray:
        """(columns + 1,) int64: unit column c covers the pixel columns column_edges[c] to column_edges[c + 1]."""
        return unit_edges(self.width, self.unit_width)

    @cached_property
    def boxes(self) -> np.ndarray:
        """(units, 4) int64: y, x, height, width of each unit, pixels."""
        y, x = np.meshgrid(self.row_edges[:-1], self.column_edges[:-1], indexing="ij")
        height, width = np.meshgrid(np.diff(self.row_edges), np.diff(self.column_edges), indexing="ij")
        return _frozen(np.stack([y, x, height, width], axis=-1).reshape(-1, 4))

    @cached_property
    def areas(self) -> np.ndarray:
        """(units,) int64: pixels of each unit."""
        return _frozen(np.outer(np.diff(self.row_edges), np.diff(self.column_edges)).reshape(-1))

    @cached_property
    def index_map(self) -> np.ndarray:
        """(height, width) int32: the unit that each pixel belongs to."""
        row = np.arange(self.height, dtype=np.int32) // np.int32(self.unit_height)
        column = np.arange(self.width, dtype=np.int32) // np.int32(self.unit_width)
        return _frozen(row[:, None] * np.int32(self.columns) + column)

    def pool(self, maps: Array) -> Array:
        """Area-weighted mean of each map over each unit.

        Args:
            maps: (..., h, w) real or bool, numpy array or torch tensor, at any resolution that covers the same image; a
                map pixel that lies in two units counts in each by its overlap.

        Returns:
            (..., units) float32, of the same kind and on the same device.

        Raises:
            RalsegError: if the maps have no two spatial dimensions, are empty, or (on the host) hold NaN or infinities.
                On a device the means of such a map are not finite either.
        """
        return cast(self.average(maps), "float32")

    def average(self, maps: Array) -> Array:
        """The means of `pool` in the precision that it uses: float64 for tensors and float64 arrays, else float32."""
        maps = factor(poolable(maps, 2))
        *batch, _, w = maps.shape
        maps = _means(maps, self.height, self.unit_height)
        if w * self.unit_width != self.width:
            weights = constant(maps, _overlaps, self.width, self.unit_width, w)
            maps = maps.reshape(-1, w) @ weights.T
        return finite_means(maps.reshape(*batch, len(self)))

    def pool_vectors(self, maps: Array) -> Array:
        """`pool` for maps whose last dimension is a vector at each pixel, as networks lay them out in memory.

        Args:
            maps: (..., h, w, D), otherwise as for `pool`; contiguous ones are fastest.

        Returns:
            (..., units, D) float32.

        Raises:
            RalsegError: as `pool`.
        """
        maps = factor(poolable(maps, 3))
        *batch, h, w, width = maps.shape
        maps = _means(maps.reshape(*batch, h, w * width), self.height, self.unit_height)
        maps = _means(maps.reshape(*batch, self.rows, w, width), self.width, self.unit_width)
        return cast(finite_means(maps.reshape(*batch, len(self), width)), "float32")

    def only(self, units: Sequence[int] | np.ndarray) -> SomeUnits:
        """Some of the units."""
        return SomeUnits(self.row_edges, self.column_edges, units)

    def split(self, parts: int) -> SomeUnits:
        """All units, each cut into `parts` x `parts` pieces."""
        return self.only(np.arange(len(self))).split(parts)

    def pool_products(self, first: Array, second: Array) -> Array:
        """Area-weighted mean over each unit of outer products; see `SomeUnits.pool_products`."""
        return self.only(np.arange(len(self))).pool_products(first, second)

    def largest(self, maps: Array) -> Array:
        """The largest value of each map (..., h, w) among the map pixels that a unit touches, (..., units)."""
        return self.only(np.arange(len(self))).largest(maps)

    def class_counts(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """The pixels of each class in each unit; ids of `classes` or more (255 is void) are not counted.

        Args:
            labels: (..., height, width) uint8 at the image's own size.
            classes: number of classes C, 1 to 255.

        Returns:
            (..., units, C) int64.

        Raises:
            RalsegError: on labels of another size or type.
        """
        labels = np.asarray(labels)
        if labels.dtype != np.uint8 or labels.shape[-2:] != (self.height, self.width):
            raise RalsegError(
                f"unit grid: labels are {labels.dtype} {labels.shape}; give uint8 (..., {self.height}, {self.width})"
            )
        if not 1 <= classes <= 255:
            raise RalsegError(f"unit grid: {classes} classes; give 1 to 255")
        batch = labels.shape[:-2]
        images = int(np.prod(batch))
        slots = classes + 1
        unit = self.index_map + np.arange(images, dtype=np.int64)[:, None, None] * len(self)
        index = unit * slots + np.minimum(labels.reshape(images, self.height, self.width), classes)
        counts = np.bincount(index.reshape(-1), minlength=images * len(self) * slots)
        return counts.reshape(*batch, len(self), slots)[..., :classes]


def unit_edges(size: int, unit: int) -> np.ndarray:
    """(units + 1,) int64: where units of `unit` pixels begin and end along a side of `size` pixels."""
    return _frozen(np.append(np.arange(0, size, unit, dtype=np.int64), np.int64(size)))


def _frozen(array: np.ndarray) -> np.ndarray:
    # Cached arrays are shared by every caller; a write into one would corrupt the grid silently.
    array.flags.writeable = False
    return array


def _means(maps: Array, size: int, unit: int) -> Array:
    """(..., samples, x) -> (..., units, x): weighted means along one side of the image."""
    samples = maps.shape[-2]
    # Where each sample is a unit, as on a pixel grid at the image's own resolution, there is nothing to compute.
    return maps if samples * unit == size else constant(maps, _overlaps, size, unit, samples) @ maps


def _overlaps(size: int, unit: int, samples: int) -> np.ndarray:
    """(units, samples) weights summing to 1: the share of each unit's extent that falls into each of `samples`."""
    # In units of 1 / samples of a pixel both sets of edges are whole numbers, so no overlap is lost to rounding.
    units = unit_edges(size, unit) * samples
    sample = np.arange(samples + 1, dtype=np.int64) * size
    overlap = np.minimum(units[1:, None], sample[1:]) - np.maximum(units[:-1, None], sample[:-1])
    return np.maximum(overlap, 0) / np.diff(units)[:, None]
