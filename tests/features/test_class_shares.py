import numpy as np
import pytest

from ralseg.features import (
    UnitGrid,
    predicted_shares,
    released_counts,
    released_true_shares,
    square_root_gain,
    true_shares,
)
from ralseg.foundation import RalsegError

GRID = UnitGrid(7, 10, 3, 4)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_predicted_shares_at_full_resolution(dtype, kind):
    ids = np.random.default_rng(0).integers(0, 4, (2, 7, 10)).astype(dtype)
    shares = kind.back(predicted_shares(kind(ids), GRID, 4))
    assert shares.shape == (2, 9, 4)
    for image in range(2):
        for unit, (y, x, h, w) in enumerate(GRID.boxes):
            box = ids[image, y : y + h, x : x + w]
            np.testing.assert_allclose(shares[image, unit], [(box == c).mean() for c in range(4)], rtol=1e-6)


@pytest.mark.parametrize("factors", [(2, 5), (7, 2), (1, 10)])
def test_a_coarse_map_counts_as_its_enlargement(factors, kind):
    h, w = factors
    coarse = np.random.default_rng(1).integers(0, 4, (3, 14 // h, 20 // w)).astype(np.uint8)
    grid = UnitGrid(14, 20, 6, 8)
    fine = coarse.repeat(h, axis=1).repeat(w, axis=2)
    found = [kind.back(predicted_shares(kind(ids), grid, 4)) for ids in (coarse, fine)]
    np.testing.assert_allclose(*found, atol=1e-6)


def test_shares_sum_to_one_where_overlaps_are_fractional(kind):
    ids = np.random.default_rng(2).integers(0, 5, (4, 5, 6)).astype(np.uint8)
    np.testing.assert_allclose(kind.back(predicted_shares(kind(ids), GRID, 5)).sum(axis=-1), 1, rtol=1e-6)


def test_true_shares_are_zero_where_nothing_is_labelled():
    np.testing.assert_allclose(true_shares([[1, 3], [0, 0], [2, 6]]), [[0.25, 0.75], [0, 0], [0.25, 0.75]])
    np.testing.assert_allclose(true_shares([2, 2]), [0.5, 0.5])


def test_gain_in_square_roots_by_hand():
    counts = np.array([[9, 0, 16], [0, 0, 0], [0, 25, 0]])
    np.testing.assert_allclose(square_root_gain(counts, np.zeros(3)), [7, 0, 5])
    np.testing.assert_allclose(square_root_gain(counts, np.array([16, 0, 9])), [(5 - 4) + (5 - 3), 0, 5])
    assert square_root_gain(counts, np.zeros(3)).dtype == np.float32
    assert square_root_gain(np.zeros((2, 4, 3)), np.zeros(3)).shape == (2, 4)
    # Sums of pixels are not those of a byte.
    found = square_root_gain(np.array([[100, 0]], np.uint8), np.array([200, 7], np.uint8))
    np.testing.assert_allclose(found, [300**0.5 - 200**0.5], rtol=1e-6)


def test_released_variants(kind):
    floor = np.float32(1e-7)
    counts = kind.back(released_counts(kind([[7200, 0], [3, 4]])))
    np.testing.assert_array_equal(counts, [[7200, floor, floor], [3, 4, floor]])
    np.testing.assert_allclose(released_true_shares([[6, 0], [0, 0]], [8, 4]), [[0.75, floor, 0.25], [floor, floor, 1]])


def test_bad_input_is_refused(kind):
    with pytest.raises(RalsegError, match="id 4 with 4 classes"):
        predicted_shares(kind(np.full((7, 10), 4, np.uint8)), GRID, 4)
    with pytest.raises(RalsegError, match="cannot be pooled"):
        predicted_shares(kind(np.zeros((3, 0, 10), np.uint8)), GRID, 4)
    for counts, words in (([1, np.nan], "no NaN"), ([1, -1], "0 or more")):
        with pytest.raises(RalsegError, match=words):
            released_counts(kind(counts))
        with pytest.raises(RalsegError, match=words):
            true_shares(counts)
    with pytest.raises(RalsegError, match="more labelled pixels than its area"):
        released_true_shares([[5, 5]], [9])
