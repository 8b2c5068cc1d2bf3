"""What one forward pass of a network gives, and the noise that its noisy predictions are made with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ralseg.features.arrays import Array, cast, namespace, on_host
from ralseg.features.softmax_maps import Softmax
from ralseg.foundation import Count, Positive, RalsegError, Settings


@dataclass(frozen=True)
class Noise(Settings, group="noise"):
    """What disturbs a prediction, and how often. Equal noises are drawn once and shared.

    - `dropout`: a random share of the decoder's map, the network's own `dropout`, is dropped (Gal, Ghahramani 2016);
    - `features`: Gaussian noise is added to the map that the last layer reads, for networks with or without dropout;
    - `flip`: the prediction of the mirrored image, mirrored back; with two draws, the plain prediction before it;
    - any other kind: a variant in which the feature source yields its maps, one draw of it for each prediction.

    Attributes:
        kind: one of the above.
        draws: number M of predictions, 1 or more; 1 or 2 flips.
        scale: of `features`: standard deviation of the noise of each channel over that of the channel in the image.

    Raises:
        RalsegError: if a number is out of range.
    """

    kind: str
    draws: Count
    scale: Positive = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind == "flip" and self.draws > 2:
            raise RalsegError(f"draws={self.draws} is out of range; an image has 1 flip, or 2 with the plain one")


FEATURE_NOISE = Noise("features", 5)
"""What disagreement is measured under where nothing else is said."""


@dataclass(frozen=True)
class Prediction:
    """What one forward pass gives for a batch of images of one size; maps have the dtype that the network ran in.

    Attributes:
        logits: (B, C, h, w) float32 at the network's output stride.
        features: (B, D, h', w'), the map that the last layer turned into the logits, at the resolution it was made at.
        embedding: maps (B, D_i, h_i, w_i), each at its own resolution, deepest last; their means over a unit are its
            embedding.
        noisy: (M, B, C, h, w) logits of the M noisy predictions of each noise that was asked for.
        images: indices in the store of the B images.
    """

    logits: Array
    features: Array
    embedding: tuple[Array, ...]
    noisy: Mapping[Noise, Array] = field(default_factory=dict)
    images: Sequence[int] = ()

    @cached_property
    def softmax(self) -> Softmax:
        """The softmax of the logits, computed once and shared."""
        return Softmax(self.array(self.logits))

    @staticmethod
    def array(maps: Array) -> Array:
        """Maps of this prediction as features are computed from them; see `as_array`."""
        return as_array(maps)

    def of_image(self, place: int) -> "Prediction":
        """The prediction of one image of the batch, a batch of one."""
        own = slice(place, place + 1)
        return replace(
            self,
            logits=self.logits[own],
            features=self.features[own],
            embedding=tuple(maps[own] for maps in self.embedding),
            noisy={noise: logits[:, own] for noise, logits in self.noisy.items()},
            images=self.images[own],
        )

    @cached_property
    def decoded(self) -> Array:
        """(B, D, h, w): `features` at the resolution of the logits, bilinear."""
        return resized(self.features, (self.logits.shape[-2], self.logits.shape[-1]))


def as_array(maps: Array) -> Array:
    """Maps as float32 where features are computed from them: a view in numpy on the host, on a device as they lie."""
    maps = cast(maps, "float32")
    return np.asarray(maps) if on_host(maps) else maps


def resized(maps: Any, size: tuple[int, int]) -> Any:
    """Tensors (B, D, h, w) at another (h, w), by bilinear interpolation; the maps themselves if they have that size."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    # A tensor brings its library along, so that reading arrays needs no torch.
    return namespace(maps).nn.functional.interpolate(maps, size=size, mode="bilinear")
