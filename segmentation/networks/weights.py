"""Pretrained backbone weights, from torchvision's hub or from a file."""

from collections.abc import Collection
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from ralseg.foundation import RalsegError


def load_imagenet(body: nn.Module, source: str, name: str, ignored: Collection[str] = ()) -> None:
    """Load ImageNet weights into a torchvision backbone, in place.

    Args:
        body: the backbone.
        source: "hub" (downloads; needs the network) or the path of a checkpoint.
        name: torchvision's name of the backbone, e.g. "resnet50".
        ignored: names of tensors that may be missing from the checkpoint (the classifier).

    Raises:
        RalsegError: if the hub cannot be reached, or the file is missing, damaged, or of another architecture.
    """
    if source == "hub":
        from torchvision.models import get_weight

        weights = get_weight(f"{name.replace('resnet', 'ResNet')}_Weights.IMAGENET1K_V2")
        try:
            # The hub's client writes a line of its own.
            with redirect_stderr(StringIO()):
                tensors = weights.get_state_dict(progress=False, check_hash=True)
        except (OSError, RuntimeError) as error:
            raise RalsegError(
                f"network.imagenet=hub: the weights of {name} cannot be downloaded ({error}); give the path of a "
                "checkpoint as network.imagenet"
            ) from error
    else:
        tensors = read_tensors(source)
    expected = body.state_dict()
    for key, tensor in tensors.items():
        if key in expected and expected[key].shape != tensor.shape and key not in ignored:
            shapes = f"{tuple(tensor.shape)}, not {tuple(expected[key].shape)}"
            raise RalsegError(f"{source}: tensor {key} has shape {shapes}; it is not a {name} checkpoint")
    missing = [key for key in expected if key not in tensors and key not in ignored and "num_batches" not in key]
    if missing:
        raise RalsegError(
            f"{source}: tensor {missing[0]} is missing ({len(missing)} in all); it is not a {name} checkpoint"
        )
    body.load_state_dict({k: v for k, v in tensors.items() if k in expected and k not in ignored}, strict=False)


def read_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Tensors of a checkpoint file: .safetensors, or a torch file that holds tensors only (nothing is unpickled).

    Raises:
        RalsegError: if the file is missing or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise RalsegError(f"{path}: no such checkpoint")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise RalsegError(f"{path}: not a readable checkpoint ({reason})") from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise RalsegError(f"{path}: not a mapping of names to tensors; save the network's state_dict alone")
    return tensors
