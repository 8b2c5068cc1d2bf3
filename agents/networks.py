"""All query networks by name, and the one that options ask for."""

from dataclasses import asdict

from gymnasium import spaces

from ralseg.agents.options import BatchDQNOptions
from ralseg.agents.query_network import CompactQueryNetwork, Ensemble, PublishedQueryNetwork, QueryNetwork
from ralseg.agents.token_network import TokenQueryNetwork
from ralseg.features import TokenLayout
from ralseg.foundation import RalsegError

NETWORKS: dict[str, type[QueryNetwork]] = {
    network.name: network for network in (CompactQueryNetwork, PublishedQueryNetwork, Ensemble, TokenQueryNetwork)
}


def build_network(
    options: BatchDQNOptions,
    observation_space: spaces.Dict,
    prior_column: int | None = None,
    tokens: TokenLayout | None = None,
) -> QueryNetwork:
    """The query network that `options` names.

    Args:
        options: the agent's.
        observation_space: the env's.
        prior_column: which of a candidate's numbers is that of `options.prior_of`; needed with a prior.
        tokens: how the rows are laid out; needed by `network=tokens`.

    Raises:
        RalsegError: if the network cannot read such observations.
    """
    units, state_features = observation_space["state"].shape
    candidate_features = observation_space["candidates"].shape[-1]
    widths = {"state_features": state_features, "candidate_features": candidate_features}
    if options.network == "published":
        return NETWORKS["published"](state_units=units, gate_features=options.gate_features, **widths)
    own = {"hidden": options.hidden, "context": options.context, "prior_column": prior_column}
    # A small margin is what says unsure.
    own["prior"] = -options.prior if options.prior_of == "margin" else options.prior
    if options.network == "tokens":
        if tokens is None:
            raise RalsegError("network=tokens reads numbers per class; say how the rows are laid out: TokenLayout")
        if prior_column is not None:
            # From the end, where it stands for any number of classes.
            own["prior_column"] = prior_column - candidate_features
        return NETWORKS["tokens"](**asdict(tokens), **own)
    if options.members > 1:
        return NETWORKS["ensemble"](members=options.members, **own, **widths)
    return NETWORKS["compact"](**own, **widths)
