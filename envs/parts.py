"""The parts that a configuration names by `_target_`, and the settings outside of all groups."""

import inspect
import pkgutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from ralseg.foundation import PositiveShare, RalsegError, Range, Settings, check_arguments, checked
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
                # A value that is read back, because there are devices that hold none.
                torch.ones(1, device=self.device).item()
        except (RuntimeError, AssertionError, TypeError, ValueError, ImportError) as error:
            reason = str(error).splitlines()[0].rstrip(".")[:120]
            raise RalsegError(
                f"device={self.device!r} cannot be used ({reason}); set device=cpu, or device=cuda where there is a GPU"
            ) from error


COMMON = tuple(field.name for field in fields(CommonSettings))


def found(config: Mapping[str, Any], group: str) -> Callable:
    """The class or function that a group of a configuration names.

    Raises:
        RalsegError: if it cannot be imported, or is neither.
    """
    target = config["_target_"]
    name = checked(str, target, f"{group}._target_")
    try:
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
        config: the group, with `_target_` and options.
        group: the name of the group, for messages.
        arguments: further options.

    Raises:
        RalsegError: if the target does not exist or refuses the options.
    """
    check_arguments(found(config, group), {key: config[key] for key in config if key[0] != "_"}, group)
    try:
        return instantiate(dict(config), **arguments, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        while cause is not None and not isinstance(cause, RalsegError):
            cause = cause.__cause__
        if cause is not None:
            raise cause from None
        reason = " ".join(str(error.__cause__ or error).split())
        raise RalsegError(f"{group}: {reason}") from error


def make_source(config: Mapping[str, Any]) -> Source | None:
    """The feature source of a configuration; None if it names none.

    Raises:
        RalsegError: if the class is not a source.
    """
    if config.get("_target_") is None:
        return None
    source = made(config, "source")
    if not isinstance(source, Source):
        raise RalsegError(f"source: {config['_target_']} does not derive from ralseg.segmentation.sources.Source")
    return source


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
        RalsegError: if the target does not exist or does not take the configured options.
    """
    make = made({**config, "_partial_": True}, "learner")
    try:
        inspect.signature(make.func).bind(*range(arguments), **make.keywords)
    except TypeError as error:
        options = [key for key in config if not key.startswith("_")]
        raise RalsegError(f"learner: {config['_target_']} cannot be made with options {options}: {error}") from error
    return make
