"""The decoder that SmallFPN and EncoderFPN share: a top-down feature pyramid."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from ralseg.segmentation.networks.base import SegmentationNetwork


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A 3 x 3 convolution with batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class PyramidNetwork(SegmentationNetwork):
    """Stages of strides 2 to 32, whose last four a top-down pyramid reads; logits at stride 4.

    Args:
        classes: number of classes C.
        make_stages: makes the five stages.
        widths: their channels.
        cached: number of stages below the cut of the partial game, 1 to 5.
        pyramid: channels of the pyramid.
        dropout: see `SegmentationNetwork`.
    """

    def __init__(
        self,
        classes: int,
        make_stages: Callable[[], nn.ModuleList],
        widths: tuple[int, ...],
        cached: int,
        pyramid: int,
        dropout: float,
    ) -> None:
        super().__init__(
            classes, widths=widths, levels=(1, 2, 3, 4), partial_stages=cached, decoded=pyramid, dropout=dropout
        )
        # Made here, between head and pyramid, because the order decides which random weights each part gets.
        self.stages = make_stages()
        self.lateral = nn.ModuleList(nn.Conv2d(widths[level], pyramid, 1) for level in self.levels)
        self.smooth = nn.ModuleList(convolution(pyramid, pyramid) for _ in self.levels)

    def decode(self, features: list[Tensor]) -> Tensor:
        """See `SegmentationNetwork.decode`."""
        top: Tensor | None = None
        for feature, lateral, smooth in reversed(list(zip(features, self.lateral, self.smooth, strict=True))):
            merged = lateral(feature)
            if top is not None:
                merged = merged + functional.interpolate(top, size=merged.shape[-2:], mode="bilinear")
            top = smooth(merged)
        assert top is not None
        return top

    def decoder_modules(self) -> list[nn.Module]:
        """See `SegmentationNetwork.decoder_modules`."""
        return [self.lateral, self.smooth]
