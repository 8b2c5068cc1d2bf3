"""A trained query network as a policy, and its two files: `policy.safetensors` and `policy.json`."""

import hashlib
import inspect
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from ralseg.agents.networks import NETWORKS
from ralseg.agents.query_network import CompactQueryNetwork, Ensemble, QueryNetwork, masked
from ralseg.features import spec_from_config
from ralseg.features.view import CandidatesView
from ralseg.foundation import RalsegError, Range, atomic_write, checked, read_file, read_json, write_json

WEIGHTS, DESCRIPTION = "policy.safetensors", "policy.json"
FORMAT = 1
LARGEST = 1 << 30
"""Bytes of weights that are read at most."""
LIKELY = Range(-(10**6), 10**6)
"""The range of every number among the arguments of a network; NaN is not in it."""


class QueryPolicy:
    """Greedy choice by a trained query network: the open candidate with the highest Q-value in each slate.

    Args:
        network: the query network; it is put into evaluation mode.
        description: the content of `policy.json` (network, observation, options, version).
    """

    needs: tuple = ()
    needs_observation = True

    def __init__(self, network: QueryNetwork, description: dict[str, Any]) -> None:
        self.network = network.eval()
        self.description = description

    @property
    def dropout(self) -> bool:
        """See `Policy.dropout`; False if the description does not say what is observed."""
        features = self.description.get("observation", {}).get("features")
        if features is None:
            return False
        spec = spec_from_config(features, classes=2)
        return "disagreement" in spec.needs and spec.noise.kind == "dropout"

    def select(self, view: CandidatesView, rng: np.random.Generator) -> np.ndarray:
        """See `Policy.select`: `choose` for the view's observation; nothing is left to chance."""
        return self.choose(view.observation)

    def choose(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        """Choose one candidate of each slate, the first of equals.

        Args:
            observation: `state` (S, F), `candidates` (K, N, F') and `mask` (K, N).

        Returns:
            (K,) int64 indices into the slates, -1 where a slate is empty.

        Raises:
            RalsegError: if the observation's widths are not those that the network was trained on.
        """
        state, candidates = observation["state"].shape, observation["candidates"].shape
        self.check_sizes(state_units=state[0], state_features=state[-1], candidate_features=candidates[-1])
        with torch.no_grad():
            values = self.network({key: array[None] for key, array in observation.items()})
        chosen = masked(values[0], observation["mask"]).argmax(dim=-1).numpy()
        return np.where(observation["mask"].any(axis=-1), chosen, -1)

    def check_sizes(self, **found: int) -> None:
        """Refuse a game whose observations have other sizes than those that the network was trained on.

        Args:
            found: sizes of the game's observations by the names of the network's arguments: `state_units`,
                `state_features`, `candidate_features`; a network that takes any size has no such argument.

        Raises:
            RalsegError: for the first size that differs.
        """
        arguments = self.network.arguments
        for name, value in found.items():
            if arguments.get(name, value) != value:
                raise RalsegError(
                    f"the policy was trained with {name}={arguments[name]}, this game has {value}; play it with the "
                    "classes, the features and the state set named in its policy.json"
                )


def save_policy(
    folder: str | Path, network: QueryNetwork, *, observation: dict[str, Any], options: dict[str, Any]
) -> None:
    """Write a trained network as `policy.safetensors` and `policy.json`.

    Args:
        folder: the folder to write to; created if it does not exist.
        network: the trained query network.
        observation: how the observation was made (features, classes, bins ...), JSON values; stored unchanged.
        options: the options of the training, JSON values.
    """
    write_policy_files(
        folder,
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()},
        {
            "network": {"name": network.name, "arguments": network.arguments},
            "observation": observation,
            "options": options,
        },
    )


