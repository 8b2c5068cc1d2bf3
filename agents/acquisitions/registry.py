"""Acquisitions by name and from YAML.

Another package adds one with an entry point of the group `ralseg.acquisitions` in its pyproject.toml:

    [project.entry-points."ralseg.acquisitions"]
    shyest = "its_package.shyest:Shyest"

Here `Shyest` is a dataclass derived from `Acquisition` with the `name` "shyest".
"""

from collections.abc import Mapping
from dataclasses import asdict
from importlib import resources
from importlib.metadata import EntryPoint, entry_points
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from ralseg.agents.acquisitions.base import Acquisition
from ralseg.agents.acquisitions.batch import Badge, Coreset, KMeansPlusPlus, MaxHerding, ProbCover, TypiClust
from ralseg.agents.acquisitions.chance import ClassAwareRandom, Random, UniformInTime
from ralseg.agents.acquisitions.compositions import ColdStart, CostAware, RankSum, Stages
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
        *(Random, ClassAwareRandom, UniformInTime),
        *(Entropy, Margin, LeastConfidence),
        *(Bald, PowerBald, BalancedEntropy, Dald, PowerDald, Edald, PowerEdald, Equal),
        *(Ripu, CostAware),
        *(Coreset, MaxHerding, ProbCover, KMeansPlusPlus, Badge, TypiClust),
        *(ClassTruth, ReducibleLoss, LookAhead),
    )
}
"""Each needs no options."""

MADE_OF_OTHERS: dict[str, type[Acquisition]] = {cls.name: cls for cls in (Stages, ColdStart, RankSum)}
"""Acquisitions that need options, which name their parts."""

PARTS = ("of", "by", "first", "then")
"""Options that name acquisitions."""

ENTRY_POINTS = "ralseg.acquisitions"
"""The entry point group with which other packages add acquisitions."""


def names() -> tuple[str, ...]:
    """The names that `make` accepts without options: formulas, compositions in configs/acquisition, other packages'.

    Raises:
        RalsegError: if another package declares a name that is taken.
    """
    return (*FORMULAS, *_compositions(), *_of_other_packages())


def make(name: str, /, **options: Any) -> Acquisition:
    """Build an acquisition.

    Args:
        name: the name of a formula, of one in `MADE_OF_OTHERS`, of a composition, or of another package's entry point.
        options: its fields; groups are mappings, and acquisitions in `PARTS` are written as for `parse`.

    Raises:
        RalsegError: if a name or an option is unknown or a value is out of range (the message names the valid ones), or
            if the entry point of another package cannot be loaded.
    """
    if name in _compositions():
        if options:
            raise RalsegError(
                f"acquisition {name!r} is a composition and takes no {', '.join(options)}; write out its parts"
            )
        return parse(yaml.safe_load(_compositions()[name].read_text()))
    known = FORMULAS | MADE_OF_OTHERS
    if name in known:
        made = known[name]
    elif entry := _of_other_packages().get(name):
        made = _loaded(entry)
    else:
        raise RalsegError(f"acquisition {name!r} is unknown; choose from {', '.join((*names(), *MADE_OF_OTHERS))}")
    if isinstance(options.get("selection"), Mapping):
        # A class may bring its own selection, as the power variants do; options change parts of it.
        options["selection"] = asdict(made.selection) | options["selection"]
    return settings(made, {key: _with_parts(key, value) for key, value in options.items()}, name)


def parse(entry: str | Mapping[str, Any]) -> Acquisition:
    """Build an acquisition from a configuration: a name, or {name: {option: value, ...}}.

    Raises:
        RalsegError: as for `make`, or if the entry is neither of the two.
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
    """`value`, with the acquisitions under the keys `PARTS` built."""
    if key in PARTS:
        return [parse(part) for part in value] if isinstance(value, list | tuple) else parse(value)
    if isinstance(value, Mapping):
        return {inner: _with_parts(inner, part) for inner, part in value.items()}
    return [_with_parts("", part) for part in value] if isinstance(value, list | tuple) else value


def _compositions() -> dict[str, Traversable]:
    # Found without importing ralseg.configs, which loads Hydra.
    folder = resources.files("ralseg") / "configs" / "acquisition"
    return {Path(file.name).stem: file for file in sorted(folder.iterdir(), key=lambda file: file.name)}


def _of_other_packages() -> dict[str, EntryPoint]:
    """The entry points of other packages by name; none is loaded yet, so that a broken one does not affect others."""
    taken = {*FORMULAS, *MADE_OF_OTHERS, *_compositions()}
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=ENTRY_POINTS):
        if entry.name in taken | found.keys():
            raise RalsegError(f"{_described(entry)}: the name is taken; rename it in that package or uninstall it")
        found[entry.name] = entry
    return found


def _loaded(entry: EntryPoint) -> type[Acquisition]:
    try:
        found = entry.load()
    except Exception as error:  # another package's code may raise anything on import
        raise RalsegError(
            f"{_described(entry)} cannot be loaded ({type(error).__name__}: {error}); fix that package or uninstall it"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Acquisition) and getattr(found, "name", None) == entry.name):
        raise RalsegError(
            f"{_described(entry)} is not a class derived from Acquisition with name = {entry.name!r}; fix that package"
        )
    return found


def _described(entry: EntryPoint) -> str:
    package = entry.dist.name if entry.dist else "another package"
    return f"acquisition {entry.name!r}: the entry point {entry.value} of {package}"
