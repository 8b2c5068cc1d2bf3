"""The configuration: Hydra YAML as package data, and how it is composed."""

if __name__ != "ralseg.configs":
    raise ImportError("import ralseg.configs: under the name configs every class would exist a second time")

import difflib
import re
from collections.abc import Sequence
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ralseg.foundation import RalsegError

OPEN = re.compile(r"protocol\.(counts|fractions|unseen)\b")
"""Settings that a protocol may have beyond those in its file; `splits_from_config` checks them."""


def composed(door: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The configuration of a door as a plain dict, every interpolation resolved.

    Args:
        door: `train_agent` or `evaluate_policy`.
        overrides: as on the command line, e.g. ["dataset=camvid", "dataset.root=/data/camvid"].

    Raises:
        RalsegError: for an unknown key or choice, with the valid ones named, or a value that must be given and is not.
    """
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("ralseg.configs", version_base="1.3"):
            config = compose(door, overrides=[f"++{o}" if OPEN.match(o) else o for o in overrides])
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise RalsegError(_explained(door, overrides, error)) from error


def _explained(door: str, overrides: Sequence[str], error: Exception) -> str:
    message = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    if "Missing mandatory value" in message:
        key = getattr(error, "full_key", None) or message
        return f"{key} must be given: {key}=<...>"
    for override in overrides:
        key = override.split("=")[0].lstrip("+~")
        if f"'{key}'" in message and "Could not override" in message:
            return f"{key} is not a setting; {_valid(door, overrides, key)}"
    return message.replace(" Set the environment variable HYDRA_FULL_ERROR=1 for a complete stack trace.", "")


def _valid(door: str, overrides: Sequence[str], key: str) -> str:
    """The settings beside an unknown key: those of the deepest group on its path that exists."""
    with initialize_config_module("ralseg.configs", version_base="1.3"):
        groups = [name for name, value in compose(door).items() if OmegaConf.is_dict(value)]
        chosen = [override for override in overrides if override.split("=")[0] in groups]
        node = OmegaConf.to_container(compose(door, overrides=chosen), resolve=False)
    parts = key.split(".")
    path: list[str] = []
    while parts[:-1] and isinstance(node, dict) and parts[0] in node and isinstance(node[parts[0]], dict):
        path.append(parts[0])
        node = node[parts.pop(0)]
    near = difflib.get_close_matches(parts[0], list(node), 1)
    group = ".".join(path) or "the top level"
    return f"{group} has {', '.join(node)}" + (f" (did you mean {'.'.join([*path, near[0]])}?)" if near else "")
