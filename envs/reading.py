"""Rows of units, read from predictions of whole images or, where that says the same, of single pixels."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ralseg.envs.pool import Pool
from ralseg.features.reduction import noises_of, reduce_pixels, reduce_units
from ralseg.features.units import Reducer
from ralseg.features.view import Rows
from ralseg.foundation import generator, give_back_memory
from ralseg.segmentation.learners import Learner, PredictsPixels

GROWN = 1 << 29
"""Bytes by which a process may grow in reading units before it gives back what is free."""


def read_units(
    learner: Learner,
    pool: Pool,
    asked: Mapping[int, np.ndarray],
    reducers: Sequence[Reducer],
    noise: torch.Generator | None = None,
    again: bool = False,
) -> Rows:
    """What reducers find for some units of images, one forward pass an image.

    Args:
        learner: makes the predictions.
        pool: knows the grids.
        asked: store index of an image -> (n,) numbers of its units.
        reducers: what to find.
        noise: draws the noise of noisy predictions.
        again: see `Learner.predict`.

    Returns:
        Name -> (all units, ...), image by image in the order of `asked`.
    """
    noises = noises_of(reducers)
    if by_pixel(learner, pool, reducers) and isinstance(learner, PredictsPixels):
        where = {image: pixels_of(pool, image, units) for image, units in asked.items()}
        return reduce_pixels(learner.predict_pixels(where, noises, noise), reducers)
    rows = reduce_units(learner.predict(list(asked), noises, noise, again), reducers, pool.grid, asked)
    found = {name: np.concatenate(parts) for name, parts in rows.items()}
    give_back_memory(grown=GROWN)
    return found


def by_pixel(learner: Learner, pool: Pool, reducers: Sequence[Reducer]) -> bool:
    """Whether the units are pixels that can be predicted by themselves, for all that the reducers find."""
    alone = all(
        reducer.by_pixel and (reducer.noise is None or reducer.noise.kind != "features") for reducer in reducers
    )
    return reads_pixels(learner, pool) and alone


def reads_pixels(learner: Learner, pool: Pool) -> bool:
    """Whether the units are pixels that the learner can predict by themselves."""
    return pool.unit == "pixel" and isinstance(learner, PredictsPixels) and learner.predicts_pixels


def pixels_of(pool: Pool, image: int, units: np.ndarray) -> np.ndarray:
    """(n, 2) int64 row and column of units that are pixels."""
    return np.stack(np.divmod(units, pool.grid(image).columns), axis=1)


def some_units(pool: Pool, image: int, most: int, seed: int) -> np.ndarray:
    """All units of an image, or `most` of them at random, which is the same sample whenever the seed is the same."""
    units = len(pool.grid(image))
    if units <= most:
        return np.arange(units)
    return np.sort(generator(seed, "state", image).choice(units, most, replace=False))
