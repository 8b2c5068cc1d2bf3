"""Unit features: what a prediction says about each unit of an image, only as much as an observation asks for."""

from collections.abc import Collection, Sequence

import numpy as np

from ralseg.features.class_shares import predicted_shares, released_counts
from ralseg.features.entropy import entropy_pools, released_entropy_pools, uncertainty_summary
from ralseg.features.grid import UnitGrid
from ralseg.features.predictions import class_map, entropy_map, margin_map
from ralseg.foundation import RalsegError

UNIT_FEATURES = ("shares", "entropy", "uncertainty", "embedding", "released_counts", "released_entropy")


def unit_features(
    logits: np.ndarray, embedding: Sequence[np.ndarray], grid: UnitGrid, needs: Collection[str]
) -> dict[str, np.ndarray]:
    """The features named in `needs` for every unit of every image; nothing else is computed.

    Args:
        logits: (B, C, h, w) at any resolution that covers the image.
        embedding: maps (B, D_i, h_i, w_i) of the encoder, each at its own resolution; read for `embedding` only.
        grid: the units, the same for all B images.
        needs: names of `UNIT_FEATURES`.

    Returns:
        name -> (B, units, width) float32. Widths: shares C, entropy 192, uncertainty 4, embedding sum of D_i (means
        over the unit), released_counts C + 1, released_entropy 192.

    Raises:
        RalsegError: on an unknown name, on logits that are not (B, C, h, w) and finite, or on missing embeddings.
    """
    logits = np.asarray(logits)
    unknown = sorted(set(needs) - set(UNIT_FEATURES))
    if unknown:
        raise RalsegError(f"unit features: no feature {unknown}; choose from {', '.join(UNIT_FEATURES)}")
    if logits.ndim != 4:
        raise RalsegError(f"unit features: logits of shape {logits.shape}; give (images, classes, height, width)")
    found = {}
    if {"shares", "released_counts"} & set(needs):
        shares = predicted_shares(class_map(logits), grid, logits.shape[1])
        if "shares" in needs:
            found["shares"] = shares
        if "released_counts" in needs:
            found["released_counts"] = released_counts(shares * grid.areas[:, None])
    if {"entropy", "uncertainty", "released_entropy"} & set(needs):
        entropy = entropy_map(logits)
        if "entropy" in needs:
            found["entropy"] = entropy_pools(entropy, grid)
        if "uncertainty" in needs:
            found["uncertainty"] = uncertainty_summary(entropy, margin_map(logits), grid)
        if "released_entropy" in needs:
            found["released_entropy"] = released_entropy_pools(entropy, grid)
    if "embedding" in needs:
        found["embedding"] = _embedding(embedding, grid, len(logits))
    return found


def _embedding(maps: Sequence[np.ndarray], grid: UnitGrid, images: int) -> np.ndarray:
    shapes = [np.shape(m) for m in maps]
    if not shapes or any(len(shape) != 4 or shape[0] != images for shape in shapes):
        raise RalsegError(f"unit features: embedding maps of shapes {shapes}; give one or more ({images}, D, h, w)")
    pooled = np.concatenate([grid.pool(m) for m in maps], axis=1)
    return np.ascontiguousarray(np.swapaxes(pooled, 1, 2))
