import numpy as np
import pytest
import torch

from ralseg.features import UnitGrid
from ralseg.foundation import RalsegError

GRIDS = [(360, 480, 90, 80), (7, 10, 3, 4), (5, 6, 1, 1), (5, 6, 5, 6), (9, 4, 4, 4)]


def slow_pool(values, grid):
    """Overlap of every map pixel with every unit, one pair at a time."""
    h, w = values.shape
    means = []
    for y, x, height, width in grid.boxes:
        total = area = 0.0
        for i in range(h):
            for j in range(w):
                tall = min(y + height, (i + 1) * grid.height / h) - max(y, i * grid.height / h)
                wide = min(x + width, (j + 1) * grid.width / w) - max(x, j * grid.width / w)
                overlap = max(tall, 0) * max(wide, 0)
                total += overlap * values[i, j]
                area += overlap
        means.append(total / area)
    return np.array(means)


@pytest.mark.parametrize("sizes", GRIDS)
def test_boxes_tile_the_image_in_row_major_order(sizes):
    grid = UnitGrid(*sizes)
    seen = np.full((grid.height, grid.width), -1)
    for unit, (y, x, height, width) in enumerate(grid.boxes):
        assert (seen[y : y + height, x : x + width] == -1).all()
        seen[y : y + height, x : x + width] = unit
        assert grid.areas[unit] == height * width
        assert grid.index_map[y, x] == grid.index_map[y + height - 1, x + width - 1] == unit
    np.testing.assert_array_equal(seen, grid.index_map)
    assert len(grid) == grid.rows * grid.columns == len(grid.boxes)
    assert grid.boxes.dtype == grid.areas.dtype == np.int64
    assert grid.index_map.dtype == np.int32


def test_border_units_are_smaller():
    grid = UnitGrid(7, 10, 3, 4)
    assert (grid.rows, grid.columns) == (3, 3)
    np.testing.assert_array_equal(grid.boxes[-1], [6, 8, 1, 2])
    np.testing.assert_array_equal(grid.areas, [12, 12, 6, 12, 12, 6, 4, 4, 2])


def test_images_and_pixels_are_grids():
    assert len(UnitGrid.of_images(360, 480)) == 1
    assert len(UnitGrid.of_pixels(360, 480)) == 360 * 480
    assert UnitGrid.of_pixels(3, 5).index_map[2, 1] == 11


@pytest.mark.parametrize("sizes", GRIDS[1:])
@pytest.mark.parametrize("resolution", ["full", (3, 5), (1, 1), (11, 13), (2, 12)])
def test_pool_is_the_area_weighted_mean(sizes, resolution, kind):
    grid = UnitGrid(*sizes)
    h, w = (grid.height, grid.width) if resolution == "full" else resolution
    maps = np.random.default_rng(0).normal(size=(2, 3, h, w)).astype(np.float32)
    expected = np.array([[slow_pool(one, grid) for one in image] for image in maps])
    np.testing.assert_allclose(kind.back(grid.pool(kind(maps))), expected, rtol=1e-4, atol=1e-5)
    vectors = kind.back(grid.pool_vectors(kind(np.moveaxis(maps, 1, -1))))
    np.testing.assert_allclose(vectors, expected.swapaxes(1, 2), rtol=1e-4, atol=1e-5)
    assert vectors.shape == (2, len(grid), 3)
    np.testing.assert_allclose(
        kind.back(grid.pool_vectors(kind(maps[0, 0, ..., None]))), expected[0, 0, :, None], rtol=1e-4, atol=1e-5
    )


def test_pool_at_full_resolution_is_the_mean_of_each_box(kind):
    grid = UnitGrid(360, 480, 90, 80)
    values = np.random.default_rng(1).random((360, 480))
    expected = [values[y : y + h, x : x + w].mean() for y, x, h, w in grid.boxes]
    np.testing.assert_allclose(kind.back(grid.pool(kind(values))), expected, rtol=1e-6)
    np.testing.assert_allclose(kind.back(grid.average(kind(values)), np.float64), expected, rtol=1e-12)


