"""A file mapped into memory of which a process holds a bounded part."""

import mmap
from pathlib import Path

import numpy as np

RESIDENT_BYTES = 1 << 28
"""When so many bytes of a file have been asked for, its pages are given back: they stay with the operating system for
as long as it has room, and whoever reads them again gets them from there."""


class MappedFile:
    """The bytes of a file as read-only views, whose pages all processes share.

    A mapping that is only read keeps every page it has touched in the process, until a data set larger than the memory
    has been touched whole. So pages are given back now and then; views stay valid, since what they read comes back.

    Args:
        path: of a file that nobody changes.

    Raises:
        OSError: if it cannot be read.
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
        """The bytes from `start` to before `end`: uint8 (end - start,)."""
        self._asked += end - start
        # Systems without it take pages back by themselves, where memory is short.
        if self._map is not None and self._asked > RESIDENT_BYTES and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._asked = end - start
        return self._bytes[start:end]
