import copy
import multiprocessing
import pickle
from itertools import pairwise

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from stable_baselines3.common import env_checker
from tianshou.env import SubprocVectorEnv

from ralseg.configs import composed
from ralseg.envs import EnvFactory, RegionSelectionEnv, World, make_env
from ralseg.envs.offer import draw_offer
from ralseg.foundation import RalsegError

SEEDS = (3, 11)
COMPARED = {"miou", "refused", "loss", "credit", "candidate_credit", "candidate_reference"}


@pytest.fixture
def env(game):
    return RegionSelectionEnv(game)


def choose(observation, step):
    """Some unmasked candidate of each slate, the same in every process."""
    mask = observation["mask"]
    n = mask.shape[-1]
    order = (np.arange(n) + step) % n
    return order[mask[..., order].argmax(-1)]


def episode(env, seed, steps=None):
    """(observation, reward, terminated, info) from the reset to the end."""
    observation, info = env.reset(seed=seed)
    rows = [(observation, 0.0, False, info)]
    while not rows[-1][2] and (steps is None or len(rows) <= steps):
        observation, reward, terminated, truncated, info = env.step(choose(rows[-1][0], len(rows)))
        assert not truncated
        rows.append((observation, reward, terminated, info))
    return rows


def assert_same(first, second):
    """Equality bit for bit, whatever it is made of."""
    if isinstance(first, dict):
        assert set(first) == set(second)
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, tuple | list):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    else:
        np.testing.assert_array_equal(first, second)


@pytest.mark.filterwarnings("ignore")
def test_both_checkers(env):
    check_env(env, skip_render_check=True)
    env_checker.check_env(env)


def test_spaces(env):
    spec = env.game.spec
    shapes = {key: (box.shape, box.dtype) for key, box in env.observation_space.items()}
    assert shapes == {
        "state": ((80, spec.state_width), np.float32),
        "candidates": ((3, 3, spec.candidate_width), np.float32),
        "mask": ((3, 3), np.int8),
    }
    assert env.action_space.nvec.tolist() == [3, 3, 3]
    for observation, *_ in episode(env, 0):
        assert env.observation_space.contains(observation)
        masked = observation["candidates"][observation["mask"] == 0]
        assert (masked == 0).all()


def test_the_same_seed_is_the_same_episode(env, world):
    first = episode(env, 5)
    other = episode(env, 6)
    assert_same(first, episode(env, 5))
    assert_same(first, episode(RegionSelectionEnv(world.game("train", credit=True, reference=True)), 5))
    assert (first[0][0]["candidates"] != other[0][0]["candidates"]).any()


def test_without_a_seed_episodes_follow_from_the_last_one(env):
    env.reset(seed=1)
    first, second = (env.reset()[0]["candidates"] for _ in range(2))
    assert (first != second).any()
    env.reset(seed=1)
    np.testing.assert_array_equal(first, env.reset()[0]["candidates"])


def test_rewards_are_the_gains_in_miou(env):
    rows = episode(env, 2)
    env.game.reset(0)
    theta0 = env.game.evaluator(env.game.learner, env.game.reward).miou
    assert rows[0][3]["miou"] == theta0
    for (_, _, _, before), (_, reward, _, after) in pairwise(rows):
        assert reward == after["miou"] - before["miou"]
    assert isinstance(rows[1][1], float)
    assert any(reward for _, reward, _, _ in rows)


def test_what_info_holds(env):
    rows = episode(env, 7)
    for number, (before, (observation, _, _, info)) in enumerate(pairwise(rows), 1):
        mask, action = before[0]["mask"], choose(before[0], number)
        assert [m.tolist() for m in info["action_mask"]] == observation["mask"].tolist()
        assert all(m.dtype == np.int8 for m in info["action_mask"])
        for key in ("candidate_credit", "candidate_reference"):
            assert (info[key].shape, info[key].dtype) == ((3, 3), np.float32)
            assert (info[key][mask == 0] == 0).all()
            assert (info[key][mask == 1] != 0).all()
        assert info["credit"].tolist() == info["candidate_credit"][np.arange(3), action].tolist()
        assert info["class_shares"].dtype == np.float32
        assert info["class_shares"].sum() == pytest.approx(1)
        assert info["refused"] == (mask.max(axis=1) == 0).sum()
        assert set(info["ledger"]) == {"units", "pixels", "share", "clicks", "images"}
    assert [row[3]["ledger"]["units"] for row in rows] == [0, 3, 6, 8]
    bought = env.game._reader().true_counts(env.game.pool.history[-1]).sum(0)
    np.testing.assert_array_equal(rows[-1][3]["class_shares"] > 0, bought > 0)