def load_policy(folder: str | Path) -> QueryPolicy:
    """Read a policy that `save_policy` wrote.

    Args:
        folder: the folder with `policy.safetensors` and `policy.json`.

    Raises:
        RalsegError: if a file is missing, damaged or of another kind.
    """
    folder = Path(folder)
    tensors, description = read_policy_files(folder)
    name, arguments = _network(description["network"], folder / DESCRIPTION)
    unfit = f"{folder / WEIGHTS}: the weights do not fit the network that {DESCRIPTION} names; fetch both files again"
    # Each member has weights of its own, so that no file asks for more members than it holds.
    if arguments.get("members", 1) > len(tensors):
        raise RalsegError(unfit)
    try:
        # The shapes are compared before memory is taken: the sizes are those of a stranger.
        with torch.device("meta"):
            wanted = _layout(NETWORKS[name](**arguments).state_dict())
    except RalsegError as error:
        raise RalsegError(f"{folder / DESCRIPTION}: network.arguments: {error}") from error
    except (TypeError, RuntimeError, ZeroDivisionError) as error:
        raise RalsegError(unfit) from error
    if wanted != _layout(tensors):
        raise RalsegError(unfit)
    if broken := [key for key, tensor in tensors.items() if not torch.isfinite(tensor).all()]:
        raise RalsegError(f"{folder / WEIGHTS}: {broken[0]} holds NaN or infinity; train the policy again")
    network = NETWORKS[name](**arguments)
    network.load_state_dict(tensors)
    return QueryPolicy(network, description)


def _layout(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.Size, bool]]:
    return {key: (tensor.shape, tensor.is_floating_point()) for key, tensor in tensors.items()}


def _network(value: Any, path: Path) -> tuple[str, dict[str, Any]]:
    """The name and the arguments of the network that a description names; `path` is its file, for messages."""
    if not isinstance(value, dict):
        raise RalsegError(f"{path}: network={value!r} must be a group of name and arguments; train the policy again")
    name, arguments = value.get("name"), value.get("arguments")
    if not isinstance(name, str) or name not in NETWORKS:
        raise RalsegError(f"{path}: the network {name!r} is unknown; this version has {', '.join(NETWORKS)}")
    if not isinstance(arguments, dict):
        raise RalsegError(f"{path}: the network's arguments {arguments!r} must be a group; train the policy again")
    kinds, needed = _arguments(NETWORKS[name])
    if missing := [key for key in needed if key not in arguments]:
        raise RalsegError(f"{path}: network.arguments lacks {missing[0]}; train the policy again or fetch it again")
    for key, argument in arguments.items():
        where = f"{path}: network.arguments.{key}"
        if key not in kinds:
            raise RalsegError(f"{where} is unknown; {name} takes {', '.join(kinds)}")
        checked(kinds[key], argument, where)
        if isinstance(argument, int | float) and argument not in LIKELY:
            raise RalsegError(f"{where}={argument!r} is out of range; it must be {LIKELY}")
    return name, arguments


def _arguments(network: type[QueryNetwork]) -> tuple[dict[str, Any], list[str]]:
    """The arguments of a query network with their types, and the names of those that must be given."""
    kinds, needed = {}, []
    for cls in (network, CompactQueryNetwork) if network is Ensemble else (network,):
        hints = get_type_hints(cls.__init__)
        for parameter in inspect.signature(cls).parameters.values():
            if parameter.kind is not parameter.VAR_KEYWORD:
                kinds[parameter.name] = hints[parameter.name]
                needed += [parameter.name] if parameter.default is parameter.empty else []
    return kinds, needed


def write_policy_files(folder: str | Path, tensors: dict[str, torch.Tensor], description: dict[str, Any]) -> None:
    """Write the weights, then the description with their SHA-256."""
    folder, weights = Path(folder), save(tensors)
    with atomic_write(folder / WEIGHTS) as file:
        file.write(weights)
    seal = {"format": FORMAT, "ralseg": version("ralseg"), "sha256": hashlib.sha256(weights).hexdigest()}
    write_json(folder / DESCRIPTION, seal | description)


def read_policy_files(folder: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read weights and description.

    Raises:
        RalsegError: if a file is missing or the weights do not belong to the description.
    """
    folder = Path(folder)
    mend = f"a policy is {DESCRIPTION} and {WEIGHTS} in the run folder of a training"
    description = read_json(folder / DESCRIPTION, mend)
    if not isinstance(description, dict) or description.get("format") != FORMAT or "network" not in description:
        raise RalsegError(f"{folder / DESCRIPTION}: not a policy of format {FORMAT}; train it again or fetch it again")
    weights = read_file(folder / WEIGHTS, LARGEST, mend)
    if hashlib.sha256(weights).hexdigest() != description.get("sha256"):
        raise RalsegError(f"{folder / WEIGHTS}: damaged, or not the file that {DESCRIPTION} describes; fetch it again")
    try:
        return load(weights), description
    except SafetensorError as error:
        raise RalsegError(f"{folder / WEIGHTS}: not a safetensors file ({error})") from error
