import numpy as np
import pytest
import torch

from ralseg.features import UnitGrid
from ralseg.features.prediction import FEATURE_NOISE, Noise, Prediction
from ralseg.features.reduction import FEW, noises_of, reduce_units
from ralseg.features.units import Reducer

GRID = UnitGrid(20, 40, 2, 2)
MAPS = np.random.default_rng(0).random((3, 20, 40)).astype(np.float32)


def batches():
    """Three images of the store, 7, 2 and 5, in two batches."""
    for part, images in ((slice(2), (7, 2)), (slice(2, 3), (5,))):
        logits = MAPS[part, None]
        yield Prediction(logits, logits, (logits,), images=images)


def means(whole_grid, sizes):
    """Means over units, and of how many units they were asked for at a time."""

    def find(prediction, units):
        sizes.append(len(units))
        return units.pool(prediction.logits[:, 0])

    return Reducer("means", find, whole_grid=whole_grid)


@pytest.mark.parametrize("whole_grid", [False, True])
@pytest.mark.parametrize("count", [1, len(GRID) // FEW, len(GRID)])
def test_units_get_the_values_of_their_own_image(whole_grid, count):
    rng, sizes = np.random.default_rng(count), []
    asked = {image: rng.permutation(len(GRID))[:count] for image in (5, 7, 2)}
    found = reduce_units(batches(), [means(whole_grid, sizes)], lambda image: GRID, asked)
    assert list(found) == ["means"]
    rows = GRID.pool(MAPS)
    for values, image in zip(found["means"], asked, strict=True):
        np.testing.assert_allclose(values, rows[(7, 2, 5).index(image)][asked[image]], rtol=1e-6)
    # Nothing is computed for others where fewer than one in FEW is asked for, once for each image.
    few = count * FEW < len(GRID) and not whole_grid
    assert sizes == ([count] * 3 if few else [len(GRID)] * 2)


def test_rows_are_arrays_on_the_host_whatever_they_were():
    tensor = torch.from_numpy(MAPS).requires_grad_()
    reducer = Reducer("plain", lambda prediction, units: tensor[: len(prediction.images), 0])
    (row,) = reduce_units([*batches()][1:], [reducer], lambda image: GRID, {5: np.array([3, 1] * 20)})["plain"]
    assert isinstance(row, np.ndarray)
    np.testing.assert_array_equal(row, MAPS[0, 0, [3, 1] * 20])


def test_each_noise_is_named_once():
    flip = Noise("flip", 1)
    named = {"a": flip, "b": None, "c": FEATURE_NOISE, "d": flip}
    reducers = [Reducer(name, lambda prediction, units: MAPS, noise) for name, noise in named.items()]
    assert noises_of(reducers) == [flip, FEATURE_NOISE]
