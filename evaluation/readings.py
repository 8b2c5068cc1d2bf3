"""The log of readings of the test set: when, why, by which code."""

import csv
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from ralseg.foundation import RalsegError

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


def log_reading(path: str | Path, why: str, policies: str, runs: int) -> None:
    """Append one reading of the test set; called before the reading, so that a killed comparison counts, too.

    Args:
        path: the CSV file of the log; created with a header if it does not exist.
        why: the purpose of the reading.
        policies: names of the policies that are compared.
        runs: number of games that end in a reading.

    Raises:
        RalsegError: if the file is not such a log.
    """
    path, commit = Path(path), code_version()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", newline="") as file:
        file.seek(0)
        first = file.readline().strip()
        if first and first.split(",") != HEADER:
            raise RalsegError(f"{path}: not a log of test readings (its columns are {first}); move it away")
        writer = csv.writer(file, lineterminator="\n")
        if not first:
            writer.writerow(HEADER)
        writer.writerow([datetime.now(UTC).isoformat(timespec="seconds"), commit, why, policies, runs])


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
