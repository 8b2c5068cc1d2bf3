import numpy as np
import pytest
import scipy.stats
import torch

from ralseg.features import (
    UnitGrid,
    class_map,
    entropy_map,
    impurity_map,
    predicted_shares,
    ripu_map,
    unit_impurity,
    window_mean,
)
from ralseg.features.impurity import Mode
from ralseg.foundation import RalsegError

RNG = np.random.default_rng(3)
LOGITS = RNG.normal(scale=2, size=(2, 5, 9, 13)).astype(np.float32)
CLASSES = np.sort(RNG.integers(0, 5, (2, 9, 13), np.uint8), axis=1)


def windows(maps, k):
    """(image, y, x, the values in the window) of maps (B, h, w), one pixel after the other."""
    for b, y, x in np.ndindex(maps.shape):
        yield b, y, x, maps[b, max(0, y - k) : y + k + 1, max(0, x - k) : x + k + 1]


def slow_impurity(maps, classes, k):
    found = np.empty(maps.shape)
    for b, y, x, window in windows(maps, k):
        counts = np.bincount(window.ravel(), minlength=classes)
        found[b, y, x] = scipy.stats.entropy(counts / window.size) / np.log(classes)
    return found


def slow_mean(maps, k):
    found = np.empty(maps.shape)
    for b, y, x, window in windows(maps, k):
        found[b, y, x] = window.mean(dtype=np.float64)
    return found


@pytest.mark.parametrize("k", [0, 1, 3, 8, 12, 40])
def test_windows_against_loops(k, kind):
    maps = LOGITS[:, 0]
    np.testing.assert_allclose(kind.back(window_mean(kind(maps), k)), slow_mean(maps, k), atol=1e-6)
    found = kind.back(impurity_map(kind(CLASSES), 5, k))
    np.testing.assert_allclose(found, slow_impurity(CLASSES, 5, k), atol=1e-6)
    assert (found.min(), found.max()) >= (0, 0)
    assert found.max() <= 1


def test_impurity_by_hand(kind):
    """A corner has 4 pixels of the window, an edge 6, the rest 9."""
    maps = np.zeros((1, 4, 4), np.uint8)
    maps[0, 0, 0] = 1
    found = kind.back(impurity_map(kind(maps), 2, 1))[0]
    entropy_of = [scipy.stats.entropy([1 / n, 1 - 1 / n], base=2) for n in (4, 6, 9)]
    np.testing.assert_allclose(found[0, :2], entropy_of[:2], atol=1e-6)
    np.testing.assert_allclose(found[1, :2], entropy_of[1:], atol=1e-6)
    np.testing.assert_array_equal(found[2:], 0)
    np.testing.assert_array_equal(found[:, 2:], 0)


def test_the_purest_and_the_most_mixed(kind):
    np.testing.assert_array_equal(kind.back(impurity_map(kind(np.full((2, 6, 7), 3, np.uint8)), 5, 2)), 0)
    rows = np.arange(5, dtype=np.uint8)[:, None].repeat(4, 1)
    np.testing.assert_allclose(kind.back(impurity_map(kind(rows), 5, 9)), 1, rtol=1e-6)
    # A window of no reach holds one pixel; a single class has nothing to be mixed with.
    np.testing.assert_array_equal(kind.back(impurity_map(kind(CLASSES), 5, 0)), 0)
    np.testing.assert_array_equal(kind.back(impurity_map(kind(np.zeros((2, 3, 4), np.uint8)), 1, 2)), 0)


def test_windows_of_bool_maps_and_of_other_orders_in_memory(kind):
    maps = RNG.random((6, 7, 2, 3)) < 0.3
    found = kind.back(window_mean(kind(maps.transpose(2, 3, 0, 1)), 2))
    expected = slow_mean(np.ascontiguousarray(maps.transpose(2, 3, 0, 1)).reshape(6, 6, 7).astype(float), 2)
    np.testing.assert_allclose(found, expected.reshape(2, 3, 6, 7), atol=1e-6)


@pytest.mark.parametrize("k", [1, 4])
def test_ripu_is_impurity_times_uncertainty(k, kind):
    p = torch.softmax(torch.from_numpy(LOGITS).double(), dim=1).numpy()
    uncertainty = scipy.stats.entropy(p, axis=1) / np.log(5)
    impurity = slow_impurity(p.argmax(1).astype(np.uint8), 5, k)
    regions, pixels = (kind.back(ripu_map(kind(LOGITS), k, mode)) for mode in ("ra", "pa"))
    np.testing.assert_allclose(regions, impurity * slow_mean(uncertainty, k), atol=2e-6)
    np.testing.assert_allclose(pixels, impurity * uncertainty, atol=2e-6)
    np.testing.assert_array_equal(kind.back(ripu_map(kind(LOGITS), k)), regions)


def test_ripu_of_a_single_class_is_zero(kind):
    np.testing.assert_array_equal(kind.back(ripu_map(kind(LOGITS[:, :1]), 2)), 0)


