import numpy as np
import pytest

from ralseg.envs import World
from ralseg.envs.reward_subset import DRAWS, stratified_subset
from ralseg.foundation import generator
from ralseg.segmentation.grouped_draw import draw_by_group


def images(n=30, groups=3, classes=5, seed=0):
    """Groups in turn; class shares drift within each, as they do in a clip."""
    rng = generator(seed, "test")
    names = [f"clip{i % groups}" for i in range(n)]
    drift = np.linspace(0, 1, n)[:, None] * np.arange(classes)
    return names, (1000 * np.exp(drift - drift.max(1, keepdims=True)) + rng.integers(1, 50, (n, classes))).astype(int)


@pytest.mark.parametrize("share", [0.5, 0.3, 0.1, 1.0])
def test_every_group_and_every_run_gives_its_part(share):
    names, counts = images()
    chosen = stratified_subset(names, counts, share, generator(0, "r"))
    assert len(chosen) == round(30 * share)
    assert (np.diff(chosen) > 0).all()
    per_group = np.bincount([int(names[i][-1]) for i in chosen], minlength=3)
    assert per_group.max() - per_group.min() <= 1
    ranks = np.sort([np.flatnonzero(np.argsort(names, kind="stable") == i)[0] for i in chosen])
    assert np.diff(ranks).max() < 2 / share


def test_it_is_the_draw_with_the_nearest_class_shares():
    names, counts = images()
    chosen = stratified_subset(names, counts, 0.2, generator(3, "r"))
    order = sorted(range(30), key=lambda i: names[i])
    whole = counts.sum(0) / counts.sum()

    def distance(places):
        part = counts[places].sum(0) / counts[places].sum()
        return sum(abs(p / w - 1) for p, w in zip(part, whole, strict=True))

    draws = draw_by_group(np.arange(30) * 6 // 30, 6, DRAWS, generator(3, "r"))
    distances = [distance([order[i] for i in draw]) for draw in draws]
    assert distance(chosen) == pytest.approx(min(distances))
    assert distance(chosen) < np.median(distances) / 3


def test_it_follows_the_generator():
    names, counts = images()
    first, again, other = (stratified_subset(names, counts, 0.4, generator(seed, "r")) for seed in (0, 0, 1))
    assert first.tolist() == again.tolist() != other.tolist()


def test_classes_that_nothing_has_do_not_matter_and_one_image_is_the_least():
    counts = np.array([[5, 5, 0], [9, 1, 0], [0, 10, 0], [0, 0, 0]])
    assert stratified_subset(["a"] * 4, counts, 0.01, generator(0, "r")).tolist() == [0]


def test_games_look_at_the_share_and_all_else_at_the_whole(configured):
    world = World(configured("game.reward_share=0.5"))
    whole = world.images("reward")
    game = world.game("train", credit=True)
    assert set(game.reward) < set(whole)
    assert len(game.reward) == round(len(whole) / 2)
    game.reset(0)
    assert game.evaluate_reward() == game.evaluator(game.learner, game.reward).miou
    assert game.evaluate_reward() != game.evaluator(game.learner, whole).miou
    # The same in every game of a configuration.
    assert World(configured("game.reward_share=0.5")).game("compare").reward == game.reward
    assert World(configured()).rewarded == whole


def test_a_mixed_reward_set_holds_the_pool_of_learning_too(configured):
    world = World(configured("game.reward_set=mixed"))
    assert world.rewarded == [*world.images("reward"), *world.images("train")]
    half = World(configured("game.reward_set=mixed", "game.reward_share=0.5"))
    assert set(half.rewarded) < set(world.rewarded)
    assert set(half.rewarded) & set(half.images("train"))


def test_the_worst_group_gives_the_reward_and_credit_is_of_all(configured):
    config = configured("game.reward_set=mixed", "game.reward_of=worst")
    world = World(config)
    _ = world.splits
    # Streets has no clips: every other image is said to be of another one.
    world.dataset.groups = {name: str(i % 2) for i, name in enumerate(world.dataset.names)}
    game, plain = (
        world.game("train", credit=True),
        World(configured("game.reward_set=mixed")).game("train", credit=True),
    )
    for each in (game, plain):
        each.reset(0)
    groups = [[i for i in game.reward if game.pool.store.names[i] in of] for of in _names_by_group(world.dataset)]
    mious = [game.evaluator(game.learner, images).miou for images in groups]
    assert len(mious) == 2
    assert game.evaluate_reward() == min(mious)
    assert plain.evaluate_reward() == plain.evaluator(plain.learner, plain.reward).miou != min(mious)
    found, wanted = (each.credit(each.view(each.credit_reducers))["credit"] for each in (game, plain))
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-6)


def _names_by_group(dataset):
    return [{name for name, group in dataset.groups.items() if group == wanted} for wanted in ("0", "1")]
