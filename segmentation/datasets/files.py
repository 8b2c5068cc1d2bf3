"""Data sets whose images and labels are files: reading, checking and fingerprints, for CamVid and plain folders."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets.base import IGNORE, Dataset

UNKNOWN = -1


class FileDataset(Dataset):
    """A data set of image files and single-channel 8-bit label files.

    Subclasses set the attributes of `Dataset` and these two before use:

    Attributes:
        files: image name -> (image path, label path or None where there is no label).
        label_ids: int16 (256,), the id in a label file -> id inside ralseg, `IGNORE` or `UNKNOWN`.
    """

    files: dict[str, tuple[Path, Path | None]]
    label_ids: np.ndarray

    def size(self, name: str) -> tuple[int, int]:
        """See `Dataset.size`; only the file's header is read."""
        self._check_name(name)
        with _opened(self.files[name][0]) as image:
            return image.height, image.width

    def load(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """See `Dataset.load`; a missing label is all `IGNORE`."""
        self._check_name(name)
        image_path, label_path = self.files[name]
        with _opened(image_path) as file:
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

    def _load_label(self, path: Path) -> np.ndarray:
        with _opened(path) as file:
            # A palette image is read as its indices: these are the ids.
            if file.mode not in ("L", "P"):
                raise RalsegError(
                    f"{path}: a label must be a PNG with one 8-bit channel of class ids, this one is of mode "
                    f"{file.mode}; export ids, not colours"
                )
            stored = _pixels(file, path)
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
        """See `Dataset.fingerprint`: sizes in bytes and times of change of the image and its label."""
        self._check_name(name)
        try:
            stats = [path.stat() for path in self.files[name] if path is not None]
        except FileNotFoundError as error:
            raise _gone(error.filename) from error
        return " ".join(f"{stat.st_size}:{stat.st_mtime_ns}" for stat in stats)


def _gone(path: str | Path) -> RalsegError:
    return RalsegError(f"{path}: the file is gone; restore it or start again without it")


def _opened(path: Path) -> Image.Image:
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


def label_table(ids: list[int], void: tuple[int, ...]) -> np.ndarray:
    """The lookup from the ids in label files to ids inside ralseg, int16 (256,).

    Args:
        ids: the file id (0..255) of each class, in class order.
        void: the file ids of void.
    """
    table = np.full(256, UNKNOWN, np.int16)
    table[list(void)] = IGNORE
    table[ids] = np.arange(len(ids))
    return table
