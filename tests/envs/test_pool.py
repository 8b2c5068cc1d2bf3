from itertools import pairwise

import numpy as np
import pytest

from ralseg.envs import GroundTruth, Pool
from ralseg.foundation import RalsegError

SIZES = [(7, 9), (6, 4), (7, 9), (3, 5)]


@pytest.fixture
def store(plain_store):
    rng = np.random.default_rng(0)
    return plain_store([rng.integers(0, 3, size) for size in SIZES])


def slow_units(sizes, unit):
    """(image, y, x, height, width) of every unit, by hand."""
    rows = []
    for place, (height, width) in enumerate(sizes):
        step = {"image": (height, width), "pixel": (1, 1)}.get(unit, unit)
        for y in range(0, height, step[0]):
            for x in range(0, width, step[1]):
                rows.append((place, y, x, min(step[0], height - y), min(step[1], width - x)))
    return rows


@pytest.mark.parametrize("unit", ["image", "pixel", (3, 4), (2, 2), (100, 2), [3, 4]])
def test_units_of_ragged_images(store, unit):
    images = [3, 0, 1]
    pool = Pool(store, images, unit)
    expected = slow_units([SIZES[i] for i in images], tuple(unit) if isinstance(unit, list) else unit)
    assert len(pool) == len(expected)
    assert pool.areas(np.arange(len(pool))).tolist() == [h * w for *_, h, w in expected]
    assert pool.pixels == sum(h * w for *_, h, w in expected)
    places, local = pool.locate(np.arange(len(pool)))
    assert places.tolist() == [row[0] for row in expected]
    names = [(store.names[images[place]], *box) for place, *box in expected]
    assert pool.records(np.arange(len(pool))) == names
    for place, image in enumerate(images):
        np.testing.assert_array_equal(local[places == place], np.arange(len(pool.grid(image))))
        assert pool.offsets[place + 1] - pool.offsets[place] == len(pool.grid(image))


def test_units_by_image(store):
    pool = Pool(store, [3, 0, 1], (3, 4))
    units = np.random.default_rng(1).permutation(len(pool))[:9]
    order, images, local = pool.by_image(units)
    assert sorted(order.tolist()) == list(range(9))
    found = [(pool.images.tolist().index(i), u) for i, part in zip(images, local, strict=True) for u in part]
    assert found == [tuple(pair) for pair in np.transpose(pool.locate(units[order])).tolist()]
    assert len(set(images)) == len(images)
    assert [part if isinstance(part, list) else part.tolist() for part in pool.by_image(units[:0])] == [[], [], []]


def test_images_of_one_size_share_a_grid(store):
    pool = Pool(store, [0, 1, 2], (3, 4))
    assert pool.grid(0) is pool.grid(2)
    assert pool.grid(0) is not pool.grid(1)


def test_history(store):
    pool = Pool(store, [0, 1], (3, 4))
    assert pool.bought.tolist() == []
    pool.buy(np.array([4, 1]))
    pool.buy(np.array([], np.int64))
    pool.buy(np.array([8]))
    assert [turn.tolist() for turn in pool.history] == [[4, 1], [], [8]]
    assert pool.bought.tolist() == [4, 1, 8]
    assert np.flatnonzero(pool.labelled).tolist() == [1, 4, 8]
    assert pool.free.tolist() == [(~pool.labelled[a:b]).sum() for a, b in pairwise(pool.offsets)]
    assert pool.free.sum() == len(pool) - 3
    pool.reset()
    assert (pool.labelled.any(), pool.history) == (False, [])
    assert pool.free.tolist() == np.diff(pool.offsets).tolist()


@pytest.mark.parametrize("units", [[1, 2], [3, 3]])
def test_a_label_is_bought_once(store, units):
    pool = Pool(store, [0], (3, 4))
    pool.buy(np.array([2]))
    with pytest.raises(RalsegError, match=f"unit {2 if 2 in units else 3} is labelled already"):
        pool.buy(np.array(units))
    assert pool.bought.tolist() == [2]


@pytest.mark.parametrize("unit", [-1, 9])
def test_units_outside(store, unit):
    pool = Pool(store, [0], (3, 4))
    with pytest.raises(RalsegError, match=f"unit {unit} is not in the pool of 9 units"):
        pool.buy(np.array([unit]))


@pytest.mark.parametrize("images", [[], [1, 1]])
def test_images_once(store, images):
    with pytest.raises(RalsegError, match="one image or more, each once"):
        Pool(store, images, "image")


@pytest.mark.parametrize("unit", ["regions", (3,), (0, 4), (2.5, 3), (3, 4, 5), 5, ["a", "b"], None])
def test_unknown_units(store, unit):
    with pytest.raises(RalsegError, match=r"unit=.* is unknown; give image, pixel, or a height and a width"):
        Pool(store, [0], unit)


def test_ground_truth_is_the_label(store):
    oracle = GroundTruth(store)
    np.testing.assert_array_equal(oracle.reveal(2, (1, 3, 4, 2)), store.label(2)[1:5, 3:5])
