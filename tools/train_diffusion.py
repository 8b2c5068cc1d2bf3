"""Trains a small diffusion network on drawn streets, to try `source=diffusion` with where no released one is at hand.

uv run tools/train_diffusion.py adm.safetensors --steps 2000

It shows the way from images to a source. Nothing says that so small a network's features are good for anything.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import nn
from torch.nn import functional

from ralseg.foundation import RalsegError, atomic_write, generator, integer
from ralseg.segmentation.datasets import Streets
from ralseg.segmentation.devices import single_thread
from ralseg.segmentation.sources.diffusion import q_sample
from ralseg.segmentation.sources.guided_diffusion import SIGNAL, Layout, unet

SMALL = Layout(32, (1, 2, 2), 1, (2,), 32)
"""1.4 million parameters."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser("train_diffusion", description="Train a small diffusion network on drawn streets.")
    parser.add_argument("file", type=Path, help="gets the weights; ends in .safetensors")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--images", type=int, default=200, help="number of streets")
    arguments = parser.parse_args(argv)
    single_thread()
    streets = Streets(arguments.images, (96, 128))
    images = np.stack([streets.load(name)[0] for name in streets.names])
    try:
        network, _ = trained(images, SMALL, arguments.steps, on_step=_said)
        with atomic_write(arguments.file) as file:
            file.write(save({name: tensor.contiguous() for name, tensor in network.state_dict().items()}))
    except RalsegError as error:
        print(f"train_diffusion: {error}", file=sys.stderr)
        return 2
    sizes = (f"{name}={str(value).replace(' ', '').replace('(', '[').replace(',)', ']').replace(')', ']')}"
             for name, value in vars(SMALL).items())  # fmt: skip
    print(
        f"source=diffusion source.file={arguments.file} source.blocks=[1,3,5] " + " ".join(f"source.{s}" for s in sizes)
    )
    return 0


def trained(
    images: np.ndarray,
    layout: Layout,
    steps: int,
    side: int = 64,
    batch: int = 8,
    rate: float = 5e-4,
    seed: int = 0,
    on_step: Callable[[int, float], None] | None = None,
) -> tuple[Any, list[float]]:
    """A UNet that learned to tell the noise in crops of images, and its losses.

    It is the *simple* loss of Ho et al. (2020) on the predicted noise; the variance, the other half of the output,
    stays untrained, since no feature depends on it.

    Args:
        images: (N, h, w, 3) uint8.
        layout: the sizes of the network.
        steps: number of steps.
        side: height and width of a crop, a multiple of the network's factor.
        batch: crops of a step.
        rate: learning rate of Adam.
        seed: of weights, crops, timesteps and noise.
        on_step: called with the step and its loss.

    Returns:
        The network in evaluation mode, and the mean squared error of each step. An untrained network gives 0, so the
        first loss is about 1.
    """
    rng, torch_rng = generator(seed, "crops"), torch.Generator().manual_seed(integer(seed, "noise of crops"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(integer(seed, "a diffusion network"))
        network = unet(layout).train()
    _begin_at_zero(network)
    optimiser, losses = torch.optim.Adam(network.parameters(), lr=rate), []
    for step in range(steps):
        crops = torch.from_numpy(np.stack([_crop(images, side, rng) for _ in range(batch)])).permute(0, 3, 1, 2)
        times = torch.randint(len(SIGNAL), (batch,), generator=torch_rng)
        noise = torch.randn(crops.shape, generator=torch_rng)
        noisy = q_sample(crops / 127.5 - 1, times, noise)
        loss = functional.mse_loss(network(noisy, times).sample[:, :3], noise)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if on_step is not None:
            on_step(step, losses[-1])
    return network.eval(), losses


def _begin_at_zero(network: Any) -> None:
    """Let each residual be nothing at first, as guided-diffusion does; the loss would begin at about 18 otherwise."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and name.endswith(("conv2", "to_out.0", "conv_out")):
            nn.init.zeros_(module.weight)


def _crop(images: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    number = rng.integers(len(images))
    top, left = (rng.integers(size - side + 1) for size in images.shape[1:3])
    return images[number, top : top + side, left : left + side]


def _said(step: int, loss: float) -> None:
    if step % 100 == 0:
        print(f"step {step}: loss {loss:.3f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
