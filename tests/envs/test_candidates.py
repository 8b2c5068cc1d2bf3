import numpy as np
import pytest

from ralseg.envs import Pool, draw_candidates
from ralseg.foundation import RalsegError, generator


def buy(pool, units):
    """Ask for units and take in their labels."""
    pool.ask(units)
    pool.buy(units)


@pytest.fixture
def pool(plain_store):
    # 12 images of 6, 12 and 4 units of (2, 2), in turn.
    return Pool(plain_store([np.zeros([(4, 5), (6, 8), (3, 3)][i % 3]) for i in range(12)]), range(12), (2, 2))


def flat(drawn):
    """The draw in the order of priority: one for each slate in turn."""
    order = drawn.T.reshape(-1)
    return order[order >= 0]


@pytest.mark.parametrize("draw", ["clustered", "uniform"])
@pytest.mark.parametrize("labelled", [0, 30, 70])
def test_distinct_unlabelled_units_dealt_evenly(pool, draw, labelled):
    buy(pool, np.random.default_rng(1).permutation(len(pool))[:labelled])
    drawn = draw_candidates(pool, 4, 5, draw, seed=3, step=2)
    assert (drawn.shape, drawn.dtype) == ((4, 5), np.int64)
    units = drawn[drawn >= 0]
    assert len(np.unique(units)) == len(units) == min(20, len(pool) - labelled)
    assert not pool.labelled[units].any()
    filled = (drawn >= 0).sum(1)
    assert filled.max() - filled.min() <= 1
    # What there is fills a slate from its start, and the first slates first.
    assert (np.diff(drawn >= 0, axis=1).astype(int) * (drawn[:, 1:] >= 0) == 0).all()
    assert (np.diff(filled) <= 0).all()


@pytest.mark.parametrize("draw", ["clustered", "uniform"])
def test_a_draw_is_a_function_of_seed_and_step(pool, draw):
    first = draw_candidates(pool, 3, 4, draw, 7, 1)
    np.testing.assert_array_equal(first, draw_candidates(pool, 3, 4, draw, 7, 1))
    for seed, step in ((8, 1), (7, 2)):
        assert (first != draw_candidates(pool, 3, 4, draw, seed, step)).any()


@pytest.mark.parametrize("draw", ["clustered", "uniform"])
def test_priorities_do_not_depend_on_what_is_labelled(pool, draw):
    before = flat(draw_candidates(pool, 4, 5, draw, 5, 0))
    taken = before[[0, 3, 4, 9, 15]]
    elsewhere = np.setdiff1d(np.arange(len(pool)), before)[:10]
    buy(pool, np.concatenate([taken, elsewhere]))
    after = flat(draw_candidates(pool, 4, 5, draw, 5, 0))
    common = np.intersect1d(before, after)
    assert len(common) >= 10
    assert before[np.isin(before, common)].tolist() == after[np.isin(after, common)].tolist()
    if draw == "uniform":
        assert np.isin(np.setdiff1d(before, taken), after).all()


def test_uniform_is_the_first_of_an_order_that_the_seed_gives(pool):
    """The order is found slowly here: the unlabelled units as a stream of numbers first names them."""
    rng = generator(9, "draw", 4)
    order = list(dict.fromkeys(np.concatenate([rng.integers(len(pool), size=k) for k in (25, 50, 100, 2000)]).tolist()))
    assert len(order) == len(pool)
    for labelled in (0, 40, 80):
        pool.reset()
        buy(pool, np.random.default_rng(labelled).permutation(len(pool))[:labelled])
        wanted = [unit for unit in order if not pool.labelled[unit]][:20]
        assert flat(draw_candidates(pool, 4, 5, "uniform", 9, 4)).tolist() == wanted


