"""Embeddings of units, for acquisitions that compare candidates with each other."""

from typing import Literal

from ralseg.features.arrays import Array, namespace
from ralseg.features.prediction import Prediction, as_array
from ralseg.features.units import Reducer, Units

Embedding = Literal["mean", "2x2"]


def embedding_reducer(kind: Embedding) -> Reducer:
    """The map that the network's last layer reads, averaged over the unit.

    Args:
        kind: `mean` over the unit, (n, D), or `2x2`, over each of its quarters, (n, 4 D) (Best Practices study).
    """

    def find(prediction: Prediction, grid: Units) -> Array:
        maps = as_array(prediction.features)
        maps = namespace(maps).moveaxis(maps, 1, -1)
        if kind == "mean":
            return grid.pool_vectors(maps)
        quarters = grid.split(2).pool_vectors(maps)
        return quarters.reshape(len(quarters), len(grid), -1)

    return Reducer(f"embedding {kind}", find, labelled=True)


def _gradient(prediction: Prediction, grid: Units) -> Array:
    softmax, maps = prediction.softmax, as_array(prediction.decoded)
    move = namespace(maps).moveaxis
    residual = softmax.probabilities - softmax.one_hot
    return grid.pool_products(move(residual, 1, -1), move(maps, 1, -1))


GRADIENT = Reducer("gradient", _gradient)
"""(n, C x D): the mean over the unit of the loss gradient in the last layer's weights, with the predicted class in
place of the true one (BADGE, Ash et al., 2020)."""
