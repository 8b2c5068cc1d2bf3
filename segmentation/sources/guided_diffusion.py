"""The UNet of guided-diffusion (ADM): its sizes, its tensors, and how they become those of diffusers' UNet2DModel."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ralseg.foundation import Count, RalsegError, Settings
from ralseg.segmentation.networks import check_tensors

GROUPS = 32
"""Groups of every group norm."""
BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
"""Variances of the noise that each of the 1000 steps adds: the linear schedule of the released networks."""
SIGNAL = (1 - BETAS).cumprod(0)
"""The share of the image's variance that is left at each timestep, alpha-bar in the papers."""

RESIDUAL = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
"""Part of a residual block in guided-diffusion -> in diffusers."""
AROUND = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
"""The same outside of all blocks."""


@dataclass(frozen=True)
class Layout(Settings, group="source"):
    """The sizes of a UNet; the defaults are those of the released unconditional networks for 256 x 256 pixels.

    Attributes:
        channels: channels at the full resolution, a multiple of 32.
        multipliers: channels of each level over `channels`, the finest level first, which has 1; each level halves the
            resolution.
        residual_blocks: residual blocks of each level on the way down; on the way up there is one more.
        attention: levels with attention, 0 being the finest.
        head: channels of an attention head.

    Raises:
        RalsegError: if a number is out of range, or they do not fit together.
    """

    channels: Count = 256
    multipliers: tuple[Count, ...] = (1, 1, 2, 2, 4, 4)
    residual_blocks: Count = 2
    attention: tuple[int, ...] = (3, 4, 5)
    head: Count = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        levels = len(self.multipliers)
        if self.channels % GROUPS:
            raise RalsegError(
                f"source.channels={self.channels} must be a multiple of {GROUPS}, as each norm has {GROUPS} groups"
            )
        # diffusers takes the width of the timestep's embedding from the first level.
        if self.multipliers[:1] != (1,):
            raise RalsegError(f"source.multipliers={list(self.multipliers)} must begin with 1")
        if list(self.attention) != sorted(set(self.attention) & set(range(levels))):
            raise RalsegError(
                f"source.attention={list(self.attention)} must be levels from 0 to {levels - 1}, in ascending order"
            )
        for level in (*self.attention, levels - 1):
            if self.width(level) % self.head:
                raise RalsegError(
                    f"source.head={self.head} does not divide the {self.width(level)} channels of level {level}"
                )

    @property
    def factor(self) -> int:
        """What height and width must be a multiple of."""
        return 2 ** (len(self.multipliers) - 1)

    @property
    def outputs(self) -> int:
        """The number of `output_blocks`, the blocks of the decoder."""
        return len(self.multipliers) * (self.residual_blocks + 1)

    def width(self, level: int) -> int:
        """Channels of a level."""
        return self.channels * self.multipliers[level]

    def output(self, block: int) -> tuple[int, int]:
        """(channels, input pixels per cell) of what a block of the decoder gives, counted from 0 at the coarsest."""
        up, place = divmod(block, self.residual_blocks + 1)
        level = len(self.multipliers) - 1 - up
        raised = place == self.residual_blocks and level > 0
        return self.width(level), 2 ** (level - raised)


def unet(layout: Layout) -> Any:
    """An untrained UNet of these sizes: diffusers' UNet2DModel.

    Raises:
        RalsegError: if diffusers is not installed.
    """
    # It takes seconds to import, and most games need none of it.
    try:
        from diffusers.models.unets.unet_2d import UNet2DModel
    except ImportError as error:
        raise RalsegError(
            "source=diffusion needs the package diffusers; install it with `uv sync --extra diffusion`, or "
            "`pip install 'diffusers>=0.42'`"
        ) from error
    levels = range(len(layout.multipliers))
    down = ["AttnDownBlock2D" if level in layout.attention else "ResnetDownsampleBlock2D" for level in levels]
    up = ["AttnUpBlock2D" if level in layout.attention else "ResnetUpsampleBlock2D" for level in levels]
    return UNet2DModel(
        in_channels=3,
        # The noise and the variance of a step.
        out_channels=6,
        layers_per_block=layout.residual_blocks,
        block_out_channels=tuple(map(layout.width, levels)),
        down_block_types=tuple(down),
        up_block_types=tuple(up[::-1]),
        downsample_type="resnet",
        upsample_type="resnet",
        resnet_time_scale_shift="scale_shift",
        attention_head_dim=layout.head,
        norm_num_groups=GROUPS,
        # With scale and shift, the attention in the middle has no norm unless one is asked for.
        attn_norm_num_groups=GROUPS,
        norm_eps=1e-5,
    )


