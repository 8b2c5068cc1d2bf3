"""Reading label files that hold an array of ids: NumPy's .npy and MATLAB's .mat."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets.class_list import short
from ralseg.segmentation.datasets.images import gone


def read_npy(path: Path) -> np.ndarray:
    """Read a label from a .npy file; pickled objects in it are never loaded.

    Args:
        path: the file, an array (H, W) of whole numbers from 0 of any integer type.

    Returns:
        int64 (H, W), the numbers as stored.

    Raises:
        RalsegError: if the file is missing, damaged, or no such array.
    """
    with _opened(path) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
    return _ids(path, array)


def read_mat(path: Path, variable: str, field: str | None = None) -> np.ndarray:
    """Read a label from a .mat file of MATLAB up to version 7.2; see `read_npy`.

    In a compressed file, which is what MATLAB writes, a checksum reveals damage. In one that is not compressed only
    missing bytes are sure to be noticed, and scipy has been seen to crash where the kind of its numbers was changed.

    Args:
        path: the file.
        variable: the name of the array in it, or of a structure.
        field: the field of the structure that is the array.

    Raises:
        RalsegError: if the file is missing, damaged, or has no such array under that name.
    """
    # Only here: the page on which people label does without scipy.
    from scipy.io import loadmat

    with _opened(path) as file:
        array = loadmat(file, variable_names=[variable]).get(variable)
    if field is not None:
        variable = f"{variable}.{field}"
        if isinstance(array, np.ndarray):
            array = array[field].item() if array.size == 1 and field in (array.dtype.names or ()) else None
    if not isinstance(array, np.ndarray):
        raise RalsegError(f"{path}: no array {variable} in it; replace the file by the one of the data set")
    return _ids(path, array)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Opens a file and makes what its reader raises for a damaged one the one line that users read."""
    try:
        # What NumPy and scipy warn of, they read or refuse.
        with path.open("rb") as file, warnings.catch_warnings(action="ignore"):
            yield file
    except FileNotFoundError as error:
        raise gone(path) from error
    except PermissionError as error:
        raise RalsegError(f"{path}: cannot be read ({error.strerror}); allow reading it") from error
    except Exception as error:  # Damaged bytes make them raise almost anything, from OSError to tokenize.TokenError.
        text = " ".join(str(error).split()).rstrip(".")
        raise RalsegError(f"{path}: no array of numbers that can be read ({text}); replace the file") from error


def _ids(path: Path, array: np.ndarray) -> np.ndarray:
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise RalsegError(
            f"{path}: an array of type {short(str(array.dtype))} and shape {array.shape} where class ids are expected; "
            "export whole numbers, one for each pixel (height x width)"
        )
    ids = array.astype(np.int64)
    if (negative := ids < 0).any():
        y, x = np.unravel_index(negative.argmax(), ids.shape)
        raise RalsegError(f"{path}: unknown class id {array[y, x]} at y={y}, x={x}; ids begin at 0: correct the label")
    return ids
