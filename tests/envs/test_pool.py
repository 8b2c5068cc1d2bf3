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


def bought(pool, units):
    """Ask for units and take in their labels."""
    units = np.array(units, np.int64)
    pool.ask(units)
    pool.buy(units)


def test_history(store):
    pool = Pool(store, [0, 1], (3, 4))
    assert pool.bought.tolist() == []
    for units in ([4, 1], [], [8]):
        bought(pool, units)
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
    bought(pool, [2])
    with pytest.raises(RalsegError, match=f"unit {2 if 2 in units else 3} was asked for already"):
        pool.ask(np.array(units))
    assert pool.bought.tolist() == [2] and np.flatnonzero(pool.asked).tolist() == [2]


@pytest.mark.parametrize("units", [[2], [3], [4, 4]])
def test_only_what_was_asked_for_is_bought_and_once(store, units):
    pool = Pool(store, [0], (3, 4))
    bought(pool, [2])
    pool.ask(np.array([4]))
    with pytest.raises(RalsegError, match="are labelled already or were never asked for"):
        pool.buy(np.array(units))
    assert pool.bought.tolist() == [2]


def test_what_was_asked_for_is_not_open_until_it_is_withdrawn(store):
    pool = Pool(store, [0, 1], (3, 4))
    pool.ask(np.array([4, 1, 9]))
    assert not pool.open(np.array([4, 1, 9])).any() and pool.free.sum() == len(pool) - 3
    assert not pool.labelled.any() and pool.unlabelled_images == [0, 1]
    pool.buy(np.array([1]))
    pool.withdraw(np.array([4, 9]))
    assert pool.open(np.array([4, 1, 9])).tolist() == [True, False, True] and pool.free.sum() == len(pool) - 1
    rest = np.setdiff1d(np.arange(9), [1])
    pool.ask(rest)
    assert pool.unlabelled_images == [0, 1]
    pool.buy(rest)
    assert pool.unlabelled_images == [1]
    pool.reset()
    assert pool.unlabelled_images == [0, 1] and pool.free.sum() == len(pool)


@pytest.mark.parametrize("unit", ["image", "pixel", (3, 4), (2, 2), (100, 2)])
def test_records_name_units_and_are_found_again(store, unit):
    pool = Pool(store, [3, 0, 1], unit)
    units = np.random.default_rng(4).permutation(len(pool))[:20]
    np.testing.assert_array_equal(pool.find(pool.records(units)), units)
    assert pool.find([]).tolist() == []


@pytest.mark.parametrize(
    "record", [("elsewhere", 0, 0, 3, 4), ("image_0", 0, 1, 3, 4), ("image_0", 0, 0, 3, 3), ("image_0", 9, 0, 3, 4)]
)
def test_a_record_of_another_pool_is_refused(store, record):
    with pytest.raises(RalsegError, match="is not a unit of this pool; its images or the unit size differ"):
        Pool(store, [0, 1], (3, 4)).find([record])


@pytest.mark.parametrize("unit", [-1, 9])
def test_units_outside(store, unit):
    pool = Pool(store, [0], (3, 4))
    with pytest.raises(RalsegError, match=f"unit {unit} is not in the pool of 9 units"):
        pool.ask(np.array([unit]))


@pytest.mark.parametrize("images", [[], [1, 1]])
def test_images_once(store, images):
    with pytest.raises(RalsegError, match="one or more images, each once"):
        Pool(store, images, "image")


@pytest.mark.parametrize("unit", ["regions", (3,), (0, 4), (2.5, 3), (3, 4, 5), 5, ["a", "b"], None])
def test_unknown_units(store, unit):
    with pytest.raises(RalsegError, match=r"unit=.* is unknown; give region, image, pixel, or a height and a width"):
        Pool(store, [0], unit)


def test_ground_truth_is_the_label(store):
    first, second = GroundTruth(store).answer([("image_2", 1, 3, 4, 2), ("image_0", 0, 0, 1, 2)])
    np.testing.assert_array_equal(first, store.label(2)[1:5, 3:5])
    np.testing.assert_array_equal(second, store.label(0)[:1, :2])


