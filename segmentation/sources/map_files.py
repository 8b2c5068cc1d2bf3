"""Maps below the cut on disk: computed once, read by every process."""

import os
import shutil
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ralseg.foundation import RalsegError, atomic_write, unwritable
from ralseg.segmentation.store import ELSEWHERE

DISK_BYTES = 8 << 30
"""The most bytes of files in one cache, for all stores and networks together."""


class MapFiles:
    """The maps of a store's images under one network: one file per image, mapped into memory by every reader.

    Processes that map a file share its pages, and the operating system reclaims them when memory is short. Two
    processes that write the same file at once write the same bytes, each under its own name until it is complete.

    If all files together take more than `DISK_BYTES`, those of the least recently used networks are removed. A network
    that needs more by itself keeps the first ones, which for randomly drawn images is as good as any other choice.

    Args:
        cache: the cache folder.
        key: identifies everything that the maps depend on, images and weights.
        kind: `maps`, or what is made of maps; it begins the name of the folder.

    Raises:
        RalsegError: if the folder cannot be written.
    """

    def __init__(self, cache: Path, key: str, kind: str = "maps") -> None:
        self.folder, self._kind = cache / f"{kind}-{key}", kind
        self._make_folder()
        try:
            os.utime(self.folder)
        except OSError as error:
            raise unwritable(self.folder, error, ELSEWHERE) from error
        self._drop_others()

    def read(self, image: int) -> tuple[Tensor, ...] | None:
        """The maps of an image, which must not be written to; None if there is no file.

        Raises:
            RalsegError: if the file is damaged.
        """
        path = self._path(image)
        try:
            with safe_open(path, "pt") as file:
                return tuple(file.get_tensor(str(place)) for place in range(len(file.keys())))
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError) as error:
            raise RalsegError(f"{path}: not readable ({error}); delete {self.folder}") from error

    def holds(self, image: int) -> bool:
        """Whether there is a file of an image."""
        return self._path(image).exists()

    def write(self, image: int, maps: tuple[Tensor, ...]) -> None:
        """Store the maps of an image if there is room.

        Raises:
            RalsegError: if the disk is full or the folder cannot be written.
        """
        data = save({str(place): tensor for place, tensor in enumerate(maps)})
        self._make_folder()
        if (len(os.listdir(self.folder)) + 1) * len(data) > DISK_BYTES:
            return
        with atomic_write(self._path(image)) as file:
            file.write(data)

    def _path(self, image: int) -> Path:
        return self.folder / f"{image}.safetensors"

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.folder, error, ELSEWHERE) from error

    def _drop_others(self) -> None:
        found = [(*_use(folder), folder) for folder in self.folder.parent.glob(f"{self._kind}-*")]
        total = 0
        for _, size, folder in sorted(found, reverse=True):
            total += size
            if total > DISK_BYTES and folder != self.folder:
                # A process that uses them can continue: mapped files stay valid, and the rest is computed again.
                shutil.rmtree(folder, ignore_errors=True)


def _use(folder: Path) -> tuple[float, int]:
    """The time of a folder's last use and its bytes; zeros if it has just been removed."""
    try:
        with os.scandir(folder) as entries:
            return folder.stat().st_mtime, sum(entry.stat().st_size for entry in entries)
    except FileNotFoundError:
        return 0.0, 0
