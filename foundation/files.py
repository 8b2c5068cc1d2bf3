"""Atomic writes: a reader sees the old file or the new one, never a part of it."""

import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ralseg.foundation.errors import RalsegError


@contextmanager
def atomic_write(path: str | Path, mode: str = "wb") -> Iterator[IO]:
    """Open a temporary file beside `path` and move it into place when the block ends without an exception.

    Args:
        path: the file; missing folders are made.
        mode: "wb", or "w" for text.

    Raises:
        RalsegError: if the disk is full; the old file, if any, is untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Unlike the private files of `tempfile`, this one gets the permissions that the umask allows.
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o666)
        with os.fdopen(handle, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise RalsegError(
                f"{path}: no space left on the disk; free some and start again, nothing is lost"
            ) from error
        raise


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON, atomically.

    Raises:
        ValueError: if the value holds NaN or an infinity.
        RalsegError: if the disk is full.
    """
    with atomic_write(path, "w") as file:
        json.dump(value, file, indent=2, allow_nan=False)
        file.write("\n")


def read_json(path: str | Path) -> Any:
    """Read the value that a JSON file holds.

    Raises:
        RalsegError: if the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError as error:
        raise RalsegError(f"{path}: no such file") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RalsegError(f"{path}: not JSON ({error}); restore or delete it") from error
