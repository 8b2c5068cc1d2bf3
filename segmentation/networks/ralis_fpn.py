"""The feature pyramid network on ResNet-50 of RALIS (ICLR 2020)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ralseg.segmentation.networks.base import Dropout, SegmentationNetwork
from ralseg.segmentation.networks.weights import load_imagenet


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, 1, 1)


class RalisFPN(SegmentationNetwork):
    """ResNet-50, a 256-channel pyramid, four branches of 128 channels concatenated, logits at stride 4.

    28,526,027 parameters for 11 classes. The paper starts from ImageNet weights, the released code does not
    (it builds this network with `pretrained=False`).

    Args:
        classes: number of classes C.
        dropout: see `SegmentationNetwork`; the paper's BALD baseline uses 0.5.
        imagenet: None (from scratch), "hub", or the path of a ResNet-50 checkpoint (.safetensors, or .pth holding
            tensors only) in torchvision's names.
    """

    def __init__(self, classes: int, dropout: Dropout = 0.0, imagenet: str | None = None) -> None:
        super().__init__(
            classes,
            widths=(64, 256, 512, 1024, 2048),
            levels=(1, 2, 3, 4),
            partial_stages=3,
            decoded=512,
            dropout=dropout,
            kernel=3,
        )
        from torchvision.models import resnet50

        body = resnet50(weights=None)
        if imagenet is not None:
            load_imagenet(body, imagenet, "resnet50", ignored=("fc.weight", "fc.bias"))
        self.pretrained = imagenet is not None
        stem = nn.Sequential(body.conv1, body.bn1, body.relu)
        self.stages = nn.ModuleList(
            [stem, nn.Sequential(body.maxpool, body.layer1), body.layer2, body.layer3, body.layer4]
        )
        self.lateral = nn.ModuleList(nn.Conv2d(self.widths[level], 256, 1) for level in self.levels)
        self.smooth = nn.ModuleList(_convolution(256, 256) for _ in self.levels)
        self.branch = nn.ModuleList(_convolution(256, 128) for _ in self.levels)
        self.refine = nn.ModuleList(_convolution(128, 128) for _ in self.levels[1:])

    def decode(self, features: list[Tensor]) -> Tensor:
        """See `SegmentationNetwork.decode`."""
        size = features[0].shape[-2:]
        top, branches = None, []
        for i in reversed(range(len(features))):
            merged = self.lateral[i](features[i])
            if top is not None:
                merged = merged + functional.interpolate(top, size=merged.shape[-2:], mode="bilinear")
            top = merged
            branch = functional.relu(self.branch[i](functional.relu(self.smooth[i](merged))))
            if i:
                branch = functional.interpolate(branch, size=size, mode="bilinear")
                branch = functional.relu(self.refine[i - 1](branch))
            branches.append(branch)
        return torch.cat(branches, dim=1)

    def decoder_modules(self) -> list[nn.Module]:
        """See `SegmentationNetwork.decoder_modules`."""
        return [self.lateral, self.smooth, self.branch, self.refine]
