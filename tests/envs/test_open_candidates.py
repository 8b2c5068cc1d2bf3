from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from ralseg.agents.acquisitions import Reducer, make
from ralseg.agents.acquisitions.embeddings import GRADIENT, embedding_reducer
from ralseg.agents.acquisitions.reducers import PREDICTED_SHARES
from ralseg.envs import Candidates, World
from ralseg.envs.observer import STATE_UNITS
from ralseg.envs.open_candidates import IMAGES_AT_ONCE
from ralseg.envs.reducers import predicted
from ralseg.foundation import RalsegError

UNITS, IMAGES = 6, 40
"""Images of so many units: unit u is of image u // UNITS."""


class Source:
    """A game of made-up rows that keeps account of what it is asked."""

    def __init__(self, bought=(), damaged=None):
        self.bought = np.array(bought, np.int64)
        self.rows = {"a": np.arange(UNITS * IMAGES) + 0.5, "b": np.arange(UNITS * IMAGES * 2.0).reshape(-1, 2)}
        if damaged is not None:
            self.rows["a"][damaged] = np.nan
        self.reduced, self.states = [], []

    def reduce_candidates(self, units, reducers, observed=False):
        self.reduced.append(units.tolist())
        assert not observed
        return {reducer.name: self.rows[reducer.name][units] for reducer in reducers} if len(units) else {}

    def reduce_state(self, reducers):
        self.states.append([reducer.name for reducer in reducers])
        return {reducer.name: -self.rows[reducer.name][:3] - 1 for reducer in reducers}

    def images_of(self, units):
        return units // UNITS

    def groups_of(self, units):
        return units // UNITS % 2

    def boxes_of(self, units):
        return np.stack([units, units, 0 * units + 2, units % 3 + 1], axis=1)

    def true_counts(self, units):
        return np.stack([units, 2 * units], axis=1)


def announced(name, labelled=False):
    return SimpleNamespace(name=name, noise=None, labelled=labelled)


A, B, A_LABELLED, B_LABELLED = announced("a"), announced("b"), announced("a", True), announced("b", True)


def candidates_of(source, units, reducers=(A, B), slates=None):
    units = np.array(units, np.int64)
    slates = None if slates is None else np.array(slates)
    return Candidates(source, units, slates, np.arange(len(units)), 2, np.zeros(2, np.int64), reducers)


def test_what_the_source_knows_without_a_prediction():
    source = Source()
    candidates = candidates_of(source, [13, 2, 7], slates=[0, 0, 1])
    assert len(candidates) == 3
    assert candidates.images.tolist() == [2, 0, 1] and candidates.groups.tolist() == [0, 0, 1]
    assert candidates.boxes.tolist() == [[13, 13, 2, 2], [2, 2, 2, 3], [7, 7, 2, 2]]
    assert candidates.areas.tolist() == [4, 6, 4]
    assert candidates.true_counts.tolist() == [[13, 26], [2, 4], [7, 14]]
    taken = candidates.take(np.array([2, 0]))
    assert (taken.units.tolist(), taken.slates.tolist(), taken.places.tolist()) == ([7, 13], [1, 0], [2, 0])
    assert taken.choices == 2
    assert source.reduced == source.states == []


def test_rows_are_computed_once_whoever_asks():
    source = Source()
    candidates = candidates_of(source, [13, 2, 7])
    assert candidates.reduced("a").tolist() == [13.5, 2.5, 7.5]
    assert candidates.reduced("b").tolist() == [[26, 27], [4, 5], [14, 15]]
    taken = candidates.take(np.array([2, 0]))
    assert taken.reduced("a").tolist() == [7.5, 13.5]
    assert taken.take(np.array([1])).unslated().reduced("b").tolist() == [[26, 27]]
    candidates.compute()
    assert source.reduced == [[13, 2, 7]]


def test_what_is_taken_first_computes_its_own_rows_alone():
    source = Source()
    candidates = candidates_of(source, [13, 2, 7])
    assert candidates.take(np.array([1])).reduced("a").tolist() == [2.5]
    assert source.reduced == [[2]]


