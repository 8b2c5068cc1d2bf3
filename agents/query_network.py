"""Query networks: one Q-value for every candidate of every slate.

Shapes: B observations, S units of the state, F features per state unit, K slates, N candidates per slate, F' features
per candidate. `forward(obs)` takes a mapping with `state` (B, S, F), `candidates` (B, K, N, F') and `mask` (B, K, N),
numpy or torch, and returns finite Q-values (B, K, N) float32. Masked candidates also get Q-values; use `masked` before
taking the best.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import conv2d

from ralseg.foundation import RalsegError


def masked(values: torch.Tensor, mask: Any) -> torch.Tensor:
    """`values` (..., N) with -inf where `mask` (..., N) is 0."""
    return values.masked_fill(torch.as_tensor(np.asarray(mask)) == 0, -torch.inf)


def as_tensor(array: Any) -> torch.Tensor:
    """A float32 tensor; an array is converted on the CPU."""
    return torch.as_tensor(array if isinstance(array, torch.Tensor) else np.asarray(array), dtype=torch.float32)


def standardised(obs: Mapping[str, Any], column: int, weight: float) -> torch.Tensor:
    """One feature of the candidates, standardised over the open candidates of the step, times `weight`.

    Args:
        obs: a batch of observations as for `forward`.
        column: the index of the feature; negative indices count from the end.
        weight: the factor; negative if small values are to be preferred.

    Returns:
        (B, K, N) float32, 0 where masked.
    """
    open_, figure = as_tensor(obs["mask"]), as_tensor(obs["candidates"][..., column])
    count = open_.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    apart = (figure - (figure * open_).sum(dim=(1, 2), keepdim=True) / count) * open_
    deviation = ((apart * apart).sum(dim=(1, 2), keepdim=True) / count).sqrt()
    return apart * (weight / deviation.clamp(min=1e-6))


class QueryNetwork(nn.Module):
    """Base class of the query networks.

    Attributes:
        name: the name of the class in `policy.json`.
        arguments: the arguments that rebuild the network, JSON values.
    """

    name: str
    arguments: dict[str, Any]

    def fit_inputs(self, states: np.ndarray, candidates: np.ndarray, masks: np.ndarray) -> None:
        """Fit the input scaling to warm-up observations; a network with batch normalisation has nothing to fit.

        Args:
            states: (B, S, F).
            candidates: (B, K, N, F').
            masks: (B, K, N), 1 where a candidate may be chosen.
        """

    def members_values(self, obs: Mapping[str, Any]) -> torch.Tensor:
        """Q-values (M, B, K, N) of each of the M independent networks; M is 1 except for an ensemble."""
        return self(obs)[None]

    def prior(self, obs: Mapping[str, Any]) -> torch.Tensor:
        """The part of the Q-values (B, K, N) that is not learned; 0 where masked and in networks without a prior."""
        return torch.zeros_like(as_tensor(obs["mask"]))


class Standardise(nn.Module):
    """(x - mean) / sd of each feature, with statistics that are fitted once and then frozen.

    With frozen statistics the Q-values of an observation depend on the weights alone; running statistics would move
    the targets during learning. Results are clamped, so that a drifting feature stays bounded.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, features: int, limit: float = 8.0) -> None:
        super().__init__()
        self.limit = limit
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))

    def fit(self, rows: np.ndarray) -> None:
        """Set mean and sd from `rows` (R, features), summed in float64; the sd of a constant feature is set to 1."""
        deviation = rows.std(axis=0, dtype=np.float64)
        deviation[deviation < 1e-6] = 1.0
        self.mean.copy_(torch.from_numpy(rows.mean(axis=0, dtype=np.float64)))
        self.deviation.copy_(torch.from_numpy(deviation))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Scale values (..., features); the result is in [-limit, limit]."""
        return (values - self.mean).div_(self.deviation).clamp_(-self.limit, self.limit)


class RowLinear(nn.Linear):
    """A linear layer that is computed as a convolution for inputs (B, ..., features).

    The rows are used as the pixels of a channels-last image, without a copy. On a CPU, torch uses oneDNN for a
    convolution but MKL for a matrix product, and MKL is half as fast on AMD processors.
    """

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Map (..., inputs) to (..., outputs)."""
        if values.ndim == 2:
            return super().forward(values)
        image = values.flatten(1, -2)[:, None].permute(0, 3, 1, 2)
        result = conv2d(image, self.weight[:, :, None, None], self.bias)
        return result.permute(0, 2, 3, 1).view(*values.shape[:-1], -1)


