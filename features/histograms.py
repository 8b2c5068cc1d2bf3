"""Histograms of how a candidate relates to other units: KL of class shares, similarity of embeddings."""

import numpy as np

from ralseg.foundation import RalsegError

# Less than one pixel of a 90 x 80 unit, so that a class of one pixel still differs from none.
SMOOTHING = 1e-4
RELEASED_BINS = 32
SIMILARITY_BINS = 10
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


def largest_kl(smoothing: float) -> float:
    """An upper bound of the KL of two smoothed distributions, nats: ln((1 + smoothing) / smoothing)."""
    return float(np.log1p(1 / smoothing))


def linear_edges(smoothing: float = SMOOTHING, bins: int = 32) -> np.ndarray:
    """(bins + 1,) float32 edges in nats, even from 0 to `largest_kl(smoothing)`: one fixed range for all candidates."""
    return np.linspace(0, largest_kl(smoothing), bins + 1, dtype=np.float32)


def log_edges() -> np.ndarray:
    """(11,) float32 edges in nats, evenly spaced in their logarithm from 0.02 to 8."""
    return np.geomspace(0.02, 8.0, 11, dtype=np.float32)


def kl_histogram(
    p: np.ndarray, q: np.ndarray, edges: np.ndarray, smoothing: float = SMOOTHING, chunk: int = 2048
) -> np.ndarray:
    """The share of the references q whose KL(p_i || q_j) falls into each bin; the bins are the same for every i.

    Args:
        p: (n, C) class shares or counts of the candidates.
        q: (m, C) those of the references.
        edges: (bins + 1,) ascending, nats.
        smoothing: probability that is added to every class once a row is divided by its sum, above 0; the row is then
            normalised again. A row of zeros becomes uniform.
        chunk: see `product_histogram`, as for what a bin holds.

    Returns:
        (n, bins) float32, rows sum to 1; zeros where there is no reference.

    Raises:
        RalsegError: on shapes that do not match, negative or NaN entries, an infinite divergence, or edges that do not
            ascend.
    """
    edges = np.asarray(edges, dtype=np.float32)
    if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise RalsegError("KL histogram: the edges must ascend and be two or more")
    return product_histogram(*_factors(p, q, smoothing, np.float32), edges, chunk)


def released_histogram(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """KL histograms as in RALIS's released code: 32 bins over each candidate's own range.

    The arguments must be smoothed already: pass `released_counts` for candidates (1e-7 of a pixel) and
    `released_true_shares` for labelled units (1e-7 of probability).

    Args:
        p: (n, C + 1) of the candidates, each entry above 0.
        q: (m, C + 1) of the references, each entry above 0.

    Returns:
        (n, 32) float32, rows sum to 1, bins as of `numpy.histogram(kl, bins=32)`: equal values all fall into bin 16.
        Zeros where there is no reference.

    Raises:
        RalsegError: on shapes that do not match, negative or NaN entries, or an infinite divergence.
    """
    left, right = _factors(p, q, 0, np.float64)
    n, m = len(left), right.shape[1]
    shares = np.zeros((n, RELEASED_BINS), dtype=np.float32)
    if m == 0:
        return shares
    chunk = max(1, 2**20 // m)
    for i in range(0, n, chunk):
        shares[i : i + chunk] = _private_histogram(left[i : i + chunk] @ right) / m
    return shares


def _private_histogram(values: np.ndarray) -> np.ndarray:
    """(n, 32) counts of `numpy.histogram(row, bins=32)` for every row of (n, m) float64, m >= 1."""
    low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    # A private range would spread equal values apart by the last bits of the matrix product they come from.
    even = high - low < 1e-10
    values, low, high = np.where(even, 0, values), np.where(even, -0.5, low), np.where(even, 0.5, high)
    edges = np.linspace(low[:, 0], high[:, 0], RELEASED_BINS + 1, axis=1)
    index = ((values - low) / (high - low) * RELEASED_BINS).astype(np.int64)
    index = np.minimum(index, RELEASED_BINS - 1)
    # numpy settles values beside an edge by comparing them with the edge itself.
    index -= values < np.take_along_axis(edges, index, axis=1)
    index += (values >= np.take_along_axis(edges, index + 1, axis=1)) & (index != RELEASED_BINS - 1)
    index += np.arange(len(values))[:, None] * RELEASED_BINS
    return np.bincount(index.reshape(-1), minlength=len(values) * RELEASED_BINS).reshape(-1, RELEASED_BINS)


def _factors(p: np.ndarray, q: np.ndarray, smoothing: float, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """(n, C + 1) and (C + 1, m) whose product is the KL matrix: sum p ln p - sum p ln q in one multiplication."""
    p, q = np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64)
    if p.ndim != 2 or q.ndim != 2 or p.shape[1] != q.shape[1] or p.shape[1] == 0:
        raise RalsegError(f"KL: class shares of shape {p.shape} and {q.shape} do not match; give (n, C) and (m, C)")
    if not smoothing >= 0:
        raise RalsegError(f"KL: smoothing {smoothing} must be 0 or more")
    p, q = _smoothed(p, smoothing), _smoothed(q, smoothing)
    if (q == 0).any():
        raise RalsegError("KL: a reference holds a share of 0 and the divergence is infinite; smooth by more than 0")
    # 0 ln 0 is 0: the floor only keeps the logarithm finite.
    negentropy = (p * np.log(np.maximum(p, np.finfo(np.float64).tiny))).sum(axis=1, keepdims=True)
    left = np.concatenate([p, negentropy], axis=1)
    right = np.concatenate([-np.log(q), np.ones((len(q), 1))], axis=1)
    return left.astype(dtype), right.T.astype(dtype)


def _smoothed(shares: np.ndarray, smoothing: float) -> np.ndarray:
    if not (np.isfinite(shares).all() and (shares >= 0).all()):
        raise RalsegError("KL: class shares hold NaN, infinite or negative entries")
    total = shares.sum(axis=1, keepdims=True)
    shares = shares / np.where(total > 0, total, 1) + smoothing
    total = shares.sum(axis=1, keepdims=True)
    if (total == 0).any():
        raise RalsegError("KL: a row of class shares is all zeros; smooth by more than 0")
    return shares / total


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
