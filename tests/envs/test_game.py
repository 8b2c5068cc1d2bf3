import dataclasses

import numpy as np
import pytest
import torch

from ralseg.agents.acquisitions import FixedPolicy, make
from ralseg.envs import EnvFactory, GameOptions, RegionSelectionEnv, World
from ralseg.features.clicks import unit_clicks
from ralseg.foundation import RalsegError, generator


def slow_counts(game, units):
    """(n, C) true pixels per class, cut out of the labels one unit at a time."""
    store, classes = game.pool.store, game.learner.classes
    rows = []
    for name, y, x, height, width in game.pool.records(units):
        label = store.label(store.index(name))[y : y + height, x : x + width]
        rows.append([(label == c).sum() for c in range(classes)])
    return np.array(rows).reshape(-1, classes)


def play(game, seed=0, choose=None, limit=200):
    """Play a game to its end; the largest unmasked index of each slate unless `choose` says otherwise."""
    game.reset(seed)
    turns = []
    while not game.over:
        assert len(turns) < limit
        choice = np.where(game.offer.mask.any(1), game.offer.mask.shape[1] - 1 - game.offer.mask[:, ::-1].argmax(1), -1)
        turns.append(game.step(choice if choose is None else choose(game)))
    return turns


def with_options(game, **changes):
    game.options = dataclasses.replace(game.options, **changes)
    return game


UNITS = {"region": [24, 32], "ragged": [20, 50], "image": "image", "pixel": "pixel"}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(("source", "rehearse"), [("streets", False), ("streets", True), ("folder", True)])
def test_every_figure_of_the_ledger(configured, ragged, unit, source, rehearse):
    overrides = [f"game.unit={UNITS[unit]}".replace("'", ""), "features=compact", "game.budget=4"]
    overrides.append(f"game.learn.rehearse={rehearse}")
    world = World((configured if source == "streets" else ragged)(*overrides))
    game = world.game("train")
    turns = play(game)
    units = game.pool.bought
    assert [turn.units.tolist() for turn in turns] == [bought.tolist() for bought in game.pool.history]
    expected = slow_counts(game, units)
    records = game.pool.records(units)
    pixels = sum(height * width for *_, height, width in records)
    assert game.ledger.to_dict() == {
        "units": len(units),
        "pixels": pixels,
        "share": pixels / sum(np.prod(game.pool.store.size(i)) for i in game.pool.images),
        "clicks": (expected > 0).sum(),
        "images": len({name for name, *_ in records}),
    }
    assert len(units) == min(4, len(game.pool))
    np.testing.assert_array_equal(game.bought_counts, expected.sum(0))
    np.testing.assert_array_equal(game.view().labelled_counts, expected.sum(0))
    np.testing.assert_array_equal(sum(turn.class_counts for turn in turns), expected.sum(0))
    assert all(np.isfinite(turn.loss) for turn in turns)
    # What is known is the truth inside the units bought, of D_S where it is rehearsed, and nothing outside.
    state = set(game.state) if rehearse else set()
    assert set(game.labels.images) == state | {game.pool.store.index(name) for name, *_ in records}
    class_counts = np.zeros(game.learner.classes, int)
    for image in game.labels.images:
        known = np.full(game.pool.store.size(image), 255)
        if image in state:
            known[:] = game.pool.store.label(image)
        for name, y, x, height, width in records:
            if game.pool.store.index(name) == image:
                part = slice(y, y + height), slice(x, x + width)
                known[part] = game.pool.store.label(image)[part]
        np.testing.assert_array_equal(game.labels.label(image), known)
        class_counts += [(known == c).sum() for c in range(game.learner.classes)]
    np.testing.assert_array_equal(game.labels.class_counts, class_counts)


