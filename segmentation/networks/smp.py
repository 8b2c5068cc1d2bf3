"""DeepLabv3+ and FPN on any timm encoder, through segmentation-models-pytorch."""

import difflib
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional

from ralseg.foundation import RalsegError, checked
from ralseg.segmentation.networks.base import Dropout, SegmentationNetwork, Width
from ralseg.segmentation.networks.encoders import PACKAGED, packaged_tensors
from ralseg.segmentation.networks.hub import weights_hub
from ralseg.segmentation.networks.weights import load_weights, read_tensors

ARCHITECTURES = {
    "fpn": ("FPN", {"pyramid_channels", "segmentation_channels"}),
    "deeplabv3plus": ("DeepLabV3Plus", {"channels"}),
}
"""Architecture -> the library's class, and the channel counts of its decoder that can be set."""
OWN_DROPOUT = {"fpn": "decoder_dropout", "deeplabv3plus": "decoder_aspp_dropout"}
"""Architecture -> the library's option of the decoder's own dropout."""


class SmpNetwork(SegmentationNetwork):
    """An encoder-decoder of segmentation-models-pytorch, logits at stride 4.

    Images are resized to the next multiple of 32, which the library's decoders need. The encoder counts as one stage,
    so the partial game caches all of it and trains decoder and head.

    Args:
        classes: number of classes C.
        architecture: "fpn" or "deeplabv3plus".
        encoder: an encoder of the library, e.g. "resnet18", or "tu-<name>" for any timm model.
        dropout: see `SegmentationNetwork`.
        imagenet: the encoder's weights: None (from scratch); the library's name of them, e.g. "imagenet" (the installed
            package if it holds them, otherwise the hub); or the path of a checkpoint with the names of the library or,
            for `tu-` encoders, of timm.
        decoder: the library's channel counts of the decoder, multiples of 32: pyramid_channels and
            segmentation_channels of "fpn", channels of "deeplabv3plus"; the library's defaults apply to the rest.

    Raises:
        RalsegError: if an architecture, encoder or option of the decoder is unknown, or weights are not available.
    """

    def __init__(
        self,
        classes: int,
        architecture: str = "deeplabv3plus",
        encoder: str = "resnet18",
        dropout: Dropout = 0.0,
        imagenet: str | None = None,
        decoder: Mapping[str, int] | None = None,
    ) -> None:
        if architecture not in ARCHITECTURES:
            raise RalsegError(f"network.architecture={architecture!r} is unknown; choose from {sorted(ARCHITECTURES)}")
        import segmentation_models_pytorch as smp

        name, known = ARCHITECTURES[architecture]
        if not isinstance(decoder, Mapping | None):
            raise RalsegError(f"network.decoder={decoder!r} must be a group of {', '.join(sorted(known))}")
        decoder = dict(decoder or {})
        # The library passes unknown options on to the encoder, and some encoders accept anything.
        if unknown := sorted(decoder.keys() - known):
            raise RalsegError(f"network.decoder has no {unknown} for {architecture!r}; choose from {sorted(known)}")
        options: dict[str, float] = {
            f"decoder_{option}": checked(Width, value, f"network.decoder.{option}") for option, value in decoder.items()
        }
        if decoder.get("segmentation_channels", 32) % 32:
            raise RalsegError(
                f"network.decoder.segmentation_channels={decoder['segmentation_channels']} is no multiple of 32, the "
                "groups of its norms; give e.g. 64"
            )
        # `dropout` is the only one: the library's own are on by default.
        options[OWN_DROPOUT[architecture]] = 0.0
        of_timm = encoder.startswith("tu-")
        named = imagenet == "imagenet" or not (of_timm or imagenet is None or Path(imagenet).suffix)
        packaged = imagenet == "imagenet" and of_timm and encoder[3:] in PACKAGED
        _check_encoder(encoder, imagenet if named else None)
        try:
            # The library takes a name for its own encoders, and no more than yes or no for those of timm.
            weights = (True if of_timm else imagenet) if named and not packaged else None
            with weights_hub(encoder.removeprefix("tu-"), weights is not None):
                model = getattr(smp, name)(encoder, encoder_weights=weights, classes=classes, **options)
        except (KeyError, RuntimeError, ValueError, OSError, TypeError, AssertionError, AttributeError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            mend = ("set network.imagenet=null, or " if imagenet else "") + "choose another encoder, e.g. resnet18"
            raise RalsegError(
                f"network.encoder={encoder} cannot be built as {architecture} ({reason}); {mend}"
            ) from error
        body = model.encoder.model if of_timm else model.encoder
        if packaged:
            load_weights(body, packaged_tensors(encoder[3:]), "imagenet", encoder, more=True)
        elif imagenet is not None and not named:
            load_weights(body, read_tensors(imagenet, "network.imagenet"), imagenet, encoder, more=True)
        channels = tuple(model.encoder.out_channels[1:])
        super().__init__(
            classes,
            widths=channels,
            levels=tuple(range(1, len(channels))),
            partial_stages=len(channels),
            decoded=model.segmentation_head[0].in_channels,
            dropout=dropout,
            kernel=model.segmentation_head[0].kernel_size[0],
        )
        if architecture == "deeplabv3plus":
            self.revision = 1  # without the library's dropout of 0.5
        if of_timm and imagenet is not None:
            self.mean, self.std = body.pretrained_cfg["mean"], body.pretrained_cfg["std"]
        self.pretrained = imagenet is not None
        self.encoder = model.encoder
        self.decoder = model.decoder

    def run_stages(self, x: Tensor, start: int, stop: int) -> list[Tensor]:
        """See `SegmentationNetwork.run_stages`; the whole encoder is one stage."""
        if start == stop:
            return []
        size = _whole((x.shape[-2], x.shape[-1]))
        return self.encoder(functional.interpolate(x, size=size, mode="bilinear") if size != x.shape[-2:] else x)[1:]

    def decode(self, features: list[Tensor]) -> Tensor:
        """See `SegmentationNetwork.decode`; the decoder reads neither the image nor the stride-2 map."""
        unread = features[0].new_empty(0)
        return self.decoder([unread, unread, *features])

    def logit_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """See `SegmentationNetwork.logit_size`."""
        height, width = _whole(size)
        return height // 4, width // 4

    def stage_modules(self) -> list[nn.Module]:
        """See `SegmentationNetwork.stage_modules`."""
        return [self.encoder] + [nn.Identity() for _ in self.widths[1:]]

    def decoder_modules(self) -> list[nn.Module]:
        """See `SegmentationNetwork.decoder_modules`."""
        return [self.decoder]


def _check_encoder(encoder: str, weights: str | None) -> None:
    """Refuse encoders and names of weights that the library lacks; it would list hundreds."""
    from segmentation_models_pytorch.encoders import encoders

    # Those that begin with timm- are old names, which the library translates.
    if encoder.startswith(("tu-", "timm-")):
        return
    if encoder not in encoders:
        near = difflib.get_close_matches(encoder, encoders, 1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise RalsegError(
            f"network.encoder={encoder} is none of segmentation-models-pytorch{meant}; choose one that its page on "
            "encoders lists, or tu-<name> for any of timm"
        )
    known = encoders[encoder]["pretrained_settings"]
    if weights is not None and weights not in known:
        raise RalsegError(
            f"network.imagenet={weights} is unknown; {encoder} has {', '.join(known)}, or give null or the path of a "
            "checkpoint"
        )


def _whole(size: tuple[int, int]) -> tuple[int, int]:
    return -(-size[0] // 32) * 32, -(-size[1] // 32) * 32
