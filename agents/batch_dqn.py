"""Batch-mode double DQN: K choices per env step, one Q-value per candidate. The whole algorithm is in this file.

The methods follow the order of a training step: `set_progress` sets the schedules, `choose` acts and explores, `signal`
computes the reward of each candidate, `targets` adds the future, and `update` takes the gradient step.
`ralseg.agents.training` plays the games and calls them in turn; `ralseg.agents.replay` stores the steps.
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn.functional import mse_loss, smooth_l1_loss
from torch.nn.utils import clip_grad_norm_

from ralseg.agents.options import BatchDQNOptions
from ralseg.agents.query_network import QueryNetwork, masked
from ralseg.agents.replay import OBSERVATION, PrioritisedReplay, Replay
from ralseg.foundation import RalsegError
from ralseg.foundation.optimisers import eager

OPTIMISERS = {"adam": eager(torch.optim.Adam), "sgd": eager(torch.optim.SGD)}


@dataclass(frozen=True)
class UpdateStats:
    """Statistics of one update, averaged over the candidates learned from and the members of an ensemble."""

    loss: float
    """Huber or squared error between Q-value and target"""
    mean_value: float
    """Q-value before the update"""


class Rows(Protocol):
    """Stored env steps from which targets are computed: `Replay`, or a buffer of tianshou."""

    def take(self, rows: np.ndarray, keys: tuple[str, ...]) -> dict[str, torch.Tensor]:
        """Columns of `rows` (B,); see `Replay.take`."""
        ...

    def next(self, rows: np.ndarray) -> np.ndarray:
        """The rows (B,) that follow `rows` (B,); see `Replay.next`."""
        ...

    def following(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """The observations that follow `rows` (B,); see `Replay.following`."""
        ...


class BatchModeDQN:
    r"""Double DQN on the K sub-transitions of each env step (RALIS, section 3.3 and eq. 3).

    With m_kj the signal of candidate j of slate k, a^k the choice and d the end of the episode, the target is

        y_kj(t) = m_kj(t) + sum_{i=1}^{n-1} gamma^i m_{k a^k}(t+i) + gamma^n (1 - d) V_k(t+n),
        V_k = Q_e(s, argmax_j Q_s(s, c_kj))  over the open candidates of slate k, 0 if there is none,

    where the selector s and the evaluator e are the online and the target network (`double=textbook`), the target and
    the online network (`paper`), or both the target network (`none`). With gamma = 0, and before the share `gamma_from`
    of the training, targets do not bootstrap and no next observation is read: this is regression of the signal.

    `learn_from=chosen` learns from (k, a^k). `learn_from=all` learns from every open candidate of the step, with the
    next state, the later signal and the shared reward of the step that was played. This is a counterfactual
    approximation: it assumes that another choice in one slate would have changed reward and next state little, because
    a choice is 1/K of the step, and that a candidate's own worth is in its credit and reference. The shared reward then
    sets only the level of a step's Q-values. A refused choice (masked, or in an empty slate) is not learned from.

    Args:
        network: the query network; it is trained in place and stays in evaluation mode outside of updates.
        options: the settings.
        rng: draws the exploration.

    Attributes:
        network: the online network.
        target: the target network; None if gamma is 0.
        optimiser: the optimiser of the online network.
        updates: number of gradient updates so far.
        epsilon: the share of random choices, or the scale of the noise on the weights.
        bootstraps: whether targets include the value of the next state.
    """

    def __init__(self, network: QueryNetwork, options: BatchDQNOptions, rng: np.random.Generator) -> None:
        self.network, self.options, self.rng = network.eval(), options, rng
        self.target = copy.deepcopy(self.network) if options.gamma > 0 else None
        given = {"lr": options.learning_rate, "weight_decay": options.weight_decay, "fused": True}
        given |= {"momentum": options.momentum} if options.optimiser == "sgd" else {}
        self.optimiser = OPTIMISERS[options.optimiser](network.parameters(), **given)
        self.updates = 0
        self._players: list[QueryNetwork] = []
        self.set_progress(0.0)

    def set_progress(self, progress: float) -> None:
        """Set epsilon, learning rate and discount to their values at `progress` (0 to 1) of the training."""
        o = self.options
        self.bootstraps = o.gamma > 0 and progress >= o.gamma_from
        explored = min(1.0, progress / o.exploration_share)
        self.epsilon = o.epsilon_start + explored * (o.epsilon_end - o.epsilon_start)
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        self.learning_rate = o.learning_rate * (o.learning_rate_floor + (1 - o.learning_rate_floor) * cosine)
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate

    def fit_inputs(self, seen: Mapping[str, torch.Tensor]) -> None:
        """Fit the input scaling of both networks to warm-up observations: `state`, `candidates` and `mask`."""
        states, candidates = (seen[key].numpy().astype(np.float32) for key in ("state", "candidates"))
        self.network.fit_inputs(states, candidates, seen["mask"].numpy())
        self._copy_into_target()

    def begin(self, games: int) -> None:
        """Draw the network that plays each of `games` episodes that begin now; needed with `explore_by=weights`."""
        self._players = [self._disturbed() for _ in range(games if self.options.explore_by == "weights" else 0)]

    def choose(self, obs: Mapping[str, Any], games: np.ndarray) -> np.ndarray:
        """Choices with exploration, (B, K) int64; see `BatchDQNOptions.explore_by`.

        Args:
            obs: one observation of each game, with a batch axis.
            games: (B,) the place of each game among those that began.
        """
        if self.options.explore_by == "choices":
            return self.explore(self.greedy(obs), obs["mask"])
        own = ({key: part[[row]] for key, part in obs.items()} for row in range(len(games)))
        return np.concatenate([_greedy(self._players[game], one) for game, one in zip(games, own, strict=True)])

    def _disturbed(self) -> QueryNetwork:
        """A copy of the network with noise of epsilon times the root mean square of each of its tensors."""
        player = copy.deepcopy(self.network)
        with torch.no_grad():
            for weights in player.parameters():
                noise = torch.from_numpy(self.rng.standard_normal(weights.shape, np.float32))
                weights += self.epsilon * weights.square().mean().sqrt() * noise
        return player

    def greedy(self, obs: Mapping[str, Any]) -> np.ndarray:
        """The open candidate (B, K) int64 with the highest Q-value in each slate; 0 in an empty slate."""
        return _greedy(self.network, obs)

    def explore(self, choices: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Replace each of the choices (B, K) independently by a random open candidate with probability epsilon."""
        explore = self.rng.random(choices.shape) < self.epsilon
        lots = np.where(mask == 1, self.rng.random(mask.shape), -1.0)
        return np.where(explore, lots.argmax(axis=-1), choices)

    def signal(self, reward: float, info: Mapping[str, Any], obs: Mapping[str, np.ndarray], where: str) -> np.ndarray:
        """The reward of each candidate of one env step: the weighted sum of `Signal`, plus the prior if there is one.

        Args:
            reward: the reward of the env.
            info: the info of the env; `candidate_credit` and `candidate_reference` (K, N) are read if their weight is
                not 0.
            obs: the observation that was acted on.
            where: names the step in errors.

        Returns:
            (K, N) float32, 0 where masked.

        Raises:
            RalsegError: if `info` lacks a part with a weight, or contains a number that is not finite.
        """
        weights, mask = self.options.signal, obs["mask"]
        signal = np.where(mask == 1, np.float32(weights.reward * reward), np.float32(0))
        for name in ("credit", "reference"):
            if weight := getattr(weights, name):
                values = info.get(f"candidate_{name}")
                if values is None:
                    raise RalsegError(
                        f"signal.{name} is {weight}, but the env gives no info['candidate_{name}']; "
                        f"make the env with it or set signal.{name}=0"
                    )
                if not np.isfinite(values).all():
                    raise RalsegError(
                        f"{where}: info['candidate_{name}'] contains a number that is not finite; fix the env"
                    )
                signal = signal + np.float32(weight) * standardise(values, mask)
        if self.options.prior:
            signal = signal + self.network.prior({key: array[None] for key, array in obs.items()})[0].numpy()
        return signal

    def targets(self, replay: Rows, rows: np.ndarray) -> torch.Tensor:
        """The targets y (B, K, N) float32 of all candidates of `rows` (B,)."""
        signal = replay.take(rows, ("signal",))["signal"]
        if not self.bootstraps:
            return signal
        later = torch.zeros(signal.shape[:2])
        discount, row = torch.ones(len(rows), 1), rows
        for step in range(self.options.n_step):
            if step:
                row = replay.next(row)
                # A refused choice adds nothing because its signal is stored as 0.
                chosen = replay.take(row, ("signal", "act"))
                later += discount * chosen["signal"].gather(-1, chosen["act"][..., None]).squeeze(-1)
            ended = replay.take(row, ("terminated",))["terminated"]
            discount = discount * self.options.gamma * ~ended[:, None]
        later += discount * self.values(replay.following(row))
        return signal + later[..., None]

    @torch.no_grad()
    def values(self, obs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """V (B, K) of observations with a batch axis, 0 for an empty slate; needs gamma above 0."""
        assert self.target is not None
        selector = evaluator = self.target(obs)
        if self.options.double == "textbook":
            selector = self.network(obs)
        elif self.options.double == "paper":
            evaluator = self.network(obs)
        best = masked(selector, obs["mask"]).argmax(dim=-1, keepdim=True)
        return evaluator.gather(-1, best).squeeze(-1) * obs["mask"].any(dim=-1)

    def update(self, replay: Replay, count: int) -> UpdateStats:
        """Draw `count` env steps and take one gradient step on them."""
        rows = replay.sample(count)
        batch = replay.take(rows, (*OBSERVATION, "act"))
        targets = self.targets(replay, rows)
        if not isinstance(replay, PrioritisedReplay):
            return self.learn(batch, targets)[0]
        stats, errors = self.learn(batch, targets, torch.from_numpy(replay.importance(rows)).float())
        replay.prioritise(rows, errors)
        return stats

    def learn(
        self, batch: Mapping[str, torch.Tensor], targets: torch.Tensor, weight: torch.Tensor | None = None
    ) -> tuple[UpdateStats, np.ndarray]:
        """Take one gradient step towards `targets`.

        The members of an ensemble share no weights, so the sum of their losses gives each member its own gradient.

        Args:
            batch: `state`, `candidates`, `mask` (bool) and `act` (B, K) int64.
            targets: (B, K, N) float32.
            weight: (B,) float32 weight of each env step in the loss; None for 1.

        Returns:
            The statistics of the update, and (B,) float32 the mean absolute error of each env step.
        """
        if self.updates % self.options.target_update == 0:
            self._copy_into_target()
        self.updates += 1
        network = self.network.train()
        values = network.members_values(batch)
        network.eval()
        learned = batch["mask"]
        if self.options.learn_from == "chosen":
            learned = learned & torch.zeros_like(learned).scatter_(-1, batch["act"][..., None], True)
        found = values.detach()
        targets = torch.where(learned, targets, found)
        criterion = mse_loss if self.options.loss == "squared" else smooth_l1_loss
        each = criterion(values, targets, reduction="none")
        if weight is not None:
            each = each * weight[:, None, None]
        count = learned.sum().clamp(min=1)
        loss = each.sum() / count
        self.optimiser.zero_grad()
        loss.backward()
        clip_grad_norm_(network.parameters(), self.options.gradient_clip)
        self.optimiser.step()
        stats = UpdateStats(loss.item() / len(values), ((found * learned).mean(dim=0).sum() / count).item())
        errors = (found - targets).abs().mean(dim=0).sum(dim=(1, 2)) / learned.sum(dim=(1, 2)).clamp(min=1)
        return stats, errors.numpy()

    def _copy_into_target(self) -> None:
        if self.target is not None:
            # The buffers hold the input scaling and the running averages of batch normalisation.
            self.target.load_state_dict(self.network.state_dict())


def standardise(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Scale `values` (K, N) to mean 0 and standard deviation 1 over the open candidates of the step.

    Returns:
        (K, N) float32; 0 where masked, and everywhere if all open candidates are equal.
    """
    open_ = mask == 1
    result = np.zeros(values.shape, np.float32)
    if open_.any():
        chosen = values[open_].astype(np.float64)
        deviation = chosen.std()
        if deviation > 1e-12 * max(1.0, np.abs(chosen).max()):
            result[open_] = (chosen - chosen.mean()) / deviation
    return result


@torch.no_grad()
def _greedy(network: QueryNetwork, obs: Mapping[str, Any]) -> np.ndarray:
    return masked(network(obs), obs["mask"]).argmax(dim=-1).numpy()