@pytest.fixture
def holed(plain_store):
    """Labels with void: single pixels, whole units of (3, 4), a whole image; an unlabelled id is void, too."""
    rng = np.random.default_rng(2)
    labels = [rng.integers(0, 3, size).astype(np.uint8) for size in SIZES]
    for label in labels:
        label[rng.random(label.shape) < 0.1] = 255
    labels[0][:3, :5] = 255
    labels[0][6:, 8:] = 3
    labels[2][3:, :] = 255
    labels[2][4, 0] = 2
    labels[3][:] = 255
    return plain_store(labels)


def slow_void(store, pool, images):
    """(units,) bool, cut out of the labels one unit at a time; units of other images are not known to be void."""
    named = {store.names[i]: store.labels[i] for i in images}
    return np.array(
        [name in named and (named[name][y : y + h, x : x + w] > 2).all() for name, y, x, h, w in records_of(pool)]
    )


def records_of(pool):
    return pool.records(np.arange(len(pool)))


def free_of(pool):
    return [int((~pool.asked & ~pool.void)[a:b].sum()) for a, b in pairwise(pool.offsets)]


@pytest.mark.parametrize("unit", ["image", "pixel", (3, 4), (2, 2), (100, 2)])
def test_looking_finds_wholly_void_units_image_by_image(holed, unit):
    pool = Pool(holed, [2, 0, 3, 1], unit, offer_void=False)
    assert not pool.void.any() and pool.free.tolist() == np.diff(pool.offsets).tolist()
    for looked in ([1], [1, 2], [0, 1, 2, 3]):
        pool.look(np.array(looked))
        expected = slow_void(holed, pool, pool.images[looked])
        assert pool.void.tolist() == expected.tolist()
        assert pool.free.tolist() == free_of(pool)
    assert pool.void.sum() == {"image": 1}.get(unit, pool.void.sum()) and pool.void.any() and not pool.void.all()
    assert pool.open(slice(None)).tolist() == (~expected).tolist()
    assert pool.open(np.array([3, 0])).tolist() == [not expected[3], not expected[0]]
    assert holed.read == dict.fromkeys(range(4), 1)
    units = np.flatnonzero(~expected)[:2]
    bought(pool, units)
    assert not pool.open(units).any() and pool.free.tolist() == free_of(pool)
    pool.reset()
    # What is void stays known.
    assert pool.void.tolist() == expected.tolist() and pool.free.tolist() == free_of(pool)
    pool.look(np.arange(4))
    assert sum(holed.read.values()) == 4 and pool.free.tolist() == free_of(pool)


def test_free_units_are_counted_right_whatever_was_bought_before_looking(holed):
    pool = Pool(holed, [0, 2], (3, 4), offer_void=False)
    # Units 0 and 8 of the first image are void, 1 is not; 9 is the first of the second image.
    bought(pool, [0, 1, 9])
    pool.look(np.array([0, 0, 1]))
    assert pool.void[[0, 1, 8]].tolist() == [True, False, True]
    assert pool.free.tolist() == free_of(pool)
    # A void unit that is bought all the same was not free.
    bought(pool, [2, 8])
    assert pool.free.tolist() == free_of(pool)
    pool.reset()
    assert pool.free.tolist() == free_of(pool) == [9 - pool.void[:9].sum(), 9 - pool.void[9:].sum()]


def test_void_may_be_offered(holed):
    pool = Pool(holed, [0, 2], "pixel")
    pool.look(np.arange(2))
    assert not pool.void.any() and not holed.read
    assert pool.open(slice(None)).all() and pool.free.tolist() == [63, 63]


@pytest.mark.parametrize("unit", ["image", "pixel", (3, 4), (2, 2), (100, 2)])
def test_boxes_areas_and_records_agree(store, unit):
    pool = Pool(store, [3, 0, 1], unit)
    units = np.random.default_rng(3).integers(len(pool), size=20)
    boxes = pool.boxes(units)
    assert (boxes.shape, boxes.dtype) == ((20, 4), np.int64)
    places, local = pool.locate(units)
    of_grids = [pool.grid(int(i)).boxes[unit] for i, unit in zip(pool.images[places], local, strict=True)]
    np.testing.assert_array_equal(boxes, of_grids)
    np.testing.assert_array_equal(pool.areas(units), boxes[:, 2] * boxes[:, 3])
    assert pool.records(units) == [
        (store.names[pool.images[place]], *box) for place, box in zip(places, boxes.tolist(), strict=True)
    ]
    assert pool.boxes(units[:0]).shape == (0, 4) and pool.areas(units[:0]).tolist() == pool.records(units[:0]) == []
