"""The spaces of an env that the agents can play, checked once so that later code can rely on them."""

import gymnasium as gym
from gymnasium import spaces

from ralseg.foundation import RalsegError


def env_spaces(env: gym.Env) -> tuple[spaces.Dict, spaces.MultiDiscrete]:
    """The observation space and the action space of an env.

    Raises:
        RalsegError: if they are not a Dict of Boxes with `state`, `candidates` and `mask`, and MultiDiscrete([N] * K).
    """
    seen, action = env.observation_space, env.action_space
    if not isinstance(seen, spaces.Dict) or not {"state", "candidates", "mask"} <= seen.keys():
        raise RalsegError(f"the env's observation space is {seen}; it must be a Dict of state, candidates and mask")
    boxes(seen)
    if not isinstance(action, spaces.MultiDiscrete) or len(set(action.nvec)) != 1:
        raise RalsegError(f"the env's action space is {action}; it must be MultiDiscrete([N] * K)")
    return seen, action


def boxes(space: spaces.Dict) -> dict[str, spaces.Box]:
    """The parts of an observation space by name.

    Raises:
        RalsegError: if one of them is not a Box.
    """
    found: dict[str, spaces.Box] = {}
    for name, part in space.items():
        if not isinstance(part, spaces.Box):
            raise RalsegError(f"the env's observation space holds {name}={part}; it must be a Box")
        found[name] = part
    return found
