"""Replay of env steps: every observation stored once, sampled by our own generator."""

from typing import Any

import numpy as np
from tianshou.data import PrioritizedVectorReplayBuffer, VectorReplayBuffer

from ralseg.foundation import RalsegError


def standardise(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`values` (K, N) to mean 0 and sd 1 over the open candidates of the step; 0 where masked or where all are equal.

    Returns:
        (K, N) float32.
    """
    open_ = mask == 1
    result = np.zeros(values.shape, np.float32)
    if open_.any():
        chosen = values[open_].astype(np.float64)
        deviation = chosen.std()
        if deviation > 1e-12 * max(1.0, np.abs(chosen).max()):
            result[open_] = (chosen - chosen.mean()) / deviation
    return result


class _ByGenerator:
    """Draw rows with a numpy Generator, and only rows whose next observation is stored.

    tianshou's buffers draw from numpy's global generator or from one seeded with 42. Without a stored `obs_next` the
    last row of a running episode has no next observation yet: with n steps, the last n rows are not drawn.
    """

    rng: np.random.Generator
    n_step: int

    def drawable(self) -> np.ndarray:
        """The rows that may be drawn, (n,) int64."""
        rows = last = super().sample_indices(0)
        for _ in range(self.n_step - 1):
            last = self.next(last)
        return rows[~np.isin(last, self.unfinished_index())]

    def sample_indices(self, batch_size: int | None) -> np.ndarray:
        """Draw `batch_size` rows with replacement; all rows, in order, for 0 or None."""
        if not batch_size:
            return super().sample_indices(batch_size)
        rows = self.drawable()
        weights = self.weight[rows] if hasattr(self, "update_weight") else None
        return self.rng.choice(rows, batch_size, p=None if weights is None else weights / weights.sum())


class UniformReplay(_ByGenerator, VectorReplayBuffer):
    """tianshou's vector buffer, drawn uniformly."""


class PrioritisedReplay(_ByGenerator, PrioritizedVectorReplayBuffer):
    """tianshou's prioritised vector buffer, drawn in proportion to the priorities."""


def make_replay(
    size: int, streams: int, *, rng: np.random.Generator, n_step: int = 1, priority: tuple[float, float] | None = None
) -> UniformReplay | PrioritisedReplay:
    """An empty replay.

    Args:
        size: env steps kept, over all streams.
        streams: number of game streams; each has its own part.
        rng: draws the samples.
        n_step: env steps of signal before the bootstrap.
        priority: (alpha, beta) of prioritised replay; None draws uniformly.
    """
    if priority is None:
        replay = UniformReplay(size, streams, ignore_obs_next=True)
    else:
        replay = PrioritisedReplay(size, streams, ignore_obs_next=True, alpha=priority[0], beta=priority[1])
    replay.rng, replay.n_step = rng, n_step
    return replay


def as_stored(observation: dict[str, np.ndarray], half: bool, where: str) -> dict[str, np.ndarray]:
    """The three arrays of an observation as they are stored.

    Args:
        observation: `state`, `candidates`, `mask`.
        half: whether features become float16.
        where: names the step in the error.

    Raises:
        RalsegError: if a feature is not finite, or too large for float16.
    """
    kind = np.float16 if half else np.float32
    stored: dict[str, Any] = {"mask": np.asarray(observation["mask"], np.int8)}
    for key in ("state", "candidates"):
        with np.errstate(over="ignore"):
            stored[key] = np.asarray(observation[key], kind)
        if not np.isfinite(stored[key]).all():
            mend = "scale the features or set replay_half=false" if half else "mend the env"
            raise RalsegError(
                f"{where}: the observation's {key} holds a number that is not finite as {kind.__name__}; {mend}"
            )
    return stored