@pytest.mark.parametrize(("measure", "budget"), [("units", 7), ("pixels", 5000), ("share", 0.2), ("share", 1)])
def test_a_budget_is_never_overspent_and_the_game_ends(ragged, measure, budget):
    # Units of 20 x 50 on images of 70 x 90 and 64 x 101 differ in size, down to 4 x 1 pixels.
    game = World(ragged("game.unit=[20,50]", "features=compact")).game("train")
    with_options(game, budget=budget, budget_measure=measure, candidates=5)

    def largest(game):
        """Whoever always asks for the largest unit on offer must come to an end, too."""
        areas = np.full(game.offer.units.shape, -1)
        areas[game.offer.mask] = game.pool.areas(game.offer.units[game.offer.mask])
        return areas.argmax(1)

    for choose in (None, largest):
        turns = play(game, 3, choose)
        assert game.ledger.paid(measure) <= budget
        assert all(len(turn.units) for turn in turns)
        left = game.ledger.left(budget, measure)
        on_offer = game.offer.units[game.offer.units >= 0]
        prices = game.ledger.prices(game.pool.areas(on_offer), measure)
        assert not len(on_offer) or prices.min() > left
    if budget == 1:
        assert game.pool.labelled.all()
        assert game.ledger.share == 1


@pytest.mark.parametrize(("measure", "budget"), [("clicks", 25), ("polygon_clicks", 150)])
@pytest.mark.parametrize("draw", ["clustered", "pool"])
def test_a_budget_of_clicks_is_overspent_by_the_last_turn_at_most(ragged, measure, budget, draw):
    set_to = f"game.budget={budget}", f"game.budget_measure={measure}", f"game.draw={draw}"
    game = World(ragged("game.unit=[20,50]", "features=compact", "game.candidates=5", *set_to)).game("train")
    game.reset(0)
    paid = []
    while not game.over:
        paid.append(game.ledger.paid(measure))
        choice = np.arange(game.view().choices) if draw == "pool" else np.zeros(3, int)
        assert len(game.step(choice).units)
    assert paid[-1] < budget <= game.ledger.paid(measure)
    total = 0
    for name, y, x, height, width in game.pool.records(game.pool.bought):
        label = game.pool.store.label(game.pool.store.index(name))[y : y + height, x : x + width]
        true = {"clicks": len(np.unique(label[label < game.learner.classes])), "polygon_clicks": unit_clicks(label)}
        total += true[measure]
    assert game.ledger.paid(measure) == total


def test_surplus_slates_are_masked(world):
    game = with_options(world.game("train"), budget=4)
    game.reset(0)
    assert game.offer.mask.all()
    game.step(np.array([0, 1, 2]))
    assert game.offer.mask.tolist() == [[True] * 3, [False] * 3, [False] * 3]
    turn = game.step(np.array([1, 1, 1]))
    assert (len(turn.units), turn.refused, game.over, game.ledger.units) == (1, 2, True, 4)


def test_a_masked_or_empty_choice_is_free(world):
    game = world.game("train")
    game.reset(0)
    game.offer.mask[1] = False
    turn = game.step(np.array([-1, 2, -1]))
    assert (turn.units.tolist(), turn.refused, turn.loss) == ([], 3, 0.0)
    assert turn.class_counts.sum() == 0
    assert game.ledger.to_dict() == {"units": 0, "pixels": 0, "share": 0, "clicks": 0, "images": 0}
    assert not game.over


@pytest.mark.parametrize("unit", ["image", "[24,32]"])
def test_it_ends_when_the_pool_is_exhausted(configured, unit):
    game = World(configured(f"game.unit={unit}", "features=compact", "game.budget=1000")).game("train")
    turns = play(game)
    assert game.pool.labelled.all()
    assert game.ledger.units == len(game.pool) == (5 if unit == "image" else 80)
    assert sum(len(turn.units) for turn in turns) == len(game.pool)


def test_the_same_seed_is_the_same_game(world, game):
    def trace(game, seed):
        turns = play(game, seed)
        return (
            [t.units.tolist() for t in turns],
            [t.loss for t in turns],
            game.evaluate_reward(),
            game.learner.weights(),
        )

    first = trace(game, 5)
    other_seed, again = trace(game, 6), trace(game, 5)
    another = world.game("train")
    another.reset(0)
    _ = another.view().observation
    for same in (again, trace(another, 5)):
        assert same[:3] == first[:3]
        assert all((same[3][key] == first[3][key]).all() for key in first[3])
    assert other_seed[0] != first[0]


def test_every_turn_learns_with_draws_of_its_own(world, monkeypatch):
    game, drawn = world.game("train"), []

    def noted(learner, data, rng):
        drawn.append(int(rng.integers(1 << 62)))
        return torch.zeros(())

    monkeypatch.setattr("ralseg.envs.game.taught", noted)
    for seed in (5, 6, 5):
        game.reset(seed)
        for _ in range(2):
            game.step(np.zeros(3, int))
    assert drawn[:2] == drawn[4:] and len(set(drawn)) == 4
    assert drawn[:2] == [int(generator(5, "training", turn).integers(1 << 62)) for turn in (0, 1)]


