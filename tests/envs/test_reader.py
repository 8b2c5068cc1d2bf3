"""What a view reads of a real game: rows of some units, of D_S, of what is labelled, one forward pass an image."""

import re
from itertools import pairwise

import numpy as np
import pytest

from ralseg.agents.acquisitions import FixedPolicy, Reducer, make
from ralseg.agents.acquisitions.reducers import GRADIENT, PREDICTED_SHARES, embedding_reducer
from ralseg.envs import World
from ralseg.envs.reader import STATE_UNITS
from ralseg.features import UnitGrid, entropy_map, margin_map
from ralseg.foundation import RalsegError

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
        monkeypatch.setattr("ralseg.features.reduction.FEW", few)
        way |= game._reader().reduce(units, [reducer])
    every = game._reader().reduce(np.arange(len(game.pool)), [reducer])
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


def sizes_seen(whole_grid=False):
    """A reducer, and the set of how many units it was given at once."""
    sizes = set()

    def find(prediction, units):
        sizes.add(len(units))
        return np.zeros((len(prediction.images), len(units)))

    return Reducer("sizes", find, whole_grid=whole_grid), sizes


def test_of_few_pixels_no_others_are_computed(pixel_game, region_game):
    reducer, sizes = sizes_seen()
    found = pixel_game._reader().reduce(some_units(pixel_game, 3), [reducer])["sizes"]
    assert (found.shape, sizes) == ((3 * len(pixel_game.pool.images),), {3})
    # 40 of some hundred regions are not few.
    reducer, sizes = sizes_seen()
    region_game._reader().reduce(some_units(region_game, 40), [reducer])
    assert sizes == {len(region_game.pool.grid(image)) for image in region_game.pool.images.tolist()}
    reducer, sizes = sizes_seen(whole_grid=True)
    pixel_game._reader().reduce(some_units(pixel_game, 3), [reducer])
    assert sizes == {len(pixel_game.pool.grid(image)) for image in pixel_game.pool.images.tolist()}
    assert pixel_game._reader().reduce(np.empty(0, np.int64), [reducer]) == {}


