"""The reducers of acquisitions, which compute values per unit from a prediction."""

from collections.abc import Callable
from typing import Literal

from ralseg.features import class_map, predicted_shares
from ralseg.features.arrays import Array, namespace
from ralseg.features.prediction import Noise, Prediction, as_array
from ralseg.features.units import Reducer, Units

Reduction = Literal["mean", "sum", "max"]


def map_reducer(name: str, make: Callable[[Array], Array], reduction: Reduction = "mean") -> Reducer:
    """A reducer that pools a map of the prediction to one value per unit.

    Args:
        name: the name of the result.
        make: logits (B, C, h, w) -> map (B, h, w).
        reduction: pooling over the unit: `mean`, `sum` (the mean times the unit's pixels) or `max` (over all map pixels
            that the unit touches).
    """
    return Reducer(name, lambda prediction, grid: pooled(make(as_array(prediction.logits)), grid, reduction))


def noisy_reducer(name: str, make: Callable[[Array, Array], Array], noise: Noise) -> Reducer:
    """A reducer that averages, over each unit, a map of the prediction and several noisy ones.

    Args:
        name: the name of the result.
        make: logits (B, C, h, w), noisy logits (M, B, C, h, w) -> map (B, h, w).
        noise: the noise of the noisy predictions.
    """

    def find(prediction: Prediction, grid: Units) -> Array:
        return grid.pool(make(as_array(prediction.logits), as_array(prediction.noisy[noise])))

    return Reducer(name, find, noise)


def pooled(maps: Array, grid: Units, reduction: Reduction) -> Array:
    """Pool maps (B, h, w) to values (B, units)."""
    if reduction == "max":
        return grid.largest(maps)
    means = grid.pool(maps)
    return means if reduction == "mean" else means * namespace(means).asarray(grid.areas, device=means.device)


def _shares(prediction: Prediction, grid: Units) -> Array:
    logits = as_array(prediction.logits)
    return predicted_shares(class_map(logits), grid, logits.shape[1])


PREDICTED_SHARES = Reducer("predicted_shares", _shares)
"""(n, C): the share of each class in the unit's prediction."""
