"""From predictions to rows of units, image by image, while the predictions pass by."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from ralseg.features.arrays import Array
from ralseg.features.grid import UnitGrid
from ralseg.features.prediction import Noise, Prediction
from ralseg.features.units import Reducer
from ralseg.foundation import give_back_memory

FEW = 8
"""Units are few where their images hold more than this many times as many."""


def reduce_units(
    predictions: Iterable[Prediction],
    reducers: Sequence[Reducer],
    grid: Callable[[int], UnitGrid],
    asked: Mapping[int, np.ndarray],
) -> dict[str, list[np.ndarray]]:
    """What reducers find for some units of each image.

    Where the units are few of many, as pixels are, nothing is computed for the others.

    Args:
        predictions: of all images in `asked`, each once.
        reducers: what to keep; of two of one name, the last.
        grid: the grid of an image, by its index in the store.
        asked: image -> numbers of its units that are wanted.

    Returns:
        name -> one (units, ...) array for each image, in the order of `asked`.
    """
    few = sum(map(len, asked.values())) * FEW < sum(len(grid(image)) for image in asked)
    found: dict[str, dict[int, Array]] = {reducer.name: {} for reducer in reducers}
    for prediction in predictions:
        for reducer in reducers:
            if few and not reducer.whole_grid:
                for place, image in enumerate(prediction.images):
                    units = grid(image).only(asked[image])
                    found[reducer.name][image] = reducer.find(prediction.of_image(place), units)[0]
            else:
                rows = reducer.find(prediction, grid(prediction.images[0]))
                for row, image in zip(rows, prediction.images, strict=True):
                    found[reducer.name][image] = row[asked[image]]
    # Fetched when all is under way, so that a GPU is waited for once.
    return {name: [_on_host(rows[image]) for image in asked] for name, rows in found.items()}


def reduce_pixels(predictions: Iterable[Prediction], reducers: Sequence[Reducer]) -> dict[str, np.ndarray]:
    """What reducers find for pixels that were predicted by themselves.

    Args:
        predictions: of `PredictsPixels.predict_pixels`.
        reducers: what to keep, all of them `by_pixel`; of two of one name, the last.

    Returns:
        name -> (n, ...), the pixels in the order of the predictions.
    """
    named = {reducer.name: reducer for reducer in reducers}
    found: dict[str, list[Array]] = {name: [] for name in named}
    for prediction in predictions:
        units = UnitGrid.of_pixels(1, prediction.logits.shape[-1])
        for name, reducer in named.items():
            found[name].append(reducer.find(prediction, units)[0])
        # What is kept of vectors lies between what was freed.
        give_back_memory()
    return {name: np.concatenate([_on_host(rows) for rows in parts]) for name, parts in found.items()}


def noises_of(reducers: Sequence[Reducer]) -> list[Noise]:
    """The noisy predictions that reducers read, each once, in the order in which they are first named."""
    return list(dict.fromkeys(reducer.noise for reducer in reducers if reducer.noise is not None))


def _on_host(row: Array) -> np.ndarray:
    return row if isinstance(row, np.ndarray) else row.numpy(force=True)
