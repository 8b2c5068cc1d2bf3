"""Atomic writes: a reader sees the old file or the new one, never a part of it."""

import errno
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from ralseg.foundation.errors import RalsegError

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}")
"""Names of the temporary files of `atomic_write`."""
LARGEST_JSON = 1 << 27
"""Bytes of a JSON file that are read at most; in memory they become ten times as many."""
FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def atomic_write(path: str | Path, mode: str = "wb") -> Iterator[IO]:
    """Open a temporary file beside `path` and move it into place when the block ends without an exception.

    Args:
        path: the file; missing folders are made.
        mode: "wb", or "w" for text.

    Raises:
        RalsegError: if the disk is full or the place cannot be written; the old file, if any, is untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Unlike the private files of `tempfile`, this one gets the permissions that the umask allows.
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(handle, mode) as file:
            yield file
            with _named(path):
                file.flush()
                os.fsync(file.fileno())
        with _named(path):
            os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        # Small buffers hide a full disk until the file is closed, large writes of the block meet it at once.
        if isinstance(error, OSError) and error.errno in FULL:
            raise unwritable(path, error) from error
        raise


def remove_temporaries(folder: Path, spared: str) -> None:
    """Remove what killed writers left below a folder; no other process may be writing there.

    Args:
        folder: the folder.
        spared: folders below it that hold a file of this name are left out, with all that is in them.
    """
    for place, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if not os.path.exists(os.path.join(place, name, spared))]
        for name in filter(TEMPORARY.fullmatch, names):
            Path(place, name).unlink(missing_ok=True)


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Make a folder and those above it; at the end of the block, those that were made and are empty are removed."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for place in made:
            with suppress(OSError):
                place.rmdir()


def file_digests(value: object, key: str = "") -> dict[str, str]:
    """Full key -> SHA-256 of the file, for each setting of a configuration that names a file that is there.

    Args:
        value: the configuration, or a part of it.
        key: the full key of that part.

    Raises:
        RalsegError: if a file cannot be read.
    """
    if isinstance(value, Mapping):
        parts = [file_digests(part, f"{key}.{name}".lstrip(".")) for name, part in value.items()]
        return {name: digest for part in parts for name, digest in part.items()}
    if not isinstance(value, str):
        return {}
    path = expanded(value)
    # Unlike pathlib's, this function takes any text.
    if not os.path.isfile(path):
        return {}
    try:
        with open(path, "rb") as file:
            return {key: hashlib.file_digest(file, "sha256").hexdigest()}
    except OSError as error:
        raise RalsegError(f"{key}={value} cannot be read ({error.strerror})") from error


def expanded(path: str | Path) -> Path:
    """The path with a leading `~` or `~user` replaced by that user's home; one of an unknown user stays as it is."""
    return Path(os.path.expanduser(path))


def unwritable(path: str | Path, error: OSError, mend: str = "choose a place that can be written") -> RalsegError:
    """The error of a place that cannot be written.

    Args:
        path: the place.
        error: what the system said.
        mend: what to do, unless the disk is full.
    """
    if error.errno in FULL:
        return RalsegError(f"{path}: no space left on the disk; free some and start again, nothing is lost")
    reason = "it is a file" if isinstance(error, FileExistsError) else error.strerror
    return RalsegError(f"{path}: cannot be written ({reason}); {mend}")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON, atomically.

    Raises:
        ValueError: if the value holds NaN or an infinity.
        RalsegError: if the disk is full.
    """
    with atomic_write(path, "w") as file:
        json.dump(value, file, indent=2, allow_nan=False)
        file.write("\n")


def read_file(path: str | Path, most: int, mend: str = "restore it") -> bytes:
    """Read a file that may be a stranger's.

    Args:
        path: the file.
        most: bytes that it may have.
        mend: the end of the message if it cannot be read.

    Raises:
        RalsegError: if the file is missing, too large or cannot be read, or is a pipe or a device.
    """
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            raise RalsegError(f"{path}: a pipe or a device, which may never end; {mend}")
        if found.st_size > most:
            raise RalsegError(f"{path}: {found.st_size:,} bytes, more than {most:,}; {mend}")
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise RalsegError(f"{path}: no such file; {mend}") from error
    except OSError as error:
        raise RalsegError(f"{path}: cannot be read ({error.strerror}); {mend}") from error


def read_json(path: str | Path, mend: str = "restore it") -> Any:
    """Read the value that a JSON file holds.

    Args:
        path: the file.
        mend: the end of the message if it cannot be read.

    Raises:
        RalsegError: see `read_file`; or if it is not JSON (which has no NaN), or is so deeply nested that reading it
            would end the process.
    """
    try:
        return json.loads(read_file(path, LARGEST_JSON, mend).decode(), parse_constant=_no_number)
    except RecursionError as error:
        raise RalsegError(f"{path}: nested too deeply to be read; restore or delete it") from error
    except RalsegError:
        raise
    except ValueError as error:
        # Not JSON, not UTF-8, or a number of thousands of digits.
        raise RalsegError(f"{path}: not JSON ({error}); restore or delete it") from error


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no number")
