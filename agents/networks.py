"""The query networks by name, and how they are built from options."""

from dataclasses import asdict

from gymnasium import spaces

from ralseg.agents.env_spaces import boxes
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
    """Build the query network that `options` selects.

    Args:
        options: the settings of the agent.
        observation_space: the observation space of the env.
        prior_column: the index of `options.prior_of` among a candidate's numbers; needed with a prior.
        tokens: the layout of the rows; needed for `network=tokens`.

    Raises:
        RalsegError: if the network cannot read such observations.
    """
    parts = boxes(observation_space)
    units, state_features = parts["state"].shape
    candidate_features = parts["candidates"].shape[-1]
    widths = {"state_features": state_features, "candidate_features": candidate_features}
    if options.network == "published":
        return NETWORKS["published"](state_units=units, gate_features=options.gate_features, **widths)
    own = {"hidden": options.hidden, "context": options.context, "prior_column": prior_column}
    # The margin has the opposite sign because a small margin means uncertainty.
    own["prior"] = -options.prior if options.prior_of == "margin" else options.prior
    if options.network == "tokens":
        if tokens is None:
            raise RalsegError("network=tokens reads numbers per class; pass the layout of the rows, a TokenLayout")
        if prior_column is not None:
            # Counted from the end, the index is the same for any number of classes.
            own["prior_column"] = prior_column - candidate_features
        return NETWORKS["tokens"](**asdict(tokens), **own)
    if options.members > 1:
        return NETWORKS["ensemble"](members=options.members, **own, **widths)
    return NETWORKS["compact"](**own, **widths)
