import numpy as np
import pytest
import torch
from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool2d, avg_pool2d, max_pool2d

from ralseg.features import UnitGrid, entropy_pools, released_entropy_pools, uncertainty_summary
from ralseg.foundation import RalsegError


def by_torch(values, grid, pool_mean, pool_max):
    rows = []
    for y, x, h, w in grid.boxes:
        box = torch.from_numpy(values[..., y : y + h, x : x + w])
        pools = (-pool_max(-box), pool_mean(box), pool_max(box))
        rows.append(np.concatenate([p.reshape(len(values), -1).numpy() for p in pools], axis=1))
    return np.stack(rows, axis=1)


@pytest.mark.parametrize("sizes", [(36, 48, 12, 16), (37, 50, 12, 16), (20, 20, 20, 20), (9, 10, 3, 4)])
@pytest.mark.parametrize("bins", [1, 3, 8])
def test_pools_are_adaptive_pools_of_each_box(sizes, bins, kind):
    grid = UnitGrid(*sizes)
    values = np.random.default_rng(0).random((2, grid.height, grid.width)).astype(np.float32)
    expected = by_torch(
        values, grid, lambda b: adaptive_avg_pool2d(b[:, None], bins), lambda b: adaptive_max_pool2d(b[:, None], bins)
    )
    found = kind.back(entropy_pools(kind(values), grid, bins))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_array_equal(kind.back(entropy_pools(kind(values[1]), grid, bins)), found[1])


def test_no_image_has_no_pools(kind):
    found = kind.back(entropy_pools(kind(np.zeros((0, 36, 48), np.float32)), UnitGrid(36, 48, 12, 16), 2))
    assert found.shape == (0, 9, 12)


def test_released_pools_drop_the_remainder(kind):
    grid = UnitGrid(180, 160, 90, 80)
    values = np.random.default_rng(1).random((3, 180, 160)).astype(np.float32)
    kernel = (11, 10)
    expected = by_torch(values, grid, lambda b: avg_pool2d(b, kernel), lambda b: max_pool2d(b, kernel))
    np.testing.assert_allclose(kind.back(released_entropy_pools(kind(values), grid)), expected, rtol=1e-5)
    assert not np.allclose(kind.back(entropy_pools(kind(values), grid)), expected)
    turned = by_torch(values, grid, lambda b: avg_pool2d(b, kernel), lambda b: 5 - max_pool2d(5 - b, kernel))
    np.testing.assert_allclose(expected[..., :64], turned[..., 128:], atol=1e-6)


@pytest.mark.parametrize("resolution", [(5, 7), (1, 1), (45, 60), (13, 90)])
def test_other_resolutions_take_each_map_pixel_that_a_bin_touches(resolution, kind):
    grid, bins = UnitGrid(37, 50, 12, 16), 4
    h, w = resolution
    values = np.random.default_rng(2).random(resolution).astype(np.float32)
    found = kind.back(entropy_pools(kind(values), grid, bins)).reshape(len(grid), 3, bins, bins)
    for unit, (y, x, tall, wide) in enumerate(grid.boxes):
        for i in range(bins):
            for j in range(bins):
                top, bottom = (y * bins + i * tall) * h, (y * bins + (i + 1) * tall) * h
                left, right = (x * bins + j * wide) * w, (x * bins + (j + 1) * wide) * w
                box = values[
                    top // (37 * bins) : -(-bottom // (37 * bins)), left // (50 * bins) : -(-right // (50 * bins))
                ]
                np.testing.assert_allclose(found[unit, :, i, j], [box.min(), box.mean(), box.max()], rtol=1e-5)


def test_summary_at_full_resolution(kind):
    grid = UnitGrid(37, 50, 12, 16)
    entropy, margin = np.random.default_rng(3).random((2, 2, 37, 50)).astype(np.float32)
    found = kind.back(uncertainty_summary(kind(entropy), kind(margin), grid))
    assert found.shape == (2, len(grid), 4)
    for image in range(2):
        for unit, (y, x, h, w) in enumerate(grid.boxes):
            box = entropy[image, y : y + h, x : x + w].astype(np.float64)
            mean_margin = margin[image, y : y + h, x : x + w].mean()
            np.testing.assert_allclose(found[image, unit], [box.mean(), box.std(), box.max(), mean_margin], rtol=1e-4)


def test_summary_of_a_coarse_map_is_that_of_its_enlargement(kind):
    grid = UnitGrid(36, 48, 10, 14)
    small = np.random.default_rng(4).random((2, 9, 8)).astype(np.float32)
    large = small.repeat(4, axis=1).repeat(6, axis=2)
    found = [kind.back(uncertainty_summary(kind(entropy), kind(margin), grid)) for entropy, margin in (small, large)]
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)


def test_an_even_unit_has_no_deviation(kind):
    flat = kind(np.full((6, 8), 1.7, np.float32))
    found = kind.back(uncertainty_summary(flat, flat / 2, UnitGrid(6, 8, 3, 4)))
    np.testing.assert_allclose(found[:, 1], 0, atol=1e-7)


def test_bad_maps_are_refused(kind):
    grid = UnitGrid(36, 48, 7, 16)
    flat, bad = kind(np.zeros((36, 48))), kind(np.full((36, 48), np.nan))
    with pytest.raises(RalsegError, match="under 8 pixels"):
        released_entropy_pools(flat, grid)
    with pytest.raises(RalsegError, match="not finite"):
        entropy_pools(bad, grid)
    with pytest.raises(RalsegError, match="0 bins"):
        entropy_pools(flat, grid, 0)
    with pytest.raises(RalsegError, match="differ in shape"):
        uncertainty_summary(flat, flat[::2, ::2], grid)
    with pytest.raises(RalsegError, match="NaN"):
        uncertainty_summary(bad, flat, grid)
    with pytest.raises(RalsegError, match="NaN"):
        uncertainty_summary(flat, bad, grid)
