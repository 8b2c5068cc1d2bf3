"""Pretrained backbone weights, from torchvision's hub or from a file."""

import os
import pickle
import warnings
from collections.abc import Collection, Mapping
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import NoReturn
from zipfile import ZIP_STORED, ZipFile, is_zipfile

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ralseg.foundation import RalsegError, expanded


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
        tensors = read_tensors(source, "network.imagenet")
    load_weights(body, tensors, source, name, more=True, optional=ignored)


def load_weights(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    source: object,
    name: str,
    *,
    more: bool = False,
    optional: Collection[str] = (),
) -> None:
    """Load weights into a module, in place.

    Args:
        module: what is loaded.
        tensors: the weights by the names of the module's state_dict.
        source: where they come from, for messages.
        name: what the module is, for messages.
        more: whether tensors that the module lacks are left out, rather than refused.
        optional: names of tensors that are not loaded.

    Raises:
        RalsegError: if a tensor is missing, unknown, of another shape or kind of number, or not finite.
    """
    chosen = check_tensors(tensors, module.state_dict(), source, name, more=more, optional=optional)
    module.load_state_dict(chosen, strict=False)


def check_tensors(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    source: object,
    name: str,
    *,
    more: bool = False,
    optional: Collection[str] = (),
) -> dict[str, Tensor]:
    """The tensors of a checkpoint that are expected, once each is what it should be.

    Args:
        tensors: those of the checkpoint.
        expected: name -> a tensor of the shape and kind of number that it must have; its values are not read.
        source: see `load_weights`, as all that follow.
        name: what the checkpoint is of.
        more: whether unknown tensors are left out, rather than refused.
        optional: names that are left out.

    Raises:
        RalsegError: see `load_weights`.
    """

    def refuse(complaint: str) -> NoReturn:
        raise RalsegError(f"{source}: tensor {complaint}; it is not a checkpoint of {name}")

    wanted = {key: tensor for key, tensor in expected.items() if key not in optional}
    # Counts of batches are read by no network here, and older checkpoints lack them.
    missing = [key for key in wanted if key not in tensors and not key.endswith("num_batches_tracked")]
    if missing:
        refuse(f"{missing[0]} is missing ({len(missing)} in all)")
    unknown = [key for key in tensors if key not in expected]
    if unknown and not more:
        refuse(f"{unknown[0]} is unknown ({len(unknown)} in all)")
    chosen = {key: tensors[key] for key in wanted if key in tensors}
    for key, tensor in chosen.items():
        own = wanted[key]
        if tensor.shape != own.shape:
            refuse(f"{key} has shape {tuple(tensor.shape)}, not {tuple(own.shape)}")
        if tensor.is_floating_point() != own.is_floating_point() or tensor.is_complex():
            refuse(f"{key} holds {str(tensor.dtype)[6:]}, not {str(own.dtype)[6:]}")
        if tensor.is_meta or tensor.layout != torch.strided:
            refuse(f"{key} holds no values, or not all of them")
        if not tensor.isfinite().all():
            raise RalsegError(f"{source}: tensor {key} holds NaN or infinities; the training of its network diverged")
    return chosen


def read_tensors(path: str | Path, setting: str = "") -> dict[str, Tensor]:
    """Tensors of a checkpoint file: .safetensors, or a torch file that holds tensors only (nothing is unpickled).

    Neither takes more memory than the file is large: safetensors checks offsets, and packed torch files are refused.
    Where a torch file holds a `state_dict` beside other plain values, the `state_dict` is what is read.

    Args:
        path: the file.
        setting: the full key of the setting that names it, for messages.

    Raises:
        RalsegError: if the file is missing, damaged or packed, or holds something else.
    """
    path = expanded(path)
    mend = f"; give another file as {setting}" if setting else ""
    if not os.path.isfile(path):
        raise RalsegError(f"{path}: no such checkpoint{mend}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if is_zipfile(path):
            with ZipFile(path) as archive:
                if any(part.compress_type != ZIP_STORED for part in archive.infolist()):
                    raise RalsegError(f"{path}: a packed archive, which torch.save does not write; save it with torch")
        # torch warns of old formats, which are read like others.
        with warnings.catch_warnings(action="ignore"):
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except RalsegError:
        raise
    # Instructions of a damaged pickle end in errors of nearly every type.
    except Exception as error:
        # torch explains at length, and in colours.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        if isinstance(error, pickle.UnpicklingError):
            reason = "it holds something else than tensors, or is none of torch's"
        raise RalsegError(f"{path}: not a readable checkpoint ({reason}){mend}") from error
    # Scripts of training often keep epoch and optimiser beside the weights.
    if isinstance(tensors, dict) and isinstance(tensors.get("state_dict"), dict):
        tensors = tensors["state_dict"]
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise RalsegError(f"{path}: not a mapping of names to tensors; save the network's state_dict alone")
    return tensors
