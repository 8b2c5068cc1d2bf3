"""What is kept of a prediction: the seam between a learner's forward pass and whoever looks at units."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch

from ralseg.envs.pool import Pool
from ralseg.features import SomeUnits, UnitGrid
from ralseg.features.arrays import Array
from ralseg.features.prediction import Noise, Prediction
from ralseg.segmentation.learners import Learner

Rows = Mapping[str, Any]
Reducer = Callable[[Prediction, Sequence[int]], Rows]
"""`reducer(prediction, images)` keeps what it needs of the prediction of a batch of images: name -> a row an image."""

FEW = 8
"""Units are few where their grid holds more than so many times as many."""


class UnitReducer(Protocol):
    """What an acquisition keeps of a prediction.

    Attributes:
        name: of what it finds; two reducers of one name find the same.
        noise: the noisy predictions that it reads; None: none.
        labelled: whether it is wanted for labelled units, too.
    """

    name: str
    noise: Noise | None
    labelled: bool

    def __call__(
        self, prediction: Prediction, images: Sequence[int], grid: UnitGrid | SomeUnits
    ) -> Mapping[str, Array]:
        """Name -> (B, units, ...) for a batch of images (indices in the store) of one size and grid."""


def predicted(
    learner: Learner,
    images: Sequence[int],
    reducers: Sequence[Reducer],
    noises: Sequence[Noise] = (),
    generator: torch.Generator | None = None,
    again: bool = False,
) -> dict[str, list[np.ndarray]]:
    """What reducers keep of a learner's predictions: name -> one array per image, in the order of `images`."""
    reduced: list[tuple[str, Sequence[int], Any]] = []
    for prediction in learner.predict(images, noises, generator, again):
        for reducer in reducers:
            reduced += [
                (name, prediction.images, rows) for name, rows in reducer(prediction, prediction.images).items()
            ]
    # Fetched when all is under way: a GPU is waited for once.
    kept: dict[str, dict[int, np.ndarray]] = {}
    for name, chunk, rows in reduced:
        for image, row in zip(chunk, rows, strict=True):
            kept.setdefault(name, {})[image] = row.numpy(force=True) if isinstance(row, torch.Tensor) else row
    return {name: [rows[image] for image in images] for name, rows in kept.items()}


def of_asked(reducer: UnitReducer, pool: Pool, asked: Mapping[int, np.ndarray]) -> Reducer:
    """A learner's reducer, that keeps what a unit reducer finds for some units of each image.

    Where they are few of many, as pixels are, nothing is computed for the others.

    Args:
        reducer: of units.
        pool: whose grids are meant.
        asked: image (index in the store) -> numbers of the units within it.
    """
    if sum(map(len, asked.values())) * FEW < sum(len(pool.grid(image)) for image in asked):
        return lambda prediction, images: _image_by_image(prediction, images, reducer, pool, asked)
    return only_asked(asked, lambda prediction, images: reducer(prediction, images, pool.grid(images[0])))


def only_asked(asked: Mapping[int, np.ndarray], reducer: Reducer) -> Reducer:
    """A reducer that keeps the rows of some units of each image alone, so that a large pool fills no memory."""

    def reduce(prediction: Prediction, images: Sequence[int]) -> Mapping[str, list]:
        found = reducer(prediction, images)
        return {name: [row[asked[i]] for row, i in zip(rows, images, strict=True)] for name, rows in found.items()}

    return reduce


def _image_by_image(
    prediction: Prediction, images: Sequence[int], reducer: UnitReducer, pool: Pool, asked: Mapping[int, np.ndarray]
) -> Mapping[str, list]:
    found: dict[str, list] = {}
    for row, image in enumerate(images):
        units = pool.grid(image).only(asked[image])
        for name, rows in reducer(_one_image(prediction, row), [image], units).items():
            found.setdefault(name, []).append(rows[0])
    return found


def _one_image(prediction: Prediction, row: int) -> Prediction:
    """The prediction of one image of a batch, a batch of one."""
    own = slice(row, row + 1)
    return replace(
        prediction,
        logits=prediction.logits[own],
        features=prediction.features[own],
        embedding=tuple(maps[own] for maps in prediction.embedding),
        noisy={noise: logits[:, own] for noise, logits in prediction.noisy.items()},
    )