def test_pool_counts_truth_values(kind):
    grid = UnitGrid(6, 8, 3, 4)
    chosen = grid.index_map == 2
    np.testing.assert_array_equal(kind.back(grid.pool(kind(chosen))), [0, 0, 1, 0])


def test_pool_on_pixels_is_a_reshape(kind):
    values = np.random.default_rng(2).random((4, 6, 8)).astype(np.float32)
    np.testing.assert_array_equal(kind.back(UnitGrid.of_pixels(6, 8).pool(kind(values))), values.reshape(4, 48))


def test_pool_of_no_map_is_empty(kind):
    assert UnitGrid(6, 8, 3, 4).pool(kind(np.zeros((0, 6, 8)))).shape == (0, 4)
    assert UnitGrid(6, 8, 3, 4).pool_vectors(kind(np.zeros((0, 5, 7, 2)))).shape == (0, 4, 2)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_pool_of_half_precision_loses_nothing_more(half):
    grid, maps = UnitGrid(6, 8, 4, 4), torch.from_numpy(np.random.default_rng(4).normal(size=(3, 5, 7))).to(half)
    assert torch.equal(grid.pool(maps), grid.pool(maps.float()))


@pytest.mark.parametrize("sizes", GRIDS)
def test_class_counts_leave_void_out(sizes):
    grid = UnitGrid(*sizes)
    labels = np.random.default_rng(3).choice([0, 1, 2, 3, 4, 255], size=(2, grid.height, grid.width)).astype(np.uint8)
    counts = grid.class_counts(labels, 4)
    assert counts.shape == (2, len(grid), 4)
    assert counts.dtype == np.int64
    for image in range(2):
        for unit, (y, x, h, w) in enumerate(grid.boxes):
            box = labels[image, y : y + h, x : x + w]
            np.testing.assert_array_equal(counts[image, unit], [(box == c).sum() for c in range(4)])


def test_cached_arrays_cannot_be_overwritten():
    with pytest.raises(ValueError, match="read-only"):
        UnitGrid(6, 8, 3, 4).areas[0] = 1


@pytest.mark.parametrize("sizes", [(0, 4, 1, 1), (4, 4, 0, 1), (4, 4, 1, -1), (4.0, 4, 1, 1), (True, 4, 1, 1)])
def test_sizes_below_one_are_refused(sizes):
    with pytest.raises(RalsegError, match="whole numbers of 1 or more"):
        UnitGrid(*sizes)


def test_a_unit_larger_than_the_image_is_refused():
    with pytest.raises(RalsegError, match="larger than the image"):
        UnitGrid(10, 10, 11, 2)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_bad_maps_are_refused(kind):
    grid = UnitGrid(6, 8, 3, 4)
    with pytest.raises(RalsegError, match=r"give \(\.\.\., height, width\)"):
        grid.pool(kind(np.zeros(8)))
    with pytest.raises(RalsegError, match=r"give \(\.\.\., height, width, numbers\)"):
        grid.pool_vectors(kind(np.zeros((6, 8))))
    for bad in (np.nan, np.inf):
        maps = np.zeros((6, 8, 2))
        maps[5, 0, 1] = bad
        with pytest.raises(RalsegError, match="NaN"):
            grid.pool(kind(maps[..., 1]))
        with pytest.raises(RalsegError, match="NaN"):
            grid.pool_vectors(kind(maps))


def test_bad_labels_are_refused():
    grid = UnitGrid(6, 8, 3, 4)
    with pytest.raises(RalsegError, match=r"give uint8 \(\.\.\., 6, 8\)"):
        grid.class_counts(np.zeros((8, 6), np.uint8), 3)
    with pytest.raises(RalsegError, match="int64"):
        grid.class_counts(np.zeros((6, 8), np.int64), 3)
    with pytest.raises(RalsegError, match="256 classes"):
        grid.class_counts(np.zeros((6, 8), np.uint8), 256)
