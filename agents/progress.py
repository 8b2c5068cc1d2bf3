"""What a training tells while it runs and when it ends."""

from dataclasses import dataclass
from pathlib import Path

from ralseg.agents.query_network import QueryNetwork


@dataclass(frozen=True)
class Progress:
    """Where a training stands, after every env step of all streams."""

    episode: int
    """episodes begun"""
    episodes: int
    """episodes in the training"""
    env_steps: int
    """env steps played, over all streams and since the first start"""
    miou: float
    """mean mIoU on D_R of the running streams, percent"""
    episode_return: float
    """mean sum of rewards so far of the running streams"""
    exploration: float | None
    """epsilon, None for an agent that has none"""
    loss: float | None
    """of the last update, None before the first or where it is not known"""
    steps_per_second: float
    """env steps a second since this start"""
    seconds_left: float | None
    """estimated from the length of the episodes that ended and the speed of this start; None before the first ended"""


@dataclass(frozen=True)
class TrainingResult:
    """What a training gave; `load_policy(folder)` reads its policy."""

    folder: Path
    """holds `policy.safetensors` and `policy.json`"""
    network: QueryNetwork
    """the trained network"""
    env_steps: int
    """steps of the game that were played"""
    updates: int
    """gradient updates"""
    history: list[dict[str, float]]
    """for each episode: episode, steps, return, miou (percent, at the end), refused"""


def seconds_left(history: list[dict[str, float]], episodes: int, env_steps: int, speed: float) -> float | None:
    """Seconds that the steps still to be played take at `speed` steps a second, if they go on as in `history`."""
    if not history:
        return None
    length = sum(episode["steps"] for episode in history) / len(history)
    return max(0.0, length * episodes - env_steps) / speed
