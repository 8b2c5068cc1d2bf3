"""Policies by name: acquisitions, and policies in the run folders of trainings."""

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ralseg.agents.acquisitions import FixedPolicy, names, parse
from ralseg.agents.policy import Policy
from ralseg.agents.query_policy import load_policy
from ralseg.agents.zoo import zoo_folder
from ralseg.configs.identity import identity
from ralseg.evaluation.training_record import TrainingRecord, read_record
from ralseg.foundation import RalsegError, expanded, read_file

LABEL = re.compile(r"[A-Za-z0-9_-]{1,60}")
"""A name that `as` may give; run ids and files begin with it."""
LARGEST_YAML = 1 << 20
"""Bytes that the YAML file of an acquisition may have."""


@dataclass(frozen=True)
class NamedPolicy:
    """A policy and what a comparison must know of it.

    Attributes:
        name: as in files and tables; policies of one name are training seeds of one policy.
        policy: what chooses.
        training_seed: seed of its training; None if it was not trained.
        training: what it was trained with and on; None if it was not trained.
        identity: differs between policies that choose differently: the SHA-256 of the weights, or the whole formula.
        sees_truth: whether it is a reference that sees true labels.
    """

    name: str
    policy: Policy
    training_seed: int | None = None
    training: TrainingRecord | None = None
    identity: str = ""
    sees_truth: bool = False


def make_policy(entry: str | Mapping[str, Any]) -> NamedPolicy:
    """A policy from what stands on the command line.

    Args:
        entry: an acquisition's name; one with options, {name: {option: value, ...}}, to which `as: LABEL` may give a
            name in tables; the path of a YAML file that holds such an entry; `run:PATH` for the policy in the run
            folder of a training; or `zoo:NAME` for one that came with ralseg.

    Raises:
        RalsegError: for an unknown name or option, or a run folder that lacks a file or holds a damaged one.
    """
    if isinstance(entry, Mapping):
        named = {key: value for key, value in entry.items() if key != "as"}
        return _fixed(named, _label(entry["as"]) if "as" in entry else acquisition_label(named))
    kind, _, path = entry.partition(":")
    if kind == "run" and path:
        return _trained(expanded(path), f"run:{Path(path).name}")
    if kind == "zoo":
        return _trained(zoo_folder(path), entry)
    if entry.endswith(".yaml"):
        if (stem := Path(entry).stem) in (*names(), "supervised"):
            raise RalsegError(f"{entry}: tables would call it {stem}, which is another one; rename the file")
        return _fixed(_read_entry(Path(entry)), stem)
    if entry not in names():
        raise RalsegError(
            f"policy {entry!r} is unknown; choose from {', '.join(names())}, the path of a YAML file, run:PATH of a "
            "training, or zoo:NAME"
        )
    return _fixed(entry, entry)


def _label(given: Any) -> str:
    if not isinstance(given, str) or not LABEL.fullmatch(given) or given in (*names(), "supervised"):
        raise RalsegError(
            f"policies: as={given!r} names none in tables; write letters, digits, _ or -, not an acquisition's name"
        )
    return given


def acquisition_label(entry: str | Mapping[str, Any]) -> str:
    """An acquisition's name in files and tables: `entropy(reduction=max)` for {entropy: {reduction: max}}."""
    if isinstance(entry, str):
        return entry
    if isinstance(entry, Mapping):
        named = (f"{name}({_options(options)})" if options else str(name) for name, options in entry.items())
        return " ".join(named)
    return str(entry)


def make_policies(
    entries: Sequence[str | Mapping[str, Any]] | str, only: Sequence[str] | None = None
) -> list[NamedPolicy]:
    """Policies from a list of entries; a pattern such as `run:runs/ddqn-*` names the training seeds of one policy.

    Args:
        entries: see `make_policy`; or `all`, every acquisition there is.
        only: names of those that are returned; None for all.

    Raises:
        RalsegError: see `make_policy`; or if the list is empty or names a policy twice, the folders of a pattern
            are none or differ in more than their seeds, or `only` is no list of the names of policies.
    """
    if entries == "all":
        entries = names()
    named = isinstance(entries, Sequence) and not isinstance(entries, str)
    if not named or not entries or not all(isinstance(entry, str | Mapping) for entry in entries):
        raise RalsegError(f"policies={entries} is not a list of names; name one or more, e.g. [random,entropy]")
    made = []
    for entry in entries:
        if isinstance(entry, str) and entry.startswith("run:") and glob.has_magic(entry):
            found = _training_seeds(entry.removeprefix("run:"))
        else:
            found = [make_policy(entry)]
        if twice := next((old.name for old in made if old.name == found[0].name), None):
            raise RalsegError(f"policies: {twice} is there twice; training seeds of one policy are given as run:PATH*")
        made += found
    return made if only is None else _only(made, only)


