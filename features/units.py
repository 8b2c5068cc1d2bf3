"""The units of an image, all of a grid or some of them, and what is kept of a prediction for each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ralseg.features.arrays import Array
from ralseg.features.prediction import Noise, Prediction
from ralseg.foundation import RalsegError


class Units(Protocol):
    """n units of an image; `UnitGrid` is all that there are, `SomeUnits` a choice of them."""

    @property
    def height(self) -> int:
        """Of the image, pixels."""
        ...

    @property
    def width(self) -> int:
        """Of the image, pixels."""
        ...

    @property
    def areas(self) -> np.ndarray:
        """(n,) pixels of each unit."""
        ...

    @property
    def single_pixels(self) -> bool:
        """Whether the units are single pixels."""
        ...

    def __len__(self) -> int: ...

    def pool(self, maps: Array) -> Array:
        """Area-weighted mean of each map (..., h, w) over each unit, (..., n) float32."""
        ...

    def average(self, maps: Array) -> Array:
        """`pool` as it is computed, before it becomes float32."""
        ...

    def pool_vectors(self, maps: Array) -> Array:
        """`pool` of maps (..., h, w, D) whose last dimension is a vector, (..., n, D) float32."""
        ...

    def pool_products(self, first: Array, second: Array) -> Array:
        """Area-weighted mean of the outer products of (..., h, w, C) and (..., h, w, D), (..., n, C x D) float32."""
        ...

    def largest(self, maps: Array) -> Array:
        """The largest value of each map (..., h, w) among the map pixels that a unit touches, (..., n)."""
        ...

    def split(self, parts: int) -> "Units":
        """The same units, each cut into `parts` x `parts` pieces."""
        ...


@dataclass(frozen=True)
class Reducer:
    """What is kept of a prediction, unit by unit, so that no map of an image outlives its batch.

    Attributes:
        name: of what it finds; two reducers of one name find the same.
        find: (prediction of a batch of B images of one size, their units) -> (B, units, ...).
        noise: the noisy predictions that `find` reads; None: none.
        labelled: whether it is wanted for labelled units, too.
        whole_grid: whether `find` needs all units of a grid and cannot work on a choice of them.
        by_pixel: whether what it finds of a pixel depends on the prediction of that pixel alone, so that pixels may be
            predicted by themselves: as an image of one row, each of its cells a unit.
    """

    name: str
    find: Callable[[Prediction, Any], Array]
    noise: Noise | None = None
    labelled: bool = False
    whole_grid: bool = False
    by_pixel: bool = False


def from_game(name: str) -> Reducer:
    """A reducer that only a game which sees true labels can provide, asked for by name; the game puts in its own."""

    def find(prediction: Prediction, units: Units) -> Array:
        raise RalsegError(f"{name} is known only to a game that sees true labels and was asked for it; take another")

    return Reducer(name, find)
