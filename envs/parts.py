"""The parts that a configuration names by `_target_`, and the settings outside of all groups."""

import inspect
import pkgutil
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Annotated, Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from ralseg.foundation import PositiveShare, RalsegError, Range, Settings, check_arguments, checked
from ralseg.segmentation.datasets import Dataset
from ralseg.segmentation.devices import Precision
from ralseg.segmentation.learners import Learner
from ralseg.segmentation.losses import Loss
from ralseg.segmentation.networks import SegmentationNetwork
from ralseg.segmentation.sources import Source


@dataclass(frozen=True)
class CommonSettings(Settings):
    """The settings of both commands outside of all groups.

    Attributes:
        seed: the root seed.
        input_scale: size of the network's input divided by the size of the image.
        device: the device of the networks.
        precision: the precision of the convolutions.
        compile: whether inference runs through `torch.compile`.
        loss: of the segmentation network.

    Raises:
        RalsegError: if a number is out of range, or the device cannot be used.
    """

    seed: Annotated[int, Range(0)]
    input_scale: PositiveShare
    device: str
    precision: Precision
    compile: bool
    loss: Loss

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            with warnings.catch_warnings(action="ignore"):
                # torch takes any number of a CPU for the one that there is.
                if self.device.startswith("cpu:") and torch.device(self.device).index:
                    raise ValueError("there is one CPU, whatever its cores")
                # A value that is read back, because there are devices that hold none.
                torch.ones(1, device=self.device).item()
        except (RuntimeError, AssertionError, TypeError, ValueError, ImportError) as error:
            reason = str(error).splitlines()[0].rstrip(".")[:120]
            raise RalsegError(
                f"device={self.device!r} cannot be used ({reason}); set device=cpu, or device=cuda where there is a GPU"
            ) from error


COMMON = tuple(field.name for field in fields(CommonSettings))
BASES: Mapping[str, type] = {"dataset": Dataset, "network": SegmentationNetwork, "source": Source}
"""Group -> the class that its parts derive from."""
LEARNS = [name for name, part in vars(Learner).items() if inspect.isfunction(part) and name[0] != "_"]
"""The methods of every learner."""


def found(config: Mapping[str, Any], group: str) -> Callable:
    """The class or function that a group of a configuration names.

    Raises:
        RalsegError: if it cannot be imported, or is neither.
    """
    target = config["_target_"]
    name = checked(str, target, f"{group}._target_")
    try:
        if ":" in name:
            raise ImportError("a colon is no part of a name")
        # Hydra's own search writes lines before it raises.
        part = pkgutil.resolve_name(name)
    except Exception as error:
        # Importing a module of somebody else may raise anything.
        reason = " ".join(str(error).split())
        raise RalsegError(f"{group}._target_={target} cannot be found ({reason}); give package.module.Class") from error
    if not callable(part):
        raise RalsegError(f"{group}._target_={target} is neither a class nor a function; name one")
    return part


