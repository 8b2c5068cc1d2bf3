"""Random draws in proportion to the sizes of groups."""

import numpy as np


def draw_by_group(groups: np.ndarray, count: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Draw positions without replacement, from each group in proportion to its size (largest remainders).

    Args:
        groups: int (n,), the group of each position, 0 to G - 1.
        count: number of positions to draw, at most n.
        draws: number of independent draws.
        rng: the generator.

    Returns:
        int64 (draws, count), the positions.
    """
    sizes = np.bincount(groups)
    quota = apportion(sizes, count)
    keys = rng.random((draws, len(groups)))
    # Sorted by group, then by key: the first `quota` of each group's run are the draw.
    order = np.argsort(groups + keys, axis=1)
    rank = np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return order[:, rank < np.repeat(quota, sizes)]


def apportion(sizes: np.ndarray, count: int) -> np.ndarray:
    """Distribute `count` in proportion to `sizes` by largest remainders, int64 (len(sizes),); ties go to the first."""
    sizes = np.asarray(sizes, np.int64)
    whole, remainder = np.divmod(sizes * count, max(1, sizes.sum()))
    seats = whole.copy()
    seats[np.argsort(-remainder, kind="stable")[: count - whole.sum()]] += 1
    return seats