def test_unslated_are_the_same_candidates_in_one_slate():
    source = Source()
    candidates = candidates_of(source, [13, 2, 7], slates=[0, 0, 1])
    every = candidates.unslated()
    assert every.slates is None and candidates.slates.tolist() == [0, 0, 1]
    assert every.units.tolist() == [13, 2, 7]
    assert every.reduced("a").tolist() == candidates.reduced("a").tolist()
    assert source.reduced == [[13, 2, 7]]


def test_labelled_are_those_bought_in_their_order_and_then_those_of_the_state_set():
    source = Source(bought=[20, 3])
    candidates = candidates_of(source, [13, 2], (A_LABELLED, B))
    assert candidates.reduced("a").tolist() == [13.5, 2.5]
    assert source.reduced == [[13, 2, 20, 3]] and source.states == []
    assert candidates.labelled("a").tolist() == [20.5, 3.5, -1.5, -2.5, -3.5]
    assert candidates.take(np.array([1])).labelled("a").tolist() == candidates.labelled("a").tolist()
    # D_S is asked for what is wanted of it, once.
    assert source.states == [["a"]] and len(source.reduced) == 1


def test_nothing_bought_yet():
    source = Source()
    candidates = candidates_of(source, [13, 2], (A_LABELLED, B_LABELLED))
    assert candidates.labelled("b").tolist() == [[-1, -2], [-3, -4], [-5, -6]]
    assert source.reduced == [[13, 2]]


def test_where_no_reducer_wants_labelled_units_none_are_looked_at():
    source = Source(bought=[20, 3])
    candidates = candidates_of(source, [13, 2])
    assert candidates.labelled("b").shape == (0, 2)
    assert source.reduced == [[13, 2]] and source.states == [[]]


def test_what_was_not_announced_is_refused():
    candidates = candidates_of(Source(), [13, 2], [A])
    for look in (candidates.reduced, candidates.labelled):
        with pytest.raises(RalsegError, match="the view holds no 'b'; announce its reducer in the acquisition"):
            look("b")


def test_nan_is_refused():
    with pytest.raises(RalsegError, match="'a' of a candidate is NaN; the network's prediction is damaged"):
        candidates_of(Source(damaged=2), [13, 2]).reduced("a")
    # Those that are not damaged are there.
    assert candidates_of(Source(damaged=2), [13, 3]).reduced("a").tolist() == [13.5, 3.5]
    source = Source(bought=[20], damaged=20)
    candidates = candidates_of(source, [13], [A_LABELLED])
    assert candidates.reduced("a").tolist() == [13.5]
    with pytest.raises(RalsegError, match="'a' of a candidate is NaN"):
        candidates.labelled("a")


def highest(count):
    """Keeps the candidates of the highest `a` of each image; notes what it was shown."""
    shown = []

    def choose(image):
        shown.append((image.units.tolist(), image.labelled("a").tolist() if image._reducers[0].labelled else None))
        assert len(np.unique(image.images)) == 1
        assert image.reduced("a").tolist() == [unit + 0.5 for unit in image.units]
        return np.argsort(-image.reduced("a"))[:count]

    return choose, shown


@pytest.fixture
def shuffled():
    """Candidates of all images but the last two, in no order; bought are units of the first one, of two others, and of
    the last."""
    order = np.random.default_rng(0).permutation(UNITS * (IMAGES - 2))
    bought = [UNITS * IMAGES - 1, 3, 15, 1, 2]
    return [unit for unit in order.tolist() if unit not in bought], bought