class CompactQueryNetwork(QueryNetwork):
    """The default: a small MLP shared by all candidates, with the state and the slate as context.

    The state enters as the mean of a per-unit layer over the units of D_S, the slate as the mean of its open
    candidates. No weight depends on S, K or N, so one network serves every size of state set, slate and budget.

    With a prior, the network learns a correction to a known score (residual policy learning, Silver et al. 2018):
    Q = prior x z(u) + f. Here z standardises over the open candidates of the step, and u is the feature of a candidate
    that measures the uncertainty of the segmentation network.

    Args:
        state_features: F.
        candidate_features: F'.
        hidden: width of the layers.
        context: whether the slate's mean candidate is an input.
        prior: weight of u; negative if the feature falls with uncertainty, as the margin does.
        prior_column: the index of u among a candidate's features; needed with a prior.

    Raises:
        RalsegError: if there is a prior without its column.
    """

    name = "compact"

    def __init__(
        self,
        state_features: int,
        candidate_features: int,
        hidden: int = 64,
        context: bool = True,
        prior: float = 0.0,
        prior_column: int | None = None,
    ) -> None:
        super().__init__()
        if prior and (prior_column is None or not 0 <= prior_column < candidate_features):
            raise RalsegError(
                f"prior={prior:g} is a weight of a candidate's margin or disagreement; prior_column={prior_column} "
                f"must say which of its {candidate_features} numbers that is"
            )
        self.arguments = {
            "state_features": state_features,
            "candidate_features": candidate_features,
            "hidden": hidden,
            "context": context,
            "prior": prior,
            "prior_column": prior_column,
        }
        self.prior_weight, self.prior_column = prior, prior_column
        self.state_scale = Standardise(state_features)
        self.candidate_scale = Standardise(candidate_features)
        self.state_unit = RowLinear(state_features, hidden // 2)
        self.from_state = nn.Linear(hidden // 2, hidden, bias=False)
        self.from_candidate = RowLinear(candidate_features, hidden)
        self.from_slate = nn.Linear(candidate_features, hidden, bias=False) if context else None
        self.head = nn.Sequential(
            nn.ReLU(inplace=True), RowLinear(hidden, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 1)
        )

    def fit_inputs(self, states: np.ndarray, candidates: np.ndarray, masks: np.ndarray) -> None:
        """Fit the scaling of state and candidates, without masked candidates."""
        self.state_scale.fit(states.reshape(-1, states.shape[-1]))
        self.candidate_scale.fit(candidates[masks == 1])

    def summary(self, state: Any) -> torch.Tensor:
        """A summary (B, hidden // 2) of the state (B, S, F)."""
        return self.state_unit(self.state_scale(as_tensor(state))).relu().mean(dim=1)

    def forward(self, obs: Mapping[str, Any]) -> torch.Tensor:
        """Q-values (B, K, N) float32 of a batch of observations; see the module."""
        candidates = self.candidate_scale(as_tensor(obs["candidates"]))
        shared = self.from_state(self.summary(obs["state"]))[:, None]
        if self.from_slate is not None:
            open_ = as_tensor(obs["mask"])
            share = open_ / open_.sum(dim=-1, keepdim=True).clamp(min=1)
            shared = shared + self.from_slate((share[:, :, None] @ candidates).squeeze(2))
        learned = self.head(self.from_candidate(candidates) + shared[:, :, None]).squeeze(-1)
        return learned + self.prior(obs) if self.prior_weight else learned

    def prior(self, obs: Mapping[str, Any]) -> torch.Tensor:
        """See `QueryNetwork.prior`."""
        if self.prior_column is None:
            return super().prior(obs)
        return standardised(obs, self.prior_column, self.prior_weight)


class _Block(nn.Module):
    """Batch normalisation over all leading axes, ReLU, linear: the layer of Figure B.1."""

    def __init__(self, features: int, outputs: int, relu: bool = True) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(features)
        self.linear = (nn.Linear if outputs == 1 else RowLinear)(features, outputs)
        self.relu = relu

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        normed = self.norm(values.reshape(-1, values.shape[-1])).reshape(values.shape)
        return self.linear(normed.relu() if self.relu else normed)


class PublishedQueryNetwork(QueryNetwork):
    """The query network of RALIS (Casanova et al., ICLR 2020, appendix B and Figure B.1).

    Q = sigmoid(gate of the KL features) x score of state and candidate. Every layer is batch normalisation, ReLU,
    linear. Batch normalisation uses batch statistics in updates, and its running averages when the network acts, is
    evaluated or computes a target. The weights fix S, because the state path ends in one number per unit.

    Args:
        state_units: S.
        state_features: F.
        candidate_features: F' = F + gate_features: a candidate's own F features, then its KL histograms.
        gate_features: number of a candidate's last features that feed the gate (2 x 32 bins in the paper).

    Raises:
        RalsegError: if a candidate has no features besides those of the gate.
    """

    name = "published"

    def __init__(self, state_units: int, state_features: int, candidate_features: int, gate_features: int = 64) -> None:
        super().__init__()
        if not 0 < gate_features < candidate_features:
            raise RalsegError(
                f"the published network gates on a candidate's last {gate_features} numbers (its KL histograms), but a "
                f"candidate has {candidate_features}; use the published features or network=compact"
            )
        self.arguments = {
            "state_units": state_units,
            "state_features": state_features,
            "candidate_features": candidate_features,
            "gate_features": gate_features,
        }
        self.gate_features = gate_features
        self.state_path = nn.Sequential(_Block(state_features, 256), _Block(256, 128), _Block(128, 1))
        self.state_fusion = _Block(state_units, 128)
        own = candidate_features - gate_features
        self.candidate_path = nn.Sequential(_Block(own, 512), _Block(512, 256), _Block(256, 128))
        self.fusion = _Block(256, 1, relu=False)
        self.gate = _Block(gate_features, 1)

    def forward(self, obs: Mapping[str, Any]) -> torch.Tensor:
        """Q-values (B, K, N) float32 of a batch of observations; see the module."""
        candidates = as_tensor(obs["candidates"])
        summary = self.state_fusion(self.state_path(as_tensor(obs["state"])).squeeze(-1))
        own = self.candidate_path(candidates[..., : -self.gate_features])
        fused = self.fusion(torch.cat([summary[:, None, None].expand(*own.shape[:3], -1), own], dim=-1))
        return (self.gate(candidates[..., -self.gate_features :]).sigmoid() * fused).squeeze(-1)


class Ensemble(QueryNetwork):
    """Compact networks trained side by side on the same batches, each from its own initial weights; Q is their mean.

    Args:
        members: number of networks, 1 or more.
        arguments: the arguments of each member, a `CompactQueryNetwork`.
    """

    name = "ensemble"

    def __init__(self, members: int, **arguments: Any) -> None:
        super().__init__()
        networks = [CompactQueryNetwork(**arguments) for _ in range(members)]
        self.members = nn.ModuleList(networks)
        self.arguments = {"members": members, **networks[0].arguments}

    @property
    def networks(self) -> list[CompactQueryNetwork]:
        """The members."""
        return [member for member in self.members if isinstance(member, CompactQueryNetwork)]

    def fit_inputs(self, states: np.ndarray, candidates: np.ndarray, masks: np.ndarray) -> None:
        """See `QueryNetwork.fit_inputs`; all members get the same scaling."""
        for member in self.networks:
            member.fit_inputs(states, candidates, masks)

    def members_values(self, obs: Mapping[str, Any]) -> torch.Tensor:
        """See `QueryNetwork.members_values`."""
        return torch.stack([member(obs) for member in self.networks])

    def forward(self, obs: Mapping[str, Any]) -> torch.Tensor:
        """Q-values (B, K, N) float32 of a batch of observations; see the module."""
        return self.members_values(obs).mean(dim=0)

    def prior(self, obs: Mapping[str, Any]) -> torch.Tensor:
        """See `QueryNetwork.prior`; it is the same in all members."""
        return self.networks[0].prior(obs)