def test_a_copy_plays_the_same_game_on_its_own_and_a_pickle_is_refused(env):
    observation, _ = env.reset(seed=3)
    env.step(choose(observation, 1))
    twin = copy.deepcopy(env)
    later = [[made.step(choose(made.game.view().observation, step)) for step in (2, 3)] for made in (env, twin)]
    assert_same(*later)
    with pytest.raises(pickle.PicklingError, match="EnvFactory"):
        pickle.dumps(env)


@pytest.mark.parametrize("credit", [False, True])
@pytest.mark.parametrize("reference", [False, True])
def test_hindsight_is_what_was_asked_for_and_nothing_else_is_paid(world, env, credit, reference, monkeypatch):
    with_all = episode(env, 0)
    part = RegionSelectionEnv(world.game("train", credit=credit, reference=reference))
    if not reference:
        monkeypatch.setattr("ralseg.envs.reader.PoolReader.true_counts", None)
    if not credit:
        monkeypatch.setattr("ralseg.envs.targets.soft_targets", None)
    expected = {"credit", "candidate_credit"} if credit else set()
    expected |= {"candidate_reference"} if reference else set()
    for (*seen, info), (*wanted, whole) in zip(episode(part, 0)[1:], with_all[1:], strict=True):
        assert_same(seen, wanted)
        assert {"credit", "candidate_credit", "candidate_reference"} & set(info) == expected
        assert_same({key: info[key] for key in expected}, {key: whole[key] for key in expected})


def test_a_masked_choice_is_counted_and_free(env, monkeypatch):
    def partly_masked(campaign, options, seed, turn):
        offer = draw_offer(campaign, options, seed, turn)
        offer.mask[1 if turn == 0 else slice(None), 0 if turn == 0 else 2] = False
        return offer

    monkeypatch.setattr("ralseg.envs.game.draw_offer", partly_masked)
    env.reset(seed=0)
    _, _, terminated, _, info = env.step(np.zeros(3, int))
    assert (info["refused"], info["ledger"]["units"], terminated) == (1, 2, False)
    assert info["credit"][1] == 0
    before = info["miou"], info["ledger"]
    _, reward, _, _, info = env.step(np.full(3, 2))
    assert (info["refused"], reward, info["loss"]) == (3, 0, 0)
    assert (info["miou"], info["ledger"]) == before
    assert info["class_shares"].tolist() == [0] * 11


def test_it_ends_when_the_budget_is_spent(env):
    rows = episode(env, 4)
    assert [row[2] for row in rows] == [False, False, False, True]
    assert not rows[-1][0]["mask"].any()
    with pytest.raises(RalsegError, match="the episode is over; call reset"):
        env.step(np.zeros(3, int))
    env.reset()
    env.step(np.zeros(3, int))


def test_it_ends_when_the_pool_is_exhausted(configured):
    env = RegionSelectionEnv(World(configured("game.unit=image", "game.budget=100", "features=compact")).game("train"))
    rows = episode(env, 0)
    assert [row[3]["ledger"]["units"] for row in rows] == [0, 3, 5]
    assert rows[-1][3]["refused"] == 1
    assert rows[-1][3]["ledger"]["share"] == 1


@pytest.mark.parametrize(
    "action", [[0, 1], [0, 1, 3], [-1, 0, 0], [[0, 1, 2]], 1, [0.0, 1.0, 2.0], [0, np.nan, 1], ["a", "b", "c"]]
)
@pytest.mark.parametrize("credit", [True, False])
def test_wrong_actions(world, action, credit):
    env = RegionSelectionEnv(world.game("train", credit=credit))
    with pytest.raises(RalsegError, match="call reset first"):
        env.step(np.zeros(3, int))
    env.reset(seed=0)
    with pytest.raises(RalsegError, match="not in the action space; it is 3 integers from 0 to 2"):
        env.step(action)
    assert env.game.turn == 0


def test_a_damaged_network_is_refused(env):
    env.reset(seed=0)
    for parameter in env.game.learner._network.parameters():
        parameter.data.fill_(float("nan"))
    with pytest.raises(RalsegError, match="the segmentation loss is nan; lower the learning rate"):
        env.step(np.zeros(3, int))


def test_it_is_registered(game):
    env = gymnasium.make("ralseg:ralseg/RegionSelection-v0", game=game)
    assert isinstance(env.unwrapped, RegionSelectionEnv)
    assert env.unwrapped.game is game
    assert_same(episode(env, 1), episode(RegionSelectionEnv(game), 1))
    assert env.spec.id == "ralseg/RegionSelection-v0"


