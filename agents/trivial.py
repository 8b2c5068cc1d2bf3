"""A game that takes milliseconds and has the interface of the real one, to show that an agent can learn at all."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

STATE_UNITS, FEATURES = 6, 4


class TrivialEnv(gym.Env):
    """One candidate in each slate is worth buying.

    Observation: `state` (6, 4), `candidates` (slates, size, 4), `mask` (slates, size). Feature 0 of a candidate is 1 in
    one open candidate of a slate and 0 in the others; the rest is noise.
    Action: MultiDiscrete([size] * slates).
    Reward: the share of slates in which the good candidate was chosen, so a perfect episode returns `best_return`.
    Info: as in the game's step; credit is 1 for the good candidate and 0 for the others, reference twice that.
    Episode end: terminated after `steps` steps.

    Args:
        slates: K.
        size: N.
        steps: length of an episode.
        closed: share of candidates that are masked; in the last step the whole last slate is masked.
    """

    metadata = {"render_modes": []}

    def __init__(self, slates: int = 2, size: int = 5, steps: int = 6, closed: float = 0.2) -> None:
        self.slates, self.size, self.steps, self.closed = slates, size, steps, closed
        box = {
            "state": spaces.Box(-np.inf, np.inf, (STATE_UNITS, FEATURES), np.float32),
            "candidates": spaces.Box(-np.inf, np.inf, (slates, size, FEATURES), np.float32),
            "mask": spaces.Box(0, 1, (slates, size), np.int8),
        }
        self.observation_space = spaces.Dict(box)
        self.action_space = spaces.MultiDiscrete([size] * slates)

    @property
    def best_return(self) -> float:
        """The return of a perfect episode."""
        return self.steps - (1 / self.slates if self.closed else 0)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict[str, np.ndarray], dict]:
        """Start an episode; the same seed gives the same episode."""
        super().reset(seed=seed)
        self._step, self._reward_sum = 0, 0.0
        self._draw()
        return self._observation(), {"action_mask": tuple(self._mask)}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Choose one candidate of each slate."""
        action = np.asarray(action)
        rows = np.arange(self.slates)
        bought = self._mask[rows, action] == 1
        credit = (self._candidates[..., 0] * self._mask).astype(np.float32)
        chosen = credit[rows, action]
        reward = float(chosen.mean())
        self._step += 1
        self._reward_sum += reward
        self._draw()
        info = {
            "action_mask": tuple(self._mask),
            "refused": int((~bought).sum()),
            "miou": 100.0 * self._reward_sum / self.steps,
            "credit": chosen,
            "candidate_credit": credit,
            "candidate_reference": 2 * credit,
            "class_shares": np.array([chosen.sum(), bought.sum() - chosen.sum()], np.float32) / max(1, bought.sum()),
        }
        return self._observation(), reward, self._step == self.steps, False, info

    def _draw(self) -> None:
        shape = (self.slates, self.size)
        self._mask = (self.np_random.random(shape) >= self.closed).astype(np.int8)
        self._mask[:, 0] = 1
        if self._step == self.steps - 1 and self.closed:
            self._mask[-1] = 0
        self._candidates = self.np_random.standard_normal((*shape, FEATURES)).astype(np.float32)
        good = np.where(self._mask == 1, self.np_random.random(shape), -1).argmax(axis=-1)
        self._candidates[..., 0] = np.arange(self.size) == good[:, None]
        self._state = self.np_random.standard_normal((STATE_UNITS, FEATURES)).astype(np.float32)

    def _observation(self) -> dict[str, np.ndarray]:
        return {"state": self._state.copy(), "candidates": self._candidates.copy(), "mask": self._mask.copy()}