def test_a_uniform_draw_costs_what_it_offers_and_not_what_the_pool_holds(plain_store, monkeypatch):
    pool = Pool(plain_store([np.zeros((600, 800))] * 8), range(8), "pixel")
    drawn = []

    class Counted(np.random.Generator):
        def integers(self, high, size):
            drawn.append(size)
            return super().integers(high, size=size)

    seeded = np.random.Generator(np.random.PCG64(0)).bit_generator
    monkeypatch.setattr("ralseg.envs.candidates.generator", lambda *_: Counted(seeded))
    draw_candidates(pool, 24, 20, "uniform", 0, 0)
    assert sum(drawn) < 2 * 480


def test_clustered_takes_whole_images_until_they_hold_enough(pool):
    rng = np.random.default_rng(2)
    for seed in range(20):
        pool.reset()
        buy(pool, rng.permutation(len(pool))[: 3 * seed])
        units = flat(draw_candidates(pool, 2, 5, "clustered", seed, 0))
        touched = np.unique(pool.locate(units)[0])
        free = np.array([(~pool.labelled[a:b]).sum() for a, b in zip(pool.offsets, pool.offsets[1:], strict=False)])
        # One image less would not hold K x N units, so all but one are needed.
        assert free[touched].sum() >= 10
        assert free[touched].sum() - free[touched].max() < 10
        assert len(touched) < 6


def test_both_draws_reach_every_unit_about_alike(pool):
    for draw in ("uniform", "clustered"):
        counts = np.zeros(len(pool))
        for seed in range(400):
            counts[flat(draw_candidates(pool, 4, 5, draw, seed, 0))] += 1
        # 8000 draws over 88 units: 91 each; the standard deviation is below 9 (clustered: below 18).
        spread = 9 if draw == "uniform" else 18
        assert np.abs(counts - counts.mean()).max() < 4.5 * spread, draw


def test_pixels_and_images_are_drawn_alike(plain_store):
    store = plain_store([np.zeros((5, 6)), np.zeros((3, 7)), np.zeros((2, 2))])
    images = draw_candidates(Pool(store, range(3), "image"), 2, 2, "clustered", 0, 0)
    assert sorted(images.ravel().tolist()) == [-1, 0, 1, 2]
    pixels = draw_candidates(Pool(store, range(3), "pixel"), 5, 11, "uniform", 0, 0)
    assert sorted(pixels.ravel().tolist()) == list(range(55))


def test_nothing_left(pool):
    buy(pool, np.arange(len(pool)))
    for draw in ("clustered", "uniform"):
        assert (draw_candidates(pool, 2, 3, draw, 0, 0) == -1).all()


def test_bad_draws(pool):
    with pytest.raises(RalsegError, match=r"game.draw='greedy' is unknown; choose from clustered, uniform"):
        draw_candidates(pool, 2, 3, "greedy", 0, 0)
    with pytest.raises(RalsegError, match="1 or more, not 0 x 3"):
        draw_candidates(pool, 0, 3, "uniform", 0, 0)


