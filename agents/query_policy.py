"""A trained query network as a policy, and its two files: `policy.safetensors` and `policy.json`."""

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from ralseg.agents.networks import NETWORKS
from ralseg.agents.query_network import QueryNetwork, masked
from ralseg.features.view import CandidatesView
from ralseg.foundation import RalsegError, atomic_write, read_json, write_json

WEIGHTS, DESCRIPTION = "policy.safetensors", "policy.json"
FORMAT = 1


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
        self._check(observation)
        with torch.no_grad():
            values = self.network({key: array[None] for key, array in observation.items()})
        chosen = masked(values[0], observation["mask"]).argmax(dim=-1).numpy()
        return np.where(observation["mask"].any(axis=-1), chosen, -1)

    def _check(self, observation: dict[str, np.ndarray]) -> None:
        arguments = self.network.arguments
        found = {
            "state_units": observation["state"].shape[0],
            "state_features": observation["state"].shape[-1],
            "candidate_features": observation["candidates"].shape[-1],
        }
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
    tensors, description = read_policy_files(folder)
    name = description["network"].get("name")
    if name not in NETWORKS:
        raise RalsegError(f"{folder}/{DESCRIPTION}: unknown network {name!r}; this version has {', '.join(NETWORKS)}")
    try:
        network = NETWORKS[name](**description["network"]["arguments"])
        network.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError) as error:
        raise RalsegError(f"{folder}/{WEIGHTS}: the weights do not fit the network that {DESCRIPTION} names") from error
    return QueryPolicy(network, description)


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
    description = read_json(folder / DESCRIPTION)
    if not isinstance(description, dict) or description.get("format") != FORMAT or "network" not in description:
        raise RalsegError(f"{folder / DESCRIPTION}: not a policy of format {FORMAT}; train it again or fetch it again")
    try:
        weights = (folder / WEIGHTS).read_bytes()
    except FileNotFoundError as error:
        raise RalsegError(f"{folder / WEIGHTS}: no such file; a policy is {DESCRIPTION} and {WEIGHTS}") from error
    if hashlib.sha256(weights).hexdigest() != description.get("sha256"):
        raise RalsegError(f"{folder / WEIGHTS}: damaged, or not the file that {DESCRIPTION} describes; fetch it again")
    try:
        return load(weights), description
    except SafetensorError as error:
        raise RalsegError(f"{folder / WEIGHTS}: not a safetensors file ({error})") from error
