"""Unit features: what a prediction says about each unit of an image, only as much as an observation asks for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ralseg.features.arrays import Array, constant, namespace
from ralseg.features.class_shares import released_counts
from ralseg.features.disagreement import mutual_information_map
from ralseg.features.entropy import entropy_pools, released_entropy_pools, uncertainty_summary
from ralseg.features.grid import UnitGrid
from ralseg.features.prediction import FEATURE_NOISE, Noise, Prediction
from ralseg.features.units import Reducer
from ralseg.foundation import RalsegError


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
    noisy_predictions = {} if noisy is None else {FEATURE_NOISE: noisy}
    prediction = _AsGiven(logits, logits[:, :0], tuple(embedding), noisy_predictions)
    return {name: _FEATURES[name](prediction, grid) for name in UNIT_FEATURES if name in needs}


def feature_reducers(needs: Collection[str], noise: Noise = FEATURE_NOISE) -> tuple[Reducer, ...]:
    """The features named in `needs` as reducers of a prediction: what an observation keeps of it.

    Args:
        needs: names of features.
        noise: what the disagreement is measured under.
    """
    reducer = partial(Reducer, whole_grid=True, by_pixel=True)
    noisy = reducer("disagreement", partial(_disagreement, noise=noise), noise)
    return tuple(
        noisy if name == "disagreement" else reducer(name, _FEATURES[name]) for name in UNIT_FEATURES if name in needs
    )


@dataclass(frozen=True)
class _AsGiven(Prediction):
    """A prediction whose features are of the kind of its arrays: tensors stay tensors, on the CPU as well."""

    @staticmethod
    def array(maps: Array) -> Array:
        return maps


def _shares(prediction: Prediction, grid: UnitGrid) -> Array:
    softmax = prediction.softmax
    shares = namespace(softmax.best).moveaxis(grid.pool(softmax.one_hot), -2, -1)
    # Even NaN has a best class, or none: 0 * NaN brings it into the shares where the logits were not checked.
    return shares + 0 * grid.pool(softmax.best[:, 0])[..., None]


def _probabilities(prediction: Prediction, grid: UnitGrid) -> Array:
    return namespace(prediction.softmax.best).moveaxis(grid.pool(prediction.softmax.probabilities), -2, -1)


def _entropy(prediction: Prediction, grid: UnitGrid) -> Array:
    return entropy_pools(prediction.softmax.entropy, grid)


def _uncertainty(prediction: Prediction, grid: UnitGrid) -> Array:
    return uncertainty_summary(prediction.softmax.entropy, prediction.softmax.margin, grid)


def _embedding(prediction: Prediction, grid: UnitGrid) -> Array:
    maps = [prediction.array(m) for m in prediction.embedding]
    shapes = [tuple(m.shape) for m in maps]
    images = len(prediction.logits)
    if not shapes or any(len(shape) != 4 or shape[0] != images for shape in shapes):
        raise RalsegError(f"unit features: embedding maps of shapes {shapes}; give one or more ({images}, D, h, w)")
    xp = namespace(maps[0])
    return xp.concatenate([grid.pool_vectors(xp.moveaxis(m, 1, -1)) for m in maps], axis=-1)


def _disagreement(prediction: Prediction, grid: UnitGrid, noise: Noise = FEATURE_NOISE) -> Array:
    if noise not in prediction.noisy:
        raise RalsegError("unit features: disagreement is that of noisy predictions; give them")
    return grid.pool(mutual_information_map(prediction.array(prediction.noisy[noise])))[..., None]


def _released_counts(prediction: Prediction, grid: UnitGrid) -> Array:
    shares = _shares(prediction, grid)
    return released_counts(shares * constant(shares, _areas, grid))


def _released_entropy(prediction: Prediction, grid: UnitGrid) -> Array:
    return released_entropy_pools(prediction.softmax.entropy, grid)


def _areas(grid: UnitGrid) -> np.ndarray:
    return grid.areas[:, None].astype(float)


_FEATURES: Mapping[str, Callable[[Prediction, UnitGrid], Array]] = {
    "shares": _shares,
    "probabilities": _probabilities,
    "entropy": _entropy,
    "uncertainty": _uncertainty,
    "embedding": _embedding,
    "disagreement": _disagreement,
    "released_counts": _released_counts,
    "released_entropy": _released_entropy,
}
UNIT_FEATURES = tuple(_FEATURES)
