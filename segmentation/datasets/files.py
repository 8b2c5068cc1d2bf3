"""Data sets whose images and labels are files: reading, checking and fingerprints."""

import struct
import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from ralseg.foundation import RalsegError, checked
from ralseg.segmentation.datasets.base import IGNORE, Dataset

UNKNOWN = -1
Unknown = Literal["refuse", "void"]
"""How an id that is in no table is treated: as an error or as void, but never as a class."""


class FileDataset(Dataset):
    """A data set of image files and label files; labels hold ids, by default in one 8-bit channel.

    Subclasses set the attributes of `Dataset` and the following two before use.

    Attributes:
        files: image name -> (path of the image, path of the label or None if there is no label).
        label_ids: int16 (256,) or longer: id in a label file -> id inside ralseg, `IGNORE` or `UNKNOWN`.
    """

    files: dict[str, tuple[Path, Path | None]]
    label_ids: np.ndarray

    def size(self, name: str) -> tuple[int, int]:
        """See `Dataset.size`; only the file's header is read."""
        self._check_name(name)
        with opened(self.files[name][0]) as image:
            return image.height, image.width

    def load(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """See `Dataset.load`; a missing label is all `IGNORE`."""
        self._check_name(name)
        image_path, label_path = self.files[name]
        with opened(image_path) as file:
            image = _pixels(file.convert("RGB"), image_path) if file.mode != "RGB" else _pixels(file, image_path)
        if label_path is None:
            return image, np.full(image.shape[:2], IGNORE, np.uint8)
        label = self._load_label(label_path)
        if label.shape != image.shape[:2]:
            raise RalsegError(
                f"{label_path}: the label is {label.shape[0]} x {label.shape[1]} (height x width) but the image "
                f"{image_path} is {image.shape[0]} x {image.shape[1]}; export the label at the image's own size"
            )
        return image, label

    def read_ids(self, path: Path) -> np.ndarray:
        """The ids of a label file as stored, (H, W) unsigned integers; for a palette image they are its indices.

        Raises:
            RalsegError: if the file is missing, damaged or of a wrong kind.
        """
        with opened(path) as file:
            if file.mode not in ("L", "P"):
                raise RalsegError(
                    f"{path}: a label must be a PNG with one 8-bit channel of class ids, this one is of mode "
                    f"{file.mode}; export ids, not colours"
                )
            return _pixels(file, path)

    def _load_label(self, path: Path) -> np.ndarray:
        stored = self.read_ids(path)
        label = self.label_ids[stored]
        unknown = label == UNKNOWN
        if unknown.any():
            y, x = np.unravel_index(unknown.argmax(), unknown.shape)
            known = ", ".join(map(str, np.flatnonzero(self.label_ids != UNKNOWN)))
            raise RalsegError(
                f"{path}: unknown class id {stored[y, x]} at y={y}, x={x}; the known ids are {known}: "
                "correct the label or add the class"
            )
        return label.astype(np.uint8)

    def fingerprint(self, name: str) -> str:
        """See `Dataset.fingerprint`: sizes and modification times of image and label, and the table of ids."""
        self._check_name(name)
        try:
            stats = [path.stat() for path in self.files[name] if path is not None]
        except FileNotFoundError as error:
            raise _gone(error.filename) from error
        return " ".join([*(f"{stat.st_size}:{stat.st_mtime_ns}" for stat in stats), self._meaning])

    @cached_property
    def _meaning(self) -> str:
        return f"{zlib.crc32(self.label_ids.tobytes()):08x}"


def _gone(path: str | Path) -> RalsegError:
    return RalsegError(f"{path}: the file is gone; restore it or start again without it")


def opened(path: Path) -> Image.Image:
    """Open an image file without reading its pixels yet.

    Raises:
        RalsegError: if the file is missing or not an image.
    """
    try:
        return Image.open(path)
    except FileNotFoundError as error:
        raise _gone(path) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise RalsegError(f"{path}: not an image that can be read ({error}); replace the file") from error


def _pixels(file: Image.Image, path: Path) -> np.ndarray:
    try:
        return np.asarray(file)
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:
        raise RalsegError(f"{path}: the image is damaged ({error}); replace the file") from error


def paired(image: Path, label: Path) -> tuple[Path, Path]:
    """The pair of an image and its label, after a check that both exist.

    Raises:
        RalsegError: if one of them is missing.
    """
    for path, what in ((image, "image"), (label, "label")):
        if not path.is_file():
            raise RalsegError(f"{path}: the {what} is missing; restore it, or remove its partner")
    return image, label


def png_size(path: Path) -> tuple[int, int]:
    """The (height, width) in the header of a PNG file, many times faster than by opening it as an image.

    Raises:
        RalsegError: if the file is missing or not a PNG.
    """
    try:
        with path.open("rb") as file:
            head = file.read(24)
    except FileNotFoundError as error:
        raise _gone(path) from error
    if len(head) < 24 or head[:8] != b"\x89PNG\r\n\x1a\n" or head[12:16] != b"IHDR":
        raise RalsegError(f"{path}: not a PNG image; replace the file")
    width, height = struct.unpack(">II", head[16:])
    return height, width


def label_table(ids: Sequence[int], void: Sequence[int], unknown: Unknown = "refuse", size: int = 256) -> np.ndarray:
    """The lookup table from ids in label files to ids inside ralseg, int16 (size,).

    Args:
        ids: the id (below `size`) of each class in the files, in class order.
        void: the ids of void in the files.
        unknown: whether all other ids are refused or count as void.
        size: one more than the largest id that a file can hold.

    Raises:
        RalsegError: if `unknown` is neither of the two.
    """
    rest = IGNORE if checked(Unknown, unknown, "dataset.unknown") == "void" else UNKNOWN
    table = np.full(size, rest, np.int16)
    table[list(void)] = IGNORE
    table[list(ids)] = np.arange(len(ids))
    return table
