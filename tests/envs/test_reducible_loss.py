from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from ralseg.agents.acquisitions import FixedPolicy, make
from ralseg.envs import FromGame, Game, World
from ralseg.envs.reducers import predicted
from ralseg.foundation import RalsegError, generator
from ralseg.segmentation.evaluation import Evaluator
from ralseg.segmentation.labels import revealed
from ralseg.segmentation.learners import TrainingSet
from ralseg.segmentation.losses import class_weights

QUICK = ["game.informed_steps=4", "precision=float32"]


@pytest.fixture(scope="module", params=["plain", "balanced"])
def played(request, configured):
    """A world whose game has made a turn; nothing is rounded to bfloat16."""
    world = World(configured(f"loss={request.param}", "game.reference=reducible_loss", *QUICK))
    game = world.game("train", credit=True, reference=True)
    game.reset(3)
    game.evaluate_reward()
    game.step(np.zeros(3, int))
    game.evaluate_reward()
    return world, game


def pixel_losses(learner, image, weights):
    """(H, W) weighted cross-entropy of every pixel against the nearest cell's logits; 0 where void."""
    found = []
    predicted(learner, [image], [lambda p, i: found.append(p.logits.clone()) or {}])
    label = torch.from_numpy(learner.images._store.label(image).astype(np.int64))
    logits = functional.interpolate(found[0], size=label.shape, mode="nearest")
    known = label < learner.classes
    loss = functional.cross_entropy(
        logits, label.where(known, torch.tensor(-1))[None], ignore_index=-1, reduction="none"
    )
    weight = torch.from_numpy(weights)[label.where(known, torch.tensor(0))]
    return (loss[0] * weight * known).numpy()


def check_scores(game, view, found, informed, weights):
    """Each candidate's score (K, N) is the difference of both networks' losses on its pixels."""
    places = list(zip(*np.nonzero(view.mask), strict=True))
    assert len(places) > 5
    for slate, place in places:
        (place_of_image,), (local,) = game.pool.locate(view.units[slate, place][None])
        image = int(game.pool.images[place_of_image])
        y, x, height, width = game.pool.grid(image).boxes[local]
        now, then = (pixel_losses(learner, image, weights) for learner in (game.learner, informed))
        expected = (now - then)[y : y + height, x : x + width].mean()
        assert found[slate, place] == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_it_is_the_loss_of_every_pixel_less_the_informed_networks(played):
    world, game = played
    view = game.view(game.credit_reducers)
    found = game.credit(view)["reference"]
    weights = class_weights(game.labels.class_counts, world.config["loss"])
    assert (weights.min() < 1) == (world.config["loss"] == "balanced")
    informed = world.informed("train")
    assert not np.allclose(found[view.mask], 0)
    check_scores(game, view, found, informed, weights)


def test_the_reference_chooses_by_it(played):
    world, game = played
    policy = FixedPolicy(make("reducible_loss"))
    view = game.view((*game.credit_reducers, *policy.needs))
    score = np.where(view.mask, game.credit(view)["reference"], -np.inf)
    chosen = policy.select(view, generator(0, "policy"))
    open_ = view.mask.any(axis=1)
    np.testing.assert_array_equal(chosen[open_], score.argmax(axis=1)[open_])
    compared = World({**world.config}).game("compare", observed=False)
    compared.reset(0)
    assert policy.select(compared.view(policy.needs, False), generator(0, "policy")).shape == (3,)


def test_the_informed_network_knows_the_pool_better(played):
    world, _ = played
    informed = world.informed("train")
    images = world.images("train")
    assert Evaluator(world.store, 11)(informed, images).counts.sum() > 0
    assert any(
        not torch.equal(a, b)
        for a, b in zip(informed.weights().values(), world.learner("train").weights().values(), strict=True)
    )
    # The cache gives the same network again, the other pool gives another.
    again, other = world.informed("train").weights(), world.informed("compare").weights()
    assert all(torch.equal(value, again[name]) for name, value in informed.weights().items())
    assert any(not torch.equal(value, again[name]) for name, value in other.items())


def test_a_game_without_an_informed_network_says_so(world):
    made = world.game("train")
    game = Game(made.learner, made.pool, made.state, made.reward, made.spec, made.options)
    game.reset(0)
    view = game.view([FromGame("reducible_loss")], observed=False)
    with pytest.raises(
        RalsegError, match="this game knows no reducible_loss; give it an informed network of that name"
    ):
        view.reduced("reducible_loss")
    with pytest.raises(RalsegError, match="this game knows no other_loss"):
        world.game("train").reduce_candidates(np.array([0]), [FromGame("other_loss")])


def test_a_look_ahead_is_the_learner_after_some_steps(configured):
    world = World(configured("game.reference=look_ahead", "game.look_ahead_steps=3", "precision=float32"))
    game = world.game("train", reference=True)
    game.reset(3)
    game.step(np.zeros(3, int))
    before = {name: value.clone() for name, value in game.learner.weights().items()}
    view = game.view(game.credit_reducers)
    found = game.credit(view)["reference"]
    assert all(torch.equal(value, before[name]) for name, value in game.learner.weights().items())
    # By hand: a learner of the same weights takes the steps.
    known = [*world.images("reward"), *world.images("train")]
    ahead = world.learner("train", replace(world.learn_options, steps=3, batch=24, averaging=0.0))
    ahead._theta0 = before
    ahead.reset()
    data = TrainingSet(revealed(world.store, known), [(i, (0.5, 0.5)) for i in known])
    ahead.learn(data, generator(3, "look ahead", 1))
    weights = class_weights(game.labels.class_counts, "plain")
    check_scores(game, view, found, ahead, weights)
    assert found[view.mask].mean() > 0
    # It follows the learner, and a second look at the same weights costs no steps.
    game.step(np.zeros(3, int))
    view = game.view(game.credit_reducers)
    assert not np.allclose(game.credit(view)["reference"][view.mask].mean(), found[view.mask].mean())
    version = game._hindsight._losses["look_ahead"]._informed._ahead.version
    game.credit(game.view(game.credit_reducers))
    assert game._hindsight._losses["look_ahead"]._informed._ahead.version == version


def test_class_truth_can_still_be_the_reference(configured):
    game = World(configured("game.reference=class_truth")).game("train", reference=True)
    game.reset(0)
    assert game.credit_reducers == ()
    view = game.view(game.credit_reducers)
    expected = (np.sqrt(view.labelled_counts + view.true_counts) - np.sqrt(view.labelled_counts)).sum(-1)
    np.testing.assert_allclose(game.credit(view)["reference"], np.where(view.mask, expected, 0), rtol=1e-5)
