import numpy as np
import pytest

from ralseg.agents.acquisitions import FixedPolicy, make
from ralseg.envs import CandidatesView, World
from ralseg.envs.reducers import predicted
from ralseg.features import UnitGrid, entropy_map, margin_map
from ralseg.foundation import RalsegError


class Source:
    """A source of one number per unit that counts how often it is asked."""

    def __init__(self, **rows):
        self.rows, self.asked = rows, []

    def reduce_candidates(self, units, reducers, observed):
        self.asked.append((units.tolist(), len(reducers), observed))
        return {name: values[units] for name, values in self.rows.items()}

    def observe(self, units, mask, features):
        return {"state": np.zeros((1, 1)), "candidates": features["a"], "mask": mask.astype(np.int8)}

    def true_counts(self, units):
        self.asked.append("truth")
        return np.stack([units, 2 * units], axis=1)


UNITS = np.array([[3, 0, -1], [5, -1, -1]])


def view_of(source, reducers=(), observed=True):
    return CandidatesView(source, UNITS, UNITS >= 0, np.zeros(2, np.int64), reducers, observed)


def test_values_are_spread_over_the_slates():
    source = Source(a=np.arange(6.0) + 10, b=np.arange(12).reshape(6, 2))
    view = view_of(source, ["a reducer"])
    assert source.asked == []
    assert view.reduced("a").tolist() == [[13, 10, 0], [15, 0, 0]]
    assert view.reduced("b").tolist() == [[[6, 7], [0, 1], [0, 0]], [[10, 11], [0, 0], [0, 0]]]
    assert view.true_counts.tolist() == [[[3, 6], [0, 0], [0, 0]], [[5, 10], [0, 0], [0, 0]]]
    assert view.observation["mask"].tolist() == [[1, 1, 0], [1, 0, 0]]
    assert view.observation is view.observation
    _ = view.true_counts, view.reduced("a")
    assert source.asked == [([3, 0, 5], 1, True), "truth"]


def test_an_observation_that_nobody_announced_costs_another_pass():
    source = Source(a=np.arange(6.0))
    view = view_of(source, observed=False)
    view.reduced("a")
    _ = view.observation, view.observation
    assert [entry[2] for entry in source.asked] == [False, True]


def test_what_was_not_announced_or_is_damaged_is_refused():
    view = view_of(Source(a=np.array([1, 1, 1, np.nan, 1, 1.0])))
    with pytest.raises(RalsegError, match="the view holds no 'c'; announce its reducer"):
        view.reduced("c")
    with pytest.raises(RalsegError, match="'a' of a candidate is NaN"):
        view.reduced("a")


def test_a_slated_view_lays_its_open_candidates_side_by_side():
    source = Source(a=np.arange(6.0))
    mask = np.array([[True, False, False], [True, False, False]])
    view = CandidatesView(source, UNITS, mask, np.array([4, 5]), ["a reducer"], False)
    assert view.choices == 2
    found = view.candidates
    assert (found.units.tolist(), found.slates.tolist(), found.places.tolist()) == ([3, 5], [0, 1], [0, 0])
    assert (found.choices, found.labelled_counts.tolist(), len(found)) == (2, [4, 5], 2)
    assert source.asked == []


def test_a_whole_pool_is_one_slate_of_which_several_are_chosen():
    units = np.array([[3, 0, 5, 4]])
    view = CandidatesView(Source(), units, units != 5, np.zeros(2, np.int64), choices=2)
    found = view.candidates
    assert (found.units.tolist(), found.slates, found.places.tolist()) == ([3, 0, 4], None, [0, 1, 3])
    assert (view.choices, found.choices) == (2, 2)


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
        assert passes_at(passes, game) == dict.fromkeys({*touched(game, view.units), *game.state, *game.reward}, 1)
        game.step(np.zeros(3, int))


