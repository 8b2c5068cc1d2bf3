"""`BatchModeDQN` as an algorithm of tianshou, for use with tianshou's collectors, buffers and trainers.

ralseg itself trains with `ralseg.agents.training`, which resumes bit for bit. This adapter serves comparisons with
tianshou's agents in one trainer, and playing a policy in a collector; `docs/agent.md` shows both.
"""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from tianshou.algorithm.algorithm_base import OffPolicyAlgorithm, Policy
from tianshou.algorithm.modelfree.reinforce import SimpleLossTrainingStats
from tianshou.data import Batch, PrioritizedReplayBuffer, ReplayBuffer

from ralseg.agents.batch_dqn import BatchModeDQN
from ralseg.agents.replay import OBSERVATION, as_stored
from ralseg.foundation import RalsegError


class SlatePolicy(Policy):
    """A `BatchModeDQN` as a policy for tianshou's collectors.

    A collector made with `exploration_noise=True` explores with the epsilon of the algorithm, others play greedily.

    Args:
        core: the algorithm that chooses.
        action_space: MultiDiscrete([N] * K).

    Raises:
        RalsegError: if the algorithm explores by weights.
    """

    def __init__(self, core: BatchModeDQN, action_space: spaces.MultiDiscrete) -> None:
        if core.options.explore_by != "choices":
            raise RalsegError(
                f"explore_by={core.options.explore_by} disturbs the network for whole episodes, and a collector does "
                "not say when one begins; set explore_by=choices"
            )
        super().__init__(action_space=action_space, action_scaling=False, action_bound_method=None)
        self.core, self.network = core, core.network

    def train(self, mode: bool = True) -> "SlatePolicy":
        """Stay in evaluation mode; batch normalisation uses batch statistics only in `BatchModeDQN.learn`."""
        return super().train(False)

    def forward(self, batch: Any, state: Any = None, **_: Any) -> Any:
        """A batch with the greedy `act` (B, K) int64 of the observations in `batch.obs`; 0 in an empty slate."""
        return Batch(act=self.core.greedy(batch.obs), state=state)

    def add_exploration_noise(self, act: Any, batch: Any) -> Any:
        """See `BatchModeDQN.explore`."""
        return self.core.explore(act, batch.obs.mask)


class TianshouBatchDQN(OffPolicyAlgorithm[SlatePolicy]):
    """Batch-mode double DQN for tianshou's off-policy trainer.

    Any replay buffer of tianshou can be used, prioritised ones included, if it stores `obs_next` and `info`. Epsilon,
    learning rate and `gamma_from` follow `core.set_progress`, which the trainer's `training_fn` must call.

    Args:
        core: the algorithm that learns.
        action_space: MultiDiscrete([N] * K).
    """

    def __init__(self, core: BatchModeDQN, action_space: spaces.MultiDiscrete) -> None:
        super().__init__(policy=SlatePolicy(core, action_space))
        self.core = core

    def fit_inputs(self, buffer: ReplayBuffer) -> None:
        """Fit the input scaling of the networks to all observations in `buffer`; call it once, after the warm-up."""
        self.core.fit_inputs(_BufferRows(buffer, self.core).take(buffer.sample_indices(0), OBSERVATION))

    def _preprocess_batch(self, batch: Any, buffer: ReplayBuffer, indices: np.ndarray) -> Any:
        """The rows among `indices` whose next n steps are stored, with their targets."""
        row, whole = indices, np.ones(len(indices), bool)
        for _ in range(self.core.options.n_step - 1):
            whole &= ~(np.isin(row, buffer.unfinished_index()) | buffer.truncated[row])
            row = buffer.next(row)
        if not whole.any():
            raise RalsegError(
                f"no row of the batch has the {self.core.options.n_step} steps of its target yet; collect more env "
                "steps before the first update"
            )
        rows, stored = indices[whole], _BufferRows(buffer, self.core)
        found = Batch(rows=rows, obs=stored.take(rows, (*OBSERVATION, "act")), targets=self.core.targets(stored, rows))
        if isinstance(buffer, PrioritizedReplayBuffer):
            found.weight = torch.as_tensor(batch.weight[whole], dtype=torch.float32)
        return found

    def _update_with_batch(self, batch: Any) -> SimpleLossTrainingStats:
        stats, batch.errors = self.core.learn(batch.obs, batch.targets, batch.get("weight"))
        return SimpleLossTrainingStats(loss=stats.loss)

    def _postprocess_batch(self, batch: Any, buffer: ReplayBuffer, indices: np.ndarray) -> None:
        if isinstance(buffer, PrioritizedReplayBuffer):
            buffer.update_weight(batch.rows, batch.errors)


class _BufferRows:
    """A buffer of tianshou as `ralseg.agents.batch_dqn.Rows`; the signal is computed from stored reward and info."""

    def __init__(self, buffer: ReplayBuffer, core: BatchModeDQN) -> None:
        self.buffer, self.core = buffer, core

    def take(self, rows: np.ndarray, keys: tuple[str, ...]) -> dict[str, torch.Tensor]:
        """See `Rows.take`."""
        return {key: self._column(rows, key) for key in keys}

    def next(self, rows: np.ndarray) -> np.ndarray:
        """See `Rows.next`."""
        return self.buffer.next(rows)

    def following(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """See `Rows.following`."""
        return _observation(self.buffer[rows].obs_next)

    def _column(self, rows: np.ndarray, key: str) -> torch.Tensor:
        if key in OBSERVATION:
            return _observation(self.buffer.obs[rows])[key]
        if key == "signal":
            return torch.from_numpy(np.stack([self._signal(int(row)) for row in rows]))
        return torch.from_numpy(np.asarray(getattr(self.buffer, key)[rows]))

    def _signal(self, row: int) -> np.ndarray:
        where, obs = f"row {row} of the buffer", self.buffer.obs[row]
        seen = as_stored({key: obs[key] for key in OBSERVATION}, False, where)
        return self.core.signal(float(self.buffer.rew[row]), self.buffer.info[row], seen, where)


def _observation(obs: Any) -> dict[str, torch.Tensor]:
    found = {key: torch.from_numpy(np.asarray(obs[key])) for key in OBSERVATION}
    return found | {"mask": found["mask"] != 0}
