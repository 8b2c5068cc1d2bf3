"""An encoder of timm as a frozen feature source."""

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from ralseg.foundation import Positive, RalsegError, Range, checked, generator
from ralseg.segmentation.networks import load_weights, normalised, read_tensors
from ralseg.segmentation.networks.encoders import PACKAGED, packaged_tensors
from ralseg.segmentation.networks.hub import weights_hub
from ralseg.segmentation.sources.base import Source, Variant


class TimmSource(Source):
    """The features of some levels of a timm encoder; a per-pixel network reads them as a hypercolumn.

    The variant `noisy_image` is that of the image with Gaussian noise, another one for each draw, which all images of a
    size share, as the draws of a diffusion network do.

    Args:
        encoder: timm's name of a model that gives features, e.g. "tf_efficientnet_lite0".
        levels: indices of its feature levels, ascending (strides 2, 4, 8, 16, 32 in most encoders).
        pretrained: whether to use ImageNet weights, the installed ones of EfficientNet-Lite0 and otherwise timm's, from
            the hub or its cache.
        file: a checkpoint of the encoder with timm's names (.safetensors, or a torch file of tensors only) to use
            instead.
        noise: standard deviation of the noise of `noisy_image`, as a share of white, above 0.

    Raises:
        RalsegError: if the encoder or a level is unknown, a number is out of range, or the weights are not available.
    """

    variants = ("noisy_image",)

    def __init__(
        self,
        encoder: str = "tf_efficientnet_lite0",
        levels: Sequence[int] = (1, 2, 3, 4),
        pretrained: bool = True,
        file: str | None = None,
        noise: Positive = 0.1,
    ) -> None:
        import timm

        self.noise = checked(Positive, noise, "source.noise")

        levels = checked(tuple[Annotated[int, Range(0, 9)], ...], levels, "source.levels")
        if not levels or list(levels) != sorted(set(levels)):
            raise RalsegError(f"source.levels={list(levels)} must be one level or more, in ascending order")
        try:
            # Seeded, so that an encoder without pretrained weights is the same in every process.
            wanted = pretrained and file is None and encoder not in PACKAGED
            with torch.random.fork_rng(devices=[]), weights_hub(encoder, wanted):
                torch.manual_seed(0)
                model: Any = timm.create_model(encoder, pretrained=wanted, features_only=True, out_indices=levels)
        except IndexError as error:
            made: Any = timm.create_model(encoder, features_only=True, out_indices=(0,))
            last = len(made.feature_info) - 1
            raise RalsegError(
                f"source.levels={list(levels)}: {encoder} has the levels 0 to {last}; name these"
            ) from error
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise RalsegError(
                f"source.encoder={encoder} with source.levels={list(levels)} cannot be loaded ({reason}); choose "
                "another encoder or other levels, or give the path of a checkpoint as source.file"
            ) from error
        if file is not None:
            load_weights(model, read_tensors(file, "source.file"), file, f"timm's {encoder}", more=True)
        elif pretrained and encoder in PACKAGED:
            load_weights(model, packaged_tensors(encoder), PACKAGED[encoder].package, f"timm's {encoder}", more=True)
        self._model = model.eval().requires_grad_(False)
        self._input = model.pretrained_cfg["mean"], model.pretrained_cfg["std"]
        info: Any = model.feature_info
        self.widths, strides = tuple(info.channels()), info.reduction()
        self.stride = strides[0]
        digest = hashlib.sha256(f"timm {timm.__version__} {encoder} {list(levels)} {self.noise}".encode())
        for tensor in model.state_dict().values():
            digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        self.key = digest.hexdigest()

    @torch.no_grad()
    def maps(self, image: np.ndarray, variant: Variant) -> tuple[Tensor, ...]:
        """See `Source.maps`."""
        pixels = normalised(torch.from_numpy(image[None].copy()), *self._input)
        if variant.name in self.variants:
            rng = generator(0, "noisy image", variant.draw)
            noise = torch.from_numpy(rng.standard_normal((3, *image.shape[:2]), np.float32))
            deviation = torch.tensor([self.noise / std for std in self._input[1]])
            pixels = pixels + deviation[:, None, None] * noise
        return tuple(m[0] for m in self._model(pixels))