def test_nothing_passes_for_observations_that_nobody_makes(configured, passes_of):
    game = World(configured("features=transferable")).game("compare", observed=False)
    game.reset(0)
    passes = passes_of(game.learner)
    game.step(np.zeros(3, int))
    assert not passes and len(game.pool.bought) == 3
    with pytest.raises(RalsegError, match="the game has no spec of one"):
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
        candidates = view.candidates
        for policy in policies:
            chosen = policy.acquisition.select(candidates, 3, np.random.default_rng(0))
            assert len(chosen) == 3
        expected = touched(game, candidates.units) if names != ["class_truth"] else set()
        if names == ["coreset"]:
            # What is labelled is looked at, too, in the same pass.
            expected |= {*game.state, *touched(game, game.pool.bought)}
        assert passes_at(passes, game) == dict.fromkeys(expected, 1)
        game.step(policies[-1].select(view, np.random.default_rng(0)))


def passes_at(passes, game):
    return {image: n for (version, image), n in passes.items() if version == game.learner.version}


def touched(game, units):
    return {int(image) for image in game.images_of(units.ravel())}


def test_candidates_get_the_values_of_their_own_units(world):
    game = world.game("train")
    game.reset(4)
    entropy, margin = make("entropy").needs[0], make("margin").needs[0]
    view = game.view([entropy, margin])
    candidates = view.candidates
    for k, n in np.ndindex(view.units.shape):
        (name, y, x, height, width) = game.pool.records(view.units[k, n : n + 1])[0]
        logits = []
        predicted(game.learner, [world.store.index(name)], [lambda p, i, to=logits: to.append(p.logits.numpy()) or {}])
        # Cells of the logits are 8 x 8 pixels of the label.
        part = logits[0][0, :, y // 8 : (y + height) // 8, x // 8 : (x + width) // 8]
        assert view.reduced(entropy.name)[k, n] == pytest.approx(entropy_map(part).mean(), rel=1e-4)
        assert view.reduced(margin.name)[k, n] == pytest.approx(margin_map(part).mean(), rel=1e-4)
        label = world.store.label(world.store.index(name))[y : y + height, x : x + width]
        assert view.true_counts[k, n].tolist() == [(label == c).sum() for c in range(11)]
        (here,) = np.flatnonzero((candidates.slates == k) & (candidates.places == n))
        assert candidates.units[here] == view.units[k, n]
        assert candidates.reduced(entropy.name)[here] == view.reduced(entropy.name)[k, n]
        assert candidates.true_counts[here].tolist() == view.true_counts[k, n].tolist()
        assert candidates.boxes[here].tolist() == [y, x, height, width] and candidates.areas[here] == height * width
        assert world.store.names[candidates.images[here]] == name
    assert game.pool.grid(0) == UnitGrid(96, 128, 24, 32)


def test_bald_without_dropout_is_refused(world):
    game = world.game("train")
    game.reset(0)
    bald = make("bald")
    with pytest.raises(RalsegError, match=r"by dropout need a network trained with dropout; set network.dropout"):
        bald.score(game.view(bald.needs).candidates)


@pytest.mark.parametrize("name", ["bald", "dald"])
def test_noise_follows_the_seed_and_the_turn(configured, name):
    game = World(configured("network.dropout=0.5")).game("train")
    acquisition = make(name, noise={"kind": "dropout" if name == "bald" else "features", "draws": 3})

    def scores(seed, turn):
        game.reset(seed)
        game.turn = turn
        return acquisition.score(game.view(acquisition.needs, False).candidates)

    np.testing.assert_array_equal(scores(1, 0), scores(1, 0))
    units = game.units
    first, later = scores(1, 0), scores(1, 1)
    np.testing.assert_array_equal(game.units, units)
    # Scores near 0 are few steps of float32 apart: some of them may coincide.
    assert (first != later).mean() > 0.5
    assert (first >= 0).all()


def test_acquisitions_that_ask_for_the_same_noise_see_the_same_draws(configured):
    game = World(configured("network.dropout=0.5")).game("train")
    game.reset(0)
    noise = {"kind": "dropout", "draws": 3}
    bald, balanced = make("bald", noise=noise), make("balanced_entropy", noise=noise)
    alone = bald.score(game.view(bald.needs, False).candidates)
    both = game.view([*balanced.needs, *bald.needs], False).candidates
    np.testing.assert_array_equal(bald.score(both), alone)
