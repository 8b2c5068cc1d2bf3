"""DeepLabv3+ on Wider-ResNet-38, as NVIDIA published it and the Best Practices study uses it."""

import re
from collections import OrderedDict
from typing import Annotated, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ralseg.features.prediction import Prediction
from ralseg.foundation import Range
from ralseg.segmentation.networks.base import Cut, Dropout, SegmentationNetwork, Width
from ralseg.segmentation.networks.noise import dropped
from ralseg.segmentation.networks.weights import load_weights, read_tensors


class Stage(NamedTuple):
    """One of the trunk's modules mod2 to mod7.

    Attributes:
        blocks: number of residual blocks.
        widths: channels of a block's convolutions, in multiples of the first convolution's.
        pooled: whether 3 x 3 max pooling of stride 2 comes first.
        stride: of the first block.
        dilation: of the 3 x 3 convolutions.
    """

    blocks: int
    widths: tuple[int, ...]
    pooled: bool = False
    stride: int = 1
    dilation: int = 1


STAGES = (
    Stage(3, (2, 2), pooled=True),
    Stage(3, (4, 4), pooled=True),
    Stage(6, (8, 8), stride=2),
    Stage(3, (8, 16), dilation=2),
    Stage(1, (8, 16, 32), dilation=4),
    Stage(1, (16, 32, 64), dilation=4),
)
"""The A2 form of Wider-ResNet-38, dilated to stride 8."""
RATES = (12, 24, 36)
"""Dilations of the atrous pyramid at stride 8."""
DETAIL = 48
"""Channels that the decoder keeps of the stride-2 map."""


class DeepLabWRN38(SegmentationNetwork):
    """Wider-ResNet-38 (A2) at stride 8, an atrous pyramid, and a decoder at stride 2, where the logits are.

    Trunk: Wu, Shen and van den Hengel, *Wider or Deeper* (2016). Decoder, and the names of the trunk's weights:
    NVIDIA/semantic-segmentation (DeepWV3Plus), which the Best Practices study (GCPR 2023) builds on. 137,103,936
    parameters for 19 classes. As there, the trunk's last batch norm, `bn_out`, is left out: the pyramid reads mod7.

    Args:
        classes: number of classes C.
        weights: None, or the path of an ImageNet checkpoint of the trunk; see `load_trunk`.
        dropout: see `SegmentationNetwork`.
        backbone_dropout: shares of channels dropped before the last convolution of mod6 and of mod7, wherever these
            run in training; never in predictions, noisy ones included.
        cached: number of stages, mod1 to mod7, below the cut of the partial game, 1 to 7.
        width: channels of the first convolution; those of the trunk are 1 to 64 times as many. 64 is the published one.
        decoder: channels of pyramid and decoder.

    Raises:
        RalsegError: see `load_trunk`.
    """

    def __init__(
        self,
        classes: int,
        weights: str | None = None,
        dropout: Dropout = 0.0,
        backbone_dropout: tuple[Dropout, Dropout] = (0.3, 0.5),
        cached: Annotated[int, Range(1, 7)] = 7,
        width: Annotated[int, Range(1, 64)] = 64,
        decoder: Width = 256,
    ) -> None:
        widths = [width, *(width * stage.widths[-1] for stage in STAGES)]
        super().__init__(classes, widths=widths, levels=(1, 6), partial_stages=cached, decoded=decoder, dropout=dropout)
        shares = (0.0, 0.0, 0.0, 0.0, *backbone_dropout)
        self.stages = nn.ModuleList([nn.Sequential(OrderedDict(conv1=_convolution(3, width, 3)))])
        for stage, inputs, share in zip(STAGES, widths, shares, strict=False):
            self.stages.append(_stage(stage, inputs, width, share))
        if weights is not None:
            load_trunk(self.stages, weights)
        self.pretrained = weights is not None
        high = widths[-1]
        self.pooled = _unit(high, decoder, 1)
        self.pyramid = nn.ModuleList(
            [_unit(high, decoder, 1), *(_unit(high, decoder, 3, dilation=rate) for rate in RATES)]
        )
        self.merge = _convolution((2 + len(RATES)) * decoder, decoder, 1)
        self.detail = _convolution(widths[1], DETAIL, 1)
        self.refine = nn.Sequential(_unit(DETAIL + decoder, decoder, 3), _unit(decoder, decoder, 3))
        self.head = _convolution(decoder, classes, 1)
        for module in (*self.refine.modules(), self.head):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, maps: tuple[Tensor, ...], cut: Cut = "full", drop: torch.Generator | None = None) -> Prediction:
        """See `SegmentationNetwork.forward`; `drop` draws the trunk's dropped channels, too."""
        if drop is None:
            return super().forward(maps, cut)
        layers = [module for module in self.stages.modules() if isinstance(module, ChannelDropout)]
        for layer in layers:
            layer.drop = drop
        try:
            return super().forward(maps, cut, drop)
        finally:
            for layer in layers:
                layer.drop = None

    @property
    def drops(self) -> bool:
        """See `SegmentationNetwork.drops`."""
        return super().drops or any(isinstance(module, ChannelDropout) for module in self.stages.modules())

    def decode(self, features: list[Tensor]) -> Tensor:
        """See `SegmentationNetwork.decode`."""
        low, high = features
        whole = self.pooled(high.mean((2, 3), keepdim=True)).expand(-1, -1, *high.shape[-2:])
        merged = self.merge(torch.cat([whole, *(branch(high) for branch in self.pyramid)], dim=1))
        merged = functional.interpolate(merged, size=low.shape[-2:], mode="bilinear")
        return self.refine(torch.cat([self.detail(low), merged], dim=1))

    def logit_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """See `SegmentationNetwork.logit_size`; half of the image's, rounded up."""
        return -(-size[0] // 2), -(-size[1] // 2)

    def decoder_modules(self) -> list[nn.Module]:
        """See `SegmentationNetwork.decoder_modules`."""
        return [self.pooled, self.pyramid, self.merge, self.detail, self.refine]


class Block(nn.Module):
    """A pre-activated residual block: two 3 x 3 convolutions or, for three widths, 1 x 1, 3 x 3 and 1 x 1.

    Batch norm and ReLU come before each convolution. Where stride or channels change, the shortcut is a 1 x 1
    convolution of the activated input, otherwise the input itself.

    Args:
        inputs: channels of the input.
        widths: channels of the convolutions, two or three.
        stride: of the first convolution.
        dilation: of the 3 x 3 convolutions.
        share: of channels that are dropped before the last convolution.
    """

    def __init__(self, inputs: int, widths: tuple[int, ...], stride: int, dilation: int, share: float) -> None:
        super().__init__()
        kernels = (3, 3) if len(widths) == 2 else (1, 3, 1)
        self.bn1 = nn.BatchNorm2d(inputs)
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            conv1=_convolution(inputs, widths[0], kernels[0], stride, dilation)
        )
        for i in range(1, len(widths)):
            layers[f"bn{i + 1}"] = nn.BatchNorm2d(widths[i - 1])
            layers[f"relu{i + 1}"] = nn.ReLU(inplace=True)
            if share and i == len(widths) - 1:
                layers["dropout"] = ChannelDropout(share)
            layers[f"conv{i + 1}"] = _convolution(widths[i - 1], widths[i], kernels[i], 1, dilation)
        self.convs = nn.Sequential(layers)
        changed = stride > 1 or inputs != widths[-1]
        self.proj_conv = _convolution(inputs, widths[-1], 1, stride) if changed else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, widths[-1], h / stride, w / stride), rounded up."""
        active = functional.relu_(self.bn1(x))
        return self.convs(active) + (x if self.proj_conv is None else self.proj_conv(active))


class ChannelDropout(nn.Module):
    """Sets a random share of each image's channels to 0, and scales the rest up.

    Attributes:
        drop: draws the channels; None for torch's generator in training mode, and no dropout in evaluation mode.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.drop: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) -> the same."""
        if self.drop is None:
            return functional.dropout2d(x, self.share, self.training)
        return x * dropped(x.new_ones(*x.shape[:2], 1, 1), self.share, self.drop)