def test_impurity_of_units(kind):
    grid = UnitGrid(9, 13, 4, 5)
    found = kind.back(unit_impurity(predicted_shares(kind(CLASSES), grid, 5)))
    assert found.shape == (2, len(grid))
    for unit, (y, x, height, width) in enumerate(grid.boxes):
        for image in range(2):
            counts = np.bincount(CLASSES[image, y : y + height, x : x + width].ravel(), minlength=5)
            expected = scipy.stats.entropy(counts) / np.log(5)
            assert found[image, unit] == pytest.approx(expected, abs=1e-6)
    np.testing.assert_array_equal(kind.back(unit_impurity(kind(np.ones((3, 2, 1), np.float32)))), 0)
    np.testing.assert_allclose(kind.back(unit_impurity(kind(np.full((3, 4), 0.25, np.float32)))), 1, rtol=1e-6)


def test_rounding_lifts_no_impurity_above_one(kind):
    for classes in range(1, 256):
        assert kind.back(unit_impurity(kind(np.full((1, classes), 1 / classes, np.float32)))).max() <= 1


def test_a_window_as_large_as_the_image_is_the_unit_of_the_image(kind):
    grid = UnitGrid.of_images(9, 13)
    whole = kind.back(unit_impurity(predicted_shares(kind(CLASSES), grid, 5)))
    found = kind.back(impurity_map(kind(CLASSES), 5, 13))
    np.testing.assert_allclose(found, np.broadcast_to(whole[:, :, None], found.shape), atol=1e-6)


@pytest.mark.parametrize("mode", Mode.__args__)
def test_tensors_give_what_arrays_give(mode):
    found = ripu_map(torch.from_numpy(LOGITS), 3, mode)
    assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(found.numpy(), ripu_map(LOGITS, 3, mode), atol=1e-6)


def test_the_logits_and_maps_are_left_alone(kind):
    logits, classes = LOGITS.copy(), CLASSES.copy()
    ripu_map(kind(logits), 2)
    impurity_map(kind(classes), 5, 2)
    np.testing.assert_array_equal(logits, LOGITS)
    np.testing.assert_array_equal(classes, CLASSES)


def test_bad_input_is_refused(kind):
    with pytest.raises(RalsegError, match="holds id 4 with 4 classes"):
        impurity_map(kind(CLASSES), 4, 1)
    with pytest.raises(RalsegError, match=r"impurity: a class map of .*int64 with 5 classes; give uint8 ids"):
        impurity_map(kind(CLASSES.astype(np.int64)), 5, 1)
    for k in (-1, 1.5, True):
        with pytest.raises(RalsegError, match=r"the radius k=.* must be a whole number of 0 or more"):
            impurity_map(kind(CLASSES), 5, k)
    for shape in ((5,), (2, 0, 3)):
        with pytest.raises(RalsegError, match=r"window mean: maps have shape .*; give \(\.\.\., h, w\)"):
            window_mean(kind(np.zeros(shape, np.float32)), 1)
    with pytest.raises(RalsegError, match=r"^mode='region' is unknown; choose from ra, pa"):
        ripu_map(kind(LOGITS), 1, "region")
    bad = LOGITS.copy()
    bad[1, 2, 3, 4] = np.inf
    for call in (lambda: ripu_map(kind(bad), 1), lambda: window_mean(kind(bad), 1)):
        with pytest.raises(RalsegError, match="NaN or infinities"):
            call()
    for shares in (np.array([[0.5, np.nan]]), np.array([[-0.5, 1.5]])):
        with pytest.raises(RalsegError, match="class shares must be 0 or more and finite"):
            unit_impurity(kind(shares))
    for shape in ((3, 0), (2, 3, 0), ()):
        with pytest.raises(RalsegError, match="shares have shape"):
            unit_impurity(kind(np.zeros(shape)))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_what_is_not_finite_is_seen_where_nobody_looks(monkeypatch):
    """On a device; tensors are pooled, so that only the windows that hold the pixel show it."""
    for module in ("softmax_maps", "impurity"):
        monkeypatch.setattr(f"ralseg.features.{module}.check_finite", lambda array, complaint: None)
        if module == "impurity":
            monkeypatch.setattr(f"ralseg.features.{module}.on_host", lambda array: False)
    bad = LOGITS.copy()
    bad[1, 2, 3, 4] = np.nan
    finite = np.isfinite(ripu_map(torch.from_numpy(bad), 1).numpy())
    assert not finite[1, 2:5, 3:6].any()
    assert finite.sum() == finite.size - 9
    shares = torch.tensor([[0.5, 0.5], [np.nan, 0.5]])
    np.testing.assert_array_equal(np.isfinite(unit_impurity(shares).numpy()), [True, False])


def test_class_and_entropy_maps_are_those_of_the_prediction():
    """Of the largest window every pixel has the same impurity, so that its score follows the entropy alone."""
    score = ripu_map(LOGITS, 20, "pa")
    impurity = impurity_map(class_map(LOGITS), 5, 20)[:, :1, :1]
    np.testing.assert_allclose(score, impurity * entropy_map(LOGITS) / np.log(5), rtol=1e-5)
