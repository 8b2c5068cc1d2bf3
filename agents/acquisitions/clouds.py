"""Points with fast distances, and selection of the leading values."""

from collections.abc import Iterator

import numpy as np

from ralseg.foundation import RalsegError

TILE = 512
"""Rows and columns of the blocks in which distances are computed: a few MB."""


def leading(values: np.ndarray, open_: np.ndarray, size: int) -> tuple[np.ndarray, tuple[float, int]]:
    """The `size` open points of largest value; ties go to the lowest index.

    Returns:
        Their indices, ascending, and (-value, index) of the first point left out: what sorts before it is leading.
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
    """Points with their squared norms, for distances by matrix products.

    Attributes:
        points: (n, D) float32 or float64.
        norms: (n,) squared norms.
    """

    def __init__(self, points: np.ndarray, norms: np.ndarray) -> None:
        self.points, self.norms = points, norms

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: np.ndarray | slice | list[int]) -> "Cloud":
        return Cloud(self.points[index], self.norms[index])

    def squared_distances(self, others: "Cloud") -> np.ndarray:
        """(n, m) squared distances up to rounding, 0 or more."""
        found = self.points @ (-2 * others.points.T)
        found += others.norms
        found += self.norms[:, None]
        return np.maximum(found, 0, out=found)

    def to_nearest(self, others: "Cloud") -> np.ndarray:
        """(n,) squared distance to the nearest of the others, infinite if there are none.

        A point within rounding of another one (32 machine epsilons of its squared norm) has distance 0.
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
    """Check points and labelled points, and bring them to one dtype and one origin.

    Args:
        points: (n, D) float.
        labelled: (m, D) float; (0, D) or (0,) if there are none.

    Raises:
        RalsegError: if a shape is wrong or a value is not finite.
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
    # A common offset costs digits. Subtracting middle values, unlike the mean, keeps whole numbers exact.
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
