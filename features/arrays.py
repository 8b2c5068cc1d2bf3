"""Arrays of either kind: numpy's on the host, or torch's on any device, under one set of function names.

Code that takes both calls only functions that both libraries have under one name and with one meaning (`amax`, `exp`,
`clip`, `stack`, ... with `axis` and `keepdims`), and what is gathered here. Nothing makes a device wait for the host.
"""

import sys
from collections.abc import Callable, Hashable
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ralseg.foundation import RalsegError

if TYPE_CHECKING:
    from torch import Tensor

Array: TypeAlias = "np.ndarray | Tensor"


def namespace(array: Array) -> ModuleType:
    """The library of `array`: torch for its tensors, numpy for all others."""
    # Who holds a tensor has imported torch; who does not is spared the import.
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(array, torch.Tensor) else np


def cast(array: Array, dtype: str) -> Array:
    """The array with numbers of type `dtype` (a name such as "float32"), where it lies; a tensor leaves its graph."""
    xp = namespace(array)
    return np.asarray(array, dtype=dtype) if xp is np else array.detach().to(getattr(xp, dtype))


def factor(array: Array) -> Array:
    """The array as a factor of a matrix product: float64 if it is, or lies in a tensor, else float32."""
    # Torch computes products of float32 with fewer digits where autocast or TF32 are on, those of float64 never.
    return cast(array, "float32" if namespace(array) is np and array.dtype != np.float64 else "float64")


def on_host(array: Array) -> bool:
    """Whether reading a value makes nobody wait."""
    return str(array.device) == "cpu"


def check_finite(array: Array, complaint: str) -> None:
    """Refuse NaN and infinities in an array on the host. Elsewhere they are left to whoever fetches the result.

    Raises:
        RalsegError: `complaint`.
    """
    if on_host(array) and not namespace(array).isfinite(array).all():
        raise RalsegError(complaint)


def constant(like: Array, make: Callable[..., np.ndarray], *arguments: Hashable) -> Array:
    """`make(*arguments)` as an array of the kind and on the device of `like`, made and moved there once.

    Floating numbers come in the type of `like`, whole ones in their own. The array is shared: never write into it.
    """
    return _constant(make, arguments, namespace(like), like.dtype, like.device)


@lru_cache(maxsize=512)
def _constant(make: Callable, arguments: tuple, xp: ModuleType, dtype: object, device: object) -> Array:
    array = make(*arguments)
    return xp.asarray(array, dtype=dtype if array.dtype.kind == "f" else None, device=device, copy=True)
