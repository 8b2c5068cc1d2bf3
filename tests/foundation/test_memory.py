import sys

import numpy as np
import pytest

from ralseg.foundation import give_back_memory
from ralseg.foundation.memory import private_bytes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells what a process holds")
BLOCK, BLOCKS = 100_000, 2000


def with_holes():
    """Blocks below the size that glibc gives back by itself, each of which lies between two that were freed."""
    blocks = [np.ones(BLOCK, np.uint8) for _ in range(BLOCKS)]
    return blocks[::2]


def test_what_was_freed_between_blocks_in_use_is_given_back():
    give_back_memory()
    before = private_bytes()
    kept = with_holes()
    assert private_bytes() - before > 0.9 * BLOCK * BLOCKS
    give_back_memory()
    assert 0.4 * BLOCK * BLOCKS < private_bytes() - before < 0.7 * BLOCK * BLOCKS
    assert len(kept) == BLOCKS // 2


def test_nothing_happens_until_the_process_has_grown():
    give_back_memory()
    before = private_bytes()
    kept = with_holes()
    give_back_memory(grown=2 * BLOCK * BLOCKS)
    assert private_bytes() - before > 0.9 * BLOCK * BLOCKS
    give_back_memory(grown=BLOCK * BLOCKS // 2)
    assert private_bytes() - before < 0.7 * BLOCK * BLOCKS
    assert len(kept) == BLOCKS // 2
