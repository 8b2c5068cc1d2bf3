"""Noisy predictions: several predictions of the same pixels, each disturbed in its own way."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ralseg.features.prediction import Noise


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
