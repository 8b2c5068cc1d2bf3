from fractions import Fraction

import numpy as np
import pytest
import torch

from ralseg.features import UnitGrid
from ralseg.foundation import RalsegError

# Ragged borders, single pixels, whole images, units that fit.
GRIDS = [(7, 10, 3, 4), (5, 6, 1, 1), (5, 6, 5, 6), (6, 8, 3, 4)]
# The image's own size, coarser, one pixel for all, finer along one side or both.
RESOLUTIONS = ["full", (3, 5), (1, 1), (11, 13), (2, 12)]


def slow_pieces(grid, units, parts):
    """Where each piece of each unit begins and ends, (y, y, x, x) in exact pixels: units in turn, then row by row."""
    found = []
    for unit in units:
        y, x, height, width = grid.boxes[unit].tolist()
        for i in range(parts):
            for j in range(parts):
                rows = (y + Fraction(height * i, parts), y + Fraction(height * (i + 1), parts))
                columns = (x + Fraction(width * j, parts), x + Fraction(width * (j + 1), parts))
                found.append((*rows, *columns))
    return found


def overlaps(grid, piece, h, w):
    """(h, w) exact pixels of a piece that each map pixel covers, one map pixel at a time."""
    top, bottom, left, right = piece
    areas = np.full((h, w), Fraction(0))
    for i in range(h):
        for j in range(w):
            tall = min(bottom, Fraction((i + 1) * grid.height, h)) - max(top, Fraction(i * grid.height, h))
            wide = min(right, Fraction((j + 1) * grid.width, w)) - max(left, Fraction(j * grid.width, w))
            areas[i, j] = max(tall, Fraction(0)) * max(wide, Fraction(0))
    return areas


def size_of(grid, resolution):
    return (grid.height, grid.width) if resolution == "full" else resolution


def some_of(grid):
    """Some units in no order, one of them twice."""
    order = np.random.default_rng(0).permutation(len(grid))[:5]
    return np.append(order, order[0])


@pytest.mark.parametrize("sizes", GRIDS)
@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_all_that_is_pooled_against_exact_overlaps(sizes, resolution, parts, kind):
    grid = UnitGrid(*sizes)
    units, (h, w) = some_of(grid), size_of(grid, resolution)
    areas = [overlaps(grid, piece, h, w) for piece in slow_pieces(grid, units, parts)]
    shares = np.array([(area / area.sum()).astype(float) for area in areas])
    rng = np.random.default_rng(1)
    first, second = (rng.normal(size=(2, h, w, d)).astype(np.float32) for d in (3, 4))
    maps = first[..., 0]
    some = grid.only(units).split(parts)

    assert len(some) == len(units) * parts**2
    np.testing.assert_allclose(some.areas, [float(area.sum()) for area in areas], rtol=1e-12)
    close = {"rtol": 1e-4, "atol": 1e-5}
    expected = np.einsum("phw,bhwd->bpd", shares, first.astype(float))
    np.testing.assert_allclose(kind.back(some.pool_vectors(kind(first))), expected, **close)
    np.testing.assert_allclose(kind.back(some.pool(kind(maps))), expected[..., 0], **close)
    np.testing.assert_allclose(kind.back(some.pool(kind(maps[0]))), expected[0, :, 0], **close)
    products = np.einsum("phw,bhwc,bhwd->bpcd", shares, first.astype(float), second.astype(float))
    found = kind.back(some.pool_products(kind(first), kind(second)))
    np.testing.assert_allclose(found, products.reshape(2, len(some), 12), **close)
    touched = [[image[area > 0].max() for area in areas] for image in maps]
    np.testing.assert_array_equal(kind.back(some.largest(kind(maps))), touched)