def _only(policies: Sequence[NamedPolicy], names: Any) -> list[NamedPolicy]:
    there = list(dict.fromkeys(policy.name for policy in policies))
    if (
        not isinstance(names, Sequence)
        or isinstance(names, str)
        or not names
        or any(name not in there for name in names)
    ):
        raise RalsegError(f"only={names} is no list of names of policies; choose from [{', '.join(there)}]")
    return [policy for policy in policies if policy.name in names]


def check_policies(policies: Sequence[NamedPolicy], config: Mapping[str, Any]) -> None:
    """Refuse policies that cannot play the game of a configuration.

    Raises:
        RalsegError: if a policy needs dropout that the network does not have, or slates where the game has none.
    """
    dropout, whole = config["network"].get("dropout", 0), config["game"]["draw"] == "pool"
    for entry in policies:
        if entry.policy.dropout and not dropout:
            raise RalsegError(f"{entry.name} needs a network with dropout; set e.g. network.dropout=0.1")
        if entry.training is not None and whole:
            raise RalsegError(f"{entry.name} chooses one unit of each slate; set game.draw=clustered or uniform")


def _fixed(entry: str | Mapping[str, Any], name: str) -> NamedPolicy:
    acquisition = parse(entry)
    # What the formula is made of, a composition's parts and defaults included.
    identity = repr(acquisition)
    return NamedPolicy(name, FixedPolicy(acquisition), identity=identity, sees_truth=acquisition.sees_truth)


def _read_entry(path: Path) -> Mapping[str, Any]:
    try:
        entry = yaml.safe_load(read_file(path, LARGEST_YAML, "give a YAML file of one acquisition").decode())
    except (RecursionError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise RalsegError(f"{path}: cannot be read as YAML ({reason}); give a file of one acquisition") from error
    if not isinstance(entry, Mapping):
        raise RalsegError(f"{path}: holds no acquisition; write {{name: {{option: value}}}}")
    return entry


def _options(options: Any) -> str:
    if isinstance(options, Mapping):
        return ", ".join(f"{key}={_options(value)}" for key, value in options.items())
    if isinstance(options, list | tuple):
        return "[" + ", ".join(acquisition_label(part) for part in options) + "]"
    return str(options)


def _trained(folder: Path, name: str) -> NamedPolicy:
    policy = load_policy(folder)
    record = read_record(folder)
    return NamedPolicy(name, policy, record.config["training"]["seed"], record, policy.description["sha256"])


def _training_seeds(pattern: str) -> list[NamedPolicy]:
    folders = sorted(Path(folder) for folder in glob.glob(str(expanded(pattern))))
    if not folders:
        raise RalsegError(f"run:{pattern}: no folder fits the pattern; give the run folders of trainings")
    found = [_trained(folder, f"run:{Path(pattern).name}") for folder in folders]
    if len({entry.training_seed for entry in found}) < len(found):
        raise RalsegError(f"run:{pattern}: two folders were trained with the same seed; a training seed counts once")
    for entry, folder in zip(found, folders, strict=True):
        assert entry.training is not None and found[0].training is not None
        ours, first = identity(entry.training.config, "training"), identity(found[0].training.config, "training")
        differing = [key for key in sorted(ours.keys() | first.keys()) if ours.get(key) != first.get(key)]
        if differing:
            raise RalsegError(
                f"run:{pattern}: {folder} and {folders[0]} differ in {', '.join(differing)}; "
                "training seeds of one policy differ in their seeds alone"
            )
    return found
