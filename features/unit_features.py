"""Unit features: what a prediction says about each unit of an image, only as much as an observation asks for."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from ralseg.features.arrays import Array, constant, namespace
from ralseg.features.class_shares import released_counts
from ralseg.features.disagreement import mutual_information_map
from ralseg.features.entropy import entropy_pools, released_entropy_pools, uncertainty_summary
from ralseg.features.grid import UnitGrid
from ralseg.features.softmax_maps import Softmax
from ralseg.foundation import RalsegError

UNIT_FEATURES = (
    "shares", "probabilities", "entropy", "uncertainty", "embedding", "disagreement", "released_counts",
    "released_entropy",
)  # fmt: skip


def unit_features(
    logits: Array, embedding: Sequence[Array], grid: UnitGrid, needs: Collection[str], noisy: Array | None = None
) -> dict[str, Array]:
    """The features named in `needs` for every unit of every image, computed where the prediction lies; nothing else is.

    Args:
        logits: (B, C, h, w), numpy array or torch tensor, at any resolution that covers the image.
        embedding: maps (B, D_i, h_i, w_i) of the encoder, of the same kind, each at its own resolution; read for
            `embedding` only, and fastest as networks leave them, with channels last in memory.
        grid: the units, the same for all B images.
        needs: names of `UNIT_FEATURES`.
        noisy: (M, B, C, h, w) logits of noisy predictions, of the same kind; read for `disagreement` only.

    Returns:
        name -> (B, units, width) float32, of the same kind and on the same device. Widths: shares C, probabilities C
        (means over the unit), entropy 192, uncertainty 4, embedding sum of D_i (means over the unit), disagreement 1
        (mean mutual information of class and noise, nats), released_counts C + 1, released_entropy 192. NaN or
        +infinity on a device, where nothing is checked, leaves NaN in every feature of its unit: check what is fetched.

    Raises:
        RalsegError: on an unknown name, on logits that are not (B, C, h, w), on missing embeddings or noisy
            predictions, or (on the host) if one is not finite.
    """
    unknown = sorted(set(needs) - set(UNIT_FEATURES))
    if unknown:
        raise RalsegError(f"unit features: no feature {unknown}; choose from {', '.join(UNIT_FEATURES)}")
    if len(logits.shape) != 4:
        shape = tuple(logits.shape)
        raise RalsegError(f"unit features: logits of shape {shape}; give (images, classes, height, width)")
    softmax, found = Softmax(logits), {}
    if {"shares", "released_counts"} & set(needs):
        shares = namespace(logits).moveaxis(grid.pool(softmax.one_hot), -2, -1)
        # Even NaN has a best class, or none: 0 * NaN brings it into the shares where nobody looked at the logits.
        shares = shares + 0 * grid.pool(softmax.best[:, 0])[..., None]
        if "shares" in needs:
            found["shares"] = shares
        if "released_counts" in needs:
            found["released_counts"] = released_counts(shares * constant(shares, _areas, grid))
    if "probabilities" in needs:
        found["probabilities"] = namespace(logits).moveaxis(grid.pool(softmax.probabilities), -2, -1)
    if {"entropy", "uncertainty", "released_entropy"} & set(needs):
        entropy = softmax.entropy
        if "entropy" in needs:
            found["entropy"] = entropy_pools(entropy, grid)
        if "uncertainty" in needs:
            found["uncertainty"] = uncertainty_summary(entropy, softmax.margin, grid)
        if "released_entropy" in needs:
            found["released_entropy"] = released_entropy_pools(entropy, grid)
    if "disagreement" in needs:
        if noisy is None:
            raise RalsegError("unit features: disagreement is that of noisy predictions; give them")
        found["disagreement"] = grid.pool(mutual_information_map(noisy))[..., None]
    if "embedding" in needs:
        found["embedding"] = _embedding(embedding, grid, len(logits))
    return found


def _embedding(maps: Sequence[Array], grid: UnitGrid, images: int) -> Array:
    shapes = [tuple(m.shape) for m in maps]
    if not shapes or any(len(shape) != 4 or shape[0] != images for shape in shapes):
        raise RalsegError(f"unit features: embedding maps of shapes {shapes}; give one or more ({images}, D, h, w)")
    xp = namespace(maps[0])
    return xp.concatenate([grid.pool_vectors(xp.moveaxis(m, 1, -1)) for m in maps], axis=-1)


def _areas(grid: UnitGrid) -> np.ndarray:
    return grid.areas[:, None].astype(float)
