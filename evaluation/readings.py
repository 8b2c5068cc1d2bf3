"""Who read the test set, when and why; and which code it was."""

import csv
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from ralseg.foundation import RalsegError

HEADER = ["date", "commit", "why", "policies", "runs"]


def code_version() -> str:
    """The commit of the code, with `+changes` where files differ from it; outside a checkout the package's version.

    What lies in results/ is no code: the log of readings, which grows with every comparison, is there.
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
    """Append one reading of the test set; called before it is read, so that a killed comparison is counted, too.

    Args:
        path: the log, CSV; made with a header if it is not there.
        why: what it is read for.
        policies: which are compared.
        runs: how many games end in a reading.

    Raises:
        RalsegError: if the file is another table.
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