def test_the_two_roles_have_their_own_pools(world):
    train, compare = world.game("train"), world.game("compare")
    assert set(train.pool.images).isdisjoint(compare.pool.images)
    assert [world.store.names[i] for i in compare.pool.images] == list(world.splits.compare)
    width = len(train.spec.components.mean)
    rows = np.random.default_rng(0).normal(size=(3, width)).astype(np.float32)
    parts = (game.spec.components.transform(rows) for game in (train, compare))
    np.testing.assert_array_equal(*parts)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ([0, 1], "a choice is 3 integers, one for each slate"),
        ([0.0, 1.0, 2.0], "a choice is 3 integers"),
        ([0, 1, 3], "choice 3 is out of range -1 to 2"),
        ([0, -2, 1], "choice -2 is out of range -1 to 2"),
    ],
)
def test_wrong_choices(world, choice, message):
    game = world.game("train")
    with pytest.raises(RalsegError, match=r"call reset\(seed\) first"):
        game.step(np.zeros(3, int))
    game.reset(0)
    with pytest.raises(RalsegError, match=message):
        game.step(np.array(choice))
    assert (game.turn, game.ledger.units) == (0, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slates": 0}, "game.slates=0 is out of range"),
        ({"candidates": 0}, "game.candidates=0 is out of range"),
        ({"pool_per_image": 0}, "game.pool_per_image=0 is out of range; it must be 1 or more"),
        ({"draw": "greedy"}, "game.draw='greedy' is unknown; choose from clustered, uniform, pool"),
        ({"reward_set": "val"}, "game.reward_set='val' is unknown; choose from reward, mixed"),
        ({"reward_of": "mean"}, "game.reward_of='mean' is unknown; choose from all, worst"),
        ({"reward_share": 0.0}, "game.reward_share=0.0 is out of range; it must be above 0 and at most 1"),
        ({"reward_share": 1.01}, "game.reward_share=1.01 is out of range"),
        ({"reward_share": float("nan")}, "game.reward_share=nan is out of range"),
        ({"credit": "iou"}, "game.credit='iou' is unknown; choose from balanced_cross_entropy, soft_iou"),
        ({"budget": 0}, "game.budget=0 is out of range; it must be above 0"),
        ({"budget": float("inf")}, "game.budget=inf is out of range; it must be above 0 and finite"),
        ({"budget": 1.01, "budget_measure": "share"}, "budget=1.01 is out of range; as a share"),
        (
            {"budget_measure": "euros"},
            "game.budget_measure='euros' is unknown; choose from units, units_per_image, pixels, share, clicks",
        ),
    ],
)
def test_options_out_of_range(changes, message):
    with pytest.raises(RalsegError, match=message):
        GameOptions(**changes)


def test_the_factory_makes_what_the_world_makes(configured, world):
    env = EnvFactory(configured(), "compare", credit=False)()
    assert env.game.credit_reducers == ()
    assert env.game.pool.images.tolist() == world.images("compare")


def test_true_counts_with_and_without_room_to_keep_them(ragged, monkeypatch):
    world = World(ragged("game.unit=[20,50]", "features=compact"))
    kept = world.game("train")
    image_bytes = 8 * kept.learner.classes * 4
    monkeypatch.setattr("ralseg.envs.true_counts.KEPT_BYTES", 2 * image_bytes)
    short = world.game("train")
    units = np.random.default_rng(0).permutation(len(kept.pool))
    for game in (kept, short, short):
        game.reset(0)
        np.testing.assert_array_equal(game._reader().true_counts(units), slow_counts(game, units))
    assert game._reader().true_counts(units).dtype == np.int64
    assert game._reader().true_counts(units[:0]).shape == (0, 3)
    assert len(short._true_counts._kept) == 2
    assert len(kept._true_counts._kept) == len(kept.pool.images)