@pytest.mark.parametrize("sizes", GRIDS)
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_of_all_units_they_are_what_the_grid_finds(sizes, resolution, kind):
    grid = UnitGrid(*sizes)
    maps = np.random.default_rng(2).normal(size=(2, *size_of(grid, resolution), 3))
    every = grid.only(np.arange(len(grid)))
    np.testing.assert_allclose(every.pool(kind(maps[..., 0])), grid.pool(kind(maps[..., 0])), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(every.pool_vectors(kind(maps)), grid.pool_vectors(kind(maps)), rtol=1e-6, atol=1e-7)
    # In float64 both are exact to its last digits.
    exact = [kind.back(found.average(kind(maps[..., 0])), np.float64) for found in (every, grid)]
    np.testing.assert_allclose(*exact, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(grid.largest(kind(maps[..., 0])), every.largest(kind(maps[..., 0])))
    both = kind(maps), kind(maps[..., :2])
    np.testing.assert_array_equal(grid.pool_products(*both), every.pool_products(*both))
    np.testing.assert_array_equal(grid.split(2).pool(both[0][..., 0]), every.split(2).pool(both[0][..., 0]))


def test_a_units_value_does_not_depend_on_the_others(kind):
    grid = UnitGrid(7, 10, 3, 4)
    maps = kind(np.random.default_rng(3).normal(size=(4, 9)))
    together = grid.only([8, 2, 5])
    for place, unit in enumerate((8, 2, 5)):
        alone = grid.only([unit])
        np.testing.assert_allclose(together.pool(maps)[place], alone.pool(maps)[0], rtol=1e-6)
        assert together.largest(maps)[place] == alone.largest(maps)[0]


def test_pieces_are_numbered_within_their_unit_row_by_row():
    values = np.arange(48.0).reshape(6, 8)
    quarters = UnitGrid(6, 8, 2, 4).only([3, 0]).split(2)
    # Unit 3 covers rows 2 and 3, columns 4 to 7; unit 0 rows 0 and 1, columns 0 to 3.
    assert quarters.pool(values).tolist() == [20.5, 22.5, 28.5, 30.5, 0.5, 2.5, 8.5, 10.5]
    assert quarters.areas.tolist() == [2] * 8


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_pieces_share_the_area_of_their_unit(parts):
    grid = UnitGrid(7, 10, 3, 4)
    np.testing.assert_allclose(grid.split(parts).areas, np.repeat(grid.areas / parts**2, parts**2))


def test_a_mean_of_products_is_not_a_product_of_means():
    first = np.array([[1.0, -1.0]])[..., None]
    some = UnitGrid(1, 2, 1, 2).only([0])
    assert some.pool_products(first, first).tolist() == [[1]]
    assert some.pool_vectors(first).tolist() == [[0]]


def test_single_pixels():
    pixels, regions = UnitGrid.of_pixels(4, 5), UnitGrid(4, 5, 1, 5)
    assert pixels.single_pixels and pixels.only([3]).single_pixels and pixels.only([3]).split(2).single_pixels
    assert not regions.single_pixels and not regions.only([3]).single_pixels
    assert not UnitGrid(4, 5, 4, 1).only([0]).single_pixels
    # An image of one pixel is a pixel, too.
    assert UnitGrid.of_images(1, 1).only([0]).single_pixels


def test_no_units_and_no_maps(kind):
    grid = UnitGrid(7, 10, 3, 4)
    none = grid.only([])
    maps, vectors = kind(np.zeros((2, 4, 5))), kind(np.zeros((2, 4, 5, 3)))
    assert len(none) == 0 and none.areas.shape == (0,)
    assert none.pool(maps).shape == none.largest(maps).shape == (2, 0)
    assert none.pool_vectors(vectors).shape == (2, 0, 3)
    assert none.pool_products(vectors, vectors).shape == (2, 0, 9)
    assert grid.only([1, 2]).pool(kind(np.zeros((0, 4, 5)))).shape == (0, 2)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_loses_nothing_more(half):
    maps = torch.from_numpy(np.random.default_rng(4).normal(size=(3, 5, 7))).to(half)
    some = UnitGrid(6, 8, 4, 4).only([3, 1])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(some.pool(maps), some.pool(maps.float()))
        assert torch.equal(some.pool_products(maps, maps), some.pool_products(maps.float(), maps.float()))


@pytest.mark.parametrize("units", [[9], [-1], [0, 9]])
def test_numbers_out_of_range_are_refused(units):
    with pytest.raises(RalsegError, match=r"there are 9 units, 1 part or more"):
        UnitGrid(7, 10, 3, 4).only(units)


@pytest.mark.parametrize("parts", [0, -1])
def test_no_parts_are_refused(parts):
    with pytest.raises(RalsegError, match=rf"in {parts} parts"):
        UnitGrid(7, 10, 3, 4).split(parts)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_bad_maps_are_refused(kind):
    some = UnitGrid(6, 8, 3, 4).only([1, 3])
    flat, map_ = kind(np.zeros(8)), kind(np.zeros((6, 8)))
    for method in (some.pool, some.average, some.largest):
        with pytest.raises(RalsegError, match=r"give \(\.\.\., height, width\)"):
            method(flat)
    for method in (some.pool_vectors, lambda maps: some.pool_products(maps, maps)):
        with pytest.raises(RalsegError, match=r"give \(\.\.\., height, width, numbers\)"):
            method(map_)
    with pytest.raises(RalsegError, match="cannot be pooled"):
        some.pool(kind(np.zeros((2, 0, 4))))
    for bad in (np.nan, np.inf):
        vectors = np.ones((6, 8, 2))
        vectors[5, 7, 1] = bad
        for damaged in (
            lambda vectors=vectors: some.pool(kind(vectors[..., 1])),
            lambda vectors=vectors: some.pool_vectors(kind(vectors)),
            lambda vectors=vectors: some.pool_products(kind(vectors), kind(np.ones((6, 8, 1)))),
        ):
            with pytest.raises(RalsegError, match="NaN"):
                damaged()
        # Unit 1 does not touch it.
        assert kind.back(UnitGrid(6, 8, 3, 4).only([1]).pool(kind(vectors[..., 1]))) == 1
