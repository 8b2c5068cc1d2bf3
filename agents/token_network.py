"""The query network for any set of classes: one token per class, with the same weights for all classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from ralseg.agents.query_network import QueryNetwork, RowLinear, Standardise, as_tensor, standardised
from ralseg.foundation import RalsegError


class TokenQueryNetwork(QueryNetwork):
    """Q-values that do not depend on the order of classes or units of the state (Deep Sets, Zaheer et al. 2017).

    A row holds T numbers for each class, part by part, then numbers without a class (`TokenLayout`). The numbers of one
    class form its token. Every token of a candidate goes through the same layer, together with the state of the same
    class (the mean over D_S of a layer of its tokens). A candidate is then represented by two vectors: the sum of its
    tokens weighted by the first number of each, the predicted share, and their mean. The rest is as in the compact
    network: the slate's mean candidate as context, a small MLP, and the prior. The number of classes C is read from the
    observation; no weight depends on C, S, K or N.

    The layers get the numbers of a token and their square roots, which separate a rare class from an absent one.

    Args:
        state_tokens: numbers per class in a row of the state, 1 or more.
        state_free: number of values without a class in a row of the state.
        candidate_tokens: numbers per class in a row of a candidate, in [0, 1], 1 or more.
        candidate_free: number of values without a class in a row of a candidate.
        hidden: width of the layers.
        context: whether the slate's mean candidate is an input.
        prior: see `CompactQueryNetwork`.
        prior_column: the index of the prior's value among those without a class; negative, counted from the end of the
            row.

    Raises:
        RalsegError: if a row has no tokens, or a prior has no column.
    """

    name = "tokens"

    def __init__(
        self,
        state_tokens: int,
        state_free: int,
        candidate_tokens: int,
        candidate_free: int,
        hidden: int = 64,
        context: bool = True,
        prior: float = 0.0,
        prior_column: int | None = None,
    ) -> None:
        super().__init__()
        if min(state_tokens, candidate_tokens) < 1:
            raise RalsegError("a network of class tokens needs numbers per class; set features=transferable")
        if prior and (prior_column is None or not -candidate_free <= prior_column < 0):
            raise RalsegError(
                f"prior={prior:g} is the weight of a value without a class; prior_column={prior_column} must be its "
                f"index among a candidate's last {candidate_free} values, counted from the end"
            )
        self.arguments = {
            "state_tokens": state_tokens,
            "state_free": state_free,
            "candidate_tokens": candidate_tokens,
            "candidate_free": candidate_free,
            "hidden": hidden,
            "context": context,
            "prior": prior,
            "prior_column": prior_column,
        }
        self.prior_weight, self.prior_column = prior, prior_column
        half = hidden // 2
        self.state_scale = Standardise(2 * state_tokens + state_free)
        self.token_scale = Standardise(2 * candidate_tokens)
        self.free_scale = Standardise(candidate_free)
        self.state_token = RowLinear(2 * state_tokens + state_free, half)
        self.from_state = nn.Linear(half, half, bias=False)
        self.from_token = RowLinear(2 * candidate_tokens, half)
        joined = 2 * half + candidate_free
        self.from_candidate = RowLinear(joined, hidden)
        self.from_slate = nn.Linear(joined, hidden, bias=False) if context else None
        self.head = nn.Sequential(
            nn.ReLU(inplace=True), RowLinear(hidden, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 1)
        )

    def fit_inputs(self, states: np.ndarray, candidates: np.ndarray, masks: np.ndarray) -> None:
        """Fit the scalings, which are the same for all classes, without masked candidates."""
        self.state_scale.fit(self._state_rows(as_tensor(states)).flatten(0, -2).numpy())
        tokens, free = self._split(as_tensor(candidates[masks == 1]), "candidate")
        self.token_scale.fit(_with_roots(tokens).flatten(0, -2).numpy())
        self.free_scale.fit(free.numpy())

    def forward(self, obs: Mapping[str, Any]) -> torch.Tensor:
        """Q-values (B, K, N) float32 of a batch of observations; see `ralseg.agents.query_network`.

        Raises:
            RalsegError: if the rows of the observation have another layout.
        """
        tokens, free = self._split(as_tensor(obs["candidates"]), "candidate")
        of_state = self.state_token(self.state_scale(self._state_rows(as_tensor(obs["state"])))).relu().mean(dim=1)
        if of_state.shape[1] != tokens.shape[-2]:
            raise RalsegError(
                f"the state has {of_state.shape[1]} classes and the candidates have {tokens.shape[-2]}; make both with "
                "features=transferable"
            )
        own = self.from_token(self.token_scale(_with_roots(tokens)))
        own = (own + self.from_state(of_state)[:, None, None]).relu_()
        shares = tokens[..., :1]
        joined = torch.cat([(own * shares).sum(dim=-2), own.mean(dim=-2), self.free_scale(free)], dim=-1)
        values = self.from_candidate(joined)
        if self.from_slate is not None:
            open_ = as_tensor(obs["mask"])
            share = open_ / open_.sum(dim=-1, keepdim=True).clamp(min=1)
            values = values + self.from_slate((share[:, :, None] @ joined).squeeze(2))[:, :, None]
        learned = self.head(values).squeeze(-1)
        return learned + self.prior(obs) if self.prior_weight else learned

    def prior(self, obs: Mapping[str, Any]) -> torch.Tensor:
        """See `QueryNetwork.prior`."""
        if self.prior_column is None:
            return super().prior(obs)
        return standardised(obs, self.prior_column, self.prior_weight)

    def _state_rows(self, state: torch.Tensor) -> torch.Tensor:
        """The state (B, S, F) as (B, S, C, 2 T + free): the numbers of each class, then those without a class."""
        tokens, free = self._split(state, "state")
        return torch.cat([_with_roots(tokens), free[..., None, :].expand(*tokens.shape[:-1], -1)], dim=-1)

    def _split(self, rows: torch.Tensor, what: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Split rows (..., C x T + free) into tokens (..., C, T) and the numbers without a class."""
        count, free = self.arguments[f"{what}_tokens"], self.arguments[f"{what}_free"]
        classes, rest = divmod(rows.shape[-1] - free, count)
        if rest or classes < 2:
            raise RalsegError(
                f"a {what} of {rows.shape[-1]} numbers is not {count} per class and {free} more; play this policy with "
                "the features named in its policy.json"
            )
        tokens = rows[..., : count * classes].unflatten(-1, (count, classes)).transpose(-1, -2)
        return tokens, rows[..., count * classes :]


def _with_roots(tokens: torch.Tensor) -> torch.Tensor:
    return torch.cat([tokens, tokens.clamp(min=0).sqrt()], dim=-1)
