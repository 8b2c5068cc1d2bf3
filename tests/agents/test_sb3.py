from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common import env_checker
from stable_baselines3.common.evaluation import evaluate_policy

from ralseg.agents.options import SB3Options, agent_options
from ralseg.agents.query_network import CompactQueryNetwork
from ralseg.agents.query_policy import QueryPolicy, load_policy
from ralseg.agents.sb3 import as_sb3, train_sb3
from ralseg.agents.single_unit import SingleUnitWrapper
from ralseg.agents.trivial import TrivialEnv
from ralseg.foundation import RalsegError

torch.set_num_threads(1)


def greedy_return(policy, episodes=20):
    env, total = TrivialEnv(), 0.0
    for seed in range(episodes):
        obs, done = env.reset(seed=10_000 + seed)[0], False
        while not done:
            act = policy.select(SimpleNamespace(observation=obs), np.random.default_rng(0))
            obs, reward, done, _, _ = env.step(np.maximum(act, 0))
            total += reward
    return total / episodes


@pytest.mark.filterwarnings("ignore")
def test_wrapper_passes_both_checkers():
    check_env(SingleUnitWrapper(TrivialEnv()), skip_render_check=True)
    env_checker.check_env(SingleUnitWrapper(TrivialEnv()))
    env_checker.check_env(TrivialEnv())


def test_sub_steps_make_one_step_of_the_game():
    game, wrapped = TrivialEnv(slates=3), SingleUnitWrapper(TrivialEnv(slates=3))
    before, turn = game.reset(seed=4)[0], wrapped.reset(seed=4)[0]
    rng = np.random.default_rng(0)
    done = False
    while not done:
        choices = rng.integers(0, 5, 3)
        for k, choice in enumerate(choices):
            assert turn["slate"].tolist() == np.eye(3)[k].tolist()
            np.testing.assert_array_equal(turn["candidates"][0], before["candidates"][k])
            np.testing.assert_array_equal(turn["mask"][0], before["mask"][k])
            np.testing.assert_array_equal(turn["state"], before["state"])
            for earlier in range(3):
                expected = before["candidates"][earlier, choices[earlier]] if earlier < k else np.zeros(4)
                np.testing.assert_array_equal(turn["chosen"][earlier], expected)
            turn, reward, terminated, truncated, info = wrapped.step(int(choice))
            assert not truncated
            if k < 2:
                assert (reward, terminated, info) == (0.0, False, {})
        before, expected_reward, done, _, expected_info = game.step(choices)
        assert (reward, terminated) == (expected_reward, done)
        assert info["miou"] == expected_info["miou"]


@pytest.mark.parametrize(("algorithm", "episodes", "least"), [("sb3_ppo", 150, 0.9), ("sb3_dqn", 120, 0.7)])
def test_agents_learn_the_trivial_env(tmp_path, algorithm, episodes, least):
    options = SB3Options(algorithm=algorithm, gamma=0.3)
    result = train_sb3(TrivialEnv, options, tmp_path, seed=0, episodes=episodes, tensorboard=False)
    assert (len(result.history), result.env_steps) == (episodes, 6 * episodes)
    policy = load_policy(tmp_path)
    assert policy.description["options"]["algorithm"] == algorithm
    # Random choice returns about 1.4.
    assert greedy_return(policy) > least * TrivialEnv().best_return
    assert not list(tmp_path.rglob("*.zip"))


@pytest.mark.parametrize("algorithm", ["sb3_ppo", "sb3_dqn"])
def test_training_is_deterministic_and_reports(tmp_path, algorithm):
    options, seen = SB3Options(algorithm=algorithm, n_steps=32), []
    for name in "ab":
        result = train_sb3(TrivialEnv, options, tmp_path / name, seed=2, episodes=12, on_step=seen.append)
    first, second = ((tmp_path / name / "policy.safetensors").read_bytes() for name in "ab")
    assert first == second
    assert len(seen) == 2 * 12 * 6 and seen[-1].episode == seen[-1].episodes == 12
    assert seen[-1].miou == result.history[-1]["miou"] == pytest.approx(100 * result.history[-1]["return"] / 6)
    assert seen[-1].seconds_left == 0
    assert list((tmp_path / "a" / "tensorboard").rglob("events.*"))


def test_evaluate_policy_plays_any_query_policy():
    class Best:
        def choose(self, observation):
            best = (observation["candidates"][..., 0] * observation["mask"]).argmax(axis=-1)
            return np.where(observation["mask"].any(axis=-1), best, -1)

    mean, deviation = evaluate_policy(as_sb3(Best()), TrivialEnv(), n_eval_episodes=3, warn=False)
    assert (mean, deviation) == (TrivialEnv().best_return, 0)
    policy = QueryPolicy(CompactQueryNetwork(4, 4), {})
    obs = TrivialEnv().reset(seed=0)[0]
    alone = as_sb3(policy).predict(obs)[0]
    assert alone.tolist() == policy.select(SimpleNamespace(observation=obs), np.random.default_rng(0)).tolist()


class NaNEnv(TrivialEnv):
    def step(self, action):
        obs, _, terminated, truncated, info = super().step(action)
        return obs, float("nan"), terminated, truncated, info


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(RalsegError, match="episode 0: the env's reward is nan"):
        train_sb3(NaNEnv, SB3Options(), tmp_path, seed=0, episodes=2, tensorboard=False)
    with pytest.raises(RalsegError, match="episodes is 0"):
        train_sb3(TrivialEnv, SB3Options(), tmp_path, seed=0, episodes=0)
    assert not (tmp_path / "policy.json").exists()
    with pytest.raises(RalsegError, match=r"agent.algorithm='ppo' is unknown; choose from sb3_ppo, sb3_dqn"):
        SB3Options(algorithm="ppo")
    with pytest.raises(RalsegError, match=r"gamma=0 must be at least 0.01 for sb3_dqn"):
        SB3Options(algorithm="sb3_dqn", gamma=0)
    with pytest.raises(RalsegError, match="buffer_size=8 must be at least batch_size=32"):
        SB3Options(buffer_size=8)
    with pytest.raises(RalsegError, match=r"agent\.buffer is unknown"):
        agent_options({"algorithm": "sb3_ppo", "buffer": 8})