@pytest.mark.parametrize("unit", ["region", "pixel"])
def test_a_whole_pool_takes_one_pass_per_image_by_stages_too(request, passes_of, unit):
    game = request.getfixturevalue(f"{unit}_game")
    game.reset(0)
    game.step(np.array([0, 1, len(game.pool) // 2]))
    passes = passes_of(game.learner)
    by = [{"by": "coreset", "per_image": 4, "among": 50}, {"by": "margin", "share": 0.5}, {"by": "entropy"}]
    acquisition = make("stages", stages=by)
    chosen = acquisition.select(game.view(acquisition.needs, False), 3, np.random.default_rng(0))
    assert len(np.unique(chosen)) == 3
    assert dict(passes) == {(game.learner.version, int(image)): 1 for image in game.pool.images}
    acquisition = make("stages", stages=[by[1], {"by": "coreset"}])
    passes.clear()
    acquisition.select(game.view(acquisition.needs, False), 3, np.random.default_rng(0))
    # At the same weights the pool does not pass again; what is wanted of D_S, too, passes for the first time.
    assert dict(passes) == {(game.learner.version, int(i)): 1 for i in game.state}


def position(prediction, grid):
    """The pixel that is a unit, its number in the image."""
    pixels = np.arange(grid.height * grid.width, dtype=np.float64).reshape(1, grid.height, grid.width)
    return grid.average(np.repeat(pixels, len(prediction.logits), 0))


def test_a_sample_of_pixels_stands_for_the_state_set_the_same_in_every_step(pixel_game):
    game, where = pixel_game, Reducer("where", position, labelled=True)

    def sampled(seed):
        game.reset(seed)
        found = [game._reader().reduce_state([where])["where"]]
        game.step(np.array([5, 9]))
        found.append(game._reader().reduce_state([where])["where"])
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


def test_the_whole_state_set_is_reduced_for_regions(region_game):
    rows = region_game._reader().reduce_state([PREDICTED_SHARES])[PREDICTED_SHARES.name]
    assert len(rows) == region_game.state_units < STATE_UNITS * len(region_game.state)
    found = {
        image: logits.numpy()
        for prediction in region_game.learner.predict(region_game.state)
        for image, logits in zip(prediction.images, prediction.logits, strict=True)
    }
    expected = []
    for image in region_game.state:
        height, width = region_game.pool.store.size(image)
        # Nearest cells would not do: shares are by overlap, as the grid has it.
        grid, best = region_game.pool.grid(image), found[image].argmax(0)
        assert (grid.height, grid.width) == (height, width)
        expected.append(np.stack([grid.pool((best == c).astype(np.float32)) for c in range(3)], axis=1))
    np.testing.assert_allclose(rows, np.concatenate(expected), atol=1e-6)
    assert region_game._reader().reduce_state([]) == {}


def test_labelled_rows_of_a_game_are_those_of_the_units_bought(region_game):
    game, reducer = region_game, embedding_reducer("mean")
    game.reset(3)
    game.step(np.array([30, 2, 17]))
    candidates = game.view([reducer], False)
    labelled = candidates.labelled(reducer.name)
    assert len(labelled) == 3 + game.state_units
    alone = game._reader().reduce(game.pool.bought, [reducer])[reducer.name]
    np.testing.assert_allclose(labelled[:3], alone, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(labelled[3:], game._reader().reduce_state([reducer])[reducer.name])


@pytest.mark.parametrize("unit", ["region", "pixel"])
def test_where_units_lie(request, unit):
    game = request.getfixturevalue(f"{unit}_game")
    store, units = game.pool.store, some_units(game, 4, seed=1)
    records = game.pool.records(units)
    assert [store.names[image] for image in game._reader().images_of(units)] == [name for name, *_ in records]
    assert game._reader().boxes_of(units).tolist() == [list(box) for _, *box in records]


def test_groups_are_those_of_the_images(game):
    game.reset(0)
    units = np.random.default_rng(0).permutation(len(game.pool))
    groups = game._reader().groups_of(units)
    names = [game.pool.store.dataset.groups[name] for name, *_ in game.pool.records(units)]
    assert len(set(names)) > 1
    assert len(set(zip(names, groups.tolist(), strict=True))) == len(set(names)) == len(set(groups.tolist()))
    assert groups.shape == (len(units),) and np.issubdtype(groups.dtype, np.integer) and groups.min() >= 0


def test_frames_are_places_in_the_group_by_numbers(game):
    game.reset(0)
    units = np.random.default_rng(0).permutation(len(game.pool))
    names = [name for name, *_ in game.pool.records(units)]
    groups = game.pool.store.dataset.groups
    clips = {group: sorted({n for n in names if groups[n] == group}, key=lambda n: int(re.sub(r"\D", "", n)))
             for group in set(groups.values())}  # fmt: skip
    assert game._reader().frames_of(units).tolist() == [clips[groups[name]].index(name) for name in names]
    assert max(len(clip) for clip in clips.values()) > 1


@pytest.mark.parametrize("features", ["compact", "embedding"])
@pytest.mark.parametrize("extra", [[], ["iou"]])
def test_one_forward_pass_per_image_and_version(configured, passes_of, features, extra):
    overrides = (
        [f"features={features}", f"+features.extra={extra}"] if features == "compact" else [f"features={features}"]
    )
    game = World(configured("network.dropout=0.5", "game.draw=uniform", *overrides)).game("train", True, True)
    game.reset(0)
    passes = passes_of(game.learner)
    for _ in range(2):
        game.evaluate_reward()
        view = game.view([*game.credit_reducers, *make("entropy").needs, *make("bald").needs])
        name = make("entropy").needs[0].name
        _ = view.observation, view.reduced(name), game.credit(view), view.observation, view.true_counts
        assert passes_at(passes, game) == dict.fromkeys(
            {*touched(game, view.offer.units), *game.state, *game.reward}, 1
        )
        game.step(np.zeros(3, int))


@pytest.mark.parametrize("seed", range(4))
def test_one_forward_pass_whatever_is_asked_for_and_in_whatever_order(configured, passes_of, seed):
    """Announced or not, before or after the reward, whose images are those of the pool here."""
    overrides = (
        "network.dropout=0.5",
        "game.draw=uniform",
        "game.reward_set=mixed",
        "+features.extra=[iou,disagreement]",
    )
    game = World(configured("features=compact", *overrides)).game("train", True, True)
    game.reset(seed)
    passes, rng = passes_of(game.learner), np.random.default_rng(seed)
    policies = [make(name) for name in ("entropy", "bald", "badge", "coreset")]
    announced = [reducer for policy in policies for reducer in policy.needs]
    for _ in range(2):
        view = game.view([*game.credit_reducers, *announced], observed=bool(seed % 2))
        asks = [
            lambda view=view: view.observation,
            lambda view=view: view.take(np.array([1, 0])).reduced(announced[0].name),
            lambda view=view: view.labelled("embedding mean"),
            *(lambda view=view, policy=policy: policy.select(view, 2, np.random.default_rng(0)) for policy in policies),
        ]
        game.evaluate_reward()
        for place in rng.permutation(len(asks)):
            asks[place]()
        _ = game.credit(view), game.evaluate_reward()
        seen = {*touched(game, view.offer.units), *touched(game, game.pool.bought), *game.state, *game.reward}
        assert passes_at(passes, game) == dict.fromkeys(seen, 1)
        game.step(np.zeros(3, int))


def test_a_game_without_observations_makes_no_forward_pass(configured, passes_of):
    game = World(configured("features=transferable")).game("compare", observed=False)
    game.reset(0)
    passes = passes_of(game.learner)
    game.step(np.zeros(3, int))
    assert not passes and len(game.pool.bought) == 3
    with pytest.raises(RalsegError, match="the game cannot be observed because it has no spec"):
        game.view()


ACQUISITIONS = ("entropy", "margin", "class_aware_random", "class_truth", "bald", "edald", "ripu", "cost_aware")


@pytest.mark.parametrize("draw", ["uniform", "pool"])
@pytest.mark.parametrize("names", [[name] for name in (*ACQUISITIONS, "badge", "coreset")] + [ACQUISITIONS])
def test_acquisitions_take_one_forward_pass_per_image_and_version(configured, passes_of, names, draw):
    game = World(configured("network.dropout=0.5", f"game.draw={draw}", "features=compact")).game("train")
    game.reset(0)
    passes = passes_of(game.learner)
    policies = [FixedPolicy(make(name)) for name in names]
    for _ in range(2):
        view = game.view([reducer for policy in policies for reducer in policy.needs], observed=False)
        for policy in policies:
            chosen = policy.acquisition.select(view, 3, np.random.default_rng(0))
            assert len(chosen) == 3
        expected = touched(game, view.offer.units[view.offer.units >= 0]) if names != ["class_truth"] else set()
        if names == ["coreset"]:
            # What is labelled is looked at, too, in the same pass.
            expected |= {*game.state, *touched(game, game.pool.bought)}
        assert passes_at(passes, game) == dict.fromkeys(expected, 1)
        game.step(policies[-1].select(view, np.random.default_rng(0)))


def passes_at(passes, game):
    return {image: n for (version, image), n in passes.items() if version == game.learner.version}


def touched(game, units):
    return {int(image) for image in game._reader().images_of(units.ravel())}


def test_candidates_get_the_values_of_their_own_units(world):
    game = world.game("train")
    game.reset(4)
    entropy, margin = make("entropy").needs[0], make("margin").needs[0]
    view = game.view([entropy, margin])
    for k, n in np.ndindex(view.offer.units.shape):
        (name, y, x, height, width) = game.pool.records(view.offer.units[k, n : n + 1])[0]
        (prediction,) = game.learner.predict([world.store.index(name)])
        # Cells of the logits are 8 x 8 pixels of the label.
        part = prediction.logits.numpy()[0, :, y // 8 : (y + height) // 8, x // 8 : (x + width) // 8]
        (here,) = np.flatnonzero((view.slates == k) & (view.places == n))
        assert view.units[here] == view.offer.units[k, n]
        assert view.reduced(entropy.name)[here] == pytest.approx(entropy_map(part).mean(), rel=1e-4)
        assert view.reduced(margin.name)[here] == pytest.approx(margin_map(part).mean(), rel=1e-4)
        label = world.store.label(world.store.index(name))[y : y + height, x : x + width]
        assert view.true_counts[here].tolist() == [(label == c).sum() for c in range(11)]
        assert view.boxes[here].tolist() == [y, x, height, width] and view.areas[here] == height * width
        assert world.store.names[view.images[here]] == name
    assert game.pool.grid(0) == UnitGrid(96, 128, 24, 32)


def test_bald_without_dropout_is_refused(world):
    game = world.game("train")
    game.reset(0)
    bald = make("bald")
    with pytest.raises(RalsegError, match=r"by dropout need a network trained with dropout; set network.dropout"):
        bald.score(game.view(bald.needs))


@pytest.mark.parametrize("name", ["bald", "dald"])
def test_noise_follows_the_seed_and_the_turn(configured, name):
    game = World(configured("network.dropout=0.5")).game("train")
    acquisition = make(name, noise={"kind": "dropout" if name == "bald" else "features", "draws": 3})

    def scores(seed, turn):
        game.reset(seed)
        game.turn = turn
        return acquisition.score(game.view(acquisition.needs, False))

    np.testing.assert_array_equal(scores(1, 0), scores(1, 0))
    units = game.offer.units
    first, later = scores(1, 0), scores(1, 1)
    np.testing.assert_array_equal(game.offer.units, units)
    # Scores near 0 are few steps of float32 apart: some of them may coincide.
    assert (first != later).mean() > 0.5
    assert (first >= 0).all()


def test_acquisitions_that_ask_for_the_same_noise_see_the_same_draws(configured):
    game = World(configured("network.dropout=0.5")).game("train")
    game.reset(0)
    noise = {"kind": "dropout", "draws": 3}
    bald, balanced = make("bald", noise=noise), make("balanced_entropy", noise=noise)
    alone = bald.score(game.view(bald.needs, False))
    both = game.view([*balanced.needs, *bald.needs], False)
    np.testing.assert_array_equal(bald.score(both), alone)
