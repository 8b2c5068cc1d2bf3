"""Overrides as people type them: values that Hydra's grammar would refuse, or read as something else, are texts."""

import difflib
import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from ralseg.foundation import RalsegError

# Hydra takes half a second to import: it is imported where something is composed.

OPEN = re.compile(r"protocol\.(counts|fractions|unseen|runs|test_groups|path|seed)\b")
"""Settings that a protocol may have although its file does not name them; `splits_from_config` checks them."""

KEY = re.compile(r"\+{0,2}[A-Za-z_][\w.]*(@[\w.]+)?")
TEXTS = ("theta0.file", "source.file", "network.imagenet", "dataset.pool", "readings", "comparison.readings")
"""Settings that take a text and are null by default."""


def hydra_overrides(overrides: Sequence[str]) -> list[str]:
    """Overrides as Hydra takes them.

    Args:
        overrides: as typed, e.g. ["dataset=camvid", "dataset.root=/data/camvid (new)"].

    Raises:
        RalsegError: for what is no override, and for an unknown choice of a group.
    """
    return [_checked(override) for override in overrides]


def key_of(override: str) -> str:
    """The full key that an override sets."""
    return override.split("=")[0].lstrip("+")


def _checked(override: str) -> str:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Quote, QuotedString
    from hydra.errors import HydraException

    start, equals, typed = override.partition("=")
    if not equals or not KEY.fullmatch(start):
        raise RalsegError(f"{override[:200]!r} is not a setting; write group=choice or group.key=value, or ask --help")
    as_text = f"{start}={QuotedString(typed, Quote.single).with_quotes()}"
    key = key_of(override)
    if key.split(".")[0] == "hydra":
        raise RalsegError(f"{key} is Hydra's own setting, which nothing here follows; leave it out")
    try:
        parsed = OverridesParser.create().parse_override(override)
        value = parsed.value()
        # What Hydra would sweep over, such as `a,b`, is one value here.
        is_text = parsed.is_sweep_override() or (isinstance(value, int | float) and key in text_settings())
    except HydraException:
        is_text = True
    group = key.split("@")[0]
    if group in groups():
        choice = typed if is_text else value
        if not isinstance(choice, str) or choice not in groups()[group]:
            near = difflib.get_close_matches(typed, groups()[group], 1)
            meant = f" (did you mean {group}={near[0]}?)" if near else ""
            known = ", ".join(groups()[group])
            raise RalsegError(f"{group}={typed[:200]} is unknown; choose from {known}{meant}")
    found = as_text if is_text else override
    return f"++{found}" if OPEN.match(found) else found


@cache
def groups() -> dict[str, list[str]]:
    """Group -> its choices, both sorted."""
    found: dict[str, list[str]] = {}
    for group, choice, _ in _package():
        found.setdefault(group, []).append(choice)
    # Acquisitions are named in `policies`.
    return {group: sorted(found[group]) for group in sorted(found) if group not in ("", "acquisition")}


@cache
def text_settings() -> set[str]:
    """The full keys of all settings that hold a text: `run=2024` names a folder and `why=0010` is no number."""
    return {*TEXTS, *(key for group, _, content in _package() for key in _texts(content, group))}


def _package() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(group, choice, content) of each YAML file; the group of a door's own file is ""."""
    root = files("ralseg.configs")
    folders = [(entry.name, entry) for entry in root.iterdir() if entry.is_dir() and entry.name != "__pycache__"]
    for group, folder in [("", root), *folders]:
        for entry in folder.iterdir():
            if entry.name.endswith(".yaml"):
                yield group, entry.name.removesuffix(".yaml"), yaml.safe_load(entry.read_text())


def _texts(content: dict[str, Any], path: str) -> Iterator[str]:
    for key, value in content.items():
        place = f"{path}.{key}".lstrip(".")
        if isinstance(value, dict):
            yield from _texts(value, place)
        elif isinstance(value, str):
            yield place
            if path == "comparison":
                yield key
