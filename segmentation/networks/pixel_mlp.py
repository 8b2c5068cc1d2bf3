"""A per-pixel network on the maps of a frozen feature source."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ralseg.features.prediction import resized
from ralseg.segmentation.networks.base import Cut, Dropout, SegmentationNetwork, Width, set_statistics


class PixelMLP(SegmentationNetwork):
    """A hidden layer and logits for each pixel, on all maps of a source at the resolution of its first map.

    It has no part below a cut, so every game trains the whole network; its input norm is frozen.

    Args:
        classes: number of classes C.
        widths: channels of the source's maps.
        stride: input pixels per cell of the source's first map.
        hidden: width of the hidden layer.
        dropout: see `SegmentationNetwork`.
    """

    per_pixel = True

    def __init__(
        self, classes: int, widths: Sequence[int], stride: int, hidden: Width = 64, dropout: Dropout = 0.0
    ) -> None:
        super().__init__(classes, widths=widths, levels=(), partial_stages=0, decoded=hidden, dropout=dropout)
        self.stages = nn.ModuleList()
        self.stride = stride
        self.norm = nn.BatchNorm2d(sum(self.widths), eps=1e-5, affine=False)
        self.first = nn.Conv2d(sum(self.widths), hidden, 1)

    def columns(self, maps: tuple[Tensor, ...]) -> Tensor:
        """(B, D, h, w): all maps concatenated at the resolution of the first; D is the sum of the widths."""
        size = maps[0].shape[-2], maps[0].shape[-1]
        return torch.cat([resized(m.float(), size) for m in maps], dim=1)

    def above(self, maps: tuple[Tensor, ...], cut: Cut) -> tuple[Tensor, tuple[Tensor, ...], tuple[int, int]]:
        """See `SegmentationNetwork.above`; the embedding maps are those of the source."""
        made = functional.relu(self.first(self.norm(self.columns(maps)).to(self.dtype)))
        return made, maps, (made.shape[-2], made.shape[-1])

    def train(self, mode: bool = True) -> "PixelMLP":
        """Switch to training mode, except for the input norm."""
        super().train(mode)
        self.norm.eval()
        return self

    def standardise(self, maps: Sequence[tuple[Tensor, ...]]) -> None:
        """See `SegmentationNetwork.standardise`."""
        set_statistics(self.norm, [self.columns(m) for m in maps])

    def example(self) -> tuple[Tensor, ...]:
        """See `SegmentationNetwork.example`."""
        return tuple(self.first.weight.new_zeros(1, width, 8, 8) for width in self.widths)

    def logit_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """See `SegmentationNetwork.logit_size`."""
        return -(-size[0] // self.stride), -(-size[1] // self.stride)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the hidden layer."""
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
        return [self.first, self.head]
