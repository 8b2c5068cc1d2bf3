"""The outlines of the segments of class maps, unit by unit, as polygons."""

from dataclasses import dataclass

import numpy as np

from ralseg.features.grid import UnitGrid


@dataclass(frozen=True)
class Outlines:
    """The edges between pixels of different classes within one unit, sorted by the corner at which they start.

    An edge runs along one side of a pixel, from corner to corner of the pixel lattice, and has the smaller class always
    on the same side, so that the edges of an outline follow each other.

    Attributes:
        starts: (E,) int64 corner at which each edge starts, numbered (image, y, x) over (B, height + 1, width + 1).
        ends: (E,) int64 corner at which it ends.
        units: (E,) int64 unit that it lies in, numbered over all images.
        through: (corners,) bool: corners where one outline passes: no unit's border, no meeting of several.
        border: (corners,) bool: corners on the border of a unit.
        shape: B, corners along the height and along the width.
        count: number of units of all images.
    """

    starts: np.ndarray
    ends: np.ndarray
    units: np.ndarray
    through: np.ndarray
    border: np.ndarray
    shape: tuple[int, int, int]
    count: int

    @classmethod
    def of(cls, labels: np.ndarray, grid: UnitGrid) -> "Outlines":
        """The outlines of maps (B, height, width) in the units of a grid."""
        shape = len(labels), grid.height + 1, grid.width + 1
        corner = np.arange(np.prod(shape)).reshape(shape)
        units = grid.index_map + len(grid) * np.arange(len(labels))[:, None, None]
        starts, ends, of = [], [], []
        for axis in (1, 2):
            less, more = _halves(labels, axis)
            there, beyond = _halves(units, axis)
            edge = (less != more) & (there == beyond)
            # Both ends of the edge behind each pixel: next to it along the axis, and one further across it.
            low = (corner[:, 1:-1, :-1] if axis == 1 else corner[:, :-1, 1:-1])[edge]
            high = low + (1 if axis == 1 else shape[2])
            forward = (less > more)[edge] == (axis == 1)
            starts.append(np.where(forward, low, high))
            ends.append(np.where(forward, high, low))
            of.append(there[edge])
        start, end, unit = (np.concatenate(parts) for parts in (starts, ends, of))
        order = np.argsort(start, kind="stable")
        border = np.zeros(shape, dtype=bool)
        border[:, grid.row_edges] = True
        border[:, :, grid.column_edges] = True
        border = border.reshape(-1)
        degree = np.bincount(np.concatenate([start, end]), minlength=border.size)
        through = (degree == 2) & ~border
        return cls(start[order], end[order], unit[order], through, border, shape, len(labels) * len(grid))

    def intersections(self) -> np.ndarray:
        """(count,) int64: how often outlines meet the border of each unit."""
        at = np.concatenate([self.units[self.border[corners]] for corners in (self.starts, self.ends)])
        return np.bincount(at, minlength=self.count)

    def vertices(self, tolerance: float) -> np.ndarray:
        """(count,) int64: corners inside each unit of its outlines, simplified.

        Args:
            tolerance: the most that a simplified outline is off, pixels.
        """
        corners, units = np.unique(np.concatenate([self.starts, self.ends]), return_index=True)
        meeting = ~self.through[corners] & ~self.border[corners]
        found = np.bincount(np.concatenate([self.units] * 2)[units[meeting]], minlength=self.count)
        if not len(self.starts):
            return found
        chain, order = self._chains()
        first = np.append(True, chain[1:] != chain[:-1])
        last = np.append(first[1:], True)
        # A chain of k edges has k + 1 points.
        place = np.arange(len(order)) + np.cumsum(first) - 1
        points = np.empty(len(order) + int(first.sum()), dtype=np.int64)
        points[place] = self.starts[order]
        points[place[last] + 1] = self.ends[order][last]
        ends = np.zeros(len(points), dtype=bool)
        ends[place[first]] = ends[place[last] + 1] = True
        y, x = np.divmod(points % (self.shape[1] * self.shape[2]), self.shape[2])
        places = np.stack([y, x], axis=1)
        # Between two turns nothing is further from a line than the turns are.
        steps = np.diff(places, axis=0)
        turns = ends | np.append(True, np.append((steps[1:] != steps[:-1]).any(axis=1), True))
        inner = np.zeros(len(points), dtype=np.int64)
        inner[turns] = _simplified(places[turns].astype(np.float64), ends[turns], tolerance) & ~ends[turns]
        of_chain = np.add.reduceat(inner, place[first])
        # A ring begins at a corner of its own, and no polygon has fewer than three.
        ring = self.through[self.starts[order][first]]
        of_chain = np.where(ring, np.maximum(of_chain + 1, 3), of_chain)
        np.add.at(found, self.units[order][first], of_chain)
        return found

    def _chains(self) -> tuple[np.ndarray, np.ndarray]:
        """(E,) the chain of each edge in order, named by its first edge; (E,) the order, chain by chain."""
        edges = np.arange(len(self.starts))
        before = edges.copy()
        entering = np.flatnonzero(self.through[self.ends])
        before[np.searchsorted(self.starts, self.ends[entering])] = entering
        # Each doubling of the jumps looks twice as far back.
        doublings = len(edges).bit_length()
        least, jump = edges, before
        for _ in range(doublings):
            least, jump = np.minimum(least, least[jump]), jump[jump]
        # A ring has no first edge; the one that starts in its uppermost corner becomes it.
        before = np.where((before[jump] != jump) & (least == edges), edges, before)
        rank, jump = (before != edges).astype(np.int64), before
        for _ in range(doublings):
            rank, jump = rank + rank[jump], jump[jump]
        order = np.lexsort((rank, jump))
        return jump[order], order


def _halves(maps: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """(B, y, x) without its last and without its first along an axis."""
    return (maps[:, :-1], maps[:, 1:]) if axis == 1 else (maps[..., :-1], maps[..., 1:])


def _simplified(points: np.ndarray, ends: np.ndarray, tolerance: float) -> np.ndarray:
    """Douglas and Peucker's simplification of many chains at once.

    Args:
        points: (n, 2) float64, chain behind chain.
        ends: (n,) bool: the first and the last point of each chain; these are kept.
        tolerance: a point further than this from the line between its kept neighbours is kept, too.

    Returns:
        (n,) bool: the points that are kept.
    """
    kept = ends.copy()
    while True:
        at = np.flatnonzero(kept)
        segment = np.cumsum(kept) - 1
        inner = np.flatnonzero(~kept)
        if not len(inner):
            return kept
        segment = segment[inner]
        begin, end = points[at[segment]], points[at[segment + 1]]
        along, to = end - begin, points[inner] - begin
        length = (along**2).sum(axis=1)
        part = np.clip((along * to).sum(axis=1) / np.where(length > 0, length, 1), 0, 1)
        distance = np.hypot(*(to - part[:, None] * along).T)
        begins = np.flatnonzero(np.append(True, segment[1:] != segment[:-1]))
        furthest = np.repeat(np.maximum.reduceat(distance, begins), np.diff(np.append(begins, len(inner))))
        new = (distance == furthest) & (distance > tolerance)
        if not new.any():
            return kept
        new = np.flatnonzero(new)
        # Of equal distances the first.
        new = new[np.append(True, segment[new][1:] != segment[new][:-1])]
        kept[inner[new]] = True
