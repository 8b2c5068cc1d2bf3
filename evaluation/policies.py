"""Policies by name: acquisitions, and what trainings left in their run folders."""

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ralseg.agents.acquisitions import make, names
from ralseg.agents.policy import Policy
from ralseg.agents.query_policy import load_policy
from ralseg.envs import Pool, World
from ralseg.foundation import RalsegError, read_json


@dataclass(frozen=True)
class NamedPolicy:
    """A policy and what a comparison must know of it.

    Attributes:
        name: as in files and tables; policies of one name are training seeds of one policy.
        policy: what chooses.
        training_seed: seed of its training; None if it was not trained.
        training: the configuration that it was trained with; None likewise.
        identity: changes with whatever it chooses by: the SHA-256 of its weights, or the name of a formula.
        draws: noisy predictions that it reads; above 0 the network needs dropout.
    """

    name: str
    policy: Policy
    training_seed: int | None = None
    training: Mapping[str, Any] | None = None
    identity: str = ""
    draws: int = 0


def make_policy(text: str) -> NamedPolicy:
    """A policy from what stands on the command line.

    Args:
        text: an acquisition's name, or `run:PATH` for the policy in the run folder of a training.

    Raises:
        RalsegError: for an unknown name, or a run folder that lacks a file or holds a damaged one.
    """
    kind, _, path = text.partition(":")
    if kind == "run" and path:
        return _trained(Path(path), f"run:{Path(path).name}")
    if kind == "zoo":
        raise RalsegError(f"{text}: this version brings no trained policies; train one and give its folder as run:PATH")
    if text not in names():
        raise RalsegError(f"policy {text!r} is unknown; choose from {', '.join(names())}, or run:PATH of a training")
    policy = make(text)
    return NamedPolicy(text, policy, identity=text, draws=max((reducer.draws for reducer in policy.needs), default=0))


def make_policies(texts: Sequence[str]) -> list[NamedPolicy]:
    """Policies from a list of texts; a pattern such as `run:runs/ddqn-*` names the training seeds of one policy.

    Raises:
        RalsegError: see `make_policy`; or if the list is empty or names a policy twice, or the folders of a pattern
            are none or differ in more than their seeds.
    """
    if not texts or isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise RalsegError(f"policies={texts} is not a list of names; name one or more, e.g. policies=[random,entropy]")
    made = []
    for text in texts:
        if text.startswith("run:") and glob.has_magic(text):
            found = _training_seeds(text.removeprefix("run:"))
        else:
            found = [make_policy(text)]
        if twice := next((old.name for old in made if old.name == found[0].name), None):
            raise RalsegError(f"policies: {twice} is there twice; training seeds of one policy are given as run:PATH*")
        made += found
    return made


def sees_truth(name: str) -> bool:
    """Whether a policy of that name is a reference that sees true labels."""
    return name in names() and make(name).sees_truth


def check_policies(policies: Sequence[NamedPolicy], config: Mapping[str, Any]) -> None:
    """Refuse policies that cannot play the game of a configuration.

    Raises:
        RalsegError: if a policy needs dropout that the network does not have.
    """
    dropout = config["network"].get("dropout", 0)
    for entry in policies:
        if entry.draws and not dropout:
            raise RalsegError(f"{entry.name} needs a network with dropout; set e.g. network.dropout=0.1")


def label_cost(policy: NamedPolicy) -> int:
    """Units of D_T and D_R, whose labels a trained policy has read; 0 for any other."""
    if policy.training is None:
        return 0
    world = World(policy.training)
    return sum(len(Pool(world.store, world.images(role), world.unit)) for role in ("train", "reward"))


def _trained(folder: Path, name: str) -> NamedPolicy:
    policy = load_policy(folder)
    path = folder / "config.json"
    record = read_json(path)
    config = record.get("config") if isinstance(record, dict) else None
    if not isinstance(config, dict) or not {"training", "features", "dataset", "protocol", "game"} <= config.keys():
        raise RalsegError(f"{path}: not the configuration of a training; train the policy again")
    return NamedPolicy(name, policy, config["training"]["seed"], config, policy.description["sha256"])


def _training_seeds(pattern: str) -> list[NamedPolicy]:
    folders = sorted(Path(folder) for folder in glob.glob(pattern))
    if not folders:
        raise RalsegError(f"run:{pattern}: no folder fits the pattern; give the run folders of trainings")
    found = [_trained(folder, f"run:{Path(pattern).name}") for folder in folders]
    if len({entry.training_seed for entry in found}) < len(found):
        raise RalsegError(f"run:{pattern}: two folders were trained with the same seed; a training seed counts once")
    for entry, folder in zip(found, folders, strict=True):
        ours, first = _learned_from(entry.training), _learned_from(found[0].training)
        differing = [key for key in sorted(ours.keys() | first.keys()) if ours.get(key) != first.get(key)]
        if differing:
            raise RalsegError(
                f"run:{pattern}: {folder} and {folders[0]} differ in {', '.join(differing)}; "
                "training seeds of one policy differ in their seeds alone"
            )
    return found


def _learned_from(training: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a training, its seed left out."""
    apart = ("run", "resume", "comparison", "device", "precision", "compile", "training")
    own = {key: value for key, value in training["training"].items() if key not in ("seed", "processes", "tensorboard")}
    return {key: value for key, value in training.items() if key not in apart} | {"training": own}