def load_trunk(stages: nn.ModuleList, path: str) -> None:
    """Load ImageNet weights of Wider-ResNet-38 into the stages of the network, in place.

    The names are those of NVIDIA's `wider_resnet38.pth.tar` (`module.mod2.block1.bn1.0.weight`) or of
    mapillary/inplace_abn (`mod2.block1.bn1.weight`). The last norm and the classifier have no place here and are
    skipped.

    Args:
        stages: mod1 to mod7.
        path: of the checkpoint.

    Raises:
        RalsegError: if the file cannot be read, or a tensor is missing, unknown, or of another shape or kind.
    """
    tensors = read_tensors(path, "network.weights")
    named = {re.sub(r"^module\.|(?<=bn\d)\.0(?=\.)", "", name): tensor for name, tensor in tensors.items()}
    kept = {name: tensor for name, tensor in named.items() if not name.startswith(("bn_out.", "classifier."))}
    trunk = nn.ModuleDict({f"mod{i}": stage for i, stage in enumerate(stages, start=1)})
    load_weights(trunk, kept, path, "Wider-ResNet-38")


def _stage(stage: Stage, inputs: int, width: int, share: float) -> nn.Sequential:
    made: OrderedDict[str, nn.Module] = OrderedDict(pool=nn.MaxPool2d(3, 2, 1)) if stage.pooled else OrderedDict()
    widths = tuple(width * multiple for multiple in stage.widths)
    for i in range(stage.blocks):
        before, stride = (inputs, stage.stride) if i == 0 else (widths[-1], 1)
        made[f"block{i + 1}"] = Block(before, widths, stride, stage.dilation, share)
    return nn.Sequential(made)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size, over stride; a 1 x 1 kernel has no dilation."""
    dilation = dilation if kernel > 1 else 1
    return nn.Conv2d(inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation, bias=False)


def _unit(inputs: int, outputs: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    """A convolution with batch norm and ReLU."""
    return nn.Sequential(
        _convolution(inputs, outputs, kernel, dilation=dilation), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )
