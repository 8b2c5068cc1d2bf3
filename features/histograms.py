"""Histograms of the rows of a matrix product, for the distribution of a candidate's figures over many references."""

import numpy as np

# uint8 counters below hold one block of references.
REFERENCES = 255


def product_histogram(left: np.ndarray, right: np.ndarray, edges: np.ndarray, chunk: int = 2048) -> np.ndarray:
    """The share of each row of left @ right that falls into each bin, without ever holding the whole product.

    A bin includes its lower edge and excludes its upper one. Values below the first edge count in the first bin, values
    above the last edge in the last bin.

    Args:
        left: (n, d) float32, one row per candidate.
        right: (d, m) float32, one column per reference.
        edges: (bins + 1,) ascending float32.
        chunk: candidates that are handled at once; each takes about 1.3 kB.

    Returns:
        (n, bins) float32, rows sum to 1; zeros where there is no reference.
    """
    n, m = len(left), right.shape[1]
    below = np.zeros((len(edges), n), dtype=np.int64)
    below[-1] = m
    # Counting what lies below each edge, a block that fits the cache at a time, beats sorting and bincount.
    for i in range(0, n, chunk):
        for j in range(0, m, REFERENCES):
            product = right[:, j : j + REFERENCES].T @ left[i : i + chunk].T
            smaller = np.empty(product.shape, dtype=bool)
            for count, edge in zip(below[1:-1], edges[1:-1], strict=True):
                np.less(product, edge, out=smaller)
                count[i : i + chunk] += np.add.reduce(smaller.view(np.uint8), axis=0, dtype=np.uint8)
    return (np.diff(below, axis=0).T / max(m, 1)).astype(np.float32)
