"""One set of functions for numpy arrays on the host and torch tensors on any device.

Code that takes both kinds calls only functions that both libraries have under the same name and with the same meaning
(`amax`, `exp`, `clip`, `stack`, ... with `axis` and `keepdims`), and those defined here. None of them synchronises a
device with the host.
"""

import sys
from collections.abc import Callable, Hashable
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np

from ralseg.foundation import Kept, RalsegError

if TYPE_CHECKING:
    from torch import Tensor

Array: TypeAlias = "np.ndarray | Tensor"

CONSTANT_BYTES = 1 << 26
"""Of all constants together, on whatever devices; those of one image size and grid take some megabytes at most."""
_constants: "Kept[Array]" = Kept(CONSTANT_BYTES, replace=True)


def namespace(array: Array) -> ModuleType:
    """The library of `array`: torch for its tensors, numpy for all others."""
    # If torch has not been imported, the array cannot be one of its tensors.
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(array, torch.Tensor) else np


@overload
def cast(array: np.ndarray, dtype: str) -> np.ndarray: ...
@overload
def cast(array: "Tensor", dtype: str) -> "Tensor": ...
@overload
def cast(array: Array, dtype: str) -> Array: ...
def cast(array: Any, dtype: str) -> Any:
    """The array converted to `dtype` (a name such as "float32") on its device; a tensor is detached from its graph."""
    xp = namespace(array)
    return np.asarray(array, dtype=dtype) if xp is np else array.detach().to(getattr(xp, dtype))


def factor(array: Array) -> Array:
    """The array as a factor of a matrix product: float64 if it is a tensor or float64 already, else float32."""
    # With autocast or TF32, torch computes products of float32 with fewer digits, but never those of float64.
    return cast(array, "float32" if namespace(array) is np and array.dtype != np.float64 else "float64")


def on_host(array: Array) -> bool:
    """Whether the array is in the host's memory, so that reading a value does not wait for a device."""
    return str(array.device) == "cpu"


def check_finite(array: Array, complaint: str) -> None:
    """Refuse NaN and infinities in an array on the host; on another device the result has to be checked once fetched.

    Raises:
        RalsegError: with `complaint` as its message.
    """
    if on_host(array) and not namespace(array).isfinite(array).all():
        raise RalsegError(complaint)


def constant(like: Array, make: Callable[..., np.ndarray], *arguments: Hashable) -> Array:
    """`make(*arguments)` as an array of the same kind and on the same device as `like`, kept for the next call.

    Floating-point numbers get the dtype of `like`, integers keep their own. The array is shared: never write into it.
    """
    key = make, arguments, like.dtype, like.device
    if (known := _constants.get(key)) is not None:
        return known
    array = make(*arguments)
    dtype = like.dtype if array.dtype.kind == "f" else None
    made = namespace(like).asarray(array, dtype=dtype, device=like.device, copy=True)
    _constants.put(key, made, made.nbytes)
    return made
