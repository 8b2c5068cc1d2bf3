"""Batch-mode double DQN on tianshou: K choices an env step, one Q-value per candidate."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy, QLearningOffPolicyAlgorithm
from tianshou.algorithm.modelfree.reinforce import SimpleLossTrainingStats
from tianshou.algorithm.optim import TorchOptimizerFactory
from tianshou.data import Batch
from torch.nn.functional import mse_loss, smooth_l1_loss

from ralseg.agents.options import BatchDQNOptions
from ralseg.agents.query_network import QueryNetwork, masked
from ralseg.agents.replay import OBSERVATION, PrioritisedReplay, Replay
from ralseg.segmentation.optimisers import eager

OPTIMISERS = {"adam": eager(torch.optim.Adam), "sgd": eager(torch.optim.SGD)}


@dataclass(kw_only=True)
class UpdateStats(SimpleLossTrainingStats):
    """Loss and mean Q-value of the sub-transitions that one update learned from."""

    mean_value: float


class SlatePolicy(DiscreteQLearningPolicy[QueryNetwork]):
    """Greedy in every slate, with an epsilon of its own for every slate; only open candidates are chosen.

    Args:
        model: the query network.
        action_space: MultiDiscrete([N] * K).
        rng: draws the exploration.
    """

    def __init__(self, *, model: QueryNetwork, action_space: spaces.MultiDiscrete, rng: np.random.Generator) -> None:
        super().__init__(model=model, action_space=action_space)
        self.rng = rng

    def forward(self, batch: Batch, state: Any = None, model: torch.nn.Module | None = None) -> Batch:
        """`logits` (B, K, N) and the greedy `act` (B, K) int64; in an empty slate, 0."""
        values, state = (model or self.model)(batch.obs)
        return Batch(logits=values, act=masked(values, batch.obs["mask"]).argmax(dim=-1).numpy(), state=state)

    def add_exploration_noise(self, act: np.ndarray, batch: Batch) -> np.ndarray:
        """Replace each of the choices (B, K) by a random open candidate with probability epsilon."""
        explore = self.rng.random(act.shape) < self.eps_training
        lots = np.where(batch.obs.mask == 1, self.rng.random(batch.obs.mask.shape), -1.0)
        return np.where(explore, lots.argmax(axis=-1), act)


class BatchModeDQN(QLearningOffPolicyAlgorithm[SlatePolicy]):
    r"""Double DQN on the K sub-transitions of each env step (RALIS, section 3.3 and eq. 3).

    With m_kj the signal of candidate j of slate k (`Signal`: the shared reward, and the candidate's own standardised
    credit and reference), a^k the choice and d the end of the episode, the target is

        y_kj(t) = m_kj(t) + sum_{i=1}^{n-1} gamma^i m_{k a^k}(t+i) + gamma^n (1 - d) V_k(t+n),
        V_k = Q_e(s, argmax_j Q_s(s, c_kj))  over the open candidates of slate k, 0 if there is none,

    where selector s and evaluator e are online and target (`double=textbook`), target and online (`paper`), or both the
    target (`none`). At gamma = 0, and before the share `gamma_from` of the training, nothing is bootstrapped and no
    next observation is read.

    `learn_from=chosen` learns from (k, a^k). `learn_from=all` learns from every open candidate of the step, with the
    next state, the later signal and the shared reward of the step that was played. That is a counterfactual
    approximation: had one of the K choices been another, reward and next state would have been about the same, because
    a choice is 1/K of the step; what the candidate itself was worth is in its credit and reference. The shared reward
    then sets only the level of a step's Q-values. A refused choice (masked, or in an empty slate) is not learned from.

    Args:
        policy: acts, and holds the online network.
        options: the settings.
    """

    def __init__(self, policy: SlatePolicy, options: BatchDQNOptions) -> None:
        given = {"lr": options.learning_rate, "weight_decay": options.weight_decay, "fused": True}
        given |= {"momentum": options.momentum} if options.optimiser == "sgd" else {}
        super().__init__(
            policy=policy,
            optim=TorchOptimizerFactory(OPTIMISERS[options.optimiser], **given),
            gamma=options.gamma,
            n_step_return_horizon=options.n_step,
            target_update_freq=options.target_update if options.gamma > 0 else 0,
        )
        self.options = options
        self.bootstraps = options.gamma > 0 and options.gamma_from == 0
        # tianshou makes the optimiser in its constructor and offers no argument for the clip.
        self.optim._max_grad_norm = options.gradient_clip
        self.eval()

    def set_progress(self, progress: float) -> None:
        """Set epsilon, learning rate and discount to their values at `progress` (0 to 1) of the training."""
        o = self.options
        self.bootstraps = o.gamma > 0 and progress >= o.gamma_from
        explored = min(1.0, progress / o.exploration_share)
        self.policy.set_eps_training(o.epsilon_start + explored * (o.epsilon_end - o.epsilon_start))
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        rate = o.learning_rate * (o.learning_rate_floor + (1 - o.learning_rate_floor) * cosine)
        for group in self.optim._optim.param_groups:
            group["lr"] = rate

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next update."""
        return self.optim._optim.param_groups[0]["lr"]

    def fit_inputs(self, replay: Replay) -> None:
        """Scale the inputs of online and target network to the observations in `replay`."""
        seen = {key: column.numpy() for key, column in replay.take(replay.rows()).items()}
        features = (seen[key].astype(np.float32) for key in ("state", "candidates"))
        self.policy.model.fit_inputs(*features, seen["mask"])
        if self.use_target_network:
            self._update_lagged_network_weights()

    def _update_lagged_network_weights(self) -> None:
        # tianshou copies parameters only: input scaling and batch norm's running averages are buffers.
        self.model_old.module.load_state_dict(self.policy.model.state_dict())

    def update(self, buffer: Replay, sample_size: int) -> UpdateStats:
        """Draw `sample_size` env steps and take one gradient step on them.

        In place of tianshou's own, whose batches are split row by row and which walks through all modules twice.
        """
        rows = buffer.sample(sample_size)
        batch = self._preprocess_batch(buffer.take(rows, (*OBSERVATION, "act", "signal")), buffer, rows)
        stats = self._update_with_batch(batch)
        if isinstance(buffer, PrioritisedReplay):
            buffer.prioritise(rows, batch["errors"])
        return stats

    def _preprocess_batch(self, batch: dict[str, Any], buffer: Replay, indices: np.ndarray) -> dict[str, Any]:
        """Add `returns` (B, K, N) float32, the targets y, and the `weight` (B,) of prioritised rows in the loss."""
        batch["returns"] = batch["signal"]
        if self.bootstraps:
            later = torch.zeros(batch["signal"].shape[:2])
            discount, row = torch.ones(len(indices), 1), indices
            for step in range(self.n_step):
                if step:
                    row = buffer.next(row)
                    later += discount * self._chosen_signal(buffer, row)
                ended = buffer.take(row, ("terminated",))["terminated"]
                discount = discount * self.gamma * ~ended[:, None]
            later += discount * self._target_q(buffer, row)
            batch["returns"] = batch["signal"] + later[..., None]
        if isinstance(buffer, PrioritisedReplay):
            batch["weight"] = torch.from_numpy(buffer.importance(indices)).float()
        return batch

    @staticmethod
    def _chosen_signal(buffer: Replay, rows: np.ndarray) -> torch.Tensor:
        """(B, K) signal of the choices; 0 for a refused one, whose signal is masked to 0 in storage."""
        row = buffer.take(rows, ("signal", "act"))
        return row["signal"].gather(-1, row["act"][..., None]).squeeze(-1)

    @torch.no_grad()
    def _target_q(self, buffer: Replay, indices: np.ndarray) -> torch.Tensor:
        """V (B, K) of the observations that follow the rows `indices`, 0 for an empty slate."""
        obs = buffer.take(buffer.next(indices))
        selector = evaluator = self.model_old(obs)[0]
        if self.options.double == "textbook":
            selector = self.policy.model(obs)[0]
        elif self.options.double == "paper":
            evaluator = self.policy.model(obs)[0]
        best = masked(selector, obs["mask"]).argmax(dim=-1, keepdim=True)
        return evaluator.gather(-1, best).squeeze(-1) * obs["mask"].any(dim=-1)

    def _update_with_batch(self, batch: dict[str, Any]) -> UpdateStats:
        """One gradient step; adds `errors` (B,), the mean absolute error of each row's sub-transitions.

        The members of an ensemble share no weights: the sum of their losses has each member's own gradient.
        """
        if self.gamma > 0:
            self._periodically_update_lagged_network_weights()
        network = self.policy.model.train()
        values = network.members_values(batch)
        network.eval()
        learned = batch["mask"]
        if self.options.learn_from == "chosen":
            learned = learned & torch.zeros_like(learned).scatter_(-1, batch["act"][..., None], True)
        found = values.detach()
        targets = torch.where(learned, batch["returns"], found)
        criterion = mse_loss if self.options.loss == "squared" else smooth_l1_loss
        each = criterion(values, targets, reduction="none")
        if "weight" in batch:
            each = each * batch["weight"][:, None, None]
            count = learned.sum(dim=(1, 2)).clamp(min=1)
            batch["errors"] = ((found - targets).abs().mean(dim=0).sum(dim=(1, 2)) / count).numpy()
        count = learned.sum().clamp(min=1)
        loss = each.sum() / count
        self.optim.step(loss)
        return UpdateStats(
            loss=loss.item() / len(values), mean_value=((found * learned).mean(dim=0).sum() / count).item()
        )
