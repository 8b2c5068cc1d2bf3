"""Histograms of the Kullback-Leibler divergence between the class shares of units (RALIS, section 3.3)."""

import numpy as np

from ralseg.features.histograms import product_histogram
from ralseg.foundation import RalsegError

# Less than one pixel of a 90 x 80 unit, so that a class of one pixel still differs from none.
SMOOTHING = 1e-4
RELEASED_BINS = 32


def largest_kl(smoothing: float) -> float:
    """An upper bound of the KL of two smoothed distributions, nats: ln((1 + smoothing) / smoothing)."""
    return float(np.log1p(1 / smoothing))


def linear_edges(smoothing: float = SMOOTHING, bins: int = 32) -> np.ndarray:
    """(bins + 1,) float32 edges in nats, even from 0 to `largest_kl(smoothing)`: one fixed range for all candidates."""
    return np.linspace(0, largest_kl(smoothing), bins + 1, dtype=np.float32)


def log_edges(low: float = 0.02, high: float = 8.0, bins: int = 10) -> np.ndarray:
    """(bins + 1,) float32 edges in nats, evenly spaced in their logarithm, for 0 < low < high."""
    if not 0 < low < high:
        raise RalsegError(f"KL edges: {low} to {high} is no range of positive numbers; give 0 < low < high")
    return np.geomspace(low, high, bins + 1, dtype=np.float32)


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
