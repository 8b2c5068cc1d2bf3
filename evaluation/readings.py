"""The log of readings of the test set: when, why, by which code."""

import csv
import io
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

from ralseg.foundation import RalsegError, expanded, made_folder, unwritable

READINGS = "test_readings.csv"
"""The log's name where no other is asked for; it lies in the folder of the comparison."""
HEADER = ["date", "commit", "why", "policies", "runs"]


def code_version() -> str:
    """The commit of the code, with `+changes` where files differ from it; outside a checkout the package's version.

    Files in results/ do not count as code, because the log of readings there grows with every comparison.
    """
    package = Path(__file__).resolve().parents[1]
    try:
        # An installed package may lie in somebody else's checkout: ask for a file of ours.
        _git(package, "ls-files", "--error-unmatch", "evaluation/readings.py")
        changed = _git(package, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")
        return _git(package, "rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return f"v{version('ralseg')}"


def log_path(readings: object, folder: Path, where: str = "") -> Path:
    """The file of the log: the one that is asked for, or for None the one in the folder of the comparison.

    Args:
        readings: the setting.
        folder: of the comparison.
        where: what comes before the setting's name in messages, e.g. "comparison.".

    Raises:
        RalsegError: if the setting is no file name.
    """
    if readings is None:
        return folder / READINGS
    file = expanded(readings) if isinstance(readings, str | Path) and str(readings).strip() else None
    if file is None or not file.name or "\0" in str(file):
        raise RalsegError(f"{where}readings={readings!r} is no file; give e.g. {where}readings=runs/{READINGS}")
    return file


def check_log(path: Path, where: str = "") -> None:
    """Refuse a log that cannot be written, before anything is played; nothing is left of the attempt.

    Args:
        path: see `log_reading`.
        where: see `log_path`.

    Raises:
        RalsegError: if the file cannot be written or is not such a log.
    """
    with _held(path, where):
        new = not path.exists()
        _begun(path)
        if new:
            path.unlink()


def log_reading(path: str | Path, why: str, policies: str, runs: int) -> None:
    """Append one reading of the test set; called before the reading, so that a killed comparison counts, too.

    Comparisons that write the same log at once wait for each other. A last line that was cut off stays, as a line of
    its own.

    Args:
        path: the CSV file of the log; created with a header if it does not exist.
        why: the purpose of the reading.
        policies: names of the policies that are compared.
        runs: number of games that end in a reading.

    Raises:
        RalsegError: if the file cannot be written or is not such a log.
    """
    path, line = Path(path), io.StringIO()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    csv.writer(line, lineterminator="\n").writerow([now, code_version(), why, policies, runs])
    with _held(path, ""):
        start = _begun(path)
        size = path.stat().st_size
        try:
            with path.open("ab") as file:
                file.write((start + line.getvalue()).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            os.truncate(path, size)
            raise


@contextmanager
def _held(path: Path, where: str) -> Iterator[None]:
    """Holds a log against other processes; what the system says of its place becomes one line."""
    try:
        with made_folder(path.parent):
            lock = FileLock(path.with_name(f".{path.name}.lock"))
            # For a file that cannot be made filelock would wait for ever.
            Path(lock.lock_file).touch()
            with lock:
                try:
                    yield
                finally:
                    Path(lock.lock_file).unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error, f"choose another file with {where}readings=<file>") from error


def _begun(path: Path) -> str:
    """What has to be written before the next line: the header of a new log, or the end of a line that was cut off."""
    with path.open("a+b") as file:
        file.seek(0)
        text = file.read()
    first = text.split(b"\n")[0].decode(errors="replace").strip()
    if first and first.split(",") != HEADER:
        raise RalsegError(f"{path}: not a log of test readings (its columns are {first[:100]}); move it away")
    return f"{','.join(HEADER)}\n" if not first else "" if text.endswith(b"\n") else "\n"


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
