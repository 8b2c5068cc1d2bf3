"""Named random streams: one root seed, independent generators that know nothing of each other."""

import zlib

import numpy as np


def sequence(root: int, *names: str | int) -> np.random.SeedSequence:
    """The seed sequence of a stream, e.g. `sequence(0, "draws", 3)`.

    A trailing 0 may add nothing (numpy fills up with zeros): no stream's names are another's followed by a number.

    Args:
        root: the root seed, 0 or more.
        names: what the stream is for; words and numbers (0 or more).
    """
    return np.random.SeedSequence([root, *(zlib.crc32(n.encode()) if isinstance(n, str) else n for n in names)])


def generator(root: int, *names: str | int) -> np.random.Generator:
    """The numpy generator of a named stream: the same arguments give the same numbers on every machine."""
    return np.random.default_rng(sequence(root, *names))


def integer(root: int, *names: str | int) -> int:
    """One 63-bit seed of a named stream, for libraries that want a number (torch, Gymnasium)."""
    return int(sequence(root, *names).generate_state(1, np.uint64)[0] >> np.uint64(1))
