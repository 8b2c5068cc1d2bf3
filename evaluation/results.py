"""The results store: results.csv and the files beside it, from which every figure is made."""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ralseg.foundation import RalsegError, atomic_write, read_json

Row = dict[str, Any]

_KINDS: dict[str, type] = {
    "run_id": str, "policy": str, "training_seed": int, "seed": int, "game": str, "loss": str, "split": str,
    "budget_units": float, "units": int, "pixels": int, "share": float, "images": int, "clicks": int,
    "label_cost_of_policy": int, "miou": float,
}  # fmt: skip
_LAST: dict[str, type] = {"class_entropy": float, "seconds_choosing": float, "commit": str}
TWO_SET_MEAN = "two_set_mean"
"""The split that is the mean of dev and test."""
ALL, SUPERVISED = "all", "supervised"
"""Budget and policy of the fully supervised row."""


def columns(classes: Sequence[str]) -> dict[str, type]:
    """Column -> kind of value, in the order of results.csv."""
    return _KINDS | {f"iou_{name}": float for name in classes} | _LAST


class ResultsStore:
    """The rows of results.csv; every change rewrites the file atomically, so a kill leaves no half row.

    Args:
        folder: holds results.csv; made with the first row.
        classes: class names of the data set.

    Attributes:
        rows: (run_id, budget_units, split) -> row, with the types that `columns` names. A training seed may be None (a
            policy that was not trained), an IoU NaN (a class that is neither there nor predicted), and the budget of
            the fully supervised row is `ALL`.

    Raises:
        RalsegError: if the file is damaged or of other classes, or a mIoU is not the mean of its row's IoUs.
    """

    def __init__(self, folder: str | Path, classes: Sequence[str]) -> None:
        self.path = Path(folder) / "results.csv"
        self._columns = columns(classes)
        self.rows: dict[tuple, Row] = {}
        if self.path.exists():
            self._read()

    def put(self, rows: Iterable[Row]) -> None:
        """Add rows, or replace those of the same run, budget and split, and write the file."""
        for row in rows:
            self.rows[row["run_id"], row["budget_units"], row["split"]] = row
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self._columns), lineterminator="\n")
        writer.writeheader()
        for key in sorted(self.rows, key=str):
            writer.writerow({name: _written(value) for name, value in self.rows[key].items()})
        with atomic_write(self.path, "w") as file:
            file.write(text.getvalue())

    def _read(self) -> None:
        try:
            text = self.path.read_text()
            lines = list(csv.reader(text.splitlines(), strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            raise RalsegError(f"{self.path}: not a table of results ({error}); restore it") from error
        if not lines or lines[0] != list(self._columns):
            raise RalsegError(f"{self.path}: these are no results on this data set; choose another folder")
        if not text.endswith("\n"):
            raise RalsegError(f"{self.path} line {len(lines)}: cut off; restore the file or delete the line")
        mend = "restore the file or delete the line, its run is then played again"
        for number, line in enumerate(lines[1:], 2):
            if len(line) != len(self._columns):
                values = f"{len(line)} values where {len(self._columns)} belong"
                raise RalsegError(f"{self.path} line {number}: {values}; {mend}")
            row = {}
            for (name, kind), text in zip(self._columns.items(), line, strict=True):
                try:
                    row[name] = _parsed(name, kind, text)
                except ValueError as error:
                    raise RalsegError(f"{self.path} line {number}: {name} is {text!r}; {mend}") from error
            self._check_miou(row, f"{self.path} line {number}", mend)
            self.rows[row["run_id"], row["budget_units"], row["split"]] = row

    def _check_miou(self, row: Row, where: str, mend: str) -> None:
        ious = [value for name, value in row.items() if name.startswith("iou_") and not math.isnan(value)]
        mean = 100 * sum(ious) / max(len(ious), 1)
        # A mIoU is written with four decimals, in percent, and each IoU with six.
        if ious and abs(row["miou"] - mean) > 2e-4:
            raise RalsegError(f"{where}: miou is {row['miou']}, but the mean of its iou columns is {mean:.4f}; {mend}")


@dataclass(frozen=True)
class Results:
    """The results of a comparison as they lie on disk.

    Attributes:
        folder: of the comparison.
        comparison: comparison.json: `config`, `classes`, `policies` (names in their order), `splits`, `budgets`,
            `run_ids`, `pool` (`units`, `class_pixels`), `gallery` (images of the report's gallery), `command`, `notes`.
        rows: the rows of results.csv that belong to it.
    """

    folder: Path
    comparison: Mapping[str, Any]
    rows: list[Row]
    _bought: dict[str, dict[str, Any] | None] = field(default_factory=dict, repr=False, compare=False)

    def bought(self, run_id: str) -> dict[str, Any] | None:
        """What one run bought; its file is read when it is first asked for.

        Returns:
            `policy`, `training_seed`, `seed`, `units` in the order of buying (image name, y, x, height, width), and at
            each budget `counts` (units bought), `clicks`, `class_pixels` (their true pixels per class) and, of a
            learner that tells them, `learner` (figures of its last training by name); runs of earlier versions lack
            `clicks`. None where the file is not there: results are shared without `bought/`.

        Raises:
            RalsegError: if the file is damaged.
        """
        if run_id not in self._bought:
            path = bought_path(self.folder, run_id)
            self._bought[run_id] = read_json(path) if path.exists() else None
        return self._bought[run_id]

    def bought_runs(self) -> dict[str, list[dict[str, Any]]]:
        """Policy -> what its games bought, draw by draw; without the runs whose `bought/` is not here."""
        runs = {row["run_id"]: row for row in self.rows if not row["game"].endswith("+fit")}
        order = self.comparison["policies"]
        found: dict[str, list] = {}
        for run_id, row in sorted(runs.items(), key=lambda item: (order.index(item[1]["policy"]), item[1]["seed"])):
            if (bought := self.bought(run_id)) is not None:
                found.setdefault(row["policy"], []).append(bought)
        return found


def load_results(folder: str | Path) -> Results:
    """Read a comparison.

    Raises:
        RalsegError: if a file is missing or damaged.
    """
    folder = Path(folder)
    comparison = read_json(folder / "comparison.json")
    store = ResultsStore(folder, comparison["classes"])
    wanted = set(comparison["run_ids"])
    return Results(folder, comparison, [row for row in store.rows.values() if row["run_id"] in wanted])


def write_bought(folder: str | Path, run_id: str, bought: Mapping[str, Any]) -> None:
    """Write what `Results.bought` reads."""
    # On one line: indented, each number of a unit would take a line of its own.
    with atomic_write(bought_path(folder, run_id), "w") as file:
        json.dump(bought, file, allow_nan=False)


def file_name(policy: str) -> str:
    """A policy's name as a part of file names."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", policy).strip("_")[:100]


def bought_path(folder: str | Path, run_id: str) -> Path:
    """The file that says what a run bought."""
    return Path(folder) / "bought" / f"{run_id}.json"


def class_entropy(counts: np.ndarray) -> float:
    """Entropy of a class distribution in nats, 0 (one class, or nothing) to ln C.

    Args:
        counts: (C,) pixels per class.
    """
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(shares * np.log(shares)).sum()) + 0.0


def _written(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


def _parsed(name: str, kind: type, text: str) -> Any:
    if kind is str:
        if not text:
            raise ValueError("empty")
        return text
    if name == "budget_units" and text == ALL:
        return ALL
    if not text and name == "training_seed":
        return None
    if not text and name.startswith("iou_"):
        return math.nan
    value = kind(text)
    if not math.isfinite(value):
        raise ValueError("not finite")
    return int(value) if kind is float and name == "budget_units" and value == int(value) else value
