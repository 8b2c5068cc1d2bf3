"""Memory that is free within the process, given back to the system."""

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

STATM = Path("/proc/self/statm")
"""Pages of this process in Linux; the second number is those in memory, the third those of files among them."""

_left = 0


def give_back_memory(grown: int = 0) -> None:
    """Give what was freed back to the system, where the C library can do so (glibc); elsewhere nothing happens.

    glibc keeps what is freed between blocks that are in use. Arrays of many sizes that come and go let such a process
    grow to a multiple of what it uses. Fresh memory costs time, so do not do this often.

    Args:
        grown: nothing happens unless the process holds so many bytes more than after the last time.
    """
    global _left
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        if not grown or private_bytes() >= _left + grown:
            ctypes.CDLL(None).malloc_trim(0)
            _left = private_bytes()


def private_bytes() -> int:
    """The bytes in memory that this process shares with no other one; Linux alone."""
    _, resident, shared, *_ = map(int, STATM.read_text().split())
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")
