import numpy as np
import pytest

from ralseg.envs import Pool, draw_candidates
from ralseg.foundation import RalsegError, generator


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
    pool.buy(np.random.default_rng(1).permutation(len(pool))[:labelled])
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
    pool.buy(np.concatenate([taken, elsewhere]))
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
        pool.buy(np.random.default_rng(labelled).permutation(len(pool))[:labelled])
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
        pool.buy(rng.permutation(len(pool))[: 3 * seed])
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
    pool.buy(np.arange(len(pool)))
    for draw in ("clustered", "uniform"):
        assert (draw_candidates(pool, 2, 3, draw, 0, 0) == -1).all()


def test_bad_draws(pool):
    with pytest.raises(RalsegError, match=r"game.draw='greedy' is unknown; choose from clustered, uniform"):
        draw_candidates(pool, 2, 3, "greedy", 0, 0)
    with pytest.raises(RalsegError, match="1 or more, not 0 x 3"):
        draw_candidates(pool, 0, 3, "uniform", 0, 0)
