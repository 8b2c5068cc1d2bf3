"""Noisy predictions: several predictions of the same pixels, each disturbed in its own way."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ralseg.foundation import RalsegError

NoiseKind = Literal["dropout", "features", "flip"]


@dataclass(frozen=True)
class Noise:
    """What disturbs a prediction, and how often. Equal ones are drawn once for all who ask for them.

    - `dropout`: a random share of the decoder's map, the network's own `dropout`, is dropped (Gal, Ghahramani 2016);
    - `features`: Gaussian noise is added to the map that the last layer reads, for networks with or without dropout;
    - `flip`: the prediction of the mirrored image, mirrored back; with two draws, the plain prediction before it.

    Attributes:
        kind: of the above.
        draws: number M of predictions, 1 or more; 1 or 2 flips.
        scale: of `features`: standard deviation of the noise of each channel over that of the channel in the image.

    Raises:
        RalsegError: if the kind is unknown or a number is out of range.
    """

    kind: NoiseKind
    draws: int
    scale: float = 0.25

    def __post_init__(self) -> None:
        kinds = get_args(NoiseKind)
        if self.kind not in kinds:
            raise RalsegError(f"noise.kind={self.kind!r} is unknown; choose from {', '.join(kinds)}")
        if self.draws < 1:
            raise RalsegError(f"noise.draws={self.draws} is out of range; it is 1 or more")
        if self.kind == "flip" and self.draws > 2:
            raise RalsegError(f"noise.draws={self.draws} is out of range; an image has 1 flip, or 2 with the plain one")
        if not self.scale > 0:
            raise RalsegError(f"noise.scale={self.scale} is out of range; it is above 0")

    def flips(self, plain: Tensor, mirrored: Tensor) -> Tensor:
        """(M, B, C, h, w) of two predictions (B, C, h, w), that of the mirrored image being mirrored back."""
        return torch.stack([plain, mirrored][-self.draws :])


FEATURE_NOISE = Noise("features", 5)
"""What disagreement is measured under where nothing else is said."""


def dropped(maps: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """Maps of which a random share is 0, the rest scaled up so that the mean stays."""
    keep = torch.rand(maps.shape, generator=generator, device=maps.device) >= share
    return maps * keep / (1 - share)


def jitter_of_logits(maps: Tensor, weight: Tensor, noise: Noise, generator: torch.Generator | None) -> Iterator[Tensor]:
    """What the Gaussian noise of `noise` on maps (B, D, h, w) adds to the logits of a layer of 1 x 1 pixels.

    A linear layer with weights W makes of independent noise of deviations s noise with the covariance W s^2 W': that is
    drawn at once, in C numbers a pixel where the maps have D. With Q R = s W', R' R is that covariance.

    Args:
        maps: what the layer reads.
        weight: (C, D) of the layer.
        noise: of kind `features`.
        generator: where it is drawn from.

    Yields:
        (B, C, h, w) float32, once for each draw.
    """
    factor = torch.linalg.qr(_deviation(maps, noise) * weight.float().T, mode="r").R
    shape = len(maps), maps.shape[2] * maps.shape[3], factor.shape[1]
    for _ in range(noise.draws):
        normal = torch.randn(shape, generator=generator, device=maps.device)
        yield (normal @ factor).mT.view(len(maps), -1, *maps.shape[2:])


def jittered(maps: Tensor, noise: Noise, generator: torch.Generator | None) -> Iterator[Tensor]:
    """Maps (B, D, h, w) with the Gaussian noise of `noise`, once for each of its draws."""
    deviation = _deviation(maps, noise)[..., None]
    # Drawn as maps lie in memory, channels last.
    shape = maps.permute(0, 2, 3, 1).shape
    for _ in range(noise.draws):
        normal = torch.randn(shape, generator=generator, device=maps.device).permute(0, 3, 1, 2)
        yield (maps + deviation * normal).to(maps.dtype)


def _deviation(maps: Tensor, noise: Noise) -> Tensor:
    """(B, D, 1) of the noise of each channel of each image."""
    return noise.scale * maps.float().std(dim=(2, 3), correction=0)[..., None]
