import numpy as np
import pytest

from ralseg.features import UnitGrid, predicted_shares, released_counts, released_true_shares, true_shares
from ralseg.foundation import RalsegError

GRID = UnitGrid(7, 10, 3, 4)


def test_predicted_shares_at_full_resolution():
    ids = np.random.default_rng(0).integers(0, 4, (2, 7, 10)).astype(np.uint8)
    shares = predicted_shares(ids, GRID, 4)
    assert shares.shape == (2, 9, 4)
    assert shares.dtype == np.float32
    for image in range(2):
        for unit, (y, x, h, w) in enumerate(GRID.boxes):
            box = ids[image, y : y + h, x : x + w]
            np.testing.assert_allclose(shares[image, unit], [(box == c).mean() for c in range(4)], rtol=1e-6)


@pytest.mark.parametrize("factors", [(2, 5), (7, 2), (1, 10)])
def test_a_coarse_map_counts_as_its_enlargement(factors):
    h, w = factors
    coarse = np.random.default_rng(1).integers(0, 4, (3, 14 // h, 20 // w)).astype(np.uint8)
    grid = UnitGrid(14, 20, 6, 8)
    fine = coarse.repeat(h, axis=1).repeat(w, axis=2)
    np.testing.assert_allclose(predicted_shares(coarse, grid, 4), predicted_shares(fine, grid, 4), atol=1e-6)


def test_shares_sum_to_one_where_overlaps_are_fractional():
    ids = np.random.default_rng(2).integers(0, 5, (4, 5, 6)).astype(np.uint8)
    np.testing.assert_allclose(predicted_shares(ids, GRID, 5).sum(axis=-1), 1, rtol=1e-6)


def test_true_shares_are_zero_where_nothing_is_labelled():
    np.testing.assert_allclose(true_shares([[1, 3], [0, 0]]), [[0.25, 0.75], [0, 0]])
    np.testing.assert_allclose(true_shares([2, 2]), [0.5, 0.5])


def test_released_variants():
    floor = np.float32(1e-7)
    np.testing.assert_array_equal(released_counts([[7200, 0], [3, 4]]), [[7200, floor, floor], [3, 4, floor]])
    np.testing.assert_allclose(released_true_shares([[6, 0], [0, 0]], [8, 4]), [[0.75, floor, 0.25], [floor, floor, 1]])


def test_bad_input_is_refused():
    with pytest.raises(RalsegError, match="id 4 with 4 classes"):
        predicted_shares(np.full((7, 10), 4, np.uint8), GRID, 4)
    for function in (true_shares, released_counts):
        with pytest.raises(RalsegError, match="no NaN"):
            function([1, np.nan])
        with pytest.raises(RalsegError, match="0 or more"):
            function([1, -1])
    with pytest.raises(RalsegError, match="more labelled pixels than its area"):
        released_true_shares([[5, 5]], [9])
