"""Kills a run at random moments, starts it again, and compares what is left with that of a run that was never killed.

The run is small, but goes through everything: theta_0, a training with checkpoints, a comparison with networks trained
to convergence, the report. It is killed with SIGKILL, and the same command goes on to the end. Some are killed at a
moment drawn evenly over the length of a whole run, others right before one of its changes to the disk (a file or folder
made, renamed or removed), because some of these follow each other within microseconds. Run folder and cache are new for
each.

All files of the run folder are compared byte by byte, but for two kinds that hold dates: TensorBoard's files, and the
log of readings, which counts a killed comparison, too. The clock of `seconds_choosing` stands still, since two runs
never choose in the same time.
"""

import csv
import hashlib
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from ralseg.evaluation import play
from ralseg.foundation import RalsegError, generator
from ralseg.train_agent import main

KILLS, CHANGES = 100, 60
"""How many runs are killed at a moment, and how many before a change to the disk."""
RUN = [
    "features=compact", "dataset.images=40", "dataset.size=[96,128]", "network=small_fpn", "loss=plain",
    "game.unit=[24,32]", "game.slates=2",
    "protocol.counts={state: 5, train: 5, compare: 6, dev: 2}", "network.widths=[8,8,8,8,8]", "network.pyramid=8",
    "theta0.fit.steps=40", "theta0.fit.batch=4", "game.candidates=3", "game.budget=8", "game.learn.batch=2",
    "training.episodes=6", "training.streams=2", "training.processes=1", "training.tensorboard=false",
    "agent.warm_up=2", "agent.batch_size=2", "comparison.policies=[random,margin]", "comparison.draws=2",
    "comparison.budgets=[0,4,8]", "comparison.splits=[dev,test]", "comparison.processes=1", "comparison.fit.draws=1",
    "comparison.fit.supervised=true", "comparison.fit.options.steps=12", "comparison.fit.options.batch=4", "run=run",
]  # fmt: skip
CHANGING = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
PHASES = {
    "run/comparison/summary.json": "reporting",
    "run/comparison/results.csv": "comparing and fitting",
    "run/policy.json": "before the first run of the comparison",
    "run/checkpoint/checkpoint.json": "training",
    "run/config.json": "theta_0 and the first round",
}
"""File -> what was going on when it was the last of these that had been written."""


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """Kill `KILLS` runs at moments and `CHANGES` before changes to the disk.

    Args:
        overrides: of the run.
        share: share of the kills.

    Returns:
        `seconds` and `changes` of a whole run, `files` that are compared, and `kills`: for each the `moment` in seconds
        or the number of the `change` before which it came, the `phase`, the exit `status` of the command that went on,
        the files that are not the `same`, and how many `readings` of test are logged.
    """
    # Forked from here, so that moments fall on what is done and not on imports.
    import ralseg.evaluation.commands.learning  # noqa: F401

    rng, found = generator(0, "kill"), []
    with TemporaryDirectory() as folder:
        place = Path(folder)
        begun = time.perf_counter()
        status, changes = _run(place, overrides)
        if status:
            raise RalsegError(f"the run that is not killed ends with status {status}")
        seconds, whole = time.perf_counter() - begun, _files(place / "run")
        kills: list[dict[str, Any]] = [
            *({"moment": float(rng.uniform(0, seconds))} for _ in range(max(1, round(KILLS * share)))),
            *({"change": int(rng.integers(changes))} for _ in range(max(1, round(CHANGES * share)))),
        ]
        for kill in kills:
            shutil.rmtree(place)
            place.mkdir()
            killed, _ = _run(place, overrides, **kill)
            at = next((phase for file, phase in PHASES.items() if (place / file).exists()), "preparing")
            status, _ = _run(place, overrides)
            left = _files(place / "run")
            other = sorted(name for name in whole.keys() | left.keys() if whole.get(name) != left.get(name))
            found.append(
                kill
                | {
                    "phase": "it had ended" if killed == 0 else at,
                    "status": status,
                    "not_same": other,
                    "readings": _readings(place / "run/comparison/test_readings.csv"),
                }
            )
            print(f"{len(found)}: {found[-1]}", file=sys.stderr)
    run = {"run": [*RUN, *overrides], "seconds": seconds, "changes": changes, "files": len(whole)}
    return run | {"kills": found}


def rows(found: dict[str, Any]) -> list[list[Any]]:
    """One line for each phase: kills in it, and how many of them ended with the same bytes."""
    kills = Counter(kill["phase"] for kill in found["kills"])
    same = Counter(kill["phase"] for kill in found["kills"] if not kill["not_same"] and kill["status"] == 0)
    table = [["killed while", "kills", "same bytes"]]
    table += [[phase, count, same[phase]] for phase, count in kills.items()]
    return [*table, ["all", kills.total(), same.total()]]


def _run(
    place: Path, overrides: Sequence[str], moment: float | None = None, change: int | None = None
) -> tuple[int | None, int]:
    """Run the command in a process of its own, killed after some seconds or before a change; its status and changes."""
    context = multiprocessing.get_context("fork")
    changes = context.Value("i", 0)
    process = context.Process(target=_command, args=(place, [*RUN, *overrides], changes, change))
    process.start()
    process.join(moment)
    process.kill()
    process.join()
    return process.exitcode, changes.value


def _command(place: Path, overrides: list[str], changes: Any, last: int | None) -> None:
    def count(event: str, arguments: tuple) -> None:
        opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_CREAT | os.O_TRUNC)
        if (opened or event in CHANGING) and not str(arguments[0]).startswith("/dev/"):
            if changes.value == last:
                os.kill(os.getpid(), signal.SIGKILL)
            changes.value += 1

    sys.addaudithook(count)
    os.chdir(place)
    os.environ["RALSEG_CACHE"] = str(place / "cache")
    play.time = SimpleNamespace(perf_counter=lambda: 0.0)  # pyright: ignore[reportAttributeAccessIssue]
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    sys.exit(main(overrides))


def _files(folder: Path) -> dict[str, str]:
    """Path -> SHA-256 of each file that is compared."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and "tensorboard" not in path.parts and path.name != "test_readings.csv"
    }


def _readings(path: Path) -> int:
    """How many readings are logged; every line must be whole."""
    with path.open(newline="") as file:
        return sum(len(row) == 5 and None not in row.values() for row in csv.DictReader(file))
