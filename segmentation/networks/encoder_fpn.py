"""A feature pyramid on a pretrained encoder."""

from typing import Annotated

from ralseg.foundation import RalsegError, Range
from ralseg.segmentation.networks.base import Dropout, Width
from ralseg.segmentation.networks.encoders import timm_encoder
from ralseg.segmentation.networks.pyramid import PyramidNetwork


class EncoderFPN(PyramidNetwork):
    """A timm encoder with a narrow pyramid; see `PyramidNetwork`.

    Args:
        classes: number of classes C.
        encoder: timm's name of an encoder with stages of strides 2, 4, 8, 16 and 32.
        weights: the encoder's weights: None, "imagenet" or the path of a checkpoint; see `timm_encoder`.
        cached: number of stages below the cut of the partial game, 1 to 5.
        pyramid: channels of the pyramid.
        dropout: see `SegmentationNetwork`.

    Raises:
        RalsegError: if the encoder has other strides, or see `timm_encoder`.
    """

    def __init__(
        self,
        classes: int,
        encoder: str = "tf_efficientnet_lite0",
        weights: str | None = "imagenet",
        cached: Annotated[int, Range(1, 5)] = 5,
        pyramid: Width = 64,
        dropout: Dropout = 0.0,
    ) -> None:
        made = timm_encoder(encoder, weights)
        if made.strides != (2, 4, 8, 16, 32):
            raise RalsegError(
                f"network.encoder={encoder} has strides {made.strides}, not 2, 4, 8, 16 and 32; choose another"
            )
        super().__init__(classes, lambda: made.stages, made.widths, cached, pyramid, dropout)
        self.mean, self.std, self.pretrained = made.mean, made.std, weights is not None
