"""Whether torchrun started this process, and as which of how many."""

import os

GRACE = 5.0
"""Seconds that a process which follows keeps its error to itself. Mostly the first process has it, too, and torchrun
ends the others when that one ends."""


def started() -> int:
    """Number of processes that torchrun started for this command; 1 without torchrun."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def follows() -> bool:
    """Whether this process is another one than the first of those that torchrun started."""
    return started() > 1 and os.environ["RANK"] != "0"
