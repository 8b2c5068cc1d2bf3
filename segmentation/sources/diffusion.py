"""The decoder of a frozen diffusion network as a feature source."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from ralseg.foundation import Count, RalsegError, Range, checked, generator
from ralseg.segmentation.devices import compute_dtype, to_device
from ralseg.segmentation.networks import check_tensors, read_tensors
from ralseg.segmentation.sources.base import PLAIN, Source, Variant
from ralseg.segmentation.sources.guided_diffusion import (
    SIGNAL,
    Layout,
    converted,
    described,
    is_guided_diffusion,
    unet,
)

VERSION = 1
"""Of this file: a change of the maps needs another number, which makes kept maps be computed anew."""

TrunkPrecision = Literal["auto", "float32", "bfloat16", "float16"]


class DiffusionSource(Source):
    """What blocks of the decoder of a diffusion network give for an image with noise of some timesteps.

    Baranchuk et al., *Label-Efficient Semantic Segmentation with Diffusion Models* (ICLR 2022), with the blocks and
    timesteps of *Diffusion-Driven Two-Stage Active Learning* (NeurIPS 2025). The network is guided-diffusion's ADM
    (Dhariwal and Nichol, 2021), its decoder's blocks are numbered as there: `output_blocks`, from 0.

    There is one map for each block, the finest and so the last block first. Its channels are those of the first
    timestep, then those of the second, and so on.

    `plain` has one Gaussian noise, shared by all images of a size and by all timesteps. The variant `diffusion` has
    another one for each draw, also shared by all images and timesteps, as in the released code.

    An image is continued to a multiple of the network's factor (32) below and on the right, by reflection, and maps are
    cut back to the cells that hold a pixel of the image.

    Args:
        file: a checkpoint with the names of guided-diffusion, or what `convert_diffusion` made of it.
        blocks: blocks of the decoder, ascending.
        timesteps: timesteps, 0 (nearly no noise) to 999.
        seed: of all noise.
        precision: of the network; `auto` as in `compute_dtype`. Norms are computed in float32 in any case. Maps have
            this precision, so half of it halves the memory and disk that they take.
        device: of the network.
        channels: see `Layout`, as the four that follow.
        multipliers: channels of each level over `channels`.
        residual_blocks: residual blocks of each level.
        attention: levels with attention.
        head: channels of an attention head.

    Raises:
        RalsegError: if a number is out of range, diffusers is not installed, or the file is missing, damaged, or of
            another network.
    """

    variants = ("diffusion",)

    def __init__(
        self,
        file: str,
        blocks: Sequence[int] = (5, 8, 12, 17),
        timesteps: Sequence[int] = (50, 150, 250),
        seed: Annotated[int, Range(0)] = 0,
        precision: TrunkPrecision = "auto",
        device: str = "cpu",
        channels: Count = 256,
        multipliers: Sequence[int] = (1, 1, 2, 2, 4, 4),
        residual_blocks: Count = 2,
        attention: Sequence[int] = (3, 4, 5),
        head: Count = 64,
    ) -> None:
        layout = Layout(channels, tuple(multipliers), residual_blocks, tuple(attention), head)
        # Checked here, too, for callers from Python.
        self.seed = checked(Annotated[int, Range(0)], seed, "source.seed")
        self.blocks = checked(tuple[Annotated[int, Range(0, layout.outputs - 1)], ...], blocks, "source.blocks")
        self.timesteps = checked(tuple[Annotated[int, Range(0, len(SIGNAL) - 1)], ...], timesteps, "source.timesteps")
        for name, values in (("blocks", self.blocks), ("timesteps", self.timesteps)):
            if not values or list(values) != sorted(set(values)):
                raise RalsegError(f"source.{name}={list(values)} must be one or more, in ascending order")
        self.device, self._factor = torch.device(device), layout.factor
        precision = checked(TrunkPrecision, precision, "source.precision")
        self.dtype = torch.float16 if precision == "float16" else compute_dtype(precision, self.device)
        outputs = [layout.output(block) for block in reversed(self.blocks)]
        self.widths = tuple(len(self.timesteps) * width for width, _ in outputs)
        self._strides = tuple(stride for _, stride in outputs)
        self.stride = self._strides[0]
        network = _loaded(file, layout)
        self.key = self._digest(network, layout)
        self.network = network.to(self.device)

    @torch.no_grad()
    def maps(self, image: np.ndarray, variant: Variant) -> tuple[Tensor, ...]:
        """See `Source.maps`; the maps have the dtype of the network."""
        if variant != PLAIN and variant.name not in self.variants:
            raise RalsegError(f"a diffusion network has no variant {variant.name!r}; choose from plain, diffusion")
        height, width = image.shape[:2]
        # numpy reflects again and again where an image is smaller than what is added.
        pixels = np.pad(image, ((0, -height % self._factor), (0, -width % self._factor), (0, 0)), mode="reflect")
        noise = self._noise(variant, pixels.shape[0], pixels.shape[1])
        clean = to_device(pixels, self.device).permute(2, 0, 1) / 127.5 - 1
        times = torch.tensor(self.timesteps, device=self.device)
        noisy = q_sample(clean, times, to_device(noise, self.device))
        # On a CPU a larger batch saves no time and takes more memory.
        together = len(times) if self.device.type == "cuda" else 1
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            parts = zip(noisy.split(together), times.split(together), strict=True)
            rows = [list(decoded(self.network, *part, self.blocks)) for part in parts]
        found = [torch.cat(blocks).flatten(0, 1).to(self.dtype) for blocks in zip(*rows, strict=True)]
        return tuple(
            map_[:, : -(-height // stride), : -(-width // stride)]
            for map_, stride in zip(reversed(found), self._strides, strict=True)
        )

    def _noise(self, variant: Variant, height: int, width: int) -> np.ndarray:
        """(3, h, w) float32 Gaussian noise of a variant."""
        # A generator of its own for each draw: a draw is the same whatever was drawn before it.
        stream = ("plain",) if variant == PLAIN else ("draw", variant.draw, "of the noise")
        return generator(self.seed, "diffusion", *stream).standard_normal((3, height, width), np.float32)

    def _digest(self, network: Any, layout: Layout) -> str:
        import diffusers

        settings = [VERSION, diffusers.__version__, layout, self.blocks, self.timesteps, self.seed, self.dtype]
        digest = hashlib.sha256(f"diffusion {settings}".encode())
        for tensor in network.state_dict().values():
            digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()


def q_sample(clean: Tensor, timesteps: Tensor, noise: Tensor) -> Tensor:
    """Images with the noise of some timesteps: `sqrt(a) clean + sqrt(1 - a) noise`, `a` being `SIGNAL` at the timestep.

    Args:
        clean: (3, h, w) float32 in [-1, 1].
        timesteps: (T,) int64 in 0 to 999.
        noise: (3, h, w) float32, standard normal; the same for all timesteps.

    Returns:
        (T, 3, h, w) float32.
    """
    share = SIGNAL.to(timesteps.device)[timesteps][:, None, None, None]
    return share.sqrt().float() * clean + (1 - share).sqrt().float() * noise


def decoded(network: Any, noisy: Tensor, timesteps: Tensor, blocks: Sequence[int]) -> Iterator[Tensor]:
    """What blocks of a UNet's decoder give; the blocks after the last of them are not computed.

    Args:
        network: of `unet`.
        noisy: (B, 3, h, w) float32; h and w are multiples of the network's factor.
        timesteps: (B,) int64.
        blocks: numbers of blocks, ascending.

    Yields:
        (B, C_i, h_i, w_i), one for each of the blocks.
    """
    time = network.time_embedding(network.time_proj(timesteps))
    hidden = network.conv_in(noisy)
    skipped = [hidden]
    for block in network.down_blocks:
        hidden, more = block(hidden, time)
        skipped += more
    hidden = network.mid_block(hidden, time)
    number = 0
    for block in network.up_blocks:
        attentions = getattr(block, "attentions", [None] * len(block.resnets))
        for place, (residual, attention) in enumerate(zip(block.resnets, attentions, strict=True)):
            hidden = residual(torch.cat([hidden, skipped.pop()], dim=1), time)
            if attention is not None:
                hidden = attention(hidden)
            # In guided-diffusion the block of a level that is computed last also doubles the resolution.
            if place == len(block.resnets) - 1 and block.upsamplers is not None:
                hidden = block.upsamplers[0](hidden, time)
            if number in blocks:
                yield hidden
            if number == blocks[-1]:
                return
            number += 1


def _loaded(file: str, layout: Layout) -> Any:
    """A frozen UNet with the weights of a file, on the CPU."""
    # Weights that are replaced at once need no values, and half a billion random numbers take their time.
    with torch.device("meta"):
        network = unet(layout)
    tensors = read_tensors(file, "source.file")
    if is_guided_diffusion(tensors):
        tensors = converted(tensors, layout, file)
    tensors = check_tensors(tensors, network.state_dict(), file, described(layout))
    # Assigned rather than copied: processes share the pages of a safetensors file in float32.
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    return network.eval().requires_grad_(False)
