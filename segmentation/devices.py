"""Devices, precision and threads of the computations."""

from typing import Literal

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from ralseg.features.arrays import Array
from ralseg.foundation import checked

Precision = Literal["auto", "float32", "bfloat16"]


def compute_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The dtype of a precision on a device; `auto` is bfloat16 on a GPU that multiplies it in hardware, else float32.

    CPUs with bfloat16 differ too much to take it unasked: it halves the time of wide convolutions on some and slows
    them down on others (docs/speed.md). In float32 all of them compute nearly the same.

    Raises:
        RalsegError: if the precision is unknown.
    """
    if checked(Precision, precision, "precision") != "auto":
        return getattr(torch, precision)
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if fast else torch.float32


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """An array as a tensor on a device; pinned memory lets the host continue while the copy to a GPU is running."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def tensor(array: Array) -> Tensor:
    """A map of a network's prediction, typed as the tensor that it is."""
    assert isinstance(array, Tensor)
    return array


def single_thread() -> None:
    """Make torch and numpy compute in one thread from now on.

    Several threads round differently, stall each other when a core is busy, and wait by spinning.
    """
    torch.set_num_threads(1)
    threadpool_limits(1)


def copied(tensor: Tensor) -> Tensor:
    """A contiguous copy on the CPU, for files."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
