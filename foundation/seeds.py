"""Named random streams: independent generators, all derived from one root seed."""

import zlib

import numpy as np


def sequence(root: int, *names: str | int) -> np.random.SeedSequence:
    """The seed sequence of a named stream, e.g. `sequence(0, "draws", 3)`.

    numpy pads short seeds with zeros, so a trailing 0 may give the same stream as no number at all. Do not name a
    stream like another one followed by a number.

    Args:
        root: the root seed, 0 or more.
        names: what the stream is for: words, and numbers of 0 or more.
    """
    return np.random.SeedSequence([root, *(zlib.crc32(n.encode()) if isinstance(n, str) else n for n in names)])


def generator(root: int, *names: str | int) -> np.random.Generator:
    """The numpy generator of a named stream; see `sequence`. It gives the same numbers on every machine."""
    return np.random.default_rng(sequence(root, *names))


def integer(root: int, *names: str | int) -> int:
    """A 63-bit seed from a named stream, for libraries that take a number (torch, Gymnasium); see `sequence`."""
    return int(sequence(root, *names).generate_state(1, np.uint64)[0] >> np.uint64(1))