@pytest.mark.parametrize("credit", [False, True])
def test_the_first_miou_is_evaluated_once_unless_credit_needs_the_pass(configured, credit, monkeypatch):
    game = World(configured()).game("train", credit=credit)
    passes = []
    evaluate = game.evaluator
    monkeypatch.setattr(game, "evaluator", lambda *given: passes.append(1) or evaluate(*given))
    found = []
    for seed in (3, 4):
        game.reset(seed)
        found.append(game.first_miou())
        assert found[-1] == evaluate(game.learner, game.reward).miou
        game.step(np.zeros(game.options.slates, int))
    assert found[0] == found[1]
    assert len(passes) == (2 if credit else 1)


@pytest.fixture
def pool_game(configured, ragged):
    """Makes a game that offers the whole pool."""

    def make_game(*overrides, source="streets"):
        config = (configured if source == "streets" else ragged)("game.draw=pool", "features=compact", *overrides)
        return World(config).game("train")

    return make_game


def images_of(game, units):
    return game.pool.images[game.pool.locate(units)[0]]


def offered(game):
    return game.offer.units[game.offer.mask]


@pytest.mark.parametrize("unit", ["[24,32]", "image", "pixel"])
def test_k_units_of_a_whole_pool_are_bought_per_turn(pool_game, unit):
    game = pool_game(f"game.unit={unit}", "game.budget=8", "game.offer_void=true")
    policy, asked = FixedPolicy(make("random")), []

    def by_chance(game):
        view = game.view(policy.needs, False)
        assert view.units.shape == (len(game.pool) - game.ledger.units,) and view.offer.mask.all()
        assert sorted(view.units.tolist()) == np.flatnonzero(~game.pool.labelled).tolist()
        choice = policy.select(view, np.random.default_rng(game.turn))
        asked.append(view.units[choice].tolist())
        assert len(choice) == view.choices
        return choice

    turns = play(game, choose=by_chance)
    # K = 3; the pool has 5 images, 80 regions or 61,440 pixels.
    assert [len(turn.units) for turn in turns] == ([3, 2] if unit == "image" else [3, 3, 2])
    assert [turn.units.tolist() for turn in turns] == asked
    assert all(turn.refused == 0 for turn in turns)
    assert len(np.unique(game.pool.bought)) == game.ledger.units == len(game.pool.bought)
    np.testing.assert_array_equal(game.bought_counts, slow_counts(game, game.pool.bought).sum(0))


def test_repeated_masked_and_empty_choices_are_refused_and_counted(pool_game):
    game = pool_game("game.slates=5", "game.budget=20")
    game.reset(0)
    units = game.offer.units[0].copy()
    game.offer.mask[0, 7] = False
    turn = game.step(np.array([4, 7, -1, 4, 2]))
    assert (turn.units.tolist(), turn.refused) == (units[[4, 2]].tolist(), 3)
    assert game.ledger.units == 2
    assert 4 not in game.offer.units[0] and 2 not in game.offer.units[0] and 7 in game.offer.units[0]
    turn = game.step(np.array([0, 1, 2]))
    # Fewer than K may be asked for, and none of these choices is refused.
    assert (len(turn.units), turn.refused) == (3, 0)
    turn = game.step(np.array([], np.int64))
    assert (len(turn.units), turn.refused, float(turn.loss)) == (0, 0, 0.0)
    assert (game.turn, game.ledger.units) == (3, 5)
    turn = game.step(np.array([-1, -1]))
    assert (len(turn.units), turn.refused) == (0, 2)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ([0, 1, 2, 3], "a choice is at most 3 integers; got int64"),
        ([[0, 1]], "a choice is at most 3 integers"),
        ([0.0], "a choice is at most 3 integers"),
        ([0, 80], "choice 80 is out of range -1 to 79"),
        ([-2], "choice -2 is out of range -1 to 79"),
    ],
)
def test_wrong_choices_of_a_whole_pool(pool_game, choice, message):
    game = pool_game()
    game.reset(0)
    with pytest.raises(RalsegError, match=message):
        game.step(np.array(choice))
    assert (game.turn, game.ledger.units) == (0, 0)


