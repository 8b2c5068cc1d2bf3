"""A feature pyramid network of about one million parameters, made for CPUs and for training from scratch."""

from torch import Tensor, nn
from torch.nn import functional

from ralseg.segmentation.networks.base import Dropout, Width
from ralseg.segmentation.networks.pyramid import PyramidNetwork, convolution


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = convolution(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)))


class SmallFPN(PyramidNetwork):
    """Five stages of convolutions and residual blocks; see `PyramidNetwork`.

    Args:
        classes: number of classes C.
        widths: channels of the five stages.
        pyramid: channels of the pyramid.
        dropout: see `SegmentationNetwork`.
    """

    def __init__(
        self,
        classes: int,
        widths: tuple[Width, Width, Width, Width, Width] = (16, 32, 64, 96, 128),
        pyramid: Width = 48,
        dropout: Dropout = 0.0,
    ) -> None:
        def stages() -> nn.ModuleList:
            inputs = (3, *widths)
            return nn.ModuleList(
                nn.Sequential(convolution(inputs[i], width, stride=2), *([_Residual(width)] if i else []))
                for i, width in enumerate(widths)
            )

        super().__init__(classes, stages, widths, cached=3, pyramid=pyramid, dropout=dropout)
