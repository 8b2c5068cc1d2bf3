"""A memory-mapped file of which a process holds only a bounded part in memory."""

import mmap
from pathlib import Path

import numpy as np

RESIDENT_BYTES = 1 << 28
"""After this many bytes of a file have been read, its pages are released. They stay in the cache of the operating
system as long as it has room, and are read again from there."""


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
