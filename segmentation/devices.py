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
    """The dtype of a precision on a device; `auto` is bfloat16 if the processor multiplies it in hardware.

    Raises:
        RalsegError: if the precision is unknown.
    """
    if checked(Precision, precision, "precision") != "auto":
        return getattr(torch, precision)
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
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
