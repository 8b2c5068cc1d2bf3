"""Arrays of runs: (training_seeds, draws) or (training_seeds, draws, budgets)."""

import numpy as np

from ralseg.foundation import RalsegError


def finite(name: str, values: np.ndarray) -> np.ndarray:
    """Return `values` as float64.

    Raises:
        RalsegError: on NaN or infinities.
    """
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise RalsegError(f"{name}: holds NaN or infinities; leave out the runs that failed, in both policies")
    return values


def runs(name: str, values: np.ndarray, axes: int = 2) -> np.ndarray:
    """Return `values` as float64.

    Raises:
        RalsegError: unless there are `axes` axes, two runs or more and finite values.
    """
    values = finite(name, values)
    if values.ndim != axes or values.size == 0 or values.shape[0] * values.shape[1] < 2:
        shape = ("training seeds", "draws", "budgets")[:axes]
        raise RalsegError(f"{name}: shape {values.shape}; give ({', '.join(shape)}), 2 runs or more")
    return values


def complete(values: np.ndarray) -> np.ndarray:
    """The training seeds that have played, over the draws that all of them have played.

    Args:
        values: (training_seeds, draws, ...), NaN where a run has not been played.

    Returns:
        (seeds, draws, ...) of the same kind without NaN; either may be 0.
    """
    played = np.asarray(np.isfinite(values).all(axis=tuple(range(2, values.ndim))))
    seeds = played.any(axis=1)
    return values[seeds][:, played[seeds].all(axis=0) & seeds.any()]