@pytest.mark.parametrize("computed", [False, True])
def test_narrowed_image_by_image(shuffled, computed):
    units, bought = shuffled
    source = Source(bought)
    candidates = candidates_of(source, units, (A_LABELLED, B), slates=np.array(units) % 4)
    if computed:
        candidates.compute()
        source.reduced.clear()
    choose, shown = highest(2)
    narrowed = candidates.narrowed(choose)

    # Every image that has candidates is shown, with what was bought in it.
    own = {i: [u for u in units if u // UNITS == i] for i in range(IMAGES)}
    expected = [(own[i], [u + 0.5 for u in bought if u // UNITS == i]) for i in own if own[i]]
    assert shown == expected
    kept = {u for found in own.values() for u in sorted(found)[-2:]}
    assert narrowed.units.tolist() == [u for u in units if u in kept]
    assert narrowed.slates.tolist() == [u % 4 for u in narrowed.units]
    assert narrowed.places.tolist() == [units.index(u) for u in narrowed.units]

    # Each image passes once, a few together; nothing passes again for what is asked of those that are kept.
    if computed:
        assert source.reduced == []
    else:
        passed = [sorted({u // UNITS for u in chunk}) for chunk in source.reduced]
        images = [i for chunk in passed for i in chunk]
        assert images == sorted({u // UNITS for u in [*units, *bought]})
        assert [len(chunk) for chunk in passed] == [IMAGES_AT_ONCE, IMAGES_AT_ONCE, len(images) - 2 * IMAGES_AT_ONCE]
        assert sorted(u for chunk in source.reduced for u in chunk) == sorted([*units, *bought])
    passes = len(source.reduced)
    assert narrowed.reduced("a").tolist() == [u + 0.5 for u in narrowed.units]
    assert narrowed.reduced("b")[:, 1].tolist() == [2 * u + 1 for u in narrowed.units]
    assert narrowed.labelled("a").tolist() == [*(u + 0.5 for u in bought), -1.5, -2.5, -3.5]
    assert (len(source.reduced), source.states) == (passes, [["a"]])
    # The candidates themselves are as they were.
    assert candidates.units.tolist() == units


def test_what_was_narrowed_can_be_narrowed_again(shuffled):
    units, bought = shuffled
    source = Source(bought)
    once = candidates_of(source, units, (A_LABELLED, B)).narrowed(highest(3)[0])
    passes = len(source.reduced)
    choose, shown = highest(1)
    twice = once.narrowed(choose)
    assert {unit // UNITS: labelled for (unit, *_), labelled in shown} == {
        i: [u + 0.5 for u in bought if u // UNITS == i] for i in range(IMAGES - 2)
    }
    largest = {max(u for u in units if u // UNITS == i) for i in range(IMAGES - 2)}
    assert twice.units.tolist() == [u for u in units if u in largest]
    assert twice.reduced("a").tolist() == [u + 0.5 for u in twice.units]
    assert twice.labelled("a").tolist() == [*(u + 0.5 for u in bought), -1.5, -2.5, -3.5]
    assert len(source.reduced) == passes


def test_narrowed_without_labelled_units(shuffled):
    units, bought = shuffled
    source = Source(bought)
    narrowed = candidates_of(source, units).narrowed(highest(2)[0])
    assert sorted(u for chunk in source.reduced for u in chunk) == sorted(units)
    assert narrowed.labelled("b").shape == (0, 2) and len(narrowed) == 2 * (IMAGES - 2)


def test_narrowed_to_nothing_and_of_nothing():
    none = candidates_of(Source([3]), [], (A_LABELLED,)).narrowed(lambda image: 1 / 0)
    assert len(none) == 0 and none.labelled("a").tolist() == [3.5, -1.5, -2.5, -3.5]
    assert len(candidates_of(Source(), []).narrowed(lambda image: 1 / 0)) == 0
    left = candidates_of(Source(), [13, 2], (A,)).narrowed(lambda image: np.empty(0, np.int64))
    assert (len(left), left.reduced("a").tolist()) == (0, [])


def test_equals_of_all_images_have_the_same_chance_after_a_stage_image_by_image():
    """The first of equals wins: in the order of images those of the first ones would."""
    stages = [{"by": "random", "per_image": 3}, {"by": "random"}]
    counts = np.zeros(IMAGES)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        candidates = candidates_of(Source(), rng.permutation(UNITS * IMAGES), ())
        np.add.at(counts, candidates.images[make("stages", stages=stages).select(candidates, 4, rng)], 1)
    # 800 choices of 40 images: 20 each, with a standard deviation of 4.4.
    assert counts.sum() == 800 and np.abs(counts - 20).max() < 4.5 * 4.4


# From here on, games.

REDUCERS = {
    **{f"entropy {how}": make("entropy", reduction=how).needs[0] for how in ("mean", "sum", "max")},
    **{name: make(name).needs[0] for name in ("margin", "ripu", "edald", "equal")},
    "as_released": make("entropy", as_released=True).needs[0],
    "shares": PREDICTED_SHARES,
    "embedding": embedding_reducer("mean"),
    "2x2": embedding_reducer("2x2"),
    "gradient": GRADIENT,
}


@pytest.fixture(scope="module")
def pixel_game(ragged):
    """A game of pixels on images of two sizes, with the whole pool on offer."""
    game = World(ragged("game.unit=pixel", "game.draw=pool", "features=compact")).game("train")
    game.reset(0)
    return game


@pytest.fixture(scope="module")
def region_game(ragged):
    """A game of regions that do not divide their images."""
    game = World(ragged("game.unit=[7,9]", "game.draw=pool", "features=compact")).game("train")
    game.reset(0)
    return game


def ways(game, monkeypatch, units, reducer):
    """Rows of some units where nothing is computed for others, where it is, and out of the rows of all units."""
    found = [{}, {}]
    for way, few in zip(found, (0, np.inf), strict=True):
        monkeypatch.setattr("ralseg.envs.reducers.FEW", few)
        way |= game.reduce_candidates(units, [reducer])
    every = game.reduce_candidates(np.arange(len(game.pool)), [reducer])
    return *found, {name: rows[units] for name, rows in every.items()}


def some_units(game, of_each, seed=0):
    rng, of_images = np.random.default_rng(seed), pairwise(game.pool.offsets)
    return rng.permutation(np.concatenate([rng.choice(np.arange(a, b), of_each, replace=False) for a, b in of_images]))


@pytest.mark.parametrize("name", REDUCERS)
@pytest.mark.parametrize("unit", ["region", "pixel"])
def test_rows_of_some_units_are_those_out_of_all_rows(request, monkeypatch, unit, name):
    game = request.getfixturevalue(f"{unit}_game")
    units = some_units(game, 5)
    few, many, every = ways(game, monkeypatch, units, REDUCERS[name])
    assert list(few) == list(many) == list(every) == [REDUCERS[name].name]
    (few, many, every) = (rows[REDUCERS[name].name] for rows in (few, many, every))
    assert len(few) == len(units) and few.std(axis=0).max() > 0
    np.testing.assert_array_equal(many, every)
    np.testing.assert_allclose(few, every, rtol=1e-4, atol=1e-5)


class Grids:
    """A reducer that keeps whether it was given whole grids or some of their units."""

    name, noise, labelled = "grids", None, False

    def __init__(self):
        self.sizes = set()

    def __call__(self, prediction, images, grid):
        self.sizes.add(len(grid))
        return {self.name: np.zeros((len(images), len(grid)))}


def test_of_few_pixels_no_others_are_computed(pixel_game, region_game):
    of_pixels, of_regions = Grids(), Grids()
    found = pixel_game.reduce_candidates(some_units(pixel_game, 3), [of_pixels])["grids"]
    assert (found.shape, of_pixels.sizes) == ((3 * len(pixel_game.pool.images),), {3})
    # 40 of some hundred regions are not few.
    region_game.reduce_candidates(some_units(region_game, 40), [of_regions])
    assert of_regions.sizes == {len(region_game.pool.grid(image)) for image in region_game.pool.images.tolist()}
    assert pixel_game.reduce_candidates(np.empty(0, np.int64), [Grids()]) == {}


@pytest.mark.parametrize("unit", ["region", "pixel"])
def test_a_whole_pool_takes_one_pass_per_image_by_stages_too(request, passes_of, unit):
    game = request.getfixturevalue(f"{unit}_game")
    game.reset(0)
    game.step(np.array([0, 1, len(game.pool) // 2]))
    passes = passes_of(game.learner)
    by = [{"by": "coreset", "per_image": 4, "among": 50}, {"by": "margin", "share": 0.5}, {"by": "entropy"}]
    acquisition = make("stages", stages=by)
    chosen = acquisition.select(game.view(acquisition.needs, False).candidates, 3, np.random.default_rng(0))
    assert len(np.unique(chosen)) == 3
    assert dict(passes) == {(game.learner.version, int(image)): 1 for image in game.pool.images}
    acquisition = make("stages", stages=[by[1], {"by": "coreset"}])
    passes.clear()
    acquisition.select(game.view(acquisition.needs, False).candidates, 3, np.random.default_rng(0))
    assert dict(passes) == {(game.learner.version, int(i)): 1 for i in [*game.pool.images, *game.state]}


def position(prediction, grid):
    """The pixel that is a unit, its number in the image."""
    pixels = np.arange(grid.height * grid.width, dtype=np.float64).reshape(1, grid.height, grid.width)
    return grid.average(np.repeat(pixels, len(prediction.logits), 0))


def test_a_sample_of_pixels_stands_for_the_state_set_the_same_in_every_step(pixel_game):
    game, where = pixel_game, Reducer("where", position, labelled=True)

    def sampled(seed):
        game.reset(seed)
        found = [game.reduce_state([where])["where"]]
        game.step(np.array([5, 9]))
        found.append(game.reduce_state([where])["where"])
        np.testing.assert_array_equal(*found)
        return np.rint(found[0]).astype(int).reshape(len(game.state), STATE_UNITS)

    first, other = sampled(0), sampled(1)
    for image, pixels in zip(game.state, first, strict=True):
        assert len(np.unique(pixels)) == STATE_UNITS
        assert pixels.min() >= 0 and pixels.max() < len(game.pool.grid(image))
        # Spread over the image, not its first rows.
        assert np.median(pixels) == pytest.approx(len(game.pool.grid(image)) / 2, rel=0.1)
    assert (first != other).any() and (first[0] != first[1]).any()
    np.testing.assert_array_equal(first, sampled(0))


def test_of_regions_the_whole_state_set_is_looked_at(region_game):
    rows = region_game.reduce_state([PREDICTED_SHARES])[PREDICTED_SHARES.name]
    assert len(rows) == region_game.state_units < STATE_UNITS * len(region_game.state)
    found = {}
    predicted(
        region_game.learner, region_game.state, [lambda p, i: found.update(zip(i, p.logits.numpy(), strict=True)) or {}]
    )
    expected = []
    for image in region_game.state:
        height, width = region_game.store.size(image)
        # Nearest cells would not do: shares are by overlap, as the grid has it.
        grid, best = region_game.pool.grid(image), found[image].argmax(0)
        assert (grid.height, grid.width) == (height, width)
        expected.append(np.stack([grid.pool((best == c).astype(np.float32)) for c in range(3)], axis=1))
    np.testing.assert_allclose(rows, np.concatenate(expected), atol=1e-6)
    assert region_game.reduce_state([]) == {}


def test_labelled_rows_of_a_game_are_those_of_the_units_bought(region_game):
    game, reducer = region_game, embedding_reducer("mean")
    game.reset(3)
    game.step(np.array([30, 2, 17]))
    candidates = game.view([reducer], False).candidates
    labelled = candidates.labelled(reducer.name)
    assert len(labelled) == 3 + game.state_units
    alone = game.reduce_candidates(game.pool.bought, [reducer])[reducer.name]
    np.testing.assert_allclose(labelled[:3], alone, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(labelled[3:], game.reduce_state([reducer])[reducer.name])


@pytest.mark.parametrize("unit", ["region", "pixel"])
def test_where_units_lie(request, unit):
    game = request.getfixturevalue(f"{unit}_game")
    store, units = game.store, some_units(game, 4, seed=1)
    records = game.pool.records(units)
    assert [store.names[image] for image in game.images_of(units)] == [name for name, *_ in records]
    assert game.boxes_of(units).tolist() == [list(box) for _, *box in records]


def test_groups_are_those_of_the_images(game):
    units = np.random.default_rng(0).permutation(len(game.pool))
    groups = game.groups_of(units)
    names = [game.store.dataset.groups[name] for name, *_ in game.pool.records(units)]
    assert len(set(names)) > 1
    assert len(set(zip(names, groups.tolist(), strict=True))) == len(set(names)) == len(set(groups.tolist()))
    assert groups.shape == (len(units),) and np.issubdtype(groups.dtype, np.integer) and groups.min() >= 0


def test_the_state_passes_once_for_all_that_are_taken():
    """As two set methods in a row ask for it: each of candidates of its own."""
    source = Source(bought=[3])
    candidates = candidates_of(source, [13, 2, 20], [A_LABELLED])
    found = [
        part.labelled("a").tolist() for part in (candidates.unslated(), candidates.take(np.array([1])), candidates)
    ]
    assert found == [[3.5, -1.5, -2.5, -3.5]] * 3
    narrowed = candidates_of(source, [13, 2, 20], [A_LABELLED]).narrowed(lambda image: np.arange(len(image)))
    assert [part.labelled("a").tolist() for part in (narrowed.unslated(), narrowed.take(np.array([0])))] == found[:2]
    assert source.states == [["a"], ["a"]]
