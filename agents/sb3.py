"""Stable-Baselines3 agents for the same game: PPO on the K choices at once, DQN on one choice after another.

Both train a `CompactQueryNetwork`, whose outputs are PPO's logits or DQN's Q-values, and save an ordinary policy folder
that `load_policy` reads: weights as safetensors, nothing pickled.
"""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from ralseg.agents.env_spaces import boxes, env_spaces
from ralseg.agents.options import SB3Options
from ralseg.agents.progress import Progress, TrainingResult, seconds_left
from ralseg.agents.query_network import CompactQueryNetwork
from ralseg.agents.query_policy import QueryPolicy, save_policy
from ralseg.agents.sb3_networks import DQNFeatures, PPOFeatures, SlateActorCritic, SlateDQNPolicy
from ralseg.agents.single_unit import SingleUnitWrapper
from ralseg.foundation import RalsegError, generator, integer

# SB3 counts steps and we count episodes, so it gets twice the expected number of steps and the callback stops it.
_SLACK = 2


class SeededEpisodes(gym.Wrapper):
    """Starts episode e with the seed of the stream `("episode", e)`, as `training.train` does, and checks rewards.

    Args:
        env: the game.
        seed: the root seed.
    """

    def __init__(self, env: gym.Env, seed: int) -> None:
        super().__init__(env)
        self.root, self.index = seed, -1

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        """Start the next episode; `seed` is not used."""
        self.index += 1
        return self.env.reset(seed=integer(self.root, "episode", self.index), options=options)

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        """Step the game.

        Raises:
            RalsegError: if the reward is not finite.
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        if not np.isfinite(float(reward)):
            raise RalsegError(f"episode {self.index}: the env's reward is {reward}; fix the env or its learner")
        return observation, float(reward), terminated, truncated, info


class _Episodes(BaseCallback):
    """Records and reports the episodes, and stops the training after the given number of them."""

    def __init__(self, episodes: int, on_step: Callable[[Progress], None] | None) -> None:
        super().__init__()
        self.episodes, self.report = episodes, on_step
        self.history: list[dict[str, float]] = []
        self.env_steps, self.begun = 0, time.perf_counter()
        self._begin()

    def _begin(self) -> None:
        self.total = {"episode": len(self.history), "steps": 0, "return": 0.0, "miou": 0.0, "refused": 0}

    def _on_step(self) -> bool:
        info = self.locals["infos"][0]
        if "miou" not in info:  # a sub-step, not a step of the game
            return True
        self.env_steps += 1
        self.total["steps"] += 1
        self.total["return"] += float(self.locals["rewards"][0])
        self.total["miou"] = float(info["miou"])
        self.total["refused"] += int(info["refused"])
        if self.report:
            self.report(self._progress())
        if self.locals["dones"][0]:
            self.history.append(self.total)
            for name in ("return", "miou", "refused"):
                self.logger.record(f"game/{name}", self.total[name])
            self._begin()
        return len(self.history) < self.episodes

    def _progress(self) -> Progress:
        speed = self.env_steps / max(1e-9, time.perf_counter() - self.begun)
        return Progress(
            episode=self.total["episode"] + 1,
            episodes=self.episodes,
            env_steps=self.env_steps,
            miou=self.total["miou"],
            episode_return=self.total["return"],
            exploration=getattr(self.model, "exploration_rate", None),
            loss=None,
            steps_per_second=speed,
            seconds_left=seconds_left(self.history, self.episodes, self.env_steps, speed),
        )


def train_sb3(
    make_env: Callable[[], gym.Env],
    options: SB3Options,
    run_folder: str | Path,
    *,
    seed: int,
    episodes: int,
    observation: dict[str, Any] | None = None,
    tensorboard: bool = True,
    on_step: Callable[[Progress], None] | None = None,
) -> TrainingResult:
    """Train a Stable-Baselines3 agent on one game stream and save its policy into `run_folder`.

    A first random episode fits the input scaling and gives the length of an episode. SB3 draws from the global
    generators of numpy and torch, which it seeds. A killed training starts again from the beginning.

    Args:
        make_env: makes the env.
        options: the settings.
        run_folder: the folder for `policy.safetensors`, `policy.json` and `tensorboard/`.
        seed: the root seed.
        episodes: number of training episodes.
        observation: how the observation is made, JSON values; stored in `policy.json`.
        tensorboard: whether to write TensorBoard files.
        on_step: called after every step of the game.

    Raises:
        RalsegError: if `episodes` is below 1, the env lacks the spaces that the agents need, or a reward is not finite.
    """
    if episodes < 1:
        raise RalsegError(f"episodes is {episodes}; it must be at least 1")
    folder = Path(run_folder)
    with closing(make_env()) as env:
        warm_up = _random_episode(env, generator(seed, "warm-up"), integer(seed, "warm-up episode"))
        log = str(folder / "tensorboard") if tensorboard else None
        model = _make_model(SeededEpisodes(env, seed), options, len(warm_up), seed, log)
        networks = [module for module in model.policy.modules() if isinstance(module, CompactQueryNetwork)]
        for network in networks:
            network.fit_inputs(*(np.stack([obs[key] for obs in warm_up]) for key in ("state", "candidates", "mask")))
        counter = _Episodes(episodes, on_step)
        turns = len(env_spaces(env)[1].nvec) if options.algorithm == "sb3_dqn" else 1
        model.learn(_SLACK * len(warm_up) * episodes * turns, callback=counter, log_interval=1)
    save_policy(folder, networks[0], observation=observation or {}, options=asdict(options))
    return TrainingResult(folder, networks[0], counter.env_steps, model._n_updates, counter.history)


def _random_episode(env: gym.Env, rng: np.random.Generator, seed: int) -> list[dict[str, np.ndarray]]:
    observation, _ = env.reset(seed=seed)
    seen, done = [], False
    while not done:
        seen.append(observation)
        action = np.where(observation["mask"] == 1, rng.random(observation["mask"].shape), -1).argmax(axis=-1)
        observation, _, terminated, truncated, _ = env.step(action)
        done = terminated or truncated
    return seen


def _make_model(env: gym.Env, options: SB3Options, episode_steps: int, seed: int, log: str | None) -> BaseAlgorithm:
    space, action_space = env_spaces(env)
    parts = boxes(space)
    network = {
        "state_features": parts["state"].shape[-1],
        "candidate_features": parts["candidates"].shape[-1],
        "hidden": options.hidden,
        "context": options.context,
    }
    common = {
        "learning_rate": options.learning_rate,
        "batch_size": options.batch_size,
        "seed": integer(seed, "sb3") % 2**32,
        "device": "cpu",
        "tensorboard_log": log,
    }
    if options.algorithm == "sb3_ppo":
        return PPO(
            SlateActorCritic,
            env,
            n_steps=options.n_steps,
            n_epochs=options.epochs,
            ent_coef=options.entropy,
            gamma=options.gamma,
            policy_kwargs={
                "features_extractor_class": PPOFeatures,
                "features_extractor_kwargs": {"network": network},
                "ortho_init": False,
            },
            **common,
        )
    slates = len(action_space.nvec)
    return DQN(
        SlateDQNPolicy,
        SingleUnitWrapper(env),
        buffer_size=options.buffer_size,
        learning_starts=slates * episode_steps,
        train_freq=slates,
        gradient_steps=options.updates_per_step,
        target_update_interval=options.target_update * slates,
        exploration_fraction=options.exploration_share / _SLACK,
        exploration_final_eps=options.epsilon_end,
        gamma=options.gamma ** (1 / slates),
        policy_kwargs={
            "features_extractor_class": DQNFeatures,
            "features_extractor_kwargs": {"network": network},
            "net_arch": [],
        },
        **common,
    )


class SB3Predictor:
    """A query policy with SB3's `predict`.

    Args:
        policy: plays greedily.
    """

    def __init__(self, policy: QueryPolicy) -> None:
        self.policy = policy

    def predict(
        self,
        observation: dict[str, np.ndarray],
        state: Any = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, Any]:
        """Choose, as SB3's `BasePolicy.predict` does; `episode_start` and `deterministic` are not used.

        Args:
            observation: `state`, `candidates` and `mask`, with a leading axis of n observations or without.
            state: returned unchanged.
            episode_start: not used.
            deterministic: not used; the choice is greedy.

        Returns:
            Actions (n, K) or (K,) int64, 0 where a slate is empty, and `state`.
        """
        if observation["mask"].ndim == 2:
            return np.maximum(self.policy.choose(observation), 0), state
        each = [{key: array[n] for key, array in observation.items()} for n in range(len(observation["mask"]))]
        return np.stack([self.predict(one)[0] for one in each]), state


def as_sb3(policy: QueryPolicy) -> SB3Predictor:
    """A trained policy for SB3's tools, e.g. `stable_baselines3.common.evaluation.evaluate_policy`."""
    return SB3Predictor(policy)
