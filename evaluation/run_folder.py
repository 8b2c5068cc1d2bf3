"""The folder of a run: how the configuration names it, and what may lie in it before the run begins."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from ralseg.evaluation.training_record import CONFIG
from ralseg.foundation import RalsegError, expanded, owned

COMPARISON = "comparison"
"""Where the folder of a training has its comparison."""
BEGUN: dict[str, tuple[str, ...]] = {"training": (CONFIG,), "comparison": ("comparison.json", "results.csv")}
"""Files by which a folder shows that such a run was begun in it."""
SHOWN = 3
"""How many names of foreign files a message has."""


def run_folder(config: Mapping[str, Any]) -> Path:
    """The folder that `run` names; a number is taken as text.

    Raises:
        RalsegError: if it is no name.
    """
    run = config["run"]
    if isinstance(run, float):
        raise RalsegError(f"run={run} is a number; give it as text, as in run='\"name\"'")
    if isinstance(run, bool) or not isinstance(run, str | int) or not str(run).strip() or "\0" in str(run):
        shown = "null" if run is None else repr(run)
        raise RalsegError(f"run={shown} names no folder; give one, e.g. run=runs/mine")
    return expanded(str(run))


@contextmanager
def opened(folder: Path, kind: Literal["training", "comparison"]) -> Iterator[None]:
    """Hold the folder of a run until the block ends, if it is one that such a run may use.

    Raises:
        RalsegError: if it holds anything else, is in use, or cannot be written.
    """
    check_contents(folder, kind)
    with owned(folder):
        # Somebody else may have begun a run in it since.
        check_contents(folder, kind)
        yield


def check_contents(folder: Path, kind: Literal["training", "comparison"]) -> None:
    """Refuse a folder that holds anything but a run of this kind, which a new run would mix with its own files.

    Hidden files do not count, nor does the folder that a training has its comparison in: that is checked by itself.

    Raises:
        RalsegError: naming the first files.
    """
    if not folder.is_dir() or any((folder / name).exists() for name in BEGUN[kind]):
        return
    mend = "choose another folder with run=<folder>"
    if kind == "comparison" and (folder / CONFIG).exists():
        raise RalsegError(f"{folder} holds a training, whose files a comparison would replace; {mend}")
    own = COMPARISON if kind == "training" else None
    found = sorted(path.name for path in folder.iterdir() if not path.name.startswith(".") and path.name != own)
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise RalsegError(f"{folder} holds files of no {kind}: {', '.join(found[:SHOWN])}{more}; {mend}")
