"""Memory that is free within the process, given back to the system."""

import ctypes
import sys
from contextlib import suppress


def give_back_memory() -> None:
    """Give what was freed back to the system, where the C library can do so (glibc); elsewhere nothing happens.

    glibc keeps what is freed between blocks that are in use. Arrays of many sizes that come and go let such a process
    grow to a multiple of what it uses.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
