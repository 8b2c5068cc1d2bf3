"""The reducers of acquisitions, which compute values per unit from a prediction."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from ralseg.features import class_map, predicted_shares
from ralseg.features.arrays import Array, constant, namespace
from ralseg.features.prediction import Noise, Prediction, as_array
from ralseg.features.units import Reducer, Units
from ralseg.foundation import generator

Reduction = Literal["mean", "sum", "max"]
Embedding = Literal["mean", "2x2", "source"]


def map_reducer(
    name: str, make: Callable[[Array], Array], reduction: Reduction = "mean", by_pixel: bool = False
) -> Reducer:
    """A reducer that pools a map of the prediction to one value per unit.

    Args:
        name: the name of the result.
        make: logits (B, C, h, w) -> map (B, h, w).
        reduction: pooling over the unit: `mean`, `sum` (the mean times the unit's pixels) or `max` (over all map pixels
            that the unit touches).
        by_pixel: whether `make` computes each pixel from its own logits alone; then single pixels on a frozen source
            need no prediction of the rest of their image.
    """

    def find(prediction: Prediction, grid: Units) -> Array:
        return pooled(make(as_array(prediction.logits)), grid, reduction)

    return Reducer(name, find, by_pixel=by_pixel)


def noisy_reducer(name: str, make: Callable[[Array, Array], Array], noise: Noise, by_pixel: bool = False) -> Reducer:
    """A reducer that averages, over each unit, a map of the prediction and several noisy ones.

    Args:
        name: the name of the result.
        make: logits (B, C, h, w), noisy logits (M, B, C, h, w) -> map (B, h, w).
        noise: the noise of the noisy predictions.
        by_pixel: see `map_reducer`.
    """

    def find(prediction: Prediction, grid: Units) -> Array:
        return grid.pool(make(as_array(prediction.logits), as_array(prediction.noisy[noise])))

    return Reducer(name, find, noise, by_pixel=by_pixel)


def pooled(maps: Array, grid: Units, reduction: Reduction) -> Array:
    """Pool maps (B, h, w) to values (B, units)."""
    if reduction == "max":
        return grid.largest(maps)
    means = grid.pool(maps)
    return means if reduction == "mean" else means * namespace(means).asarray(grid.areas, device=means.device)


def _shares(prediction: Prediction, grid: Units) -> Array:
    logits = as_array(prediction.logits)
    return predicted_shares(class_map(logits), grid, logits.shape[1])


PREDICTED_SHARES = Reducer("predicted_shares", _shares, by_pixel=True)
"""(n, C): the share of each class in the unit's prediction."""


def embedding_reducer(kind: Embedding, numbers: int | None = None) -> Reducer:
    """The map that the network's last layer reads, averaged over the unit, or those that the whole network reads.

    Args:
        kind: `mean` over the unit, (n, D), or `2x2`, over each of its quarters, (n, 4 D) (Best Practices study); or
            `source`, the means of all maps of `Prediction.embedding`, which a frozen source gives once and for all.
        numbers: the numbers that a random projection, the same for all units, leaves of it; None for all of them.
    """

    def find(prediction: Prediction, grid: Units) -> Array:
        found = _embedding(prediction, grid, kind)
        width = found.shape[-1]
        return found if numbers is None or numbers >= width else found @ constant(found, _projection, width, numbers)

    name = f"embedding {kind}" if numbers is None else f"embedding {kind} {numbers}"
    return Reducer(name, find, labelled=True, by_pixel=kind != "2x2")


def _embedding(prediction: Prediction, grid: Units, kind: Embedding) -> Array:
    """(B, n, D) float32."""
    if kind == "source":
        maps = [as_array(m) for m in prediction.embedding]
        xp = namespace(maps[0])
        return xp.concatenate([grid.pool_vectors(xp.moveaxis(m, 1, -1)) for m in maps], axis=-1)
    maps = as_array(prediction.features)
    maps = namespace(maps).moveaxis(maps, 1, -1)
    if kind == "mean":
        return grid.pool_vectors(maps)
    quarters = grid.split(2).pool_vectors(maps)
    return quarters.reshape(len(quarters), len(grid), -1)


def _projection(width: int, numbers: int) -> np.ndarray:
    """(width, numbers) of independent normal numbers, which keeps distances on average (Johnson, Lindenstrauss)."""
    drawn = generator(0, "projection", width, numbers).standard_normal((width, numbers))
    return (drawn / np.sqrt(numbers)).astype(np.float32)


def _gradient(prediction: Prediction, grid: Units) -> Array:
    softmax, maps = prediction.softmax, as_array(prediction.decoded)
    move = namespace(maps).moveaxis
    residual = softmax.probabilities - softmax.one_hot
    return grid.pool_products(move(residual, 1, -1), move(maps, 1, -1))


GRADIENT = Reducer("gradient", _gradient, by_pixel=True)
"""(n, C x D): the mean over the unit of the loss gradient in the last layer's weights, with the predicted class in
place of the true one (BADGE, Ash et al., 2020)."""
