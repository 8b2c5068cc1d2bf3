"""Points in one coordinate system, and which of them lead."""

from collections.abc import Iterator

import numpy as np

from ralseg.foundation import RalsegError

TILE = 512
"""Rows and columns of the blocks in which distances are computed: a few MB."""


def leading(values: np.ndarray, open_: np.ndarray, size: int) -> tuple[np.ndarray, tuple[float, int]]:
    """The `size` open ones of largest value, lowest index first in a tie.

    Returns:
        Their indices, ascending, and (-value, index) of the first one left out: what sorts before it leads.
    """
    indices = np.flatnonzero(open_)
    if len(indices) <= size:
        return indices, (np.inf, len(values))
    own = values[indices]
    least = np.partition(own, len(own) - size)[len(own) - size]
    inside = own > least
    inside[np.flatnonzero(own == least)[: size - inside.sum()]] = True
    outside = indices[~inside]
    first = outside[values[outside].argmax()]
    return indices[inside], (-float(values[first]), int(first))


class Cloud:
    """Points with their squared norms, ready for distances by matrix products.

    Attributes:
        points: (n, D) float32 or float64.
        norms: (n,) squared.
    """

    def __init__(self, points: np.ndarray, norms: np.ndarray) -> None:
        self.points, self.norms = points, norms

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: np.ndarray | slice | list[int]) -> "Cloud":
        return Cloud(self.points[index], self.norms[index])

    def squared_distances(self, others: "Cloud") -> np.ndarray:
        """(n, m), 0 or more, up to rounding."""
        found = self.points @ (-2 * others.points.T)
        found += others.norms
        found += self.norms[:, None]
        return np.maximum(found, 0, out=found)

    def to_nearest(self, others: "Cloud") -> np.ndarray:
        """(n,) squared distance to the nearest of the others, infinite if there are none.

        What lies within rounding of another point (32 machine epsilons of its squared norm) has the distance 0.
        """
        found = np.full(len(self), np.inf, self.points.dtype)
        for columns in blocks(len(others), TILE):
            scaled, norms = -2 * others.points[columns].T, others.norms[columns]
            for rows in blocks(len(self), TILE):
                tile = self.points[rows] @ scaled
                tile += norms
                np.minimum(found[rows], tile.min(axis=1) + self.norms[rows], out=found[rows])
        found[found <= 32 * np.finfo(found.dtype).eps * self.norms] = 0
        return found


def clouds(points: np.ndarray, labelled: np.ndarray) -> tuple[Cloud, Cloud]:
    """Points and labelled points, checked, in one dtype and about one origin.

    Args:
        points: (n, D) float.
        labelled: (m, D) float; (0, D) or (0,) if there are none.

    Raises:
        RalsegError: for other shapes or values that are not finite.
    """
    points, labelled = np.asarray(points), np.asarray(labelled)
    if points.ndim != 2:
        raise RalsegError(f"the points have the shape {points.shape}; they are one row each, (n, D)")
    if not labelled.size:
        labelled = points[:0]
    if labelled.ndim != 2 or labelled.shape[1] != points.shape[1]:
        raise RalsegError(
            f"the labelled points have the shape {labelled.shape}; the points have {points.shape[1]} coordinates"
        )
    dtype = np.float32 if points.dtype in (np.float16, np.float32) else np.float64
    # An offset common to all costs digits. Their own middle values, unlike the mean, keep whole numbers exact.
    some = points[:: max(1, len(points) // 100)].astype(dtype)
    origin = np.sort(some, axis=0)[len(some) // 2] if len(some) else 0
    origin = np.where(np.isfinite(origin), origin, 0).astype(dtype)
    found = []
    for name, rows in (("points", points), ("labelled points", labelled)):
        rows = rows.astype(dtype) - origin
        norms = np.einsum("ij,ij->i", rows, rows)
        if not np.isfinite(norms).all():
            at = int(np.isfinite(norms).argmin())
            raise RalsegError(f"row {at} of the {name} is not finite, or too large; repair the features behind it")
        found.append(Cloud(rows, norms))
    return found[0], found[1]


def blocks(count: int, size: int) -> Iterator[slice]:
    """Consecutive slices of `size`, the last one shorter."""
    return (slice(begin, min(begin + size, count)) for begin in range(0, count, size))
