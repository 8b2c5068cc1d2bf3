"""How similar a unit is to other units, in numbers that mean the same for every network."""

import numpy as np

from ralseg.features.histograms import product_histogram
from ralseg.foundation import RalsegError

SIMILARITY_BINS = 10


def similarity_histogram(rows: np.ndarray, references: np.ndarray, bins: int = SIMILARITY_BINS) -> np.ndarray:
    """The share of the references whose cosine similarity to each row falls into each of `bins` even bins of [-1, 1].

    For whitened principal components, the result depends neither on the width of a network's embedding nor on its
    directions or scale, but only on which units lie in the same direction from the mean.

    Args:
        rows: (n, d), finite.
        references: (m, d), finite.
        bins: number of bins, 1 or more.

    Returns:
        (n, bins) float32, rows sum to 1; zeros where there is no reference. A row of zeros has the similarity 0 to all.

    Raises:
        RalsegError: on shapes that do not match, NaN or infinities.
    """
    rows, references = np.asarray(rows, np.float32), np.asarray(references, np.float32)
    if rows.ndim != 2 or references.ndim != 2 or rows.shape[1] != references.shape[1]:
        raise RalsegError(f"similarity: rows {rows.shape} and references {references.shape} do not match; give (n, d)")
    if not (np.isfinite(rows).all() and np.isfinite(references).all()):
        raise RalsegError("similarity: an embedding holds NaN or infinities")
    edges = np.linspace(-1, 1, bins + 1, dtype=np.float32)
    return product_histogram(_directions(rows), _directions(references).T, edges)


def _directions(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)
