"""Stable-Baselines3 policies whose logits or Q-values are the outputs of a `CompactQueryNetwork`."""

from collections.abc import Callable
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import nn

from ralseg.agents.env_spaces import boxes
from ralseg.agents.query_network import CompactQueryNetwork


def _closed_last(scores: torch.Tensor, mask: torch.Tensor, below: float | None) -> torch.Tensor:
    """Scores (B, K, N) with masked candidates at `below`, or 1 below the slate's lowest; empty slates are unchanged."""
    low = scores.detach().amin(dim=-1, keepdim=True) - 1 if below is None else below
    closed = (mask == 0) & (mask != 0).any(dim=-1, keepdim=True)
    return torch.where(closed, low, scores)


class PPOFeatures(BaseFeaturesExtractor):
    """Features for PPO: K x N logits, then the summary of the state, which gives the value."""

    def __init__(self, observation_space: spaces.Dict, network: dict[str, Any]) -> None:
        slates, size, _ = boxes(observation_space)["candidates"].shape
        super().__init__(observation_space, slates * size + network["hidden"] // 2)
        self.network = CompactQueryNetwork(**network)

    def forward(self, obs: dict[str, torch.Tensor]) -> torch.Tensor:
        """(B, K x N + hidden // 2) float32."""
        logits = _closed_last(self.network(obs), obs["mask"], -1e8)
        return torch.cat([logits.flatten(1), self.network.summary(obs["state"])], dim=1)


class _Split(nn.Module):
    """PPO's two latents: the logits unchanged, and one layer on the summary of the state."""

    def __init__(self, logits: int, summary: int) -> None:
        super().__init__()
        self.latent_dim_pi, self.latent_dim_vf = logits, summary
        self.layer = nn.Sequential(nn.Linear(summary, summary), nn.ReLU())

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: torch.Tensor) -> torch.Tensor:
        return features[:, : self.latent_dim_pi]

    def forward_critic(self, features: torch.Tensor) -> torch.Tensor:
        return self.layer(features[:, self.latent_dim_pi :])


class SlateActorCritic(ActorCriticPolicy):
    """Actor-critic whose logits are the outputs of the query network; no later layer mixes the candidates."""

    def _build_mlp_extractor(self) -> None:
        assert isinstance(self.action_space, spaces.MultiDiscrete)
        logits = int(self.action_space.nvec.sum())
        self.mlp_extractor = _Split(logits, self.features_dim - logits)

    def _build(self, lr_schedule: Callable[[float], float]) -> None:
        super()._build(lr_schedule)
        self.action_net = nn.Identity()
        # All optimisers have `lr`, although torch's base class does not.
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # pyright: ignore[reportCallIssue]


class DQNFeatures(BaseFeaturesExtractor):
    """Features for DQN: the N Q-values of the present slate.

    The turn and the earlier choices of the step shift all N by the same amount, so that the query network alone ranks
    the candidates.
    """

    def __init__(self, observation_space: spaces.Dict, network: dict[str, Any]) -> None:
        parts = boxes(observation_space)
        super().__init__(observation_space, parts["candidates"].shape[1])
        self.network = CompactQueryNetwork(**network)
        slates, width = parts["chosen"].shape
        self.turn = nn.Linear(slates, 1)
        self.worth = nn.Sequential(nn.Linear(width, network["hidden"]), nn.ReLU(), nn.Linear(network["hidden"], 1))

    def forward(self, obs: dict[str, torch.Tensor]) -> torch.Tensor:
        """(B, N) float32."""
        scores = _closed_last(self.network(obs), obs["mask"], None).squeeze(1)
        taken = 1 - obs["slate"].cumsum(dim=1)
        worth = self.worth(self.network.candidate_scale(obs["chosen"])).squeeze(-1)
        return scores + self.turn(obs["slate"]) + (worth * taken).sum(dim=1, keepdim=True)


class SlateDQNPolicy(DQNPolicy):
    """DQN policy whose Q-values are the query network's outputs."""

    def make_q_net(self) -> QNetwork:
        """A Q-network that adds no layers."""
        network = super().make_q_net()
        network.q_net = nn.Sequential()
        return network
