"""Acquisitions by name, and as they are written in YAML."""

from collections.abc import Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from ralseg.agents.acquisitions.base import Acquisition
from ralseg.agents.acquisitions.batch import Badge, Coreset, KMeansPlusPlus, MaxHerding, ProbCover, TypiClust
from ralseg.agents.acquisitions.chance import ClassAwareRandom, Random
from ralseg.agents.acquisitions.compositions import CostAware, RankSum, Stages
from ralseg.agents.acquisitions.disagreement import (
    BalancedEntropy,
    Bald,
    Dald,
    Edald,
    Equal,
    PowerBald,
    PowerDald,
    PowerEdald,
)
from ralseg.agents.acquisitions.reference import ClassTruth, LookAhead, ReducibleLoss
from ralseg.agents.acquisitions.ripu import Ripu
from ralseg.agents.acquisitions.uncertainty import Entropy, LeastConfidence, Margin
from ralseg.foundation import RalsegError, settings

FORMULAS: dict[str, type[Acquisition]] = {
    cls.name: cls
    for cls in (
        *(Random, ClassAwareRandom),
        *(Entropy, Margin, LeastConfidence),
        *(Bald, PowerBald, BalancedEntropy, Dald, PowerDald, Edald, PowerEdald, Equal),
        *(Ripu, CostAware),
        *(Coreset, MaxHerding, ProbCover, KMeansPlusPlus, Badge, TypiClust),
        *(ClassTruth, ReducibleLoss, LookAhead),
    )
}
"""Each runs as it stands."""

MADE_OF_OTHERS: dict[str, type[Acquisition]] = {cls.name: cls for cls in (Stages, RankSum)}
"""These must be told what they are made of."""


def names() -> tuple[str, ...]:
    """The names that `make` knows without options: formulas, then the compositions of configs/acquisition."""
    return (*FORMULAS, *_compositions())


def make(name: str, /, **options: Any) -> Acquisition:
    """Build an acquisition.

    Args:
        name: of a formula, of `stages` or `rank_sum`, or of a composition.
        options: its fields; groups as mappings, and acquisitions in `of` and `by` as `parse` takes them.

    Raises:
        RalsegError: for an unknown name, an unknown option or a value out of range, with the valid ones named.
    """
    if name in _compositions():
        if options:
            raise RalsegError(f"acquisition {name!r} is a composition and takes no {', '.join(options)}; write it out")
        return parse(yaml.safe_load(_compositions()[name].read_text()))
    known = FORMULAS | MADE_OF_OTHERS
    if name not in known:
        raise RalsegError(f"acquisition {name!r} is unknown; choose from {', '.join((*names(), *MADE_OF_OTHERS))}")
    if isinstance(options.get("selection"), Mapping):
        # What an acquisition is by its own selection, as a power variant, it stays.
        options["selection"] = asdict(known[name].selection) | options["selection"]
    return settings(known[name], {key: _with_parts(key, value) for key, value in options.items()}, name)


def parse(entry: str | Mapping[str, Any]) -> Acquisition:
    """An acquisition as it stands in a configuration: a name, or {name: {option: value, ...}}.

    Raises:
        RalsegError: as `make`, and if the entry is neither.
    """
    if isinstance(entry, str):
        return make(entry)
    if isinstance(entry, Mapping) and len(entry) == 1:
        name, options = next(iter(entry.items()))
        options = {} if options is None else options
        if isinstance(options, Mapping) and all(isinstance(key, str) for key in (name, *options)):
            return make(name, **options)
    raise RalsegError(f"acquisition {entry!r}: write a name, or {{name: {{option: value}}}}")


def _with_parts(key: str, value: Any) -> Any:
    """`value` with the acquisitions built that stand below the keys `of` and `by`."""
    if key in ("of", "by"):
        return [parse(part) for part in value] if isinstance(value, list | tuple) else parse(value)
    if isinstance(value, Mapping):
        return {inner: _with_parts(inner, part) for inner, part in value.items()}
    return [_with_parts("", part) for part in value] if isinstance(value, list | tuple) else value


def _compositions() -> dict[str, Path]:
    folder = resources.files("ralseg.configs") / "acquisition"
    return {Path(file.name).stem: file for file in sorted(folder.iterdir(), key=lambda file: file.name)}
