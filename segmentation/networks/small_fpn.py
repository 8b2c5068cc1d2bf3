"""A feature pyramid network of about one million parameters, made for CPUs and for training from scratch."""

from torch import Tensor, nn
from torch.nn import functional

from ralseg.segmentation.networks.base import SegmentationNetwork


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolution(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)))


class SmallFPN(SegmentationNetwork):
    """Five stages (strides 2 to 32), a top-down pyramid, logits at stride 4.

    Args:
        classes: number of classes C.
        widths: channels of the five stages.
        pyramid: channels of the pyramid.
        dropout: see `SegmentationNetwork`.
    """

    def __init__(
        self, classes: int, widths: tuple[int, ...] = (16, 32, 64, 96, 128), pyramid: int = 48, dropout: float = 0.0
    ) -> None:
        super().__init__(
            classes, widths=widths, levels=(1, 2, 3, 4), partial_stages=3, decoded=pyramid, dropout=dropout
        )
        inputs = (3, *widths)
        self.stages = nn.ModuleList(
            nn.Sequential(_convolution(inputs[i], width, stride=2), *([_Residual(width)] if i else []))
            for i, width in enumerate(widths)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(widths[level], pyramid, 1) for level in self.levels)
        self.smooth = nn.ModuleList(_convolution(pyramid, pyramid) for _ in self.levels)

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
