"""One pass of one image before anything is trained: encoders differ in the inputs that they take."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ralseg.foundation import RalsegError
from ralseg.segmentation.networks import SegmentationNetwork
from ralseg.segmentation.sources import PLAIN, Source

REFUSALS = (AssertionError, RuntimeError, TypeError, ValueError)
"""What encoders raise at an input that they cannot take."""


def check_pass(network: SegmentationNetwork, config: Mapping[str, Any], size: tuple[int, int]) -> None:
    """Pass an empty image through an untrained network on its own stages, because some encoders take a fixed size.

    Args:
        network: the network.
        config: its group of the configuration, for the message.
        size: (height, width) of the input.

    Raises:
        RalsegError: if the network does not take such images, or not the small ones that its layout is read from.
    """
    for height, width in (size, network.example()[0].shape[-2:]):
        try:
            _passed(copy.deepcopy(network).to("meta"), height, width)
        except REFUSALS:
            # Without values only the shapes are computed, which costs nothing; not every operation can do that.
            try:
                _passed(network, height, width)
            except REFUSALS as error:
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                option = "encoder" if "encoder" in config else "_target_"
                raise RalsegError(
                    f"network.{option}={config[option]} cannot take an input of {height} x {width} ({reason}); choose "
                    "one that takes images of any size, as those made of convolutions do"
                ) from error


def _passed(network: SegmentationNetwork, height: int, width: int) -> None:
    network.eval()
    with torch.no_grad():
        network(network.lower(torch.zeros(1, 3, height, width, device=next(network.parameters()).device), "full"))


def check_maps(source: Source, config: Mapping[str, Any], image: np.ndarray) -> None:
    """Compute the maps of one image, because some encoders take a fixed size or give maps in another order.

    Args:
        source: the feature source.
        config: its group of the configuration, for the message.
        image: (h, w, 3) uint8.

    Raises:
        RalsegError: if the source does not take the image, or its maps are not what it says they are.
    """
    option = "encoder" if "encoder" in config else "_target_"
    height, width = image.shape[:2]
    named, mend = f"source.{option}={config[option]}", "choose one made of convolutions, which takes images of any size"
    try:
        maps = source.maps(image, PLAIN)
    except REFUSALS as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise RalsegError(f"{named} cannot take an input of {height} x {width} ({reason}); {mend}") from error
    shapes = [tuple(m.shape) for m in maps]
    first = -(-height // source.stride), -(-width // source.stride)
    if [shape[0] for shape in shapes] != list(source.widths) or shapes[0][1:] != first:
        raise RalsegError(
            f"{named} gives maps of {shapes} for an input of {height} x {width}; they must have {source.widths} "
            f"channels first and begin with {first[0]} x {first[1]} cells; {mend}"
        )
