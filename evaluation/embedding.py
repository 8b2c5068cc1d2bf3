"""Makes the embedding of a pool of images, by one forward pass an image."""

from pathlib import Path

import numpy as np

from ralseg.envs import Pool, World
from ralseg.envs.reading import read_units
from ralseg.evaluation.pool_embedding import PoolEmbedding, keep_embedding, read_embedding
from ralseg.features.arrays import Array, namespace
from ralseg.features.prediction import Prediction, as_array
from ralseg.features.units import Reducer, Units


def write_embedding(folder: str | Path, world: World) -> None:
    """Keep the embedding of D_V beside a comparison whose units are images, unless it is there already.

    It is that of theta_0, and so the same for all policies, and of the deepest map of the encoder, which has seen
    ImageNet even where the decoder has seen no label.

    Args:
        folder: of the comparison.
        world: of its configuration.

    Raises:
        RalsegError: if the file cannot be written, or the one that is there is damaged.
    """
    if world.unit != "image" or read_embedding(folder, world.config) is not None:
        return
    pool = Pool(world.store, world.images("compare"), "image")
    every = {image: np.zeros(1, np.int64) for image in pool.images.tolist()}
    points = read_units(world.learner("compare"), pool, every, [Reducer("deepest", _deepest)])["deepest"]
    names = [world.store.names[image] for image in every]
    groups = [str(world.dataset.groups[name]) for name in names]
    keep_embedding(folder, world.config, PoolEmbedding(names, groups, np.ascontiguousarray(points, np.float32)))


def _deepest(prediction: Prediction, grid: Units) -> Array:
    maps = as_array(prediction.embedding[-1])
    return grid.pool_vectors(namespace(maps).moveaxis(maps, 1, -1))
