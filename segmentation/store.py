"""The image store: a data set, decoded once into uint8 files that all processes map into memory."""

import errno
import hashlib
import json
import mmap
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pooch

from ralseg.foundation import RalsegError, expanded, read_json, unwritable, write_json
from ralseg.foundation.files import FULL
from ralseg.segmentation.datasets import IGNORE, Dataset

LAYOUT = 4
"""Part of the key; to be raised whenever the content of the files below changes."""

RESIDENT_BYTES = 1 << 28
"""After this many bytes of a file have been read, its pages are released. They stay in the cache of the operating
system as long as it has room, and are read again from there."""

BUILDING = ".building-"
"""How the folder of a store begins while it is built."""
ABANDONED = 24 * 3600.0
"""Seconds without a change after which a store that was never finished is removed."""
ELSEWHERE = "set RALSEG_CACHE to a folder that can be written"


class ImageStore:
    """Images at the network's input size and labels at their own, decoded once and shared between processes.

    The folder holds images.bin and labels.bin (uint8, one array after the other), class_counts.npy (of the labels) and
    meta.json (sizes, fingerprints, digests of the content). Its name depends on the content and the fingerprints, so
    that a changed file leads to another folder and the old one is removed. If several processes build the same store at
    once, one result is kept.

    Args:
        dataset: the data set.
        names: the images to store, in the order of their indices.
        scale: input size divided by the size of the image, above 0 and at most 1; sizes are rounded, to at least 1.
        cache_dir: the folder of all stores; None takes that of the environment variable RALSEG_CACHE, or the user's
            cache.

    Attributes:
        dataset: the data set.
        names: the images' names.
        scale: input size divided by the size of the image.
        folder: the folder of the files.

    Raises:
        RalsegError: if a name is unknown or given twice, the scale is out of range, a file is bad or the disk is full.
    """

    def __init__(self, dataset: Dataset, names: Sequence[str], scale: float = 1.0, cache_dir: str | Path | None = None):
        if not 0 < scale <= 1:
            raise RalsegError(f"scale is {scale}; the input size over the image's own must be above 0 and at most 1")
        self.dataset, self.names, self.scale = dataset, tuple(names), float(scale)
        self._indices = {name: i for i, name in enumerate(self.names)}
        if len(self._indices) < len(self.names):
            twice = next(name for i, name in enumerate(self.names) if self._indices[name] != i)
            raise RalsegError(f"image {twice!r} is twice among the names of the store; give each once")
        cache_dir = cache_dir or cache_folder()
        fingerprints = [dataset.fingerprint(name) for name in self.names]
        key = _digest([LAYOUT, dataset.name, dataset.identity, self.scale, self.names])
        self.folder = expanded(cache_dir) / f"{dataset.name}-{key}-{_digest(fingerprints)}"
        if not self.folder.is_dir():
            self._build(fingerprints)
            for stale in self.folder.parent.glob(f"{dataset.name}-{key}-*"):
                if stale != self.folder:
                    # Who reads it has mapped its files and goes on with them.
                    shutil.rmtree(stale, ignore_errors=True)
        self._open()

    def _build(self, fingerprints: list[str]) -> None:
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=BUILDING, dir=self.folder.parent))
        except OSError as error:
            raise unwritable(self.folder.parent, error, ELSEWHERE) from error
        try:
            _remove_abandoned(self.folder.parent)
            building = temporary / "store"
            building.mkdir()
            sizes, input_sizes, contents, pictures = [], [], [], []
            counts = np.empty((len(self), len(self.dataset.classes)), np.int64)
            # Unlike memory maps, files make a full disk an error that can be caught, not a signal.
            with open(building / "images.bin", "wb") as images, open(building / "labels.bin", "wb") as labels:
                for row, name in enumerate(self.names):
                    image, label = self.dataset.load(name)
                    pictures.append(_content(image))
                    image = shrink(image, self.scale)
                    images.write(image.tobytes())
                    labels.write(label.tobytes())
                    counts[row] = count_classes(label, len(self.dataset.classes))
                    sizes.append(label.shape)
                    input_sizes.append(image.shape[:2])
                    contents.append(_content(image, label))
            for name, fingerprint in zip(self.names, fingerprints, strict=True):
                if self.dataset.fingerprint(name) != fingerprint:
                    raise RalsegError(
                        f"{self.dataset.name}: image or label {name!r} changed while it was read; run the same command "
                        "again when it changes no more"
                    )
            np.save(building / "class_counts.npy", counts)
            meta = {"names": self.names, "fingerprints": fingerprints, "contents": contents, "pictures": pictures}
            write_json(building / "meta.json", meta | {"sizes": sizes, "input_sizes": input_sizes})
            os.rename(building, self.folder)
        except OSError as error:
            if error.errno in FULL:
                raise RalsegError(
                    f"{self.folder.parent}: no space left on the disk; free some, or set RALSEG_CACHE to another disk"
                ) from error
            # Another process was faster, and its store has the same content.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise unwritable(self.folder.parent, error, ELSEWHERE) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _open(self) -> None:
        try:
            self._map()
        except (FileNotFoundError, RalsegError) as error:
            if self.folder.is_dir():
                raise
            raise RalsegError(
                f"{self.folder} was removed, perhaps by a process that found the images changed; run the same command "
                "again when they change no more"
            ) from error

    def _map(self) -> None:
        meta = read_json(self.folder / "meta.json")
        self._sizes = np.array(meta["sizes"], np.int64).reshape(-1, 2)
        self._input_sizes = np.array(meta["input_sizes"], np.int64).reshape(-1, 2)
        self._contents, self._pictures = meta["contents"], meta["pictures"]
        self._label_ends = self._sizes.prod(1).cumsum()
        self._image_ends = 3 * self._input_sizes.prod(1).cumsum()
        self._images = _mapped(self.folder / "images.bin", self._image_ends)
        self._labels = _mapped(self.folder / "labels.bin", self._label_ends)
        self._counts = np.load(self.folder / "class_counts.npy", allow_pickle=False)

    def __getstate__(self) -> dict:
        return {key: value for key, value in self.__dict__.items() if key not in ("_images", "_labels", "_counts")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._open()

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """The index of an image in the store.

        Raises:
            RalsegError: if the store does not hold it.
        """
        try:
            return self._indices[name]
        except KeyError:
            raise RalsegError(
                f"the store of {self.dataset.name} holds no image {name!r}; list it among names"
            ) from None

    def image(self, i: int) -> np.ndarray:
        """Image i at the input size: uint8 (h, w, 3) RGB, a read-only view."""
        height, width = self.input_size(i)
        end = int(self._image_ends[i])
        return self._images.read(end - 3 * height * width, end).reshape(height, width, 3)

    def label(self, i: int) -> np.ndarray:
        """Label i at its own size: uint8 (H, W) of ids and `IGNORE`, a read-only view."""
        height, width = self.size(i)
        end = int(self._label_ends[i])
        return self._labels.read(end - height * width, end).reshape(height, width)

    def size(self, i: int) -> tuple[int, int]:
        """The (height, width) of label i."""
        return tuple(self._sizes[i].tolist())

    def input_size(self, i: int) -> tuple[int, int]:
        """The (height, width) of image i as stored."""
        return tuple(self._input_sizes[i].tolist())

    def content(self, i: int) -> str:
        """SHA-256 of image i and label i as stored, in hexadecimal; it does not depend on paths or times."""
        return self._contents[i]

    @property
    def digest(self) -> str:
        """What all names and contents together are known by, in hexadecimal."""
        return _digest([self.names, self._contents])

    def picture(self, i: int) -> str:
        """SHA-256 of image i alone, before it was resized, in hexadecimal: the same for copies under other names."""
        return self._pictures[i]

    def class_counts(self) -> np.ndarray:
        """The pixels of each class in each label, int64 (len(self), C); void is not counted."""
        return self._counts.copy()


def _remove_abandoned(cache: Path) -> None:
    """Remove what processes that were killed while they built a store left, in good time after it."""
    for folder in cache.glob(f"{BUILDING}*"):
        with suppress(OSError):
            if time.time() - max(path.stat().st_mtime for path in (folder, *folder.rglob("*"))) > ABANDONED:
                shutil.rmtree(folder, ignore_errors=True)


class MappedFile:
    """The bytes of a file as read-only views, whose pages all processes share.

    A process keeps every page of a mapping that it has read, and a data set may be larger than the memory. Pages are
    therefore released from time to time. Views stay valid, since their pages are read again when needed.

    Args:
        path: a file that does not change.

    Raises:
        OSError: if the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._asked = 0
        # An empty file cannot be mapped.
        self._map = None
        if path.stat().st_size:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._bytes = np.frombuffer(self._map or b"", np.uint8)

    def __len__(self) -> int:
        return len(self._bytes)

    def read(self, start: int, end: int) -> np.ndarray:
        """The bytes from `start` up to, but not including, `end`: uint8 (end - start,)."""
        self._asked += end - start
        # Systems without this call reclaim pages by themselves when memory is short.
        if self._map is not None and self._asked > RESIDENT_BYTES and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._asked = end - start
        return self._bytes[start:end]


def cache_folder() -> Path:
    """The folder of stores and weights: RALSEG_CACHE if it is set, otherwise the user's cache."""
    return expanded(os.environ.get("RALSEG_CACHE") or pooch.os_cache("ralseg"))


def count_classes(label: np.ndarray, classes: int) -> np.ndarray:
    """The pixels of each class in one label, int64 (classes,); void is not counted."""
    return np.bincount(label.ravel(), minlength=IGNORE + 1)[:classes]


def shrink(image: np.ndarray, scale: float) -> np.ndarray:
    """An image resized to `round(scale * size)` by area interpolation, or the image itself if that is its size."""
    height, width = (max(1, round(scale * side)) for side in image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _content(*arrays: np.ndarray) -> str:
    held = hashlib.sha256()
    for pixels in arrays:
        held.update(repr(pixels.shape).encode())
        held.update(np.ascontiguousarray(pixels).data)
    return held.hexdigest()


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _mapped(path: Path, ends: np.ndarray) -> MappedFile:
    file, expected = MappedFile(path), int(ends[-1]) if len(ends) else 0
    if len(file) != expected:
        raise RalsegError(f"{path}: {len(file)} bytes where {expected} belong; delete {path.parent}")
    return file