def is_guided_diffusion(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the names of tensors are those of guided-diffusion, rather than of diffusers."""
    return any(str(name).startswith(("time_embed.", "input_blocks.", "output_blocks.")) for name in tensors)


def converted(tensors: Mapping[str, Tensor], layout: Layout, source: object) -> dict[str, Tensor]:
    """The tensors of a checkpoint of guided-diffusion under the names, and in the order, of diffusers.

    The released networks use the *legacy* order of attention: the rows of `qkv` are the queries, keys and values of the
    first head, then those of the second, and so on. diffusers has a matrix for all queries, one for all keys and one
    for all values. Tensors of another order would fit as well, and give wrong features.

    Args:
        tensors: the checkpoint's, as `read_tensors` gives them.
        layout: the sizes of the network.
        source: where they come from, for messages.

    Returns:
        float32 tensors for a strict load into `unet(layout)`.

    Raises:
        RalsegError: if a tensor is missing, unknown, of another shape or kind of number, or not finite; or if diffusers
            is not installed.
    """
    with torch.device("meta"):
        wanted: dict[str, Tensor] = unet(layout).state_dict()
    origins = {name: origin for name, origin in _origins(layout) if name in wanted}
    assert origins.keys() == wanted.keys()
    expected = {origin: _as_released(wanted[name], origin) for name, (origin, _) in origins.items()}
    check_tensors(tensors, expected, source, described(layout))
    found = {}
    for name, (origin, part) in origins.items():
        tensor = tensors[origin].float()
        if part is not None:
            tensor = of_all_heads(tensor, layout.head)[part]
        # Convolutions over one dimension, with a kernel of 1, are matrices in diffusers.
        found[name] = tensor.reshape(wanted[name].shape).contiguous()
    return found


def described(layout: Layout) -> str:
    """A layout in the words of a message."""
    multipliers = ", ".join(map(str, layout.multipliers))
    return f"an unconditional UNet of guided-diffusion with {layout.channels} channels times {multipliers}"


def of_all_heads(rows: Tensor, head: int) -> tuple[Tensor, ...]:
    """The rows of all queries, of all keys and of all values.

    Args:
        rows: (3 C, ...), head by head `head` queries, keys and values: guided-diffusion's legacy order.
        head: channels of a head.

    Returns:
        Three tensors (C, ...).
    """
    by_head = rows.unflatten(0, (-1, 3, head))
    return tuple(by_head[:, part].flatten(0, 1) for part in range(3))


def _as_released(wanted: Tensor, origin: str) -> Tensor:
    """A tensor without values of the shape that the checkpoint has in the place of one of diffusers."""
    module, _, kind = origin.rpartition(".")
    shape = list(wanted.shape)
    if module.endswith(".qkv"):
        shape[0] *= 3
    if module.endswith((".qkv", ".proj_out")) and kind == "weight":
        shape.append(1)
    return torch.empty(shape, device="meta")


def _origins(layout: Layout) -> Iterator[tuple[str, tuple[str, int | None]]]:
    """(diffusers' name, (guided-diffusion's, part)) of each tensor; the part is 0, 1, 2 of `qkv`, else None.

    Residual blocks are given with a skip connection, which those lack that leave the number of channels as it is.
    """
    modules: list[tuple[str, str, int | None]] = [(to, origin, None) for origin, to in AROUND.items()]
    for origin, to in _blocks(layout):
        if "attentions" in to:
            modules += [(f"{to}.group_norm", f"{origin}.norm", None), (f"{to}.to_out.0", f"{origin}.proj_out", None)]
            modules += [(f"{to}.to_{letter}", f"{origin}.qkv", part) for part, letter in enumerate("qkv")]
        else:
            modules += [(f"{to}.{name}", f"{origin}.{part}", None) for part, name in RESIDUAL.items()]
    for to, origin, part in modules:
        for kind in ("weight", "bias"):
            yield f"{to}.{kind}", (f"{origin}.{kind}", part)


def _blocks(layout: Layout) -> Iterator[tuple[str, str]]:
    """(guided-diffusion's name, diffusers' name) of each residual block and each attention."""
    levels, depth = len(layout.multipliers), layout.residual_blocks
    block = 1
    for level in range(levels):
        down = f"down_blocks.{level}"
        for place in range(depth):
            yield f"input_blocks.{block}.0", f"{down}.resnets.{place}"
            if level in layout.attention:
                yield f"input_blocks.{block}.1", f"{down}.attentions.{place}"
            block += 1
        if level < levels - 1:
            yield f"input_blocks.{block}.0", f"{down}.downsamplers.0"
            block += 1
    yield "middle_block.0", "mid_block.resnets.0"
    yield "middle_block.1", "mid_block.attentions.0"
    yield "middle_block.2", "mid_block.resnets.1"
    for block in range(layout.outputs):
        number, place = divmod(block, depth + 1)
        level, up = levels - 1 - number, f"up_blocks.{number}"
        yield f"output_blocks.{block}.0", f"{up}.resnets.{place}"
        if level in layout.attention:
            yield f"output_blocks.{block}.1", f"{up}.attentions.{place}"
        if place == depth and level > 0:
            yield f"output_blocks.{block}.{1 + (level in layout.attention)}", f"{up}.upsamplers.0"