@pytest.fixture
def holed(plain_store):
    """Labels of the pool's sizes with void: scattered units, most of some images, two whole images."""
    rng = np.random.default_rng(4)
    labels = [rng.integers(0, 3, [(4, 5), (6, 8), (3, 3)][i % 3]).astype(np.uint8) for i in range(12)]
    for number, label in enumerate(labels):
        units = rng.random((-(-label.shape[0] // 2), -(-label.shape[1] // 2))) < (1 if number in (1, 5) else 0.25)
        label[units.repeat(2, 0).repeat(2, 1)[: label.shape[0], : label.shape[1]]] = 255
    return plain_store(labels)


def void_of(pool):
    """(units,) bool by hand."""
    labels = dict(zip(pool.store.names, pool.store.labels, strict=True))
    records = pool.records(np.arange(len(pool)))
    return np.array([(labels[name][y : y + h, x : x + w] == 255).all() for name, y, x, h, w in records])


DRAWN = [("clustered", None), ("uniform", None), ("pool", None), ("pool", 2)]


@pytest.mark.parametrize(("draw", "per_image"), DRAWN)
@pytest.mark.parametrize("offer_void", [False, True])
def test_a_draw_is_the_same_whatever_was_looked_at_before(holed, draw, per_image, offer_void):
    rng = np.random.default_rng(5)
    for seed in range(12):
        bought = rng.permutation(88)[: rng.integers(60)]
        drawn = []
        for before in ([], [3], rng.permutation(12)[:6], np.arange(12)):
            pool = Pool(holed, range(12), (2, 2), offer_void)
            pool.look(np.array(before, np.int64))
            buy(pool, bought)
            drawn.append(draw_candidates(pool, 4, 5, draw, seed, 1, per_image))
            # A second draw of the same pool knows what the first has looked at.
            drawn.append(draw_candidates(pool, 4, 5, draw, seed, 1, per_image))
        assert all(other.tolist() == drawn[0].tolist() for other in drawn)
        units = drawn[0][drawn[0] >= 0]
        closed = void_of(pool) & (not offer_void)
        closed[bought] = True
        assert len(np.unique(units)) == len(units) and not closed[units].any()
        if draw != "pool":
            assert len(units) == min(20, (~closed).sum())


def slow_clustered(pool, void, wanted, seed, step):
    """The definition: images at random until they hold enough open units, of which the first by priority."""
    found = {}
    for place in generator(seed, "draw", step).permutation(len(pool.images)).tolist():
        units = range(pool.offsets[place], pool.offsets[place + 1])
        priority = generator(seed, "draw", step, "image", place).random(len(units))
        found |= {u: p for u, p in zip(units, priority, strict=True) if not (pool.labelled[u] or void[u])}
        if len(found) >= wanted:
            break
    return sorted(found, key=found.get)[:wanted]


def slow_uniform(pool, void, wanted, seed, step):
    """The definition: open units as a stream of numbers first names them."""
    rng = generator(seed, "draw", step)
    stream = np.concatenate([rng.integers(len(pool), size=k) for k in (wanted + wanted // 4, *[2000] * 3)])
    return [u for u in dict.fromkeys(stream.tolist()) if not (pool.labelled[u] or void[u])][:wanted]


@pytest.mark.parametrize(("draw", "slow"), [("clustered", slow_clustered), ("uniform", slow_uniform)])
@pytest.mark.parametrize("offer_void", [False, True])
def test_draws_are_those_of_their_definition(holed, draw, slow, offer_void):
    """Where nothing is void or void is offered, that is the definition of before units could be void."""
    pool = Pool(holed, range(12), (2, 2), offer_void)
    void = void_of(pool) & (not offer_void)
    assert void.any() == (not offer_void)
    for seed, labelled in ((0, 0), (1, 20), (2, 45), (3, 80), (4, 88)):
        pool.reset()
        buy(pool, np.random.default_rng(seed).permutation(len(pool))[:labelled])
        assert flat(draw_candidates(pool, 4, 5, draw, seed, 3)).tolist() == slow(pool, void, 20, seed, 3)


def test_a_clustered_draw_looks_at_the_images_that_it_takes_from(holed):
    pool = Pool(holed, range(12), (2, 2), offer_void=False)
    drawn = flat(draw_candidates(pool, 1, 5, "clustered", 0, 0))
    images = generator(0, "draw", 0).permutation(12)
    assert set(holed.read) == set(images[: len(holed.read)].tolist()) >= set(pool.locate(drawn)[0].tolist())
    assert len(holed.read) < 6


@pytest.mark.parametrize("per_image", [1, 2, 3, 7, 100])
def test_a_whole_pool_has_at_most_so_many_units_of_each_image(holed, per_image):
    pool = Pool(holed, range(12), (2, 2), offer_void=False)
    void, every = void_of(pool), []
    for seed in range(30):
        drawn = draw_candidates(pool, 3, 1, "pool", seed, 0, per_image)
        assert drawn.dtype == np.int64 and drawn.shape == (1, drawn.size)
        units = drawn[0]
        counts = np.bincount(pool.locate(units)[0], minlength=12)
        open_ = np.array([(~void[a:b]).sum() for a, b in zip(pool.offsets, pool.offsets[1:], strict=False)])
        assert counts.tolist() == np.minimum(open_, per_image).tolist()
        assert (np.diff(units) > 0).all() and not void[units].any()
        every.append(units)
    # Any of them alike: with 2 of 12 and 30 seeds each has had its turn.
    if per_image == 3:
        assert set(np.concatenate(every).tolist()) == set(np.flatnonzero(~void).tolist())
    # Another step is another draw, but for what is taken whole.
    assert (per_image >= 12) == (draw_candidates(pool, 3, 1, "pool", 0, 1, per_image).tolist() == [every[0].tolist()])


@pytest.mark.parametrize("per_image", [1, 3, 100])
def test_once_for_a_game_the_same_are_on_offer_until_they_are_bought(holed, per_image):
    pool = Pool(holed, range(12), (2, 2), offer_void=False)
    void, every = void_of(pool), []
    for seed in range(30):
        pool.reset()
        first = draw_candidates(pool, 3, 1, "pool", seed, 0, per_image, "game")[0]
        counts = np.bincount(pool.locate(first)[0], minlength=12)
        open_ = np.array([(~void[a:b]).sum() for a, b in zip(pool.offsets, pool.offsets[1:], strict=False)])
        assert counts.tolist() == np.minimum(open_, per_image).tolist()
        assert (np.diff(first) > 0).all() and not void[first].any()
        buy(pool, first[1::3])
        later = draw_candidates(pool, 3, 1, "pool", seed, 5, per_image, "game")[0]
        assert later.tolist() == np.delete(first, np.s_[1::3]).tolist()
        every.append(first)
    assert len({tuple(drawn) for drawn in every}) == (1 if per_image == 100 else 30)
    if per_image > 1:
        assert set(np.concatenate(every).tolist()) == set(np.flatnonzero(~void).tolist())


def test_a_pool_without_a_limit_is_all_that_is_open(holed):
    pool = Pool(holed, range(12), (2, 2), offer_void=False)
    void = void_of(pool)
    assert draw_candidates(pool, 3, 1, "pool", 0, 0)[0].tolist() == np.flatnonzero(~void).tolist()
    buy(pool, np.flatnonzero(~void)[::2])
    assert draw_candidates(pool, 3, 1, "pool", 0, 1)[0].tolist() == np.flatnonzero(~void)[1::2].tolist()


@pytest.mark.parametrize(("draw", "per_image"), DRAWN)
@pytest.mark.parametrize("offer_void", [False, True])
def test_turn_by_turn_all_is_bought_and_then_nothing_is_drawn(holed, draw, per_image, offer_void):
    pool = Pool(holed, range(12), (2, 2), offer_void)
    void = void_of(pool) & (not offer_void)
    for step in range(100):
        drawn = draw_candidates(pool, 3, 2, draw, 6, step, per_image)
        units = drawn[drawn >= 0]
        if not len(units):
            break
        buy(pool, units)
    assert pool.labelled.tolist() == (~void).tolist()
    assert drawn.shape == ((1, 0) if draw == "pool" else (3, 2))


@pytest.mark.parametrize(("draw", "per_image"), DRAWN)
def test_a_pool_of_nothing_but_void(plain_store, draw, per_image):
    pool = Pool(plain_store([np.full((4, 4), 255)] * 3), range(3), (2, 2), offer_void=False)
    assert (draw_candidates(pool, 2, 2, draw, 0, 0, per_image) >= 0).sum() == 0
    assert pool.free.tolist() == [0, 0, 0]


def test_single_void_pixels_are_never_offered(plain_store):
    label = np.random.default_rng(6).choice([0, 1, 255], size=(30, 40)).astype(np.uint8)
    for draw, per_image in DRAWN:
        pool = Pool(plain_store([label]), [0], "pixel", offer_void=False)
        drawn = draw_candidates(pool, 20, 60, draw, 0, 0, per_image)
        units = drawn[drawn >= 0]
        assert (label.ravel()[units] != 255).all()
        assert len(units) == (per_image or (label != 255).sum())
