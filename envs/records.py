"""The append-only records of a campaign, in memory and on disk: what was asked, answered, corrected and learned."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ralseg.foundation import RalsegError

Unit = tuple[str, int, int, int, int]
"""A unit as written in files: image name, y, x, height, width, in pixels."""

Record = dict[str, Any]
"""One move as JSON values. `move` says which: `begin` (with `seed`), `ask` and `withdraw` (with `units`), `answer` and
`correct` (with `units` and their `labels` as run lengths, see `encoded`), or `learn`."""


def encoded(label: np.ndarray) -> list[list[int]]:
    """A label (height, width) uint8 as run lengths, row by row: [[id, pixels], ...]."""
    flat = label.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=-1))
    return np.stack([flat[starts], np.diff(starts, append=len(flat))], axis=1).tolist() if len(flat) else []


def decoded(runs: Sequence[Sequence[int]], height: int, width: int) -> np.ndarray:
    """The inverse of `encoded`, (height, width) uint8.

    Raises:
        RalsegError: if the runs do not fill the unit.
    """
    ids, lengths = np.array(runs, np.int64).reshape(-1, 2).T
    if lengths.sum() != height * width:
        raise RalsegError(f"a recorded label has {lengths.sum()} pixels, not {height} x {width}; restore the records")
    return np.repeat(ids.astype(np.uint8), lengths).reshape(height, width)


class RecordsFile:
    """Records on disk, one line of JSON each.

    A line is on disk when `append` returns. A process that is killed while writing leaves at most half a line, which
    `read` drops and the next `append` overwrites.

    Args:
        path: the file; created with the first record.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def append(self, record: Record) -> None:
        """Append one record."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.truncate(self._whole_lines())
            file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> list[Record]:
        """All records, oldest first; an empty list if there is no file.

        Raises:
            RalsegError: if a line is damaged.
        """
        if not self.path.exists():
            return []
        records = []
        for number, line in enumerate(self.path.read_bytes()[: self._whole_lines()].splitlines(), start=1):
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise RalsegError(f"{self.path}, line {number}: not a record ({error}); restore the file") from error
        return records

    def _whole_lines(self) -> int:
        """Bytes up to the end of the last whole line."""
        return self.path.read_bytes().rfind(b"\n") + 1 if self.path.exists() else 0