@pytest.mark.parametrize(("measure", "budget"), [("units", 7), ("pixels", 5000), ("share", 0.2), ("share", 1)])
def test_a_budget_on_a_whole_pool_is_never_overspent_and_the_game_ends(pool_game, measure, budget):
    # Units of 20 x 50 on images of 70 x 90 and 64 x 101 differ in size, down to 4 x 1 pixels.
    game = pool_game("game.unit=[20,50]", source="folder")
    with_options(game, budget=budget, budget_measure=measure)

    def largest(game):
        choices, areas = game.view().choices, game.pool.areas(game.offer.units[0])
        assert 1 <= choices <= 3 and choices <= game.offer.mask.sum()
        left = game.ledger.left(budget, measure)
        # What costs more than is left is not on offer.
        np.testing.assert_array_equal(game.offer.mask[0], game.ledger.prices(areas, measure) <= left)
        return np.argsort(-np.where(game.offer.mask[0], areas, -1), kind="stable")[:choices]

    turns = play(game, 3, largest)
    assert game.ledger.paid(measure) <= budget
    assert all(len(turn.units) for turn in turns)
    prices = game.ledger.prices(game.pool.areas(game.offer.units[0]), measure)
    assert not len(prices) or prices.min() > game.ledger.left(budget, measure)
    if budget == 1:
        assert game.pool.labelled.all() and game.ledger.share == 1


def test_choices_are_no_more_than_the_budget_pays_or_the_pool_has(pool_game):
    game = pool_game("game.slates=4", "game.budget=6")
    game.reset(0)
    assert game.view().choices == 4
    game.step(np.arange(4))
    assert game.view().choices == 2
    game.step(np.array([0]))
    assert game.view().choices == 1
    game.step(np.array([0, 1]))
    assert game.over and game.view().choices == 0 and not len(game.view())
    game = pool_game("game.unit=image", "game.slates=4", "game.budget=60")
    game.reset(0)
    game.step(np.arange(4))
    assert game.view().choices == 1
    game.step(np.arange(1))
    assert game.over and game.pool.labelled.all()
    turn = game.step(np.array([-1]))
    assert (len(turn.units), turn.refused) == (0, 1)


@pytest.mark.parametrize("draw", ["clustered", "uniform", "pool"])
@pytest.mark.parametrize(("unit", "void"), [("pixel", 35), ("[3,4]", 1)])
def test_wholly_void_units_are_not_offered(ragged, draw, unit, void):
    """The first 5 x 7 pixels of every label are void."""
    overrides = [f"game.unit={unit}", f"game.draw={draw}", "features=compact", "game.slates=30", "game.candidates=120"]

    def drawn(*more):
        game = World(ragged(*overrides, *more)).game("train")
        game.reset(0)
        units = offered(game)
        assert len(units) or draw != "pool"
        return game, units, int((slow_counts(game, units).sum(1) == 0).sum())

    game, units, found = drawn()
    assert found == 0
    if draw == "pool":
        assert len(units) == len(game.pool) - void * len(game.pool.images)
        _, _, found = drawn("game.offer_void=true")
        assert found == void * len(game.pool.images)


def test_at_most_so_many_units_of_an_image_are_offered(pool_game):
    game = pool_game("game.pool_per_image=4")
    game.reset(0)
    first = offered(game)
    assert np.bincount(images_of(game, first))[game.pool.images].tolist() == [4] * 5
    game.step(np.arange(3))
    assert np.bincount(images_of(game, offered(game)))[game.pool.images].tolist() == [4] * 5
    assert offered(game).tolist() != first.tolist()
    game.reset(0)
    assert offered(game).tolist() == first.tolist()
    game.reset(1)
    assert offered(game).tolist() != first.tolist()


def test_an_env_needs_slates(pool_game):
    with pytest.raises(RalsegError, match=r"game.draw=pool is for acquisitions; an env offers slates"):
        RegionSelectionEnv(pool_game())


def test_whether_void_is_offered_is_true_or_false(configured):
    with pytest.raises(RalsegError, match=r"game.offer_void='maybe' must be true or false"):
        World(configured("game.offer_void=maybe")).check()


def test_what_inference_has_kept_can_be_trained_on(ragged):
    """The images of D_S are asked for again and again, here one by one, as they are where sizes differ."""
    alone = "game.learn.rehearse=true", "game.learn.batch=1", "game.learn.steps=8"
    game = World(ragged("features=compact", *alone)).game("train")
    game.reset(0)
    for image in game.state:
        list(game.learner.predict([image], again=True))
    assert np.isfinite(game.step(np.zeros(3, int)).loss)
