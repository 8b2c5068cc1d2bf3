"""The game as one choice after another, for agents with a single discrete action."""

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class SingleUnitWrapper(gym.Wrapper):
    """One choice a step: K sub-steps make one step of the game, whose reward comes with the last.

    Observation: `state` as in the game, `candidates` (1, N, F') and `mask` (1, N) of the slate whose turn it is,
    `slate` (K,), which slate that is, one-hot, and `chosen` (K, F'), the candidates chosen so far, 0 elsewhere. Without
    `chosen` a bootstrap could not tell one early choice from another: the reward for it comes with the last sub-step.
    Action: Discrete(N).

    A discount applies at every sub-step: gamma of the game is gamma ** (1 / K) here. Credit over sub-steps is chained
    through K bootstraps, which batch-mode DQN is not.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        space = env.observation_space
        slates, size, width = space["candidates"].shape
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
        """Choose in the slate whose turn it is; the game steps when all slates have had theirs."""
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