def made(config: Mapping[str, Any], group: str, **arguments: Any) -> Any:
    """Make the object that a group of a configuration describes.

    Args:
        config: the group, with `_target_` and options; an option with a `_target_` is made first.
        group: the name of the group, for messages, or of an option of it: `dataset.source`.
        arguments: further options.

    Raises:
        RalsegError: if the target does not exist, refuses the options, or makes something else than the group holds.
    """
    target = found(config, group)
    parts = {key: _part(target, value, group, key) for key, value in config.items() if _is_part(value)}
    config = {key: value for key, value in config.items() if key not in parts}
    arguments = {**parts, **arguments}
    options = {key: config[key] for key in config if key[0] != "_"}
    if not config.get("_partial_"):
        _check_names(target, options, arguments, group, config["_target_"])
    check_arguments(target, options, group)
    try:
        part = instantiate(dict(config), **arguments, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        while cause is not None and not isinstance(cause, RalsegError):
            cause = cause.__cause__
        if cause is not None:
            raise cause from None
        reason = " ".join(str(error.__cause__ or error).split())
        raise RalsegError(f"{group}: {reason}") from error
    if group in BASES:
        _check_base(part, BASES[group], f"{group}._target_={config['_target_']}")
    return part


def _is_part(value: Any) -> bool:
    """Whether an option describes a part of its own."""
    return isinstance(value, Mapping) and "_target_" in value


def _part(target: Callable, config: Mapping[str, Any], group: str, key: str) -> Any:
    """A part that an option of a target describes, of the base that the target declares for it, if any."""
    try:
        part = made(config, f"{group}.{key}")
    except RalsegError as error:
        # A part names its settings as if it were the group itself.
        raise RalsegError(re.sub(rf"\b{group}\.(?!{key}\b)", f"{group}.{key}.", str(error))) from None
    declared = {p.name: p.annotation for p in _parameters(target) or ()}
    if declared.get(key) in BASES.values():
        _check_base(part, declared[key], f"{group}.{key}._target_={config['_target_']}")
    return part


def _parameters(target: Callable) -> list[inspect.Parameter] | None:
    """The parameters of a target; None of the few parts of Python itself that do not say what they take."""
    try:
        return list(inspect.signature(target).parameters.values())
    except ValueError:
        return None


def _check_names(target: Callable, options: Mapping[str, Any], given: Mapping[str, Any], group: str, name: str) -> None:
    """Refuse options that a target does not have, and a target whose options are not all given."""
    if (parameters := _parameters(target)) is None:
        return
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in given]
    unknown = [key for key in options if key not in {p.name for p in named}]
    if unknown and all(p.kind is not p.VAR_KEYWORD for p in parameters):
        raise RalsegError(
            f"{group}.{unknown[0]} is no option of {name}, which has {', '.join(p.name for p in named) or 'none'}; "
            f"leave it out, or choose another {group.split('.')[0]}=<choice>"
        )
    if lacking := [p.name for p in named if p.default is p.empty and p.name not in options]:
        raise RalsegError(f"{group}._target_={name} needs {lacking[0]}; give +{group}.{lacking[0]}=<value>")


def _check_base(part: object, base: type, setting: str) -> None:
    public = f"{base.__module__.rpartition('.')[0]}.{base.__name__}"
    if not isinstance(part, base):
        raise RalsegError(f"{setting} does not derive from {public}; name a class that does")
    # A network may keep its stages under another name.
    names = () if isinstance(part, torch.nn.Module) else inspect.get_annotations(base)
    if lacking := [name for name in names if not hasattr(part, name)]:
        raise RalsegError(f"{setting} has no {lacking[0]}, which every {public} sets; set it in its __init__")


def make_source(config: Mapping[str, Any]) -> Source | None:
    """The feature source of a configuration; None if it names none.

    Raises:
        RalsegError: see `made`.
    """
    return None if config.get("_target_") is None else made(config, "source")


def make_network(config: Mapping[str, Any], classes: int, source: Source | None) -> SegmentationNetwork:
    """An untrained network on its own stages, or on a source.

    Raises:
        RalsegError: if a network with its own stages is combined with a source, or a per-pixel network with none.
    """
    if getattr(found(config, "network"), "per_pixel", False) != (source is not None):
        raise RalsegError(
            "a network with its own stages takes no other feature source, and a per-pixel network needs one; "
            "set network=pixel_mlp with source=timm, or another network with source=stages"
        )
    given = {} if source is None else {"widths": list(source.widths), "stride": source.stride}
    return made(config, "network", classes=classes, **given)


def learner_maker(config: Mapping[str, Any], arguments: int) -> Callable[..., Learner]:
    """A function that makes the learner of a configuration.

    Args:
        config: the group `learner`, with `_target_` and options.
        arguments: number of arguments of a call, see `ralseg.segmentation.learners.Learner`.

    Raises:
        RalsegError: if the target does not exist, does not take the configured options, or is no learner. A function
            that makes something else is found out when it is called.
    """
    setting = f"learner._target_={config['_target_']}"
    make = made({**config, "_partial_": True}, "learner")
    if isinstance(make.func, type):
        _check_learner(make.func, setting)
    try:
        inspect.signature(make.func).bind(*range(arguments), **make.keywords)
    except (TypeError, ValueError) as error:
        options = [key for key in config if not key.startswith("_")]
        raise RalsegError(f"{setting} cannot be made with options {options}: {error}") from error
    return partial(_made_learner, make, setting)


def _made_learner(make: Callable[..., Learner], setting: str, *arguments: Any) -> Learner:
    learner = make(*arguments)
    _check_learner(learner, setting)
    return learner


def _check_learner(learner: object, setting: str) -> None:
    if lacking := [name for name in LEARNS if not callable(getattr(learner, name, None))]:
        raise RalsegError(
            f"{setting} has no {lacking[0]}, so it is no ralseg.segmentation.learners.Learner; name a class that has "
            f"{', '.join(LEARNS)}"
        )
