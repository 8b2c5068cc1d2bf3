"""What it costs to label units with polygons, in clicks, counted in a class map."""

from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ralseg.features.grid import UnitGrid
from ralseg.features.outlines import Outlines
from ralseg.features.prediction import Prediction, as_array, resized
from ralseg.features.softmax_maps import class_map
from ralseg.features.units import Reducer
from ralseg.foundation import RalsegError

VOID = 255
TOLERANCE = 1.5
"""Pixels. From the square root of 2 on, a straight edge of any slope takes no corner between its ends."""


class Clicks(NamedTuple):
    """Clicks that label each unit exactly with polygons, by what they are for; each (..., units) int64.

    Attributes:
        vertices: corners of outlines inside the unit.
        intersections: where outlines meet the unit's border.
        classes: segments that are given a class.
    """

    vertices: np.ndarray
    intersections: np.ndarray
    classes: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """(..., units) int64: all of them."""
        return self.vertices + self.intersections + self.classes


def polygon_clicks(labels: np.ndarray, grid: UnitGrid, tolerance: float = TOLERANCE) -> Clicks:
    """The clicks that it takes to label units precisely (Cai, Xu, Liew, Foo, CVPR 2021: c_p, c_i and c_c).

    Segments are the 8-connected parts of one class within a unit. An outline between two segments is drawn once, as
    where polygons lie on top of each other; where three segments meet is a corner. Void is outlined, but no click gives
    it a class.

    The paper counts the corners of the polygons that people drew. A class map no longer has them, so an outline is
    simplified as far as `tolerance` allows (Douglas, Peucker 1973) and the corners that remain are counted.

    Args:
        labels: (..., height, width) uint8 at the image's own size, true or predicted; 255 is void.
        grid: the image's units.
        tolerance: how far a drawn outline may be off, pixels, 0 or more.

    Returns:
        Of each unit; a unit of one class takes a single click, an entirely void one none.

    Raises:
        RalsegError: on labels of another size or type, or a tolerance below 0.
    """
    labels = np.asarray(labels)
    if labels.dtype != np.uint8 or labels.shape[-2:] != (grid.height, grid.width):
        raise RalsegError(
            f"clicks: labels are {labels.dtype} {labels.shape}; give uint8 (..., {grid.height}, {grid.width})"
        )
    if not 0 <= tolerance < np.inf:
        raise RalsegError(f"clicks: tolerance={tolerance} is out of range; it is 0 or more, in pixels")
    images = labels.reshape(-1, grid.height, grid.width)
    outlines = Outlines.of(images, grid)
    shape = (*labels.shape[:-2], len(grid))
    return Clicks(
        outlines.vertices(tolerance).reshape(shape),
        outlines.intersections().reshape(shape),
        _segments(images, grid).reshape(shape),
    )


def unit_clicks(label: np.ndarray) -> int:
    """All clicks of one unit by its label, (height, width) uint8; see `polygon_clicks`."""
    label = np.ascontiguousarray(label)
    height, width = label.shape
    return int(polygon_clicks(label, UnitGrid(height, width, height, width)).total.sum())


def _segments(labels: np.ndarray, grid: UnitGrid) -> np.ndarray:
    """(B, units) int64: 8-connected parts of one class in each unit, void left out."""
    units = grid.index_map + len(grid) * np.arange(len(labels))[:, None, None]
    starts = np.ones(labels.shape, dtype=bool)
    starts[..., 1:] = (labels[..., 1:] != labels[..., :-1]) | (units[..., 1:] != units[..., :-1])
    # The nodes are runs of one class in a row, of which there are far fewer than pixels.
    run = (np.cumsum(starts.reshape(-1)) - 1).reshape(labels.shape)
    same = (units[:, 1:] == units[:, :-1])[..., :1]
    upper, lower = (slice(None), slice(None, -1)), (slice(None), slice(1, None))
    pairs = []
    # Where two runs touch, the first pixels that do are the start of one of them.
    for above, below, first in (
        ((*upper, slice(None)), (*lower, slice(None)), starts[:, 1:] | starts[:, :-1]),
        ((*upper, slice(None, -1)), (*lower, slice(1, None)), starts[:, 1:, 1:]),
        ((*upper, slice(1, None)), (*lower, slice(None, -1)), starts[:, :-1, 1:]),
    ):
        touch = first & same & (labels[above] == labels[below]) & (units[above] == units[below])
        pairs.append(np.stack([run[above][touch], run[below][touch]]))
    one, other = np.concatenate(pairs, axis=1)
    count = int(starts.sum())
    graph = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(count, count))
    _, part = connected_components(graph, directed=False)
    first = np.flatnonzero(starts.reshape(-1))[np.unique(part, return_index=True)[1]]
    named = first[labels.reshape(-1)[first] != VOID]
    return np.bincount(units.reshape(-1)[named], minlength=len(labels) * len(grid)).reshape(len(labels), len(grid))


def _predicted(prediction: Prediction, grid: UnitGrid) -> np.ndarray:
    """(B, units) int64 clicks of the predicted class maps at the image's size."""
    if grid.single_pixels:
        return np.ones((len(prediction.logits), len(grid)), dtype=np.int64)
    # Outlines at the network's stride would be stairs: they are counted in what the network is judged by.
    maps = class_map(as_array(resized(prediction.logits, (grid.height, grid.width))))
    return polygon_clicks(maps if isinstance(maps, np.ndarray) else maps.numpy(force=True), grid).total


PREDICTED_CLICKS = Reducer("predicted_clicks", _predicted, whole_grid=True, by_pixel=True)
"""(n,): the clicks of `polygon_clicks` in the unit's prediction."""
