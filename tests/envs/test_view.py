from collections import Counter

import numpy as np
import pytest
import torch

from ralseg.agents.acquisitions import make
from ralseg.envs import CandidatesView, World
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


def count_passes(learner, monkeypatch):
    """Counts the images that go through the network's upper part, by the version of the weights."""
    passes = Counter()
    lower = learner._lower.__class__.__call__

    def counted(self, images, again=False):
        # Learning reads maps through the same object; only inference is counted.
        if torch.is_inference_mode_enabled():
            passes.update((learner.version, image) for image in images)
        return lower(self, images, again)

    monkeypatch.setattr(learner._lower.__class__, "__call__", counted)
    return passes


@pytest.mark.parametrize("features", ["compact", "embedding"])
@pytest.mark.parametrize("extra", [[], ["iou"]])
def test_one_forward_pass_per_image_and_version(configured, monkeypatch, features, extra):
    overrides = (
        [f"features={features}", f"+features.extra={extra}"] if features == "compact" else [f"features={features}"]
    )
    game = World(configured("network.dropout=0.5", "game.draw=uniform", *overrides)).game("train", True, True)
    game.reset(0)
    passes = count_passes(game.learner, monkeypatch)
    acquisitions = [make(name) for name in ("entropy", "margin", "class_aware_random", "class_truth")] + [
        make("bald", draws=2)
    ]
    reducers = [*game.credit_reducers, *(reducer for a in acquisitions for reducer in a.needs)]
    rng = np.random.default_rng(0)
    for _ in range(2):
        game.evaluate_reward()
        view = game.view(reducers)
        for acquisition in acquisitions:
            choice = acquisition.select(view, rng)
        _ = view.observation, game.credit(view), view.observation
        touched = {int(i) for i in game.pool.images[game.pool.locate(view.units.ravel())[0]]}
        seen = {image: n for (version, image), n in passes.items() if version == game.learner.version}
        assert seen == dict.fromkeys({*touched, *game.state, *game.reward}, 1)
        game.step(choice)


def test_candidates_get_the_values_of_their_own_units(world):
    game = world.game("train")
    game.reset(4)
    view = game.view([*make("entropy").needs, *make("margin").needs])
    for k, n in np.ndindex(view.units.shape):
        (name, y, x, height, width) = game.pool.records(view.units[k, n : n + 1])[0]
        logits = []
        game.learner.predict([world.store.index(name)], [lambda p, i, to=logits: to.append(p.logits.numpy()) or {}])
        # Cells of the logits are 8 x 8 pixels of the label.
        part = logits[0][0, :, y // 8 : (y + height) // 8, x // 8 : (x + width) // 8]
        assert view.reduced("entropy")[k, n] == pytest.approx(entropy_map(part).mean(), rel=1e-4)
        assert view.reduced("margin")[k, n] == pytest.approx(margin_map(part).mean(), rel=1e-4)
        label = world.store.label(world.store.index(name))[y : y + height, x : x + width]
        assert view.true_counts[k, n].tolist() == [(label == c).sum() for c in range(11)]
    assert game.pool.grid(0) == UnitGrid(96, 128, 24, 32)


def test_bald_without_dropout_is_refused(world):
    game = world.game("train")
    game.reset(0)
    view = game.view(make("bald").needs)
    with pytest.raises(RalsegError, match="noisy predictions need a network trained with dropout"):
        view.reduced("bald")


def test_noise_follows_the_seed_and_the_turn(configured):
    game = World(configured("network.dropout=0.5")).game("train")

    def scores(seed, turn):
        game.reset(seed)
        game.turn = turn
        return game.view(make("bald", draws=3).needs).reduced("bald")

    np.testing.assert_array_equal(scores(1, 0), scores(1, 0))
    units = game.units
    first, later = scores(1, 0), scores(1, 1)
    np.testing.assert_array_equal(game.units, units)
    assert (first != later).all()
    assert (first >= 0).all()
