"""Reports of a training while it runs and when it ends."""

from dataclasses import dataclass
from pathlib import Path

from ralseg.agents.query_network import QueryNetwork


@dataclass(frozen=True)
class Progress:
    """The progress of a training, reported after every env step of all streams."""

    episode: int
    """episodes begun"""
    episodes: int
    """episodes in the training"""
    env_steps: int
    """env steps played on all streams since the first start"""
    miou: float
    """mean mIoU on D_R of the running streams, percent"""
    episode_return: float
    """mean sum of rewards so far of the running streams"""
    exploration: float | None
    """epsilon; None for an agent without one"""
    loss: float | None
    """loss of the last update; None before the first one, or if it is not known"""
    steps_per_second: float
    """env steps per second since this start"""
    seconds_left: float | None
    """estimated from the length of past episodes and the speed since this start; None before the first episode ends"""


@dataclass(frozen=True)
class TrainingResult:
    """The outcome of a training; `load_policy(folder)` reads its policy."""

    folder: Path
    """the folder with `policy.safetensors` and `policy.json`"""
    network: QueryNetwork
    """the trained network"""
    env_steps: int
    """steps of the game played on all streams"""
    updates: int
    """gradient updates"""
    history: list[dict[str, float]]
    """for each episode: episode, steps, return, miou (percent, at the end), refused"""


def seconds_left(history: list[dict[str, float]], episodes: int, env_steps: int, speed: float) -> float | None:
    """Seconds for the remaining steps at `speed` steps per second, if episodes stay as long as in `history`."""
    if not history:
        return None
    length = sum(episode["steps"] for episode in history) / len(history)
    return max(0.0, length * episodes - env_steps) / speed
