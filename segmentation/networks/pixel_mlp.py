"""A per-pixel network on the maps of a frozen feature source."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ralseg.features.prediction import resized
from ralseg.foundation import Count, RalsegError, checked
from ralseg.segmentation.networks.base import Cut, Dropout, SegmentationNetwork, Width, set_statistics

Norm = Literal["none", "batch", "layer"]
Inputs = Literal["standardised", "unit_length"]


class PixelMLP(SegmentationNetwork):
    """Hidden layers and logits for each pixel, on all maps of a source at the resolution of its first map.

    It has no part below a cut, so every game trains the whole network; its input norm is frozen. The head of two-stage
    eDALD (NeurIPS 2025) is `hidden=[128, 32]`, or [256, 128] from 30 classes on, `norm=batch` and `inputs=unit_length`.

    Args:
        classes: number of classes C.
        widths: channels of the source's maps.
        stride: input pixels per cell of the source's first map.
        hidden: widths of the hidden layers, a number for a single one.
        dropout: see `SegmentationNetwork`.
        norm: after each hidden layer and its ReLU: `none`, `batch` (batch norm, whose statistics are learned while a
            learner trains norms) or `layer` (layer norm over the channels of each pixel).
        inputs: what the first layer reads: channels of mean 0 and deviation 1 on D_S (`standardised`), or the vector of
            all channels scaled to length 1 (`unit_length`).

    Raises:
        RalsegError: if a width or a choice is out of range.
    """

    per_pixel = True

    def __init__(
        self,
        classes: int,
        widths: Sequence[int],
        stride: int,
        hidden: Width | Sequence[int] = 64,
        dropout: Dropout = 0.0,
        norm: Norm = "none",
        inputs: Inputs = "standardised",
    ) -> None:
        layers = checked(tuple[Count, ...], [hidden] if isinstance(hidden, int) else hidden, "network.hidden")
        if not layers:
            raise RalsegError("network.hidden=[] has no layer; give one width or more")
        self._inputs: Inputs = checked(Inputs, inputs, "network.inputs")
        checked(Norm, norm, "network.norm")
        super().__init__(classes, widths=widths, levels=(), partial_stages=0, decoded=layers[-1], dropout=dropout)
        self.stages = nn.ModuleList()
        self.stride = stride
        self.norm = nn.BatchNorm2d(sum(self.widths), eps=1e-5, affine=False)
        self.first = nn.Conv2d(sum(self.widths), layers[0], 1)
        self.further = nn.ModuleList(nn.Conv2d(*pair, 1) for pair in pairwise(layers))
        made = {"none": nn.Identity, "batch": nn.BatchNorm2d, "layer": PixelNorm}[norm]
        self.norms = nn.ModuleList(made(width) for width in layers)

    def above(self, maps: tuple[Tensor, ...], cut: Cut) -> tuple[Tensor, tuple[Tensor, ...], tuple[int, int]]:
        """See `SegmentationNetwork.above`; the embedding is the maps of the source as the first layer reads them."""
        size = maps[0].shape[-2], maps[0].shape[-1]
        if self._inputs == "standardised":
            maps = self._standardised(maps)
            made = self._first(maps, size)
        else:
            columns = torch.cat([resized(m.float(), size) for m in maps], dim=1)
            made = self._first((functional.normalize(columns, dim=1),), size)
        made = self.norms[0](functional.relu_(made))
        for layer, norm in zip(self.further, self.norms[1:], strict=True):
            made = norm(functional.relu(layer(made)))
        return made, maps, size

    def train(self, mode: bool = True) -> "PixelMLP":
        """Switch to training mode, except for the input norm."""
        super().train(mode)
        self.norm.eval()
        return self

    def standardise(self, maps: Sequence[tuple[Tensor, ...]]) -> None:
        """See `SegmentationNetwork.standardise`."""
        sized = [(m, (m[0].shape[-2], m[0].shape[-1])) for m in maps]
        columns = [torch.cat([resized(part.float(), size) for part in m], dim=1) for m, size in sized]
        set_statistics(self.norm, columns)

    def example(self) -> tuple[Tensor, ...]:
        """See `SegmentationNetwork.example`."""
        return tuple(self.first.weight.new_zeros(1, width, 8, 8) for width in self.widths)

    def logit_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """See `SegmentationNetwork.logit_size`."""
        return -(-size[0] // self.stride), -(-size[1] // self.stride)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the hidden layers."""
        return self.first.weight.dtype

    @property
    def embedding_width(self) -> int:
        """See `SegmentationNetwork.embedding_width`."""
        return sum(self.widths)

    def last_layer(self, cut: Cut) -> nn.Conv2d:
        """See `SegmentationNetwork.last_layer`."""
        return self.head

    def trained(self, cut: Cut) -> list[nn.Module]:
        """See `SegmentationNetwork.trained`."""
        return [self.first, self.further, self.norms, self.head]

    def _standardised(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Each map at its own resolution: a norm with fixed statistics commutes with bilinear interpolation."""
        assert self.norm.running_mean is not None and self.norm.running_var is not None
        widths = [m.shape[1] for m in maps]
        means = self.norm.running_mean[:, None, None].split(widths)
        scales = torch.rsqrt(self.norm.running_var + self.norm.eps)[:, None, None].split(widths)
        return tuple((m.float() - mean) * scale for m, mean, scale in zip(maps, means, scales, strict=True))

    def _first(self, maps: tuple[Tensor, ...], size: tuple[int, int]) -> Tensor:
        """The first layer, on each map at its own resolution: a 1 x 1 layer commutes with bilinear interpolation."""
        # Not called as a module: as the ReLU after it works in place, the twin for inference would fold a norm behind
        # the ReLU into this layer.
        weights = self.first.weight.split([m.shape[1] for m in maps], dim=1)
        made = functional.conv2d(maps[0].to(self.dtype), weights[0], self.first.bias)
        for coarse, weight in zip(maps[1:], weights[1:], strict=True):
            # In place, as fresh memory of this size costs more than the sum.
            made += resized(functional.conv2d(coarse.to(self.dtype), weight), size)
        return made


class PixelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel: (B, D, h, w) -> the same."""

    def forward(self, maps: Tensor) -> Tensor:
        """See above."""
        return super().forward(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
