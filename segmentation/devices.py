"""Where and how precisely to compute."""

from typing import Literal

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from ralseg.features.arrays import Array
from ralseg.foundation import checked

Precision = Literal["auto", "float32", "bfloat16"]


def compute_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The dtype of a precision on a device; `auto` is bfloat16 where the processor multiplies it in hardware.

    Raises:
        RalsegError: for an unknown precision.
    """
    if checked(Precision, precision, "precision") != "auto":
        return getattr(torch, precision)
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """An array as a tensor on a device; on a GPU through pinned memory, so that the host need not wait for the copy."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def tensor(array: Array) -> Tensor:
    """A map of a prediction that a network made, as the tensor that it is."""
    assert isinstance(array, Tensor)
    return array


def single_thread() -> None:
    """Make torch and numpy compute in one thread from now on.

    Two threads stall each other where a core is taken, round differently, and wait by spinning.
    """
    torch.set_num_threads(1)
    threadpool_limits(1)
