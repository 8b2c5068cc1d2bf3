"""The game played one choice after another, for agents with a single discrete action."""

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from ralseg.agents.env_spaces import boxes, env_spaces


class SingleUnitWrapper(gym.Wrapper):
    """One choice per step: K sub-steps make one step of the game, and its reward comes with the last of them.

    Observation: `state` as in the game, `candidates` (1, N, F') and `mask` (1, N) of the present slate, `slate` (K,)
    one-hot with its number, and `chosen` (K, F') with the candidates chosen so far in the step, 0 elsewhere. Without
    `chosen` a bootstrap could not distinguish early choices, because their reward comes with the last sub-step.
    Action: Discrete(N).

    The discount applies at every sub-step, so gamma of the game becomes gamma ** (1 / K) here. The reward reaches the
    first sub-step through K bootstraps, where batch-mode DQN needs one.

    Args:
        env: the game, with the spaces that `ralseg.agents.env_spaces` checks.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        space, _ = env_spaces(env)
        slates, size, width = boxes(space)["candidates"].shape
        self.slates = slates
        self.action_space = spaces.Discrete(size)
        self.observation_space = spaces.Dict(
            {
                "state": space["state"],
                "candidates": spaces.Box(-np.inf, np.inf, (1, size, width), np.float32),
                "mask": spaces.Box(0, 1, (1, size), np.int8),
                "slate": spaces.Box(0, 1, (slates,), np.float32),
                "chosen": spaces.Box(-np.inf, np.inf, (slates, width), np.float32),
            }
        )

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict[str, np.ndarray], dict]:
        """Start an episode at slate 0."""
        self.held, info = self.env.reset(seed=seed, options=options)
        self.chosen: list[int] = []
        return self._observation(), info

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict]:
        """Choose in the present slate; the choice in the last slate steps the game."""
        self.chosen.append(int(action))
        if len(self.chosen) < self.slates:
            return self._observation(), 0.0, False, False, {}
        self.held, reward, terminated, truncated, info = self.env.step(np.array(self.chosen))
        self.chosen = []
        return self._observation(), float(reward), terminated, truncated, info

    def _observation(self) -> dict[str, np.ndarray]:
        turn = len(self.chosen)
        chosen = np.zeros_like(self.held["candidates"][:, 0])
        chosen[:turn] = self.held["candidates"][np.arange(turn), self.chosen]
        return {
            "state": self.held["state"].copy(),
            "candidates": self.held["candidates"][turn : turn + 1].copy(),
            "mask": self.held["mask"][turn : turn + 1].copy(),
            "slate": np.eye(self.slates, dtype=np.float32)[turn],
            "chosen": chosen,
        }
