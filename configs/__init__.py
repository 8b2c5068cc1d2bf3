"""The configuration: Hydra YAML as package data, and how it is composed."""

if __name__ != "ralseg.configs":
    raise ImportError("import ralseg.configs: under the name configs every class would exist a second time")

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from ralseg.configs.overrides import groups, hydra_overrides, key_of
from ralseg.foundation import RalsegError

if TYPE_CHECKING:
    from omegaconf import DictConfig

# Hydra takes half a second to import: it is imported where something is composed.


def composed(door: str, overrides: Sequence[str] = (), complete: bool = True) -> dict[str, Any]:
    """The configuration of a door as a plain dict, every interpolation resolved.

    A Hydra that the caller has initialised stays as it is.

    Args:
        door: `train_agent` or `evaluate_policy`.
        overrides: as on the command line, e.g. ["dataset=camvid", "dataset.root=/data/camvid"].
        complete: whether every value that must be given has to be; otherwise a missing one is "???".

    Raises:
        RalsegError: for an unknown key or choice, with the valid ones named, or a missing value that must be given.
    """
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    typed = hydra_overrides(overrides)
    try:
        config = _plain(OmegaConf.to_container(_composed(door, typed), resolve=True, throw_on_missing=complete))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise RalsegError(_explained(door, overrides, error)) from error
    for key in config:
        if key not in _top_level(door):
            raise RalsegError(f"{key} is not a setting; {_valid(door, overrides, key)}")
    return {**config, "protocol": _of_one_kind(config["protocol"], overrides)}


@cache
def _top_level(door: str) -> frozenset[str]:
    return frozenset(map(str, _composed(door)))


def _of_one_kind(protocol: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A protocol without what its file says for another kind, or in the other form, than the overrides choose."""
    named = {match[1] for override in overrides if (match := re.match(r"\+*protocol\.(\w+)", override))}
    dropped = {"counts"} if "fractions" in named else {"fractions"} if "counts" in named else set()
    if "kind" in named:
        dropped |= (
            {"path"} if protocol["kind"] == "generated" else {"counts", "fractions", "seed", "exact", "unseen", "runs"}
        )
    return {key: value for key, value in protocol.items() if key not in dropped - named}


def _composed(door: str, overrides: Sequence[str] = ()) -> "DictConfig":
    from hydra import compose, initialize_config_module

    with _untouched_hydra(), initialize_config_module("ralseg.configs", version_base="1.3"):
        return compose(door, overrides=list(overrides))


@contextmanager
def _untouched_hydra() -> Iterator[None]:
    """Composing goes through Hydra's global instance and version; both are put back as they were."""
    from hydra import version
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.singleton import Singleton

    before = {cls: Singleton._instances.pop(cls, None) for cls in (GlobalHydra, version.VersionBase)}
    try:
        yield
    finally:
        for cls, instance in before.items():
            Singleton._instances.pop(cls, None)
            if instance is not None:
                Singleton._instances[cls] = instance


def _plain(config: object) -> dict[str, Any]:
    assert isinstance(config, dict)
    return config


def _explained(door: str, overrides: Sequence[str], error: Exception) -> str:
    message = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    key = getattr(error, "full_key", None)
    if "Missing mandatory value" in message:
        return f"{key or message} must be given: {key or message}=<...>"
    if "Interpolation" in message:
        return f"{key}: {message.split(' full_key')[0]}; give a value, or the key of another setting"
    for override in overrides:
        if f"'{key_of(override)}'" in message and "Could not override" in message:
            return f"{key_of(override)} is not a setting; {_valid(door, overrides, key_of(override))}"
        if f"merging override {override}" in message:
            cause = " ".join(str(error.__cause__ or error).split()).split(" full_key")[0]
            return f"{override} does not fit: {cause}"
    return message.replace(" Set the environment variable HYDRA_FULL_ERROR=1 for a complete stack trace.", "")


def _valid(door: str, overrides: Sequence[str], key: str) -> str:
    """What to set in place of an unknown key: the settings of the deepest group on its path that exists."""
    from omegaconf import OmegaConf

    chosen = [override for override in overrides if override.split("=")[0] in groups().keys() & _top_level(door)]
    node = _plain(OmegaConf.to_container(_composed(door, chosen), resolve=False))
    parts = key.split(".")
    path: list[str] = []
    while parts[:-1] and isinstance(node, dict) and parts[0] in node and isinstance(node[parts[0]], dict):
        path.append(parts[0])
        node = node[parts.pop(0)]
    near = difflib.get_close_matches(parts[0], list(node), 1)
    group = ".".join(path) or "the top level"
    return f"{group} has {', '.join(node)}" + (f" (did you mean {'.'.join([*path, near[0]])}?)" if near else "")
