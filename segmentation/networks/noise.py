"""Noise for noisy predictions, which are several disturbed predictions of the same pixels."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ralseg.features.prediction import Noise


def dropped(maps: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """Maps with a random share set to 0 and the rest scaled up, so that the mean stays the same."""
    keep = torch.rand(maps.shape, generator=generator, device=maps.device) >= share
    return maps * keep / (1 - share)


def jitter_of_logits(maps: Tensor, weight: Tensor, noise: Noise, generator: torch.Generator | None) -> Iterator[Tensor]:
    """The change that the Gaussian noise of `noise` on maps (B, D, h, w) makes to the logits of a 1 x 1 layer.

    A linear layer with weights W turns independent noise of deviations s into noise with covariance W s^2 W'. That
    noise is drawn directly, with C numbers per pixel instead of D. With Q R = s W', the covariance is R' R.

    Args:
        maps: the input of the layer.
        weight: (C, D) weights of the layer.
        noise: noise of kind `features`.
        generator: the generator of the noise.

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
    # Drawn in the memory order of the maps, channels last.
    shape = maps.permute(0, 2, 3, 1).shape
    for _ in range(noise.draws):
        normal = torch.randn(shape, generator=generator, device=maps.device).permute(0, 3, 1, 2)
        yield (maps + deviation * normal).to(maps.dtype)


def _deviation(maps: Tensor, noise: Noise) -> Tensor:
    """The standard deviation of the noise, (B, D, 1), for each channel of each image."""
    return noise.scale * maps.float().std(dim=(2, 3), correction=0)[..., None]