def test_make_env_builds_from_overrides(configured):
    config = configured()
    keys = {"dataset": ("images", "size"), "game": ("slates", "candidates", "budget", "unit")}
    overrides = [f"{group}.{key}={config[group][key]}" for group, names in keys.items() for key in names]
    counts = str(config["protocol"]["counts"]).replace("'", "")
    overrides += [f"protocol.counts={counts}", "theta0.fit.steps=2", "theta0.fit.batch=2", "features=compact"]
    env = make_env(overrides=overrides, role="compare", credit=False)
    assert env.game.pool.images.tolist() == World(composed("train_agent", overrides)).images("compare")
    assert env.game.credit_reducers == ()


def gymnasium_streams(venv):
    """The first steps of two streams, as `episode` gives them, out of a Gymnasium vector env."""

    def split(observation, reward, terminated, info):
        names = [key for key in COMPARED if key in info]
        return [
            (
                {k: array[i] for k, array in observation.items()},
                reward[i],
                terminated[i],
                {k: info[k][i] for k in names},
            )
            for i in range(len(reward))
        ]

    observation, info = venv.reset(seed=list(SEEDS))
    rows = [split(observation, np.zeros(2), np.zeros(2, bool), info)]
    while len(rows) < 3:
        action = np.stack([choose(last[0], len(rows)) for last in rows[-1]])
        observation, reward, terminated, _, info = venv.step(action)
        rows.append(split(observation, reward, terminated, info))
    venv.close()
    return list(zip(*rows, strict=True))


def tianshou_streams(venv):
    """The same out of one of tianshou's."""
    starts = [venv.reset(i, seed=seed) for i, seed in enumerate(SEEDS[: len(venv)])]
    rows = [[(observation[0], 0.0, False, info[0]) for observation, info in starts]]
    while len(rows) < 3:
        action = np.stack([choose(last[0], len(rows)) for last in rows[-1]])
        observation, reward, terminated, _, info = venv.step(action)
        rows.append(list(zip(observation, reward, terminated, info, strict=True)))
    venv.close()
    return list(zip(*rows, strict=True))


# A spawned process takes seconds to import torch. A server that has imported it forks fresh ones without that: they are
# given the makers as spawned ones are, pickled.
multiprocessing.set_forkserver_preload(["ralseg.envs"])
VECTORS = {
    "sync": lambda makers: gymnasium_streams(SyncVectorEnv(makers)),
    "async": lambda makers: gymnasium_streams(AsyncVectorEnv(makers, context="forkserver")),
    "tianshou": lambda makers: tianshou_streams(SubprocVectorEnv(makers, context="forkserver")),
}


@pytest.mark.parametrize("vector", VECTORS)
def test_vector_envs_play_the_same_episodes(configured, world, vector):
    plain = RegionSelectionEnv(world.game("train", credit=True, reference=True))
    streams = VECTORS[vector]([EnvFactory(configured())] * 2)
    for seed, stream in zip(SEEDS, streams, strict=False):
        for got, wanted in zip(stream, episode(plain, seed, steps=2), strict=True):
            assert_same(got[:3], wanted[:3])
            names = COMPARED & set(wanted[3])
            assert_same({key: got[3][key] for key in names}, {key: wanted[3][key] for key in names})


def test_camvid(camvid_root):
    overrides = [
        "dataset=camvid", f"dataset.root={camvid_root}", "input_scale=0.25", "theta0.fit.steps=5", "theta0.fit.batch=4",
        "game.slates=4", "game.candidates=5", "game.budget=8", "features=compact",
    ]  # fmt: skip
    env = make_env(overrides=overrides)
    assert (len(env.game.pool), env.game.state_units) == (2400, 240)
    rows = episode(env, 0)
    assert [row[3]["ledger"]["units"] for row in rows] == [0, 4, 8]
    assert rows[-1][3]["ledger"]["share"] == 8 / 2400
    assert_same(rows, episode(env, 0))


def test_a_render_mode_is_refused_and_one_override_may_be_a_text():
    with pytest.raises(RalsegError, match=r"render_mode='rgb_array' is not there: .*; leave it out"):
        gymnasium.make("ralseg:ralseg/RegionSelection-v0", render_mode="rgb_array", disable_env_checker=True)
    with pytest.raises(RalsegError, match=r"^game=partly is unknown"):
        gymnasium.make("ralseg:ralseg/RegionSelection-v0", overrides="game=partly")
