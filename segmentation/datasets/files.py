"""Data sets whose images and labels are files: reading, checking and fingerprints."""

import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from ralseg.foundation import RalsegError, checked
from ralseg.segmentation.datasets.base import IGNORE, Dataset
from ralseg.segmentation.datasets.color_table import UNKNOWN
from ralseg.segmentation.datasets.images import SIDEWAYS, gone, header, read_rgb
from ralseg.segmentation.datasets.masks import read_mask

Unknown = Literal["refuse", "void"]
"""How an id that is in no table is treated: as an error or as void, but never as a class."""


class FileDataset(Dataset):
    """A data set of image files and label files; labels hold ids, by default in one channel.

    Subclasses set the attributes of `Dataset` and the first two of the following before use.

    Attributes:
        files: image name -> (path of the image, path of the label or None if there is no label).
        label_ids: int16 (256,) or longer: id in a label file -> id inside ralseg, `IGNORE` or `UNKNOWN`.
        depth: number of bits that are used in images of 16 bits per channel; None: such images are refused.
        turn: whether the EXIF orientation of images is applied.
    """

    files: dict[str, tuple[Path, Path | None]]
    label_ids: np.ndarray
    depth: int | None = None
    turn: bool = True

    def size(self, name: str) -> tuple[int, int]:
        """See `Dataset.size`; only the file's header is read."""
        self._check_name(name)
        return header(self.files[name][0], self.turn)[0]

    def load(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """See `Dataset.load`; a missing label is all `IGNORE`."""
        self._check_name(name)
        image_path, label_path = self.files[name]
        image = read_rgb(image_path, self.depth, self.turn)
        if label_path is None:
            return image, np.full(image.shape[:2], IGNORE, np.uint8)
        label = self._load_label(label_path)
        if label.shape != image.shape[:2]:
            raise self._of_another_size(label.shape, label_path, image_path)
        return image, label

    def _of_another_size(self, label: tuple[int, ...], label_path: Path, image_path: Path) -> RalsegError:
        shown, orientation = header(image_path, self.turn)
        text = (
            f"{label_path}: the label is {label[0]} x {label[1]} (height x width) but the image {image_path} is "
            f"{shown[0]} x {shown[1]}"
        )
        if orientation in SIDEWAYS and label == shown[::-1] and self.turn:
            return RalsegError(
                f"{text}, as its EXIF orientation {orientation} is applied; export the label of the displayed image, "
                "or (dataset=folder) say `exif: ignore` in classes.yaml if no label belongs to a displayed image"
            )
        if orientation in SIDEWAYS and label == shown[::-1]:
            return RalsegError(
                f"{text}, as its EXIF orientation {orientation} is not applied; export the label of the stored image, "
                "or (dataset=folder) take `exif: ignore` out of classes.yaml"
            )
        return RalsegError(f"{text}; export the label at the image's own size")

    def read_ids(self, path: Path) -> np.ndarray:
        """The ids of a label file as stored, (H, W) unsigned integers; for a palette image they are its indices.

        Raises:
            RalsegError: if the file is missing, damaged or of a wrong kind.
        """
        values = read_mask(path).values
        if values.ndim == 3:
            raise RalsegError(f"{path}: the label holds colours where class ids are expected; {self._about_colors()}")
        return values

    def _about_colors(self) -> str:
        return "export ids in one channel, not colours"

    def _load_label(self, path: Path) -> np.ndarray:
        stored = self.read_ids(path)
        # An id beyond the table is treated as the table's last one, which is never a class where a file may hold more.
        label = np.take(self.label_ids, stored, mode="clip")
        unknown = label == UNKNOWN
        if unknown.any():
            y, x = np.unravel_index(unknown.argmax(), unknown.shape)
            raise RalsegError(
                f"{path}: unknown class id {stored[y, x]} at y={y}, x={x}; the known ids are "
                f"{_runs(np.flatnonzero(self.label_ids != UNKNOWN))}: correct the label or add the class"
            )
        return label.astype(np.uint8)

    def fingerprint(self, name: str) -> str:
        """See `Dataset.fingerprint`: sizes and modification times of image and label, and how they are read."""
        self._check_name(name)
        try:
            stats = [path.stat() for path in self.files[name] if path is not None]
        except FileNotFoundError as error:
            raise gone(error.filename) from error
        return " ".join([*(f"{stat.st_size}:{stat.st_mtime_ns}" for stat in stats), self._meaning])

    @cached_property
    def _meaning(self) -> str:
        """A short text that changes with what the files' numbers mean."""
        return f"{zlib.crc32(self.label_ids.tobytes()):08x}"


def _runs(ids: np.ndarray) -> str:
    """Sorted ids in a message, e.g. "0 to 29, 255"; four or more in a row are written as their first and last one."""
    runs = np.split(ids, np.flatnonzero(np.diff(ids) > 1) + 1)
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 3 else ", ".join(map(str, run)) for run in runs)


def paired(image: Path, label: Path) -> tuple[Path, Path]:
    """The pair of an image and its label, after a check that both exist.

    Raises:
        RalsegError: if one of them is missing.
    """
    for path, what in ((image, "image"), (label, "label")):
        if not path.is_file():
            raise RalsegError(f"{path}: the {what} is missing; restore it, or remove its partner")
    return image, label


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


def spread(images: list[Path], count: int | None) -> list[Path]:
    """`count` of the images, spread evenly over all; None: all.

    Raises:
        RalsegError: if there are not so many, or the count is no whole number from 1.
    """
    if count is None:
        return images
    if type(count) is not int or not 1 <= count <= len(images):
        raise RalsegError(f"dataset.images={count!r} is out of range; there are {len(images)} images")
    return [images[i] for i in np.arange(count) * len(images) // count]
