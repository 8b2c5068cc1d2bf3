"""All that documents can cite: results/, benchmarks/results/, and tables made of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ralseg.evaluation.figures import Comparison, Figure
from ralseg.evaluation.markers import Selection
from ralseg.evaluation.play import SUPERVISED
from ralseg.foundation import RalsegError, read_json

_SETTING = re.compile(r"(?:^|[;\n])\s*(rows|columns|order|head)\s*:", re.M)


class Evidence:
    """All results and benchmark files below a folder; each is read when it is first asked for.

    Args:
        root: holds results/ and benchmarks/results/.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._comparisons: dict[str, Comparison | RalsegError] = {}
        self._benchmarks: dict[str, Any] = {}

    def comparison(self, name: str) -> Comparison:
        """A comparison by the name of its folder in results/.

        Raises:
            RalsegError: if it cannot be read.
        """
        if name not in self._comparisons:
            try:
                self._comparisons[name] = Comparison(name, self.root / "results" / name)
            except RalsegError as error:
                # Said in full once: a document cites a folder many times.
                there = (self.root / "results" / name).is_dir()
                self._comparisons[name] = RalsegError(f"results/{name} cannot be read") if there else error
                raise
        if isinstance(found := self._comparisons[name], RalsegError):
            raise found
        return found

    def terms(self, selections: Sequence[Selection]) -> tuple[Comparison, dict[str, Any]]:
        """The comparison and the terms that selections give together; later ones have precedence.

        Raises:
            RalsegError: if no folder is named, or a term is unknown.
        """
        folder = next((s.folder for s in reversed(selections) if s.folder), None)
        if folder is None:
            raise RalsegError("no folder of results/ is named; write its name and a colon first")
        comparison = self.comparison(folder)
        return comparison, dict(comparison.classify(term) for selection in selections for term in selection.terms)

    def figure(self, *selections: Selection) -> Figure | None:
        """The figure that selections give together; None where the policy has not played that.

        Raises:
            RalsegError: if there is no such figure.
        """
        comparison, terms = self.terms(selections)
        return comparison.figure(terms)

    def benchmark(self, name: str, key: str) -> Figure:
        """A number in benchmarks/results/<name>.json.

        Args:
            name: of the file.
            key: keys, or positions in a list, joined by `/`.

        Raises:
            RalsegError: if there is no such file or number.
        """
        path = self.root / "benchmarks" / "results" / f"{name}.json"
        if name not in self._benchmarks:
            if not path.exists():
                raise RalsegError(f"there is no benchmarks/results/{name}.json")
            self._benchmarks[name] = read_json(path)
        value = self._benchmarks[name]
        for part in key.split("/"):
            inner = dict(enumerate(value)) if isinstance(value, list) else value
            part = int(part) if isinstance(value, list) and part.isdigit() else part
            if not isinstance(inner, dict) or part not in inner:
                has = f"; it has {', '.join(map(str, inner))}" if isinstance(inner, dict) else ""
                raise RalsegError(f"benchmarks/results/{name}.json: no {part!r} in {key}{has}")
            value = inner[part]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RalsegError(f"benchmarks/results/{name}.json: {key} is no number")
        return Figure(value, share=True)


@dataclass(frozen=True)
class TableSettings:
    """How a table is made: each cell is the figure that base, row and column select together.

    Attributes:
        base: what holds for all cells.
        rows: (label, selection); none: the policies of the base's folder.
        columns: likewise.
        order: rows descend by what it selects; None: as they are given.
        head: of the first column.
    """

    base: Selection
    rows: list[tuple[str, Selection]]
    columns: list[tuple[str, Selection]]
    order: Selection | None = None
    head: str = "policy"

    @classmethod
    def parse(cls, text: str) -> "TableSettings":
        """From what stands behind `results:`.

        Raises:
            RalsegError: if no columns are given.
        """
        base, *parts = _SETTING.split(text)
        given = {key: " ".join(value.split()) for key, value in zip(parts[::2], parts[1::2], strict=True)}
        if not given.get("columns"):
            raise RalsegError("a table needs columns; write `columns: dev | test | mean` behind the folder")
        return cls(
            Selection.parse(base, bare_folder=True),
            _labelled(given.get("rows", "")),
            _labelled(given["columns"]),
            Selection.parse(given["order"]) if "order" in given else None,
            given.get("head", "policy"),
        )


def table_lines(evidence: Evidence, settings: TableSettings) -> list[list[str]]:
    """Header and rows of a table, as cells.

    Raises:
        RalsegError: if something in it cannot be found.
    """
    rows = settings.rows or _all_rows(evidence, settings)
    if settings.order is not None:
        figures = {label: evidence.figure(settings.base, row, settings.order) for label, row in rows}
        rows = sorted(rows, key=lambda row: -(figures[row[0]].value if figures[row[0]] else float("-inf")))
    lines = [[settings.head, *(label or _column_label(column) for label, column in settings.columns)]]
    for label, row in rows:
        figures = [evidence.figure(settings.base, row, column) for _, column in settings.columns]
        lines.append([label or ", ".join(row.terms), *(figure.cell() if figure else "" for figure in figures)])
    return lines


def _all_rows(evidence: Evidence, settings: TableSettings) -> list[tuple[str, Selection]]:
    if settings.base.folder is None:
        raise RalsegError("a table of several folders needs rows; write `rows: random | margin`")
    comparison, terms = evidence.terms([settings.base])
    names = [name for name in comparison.policies(terms) if name != SUPERVISED]
    marks = {name: "*" * comparison.sees_truth(name) for name in names}
    return [(f"{marks[name]}`{name}`{marks[name]}", Selection(None, (name,))) for name in names]


def _labelled(text: str) -> list[tuple[str, Selection]]:
    found = []
    for part in filter(None, (part.strip() for part in text.split("|"))):
        label, _, selection = part.rpartition(" = ")
        found.append((label.strip(), Selection.parse(selection)))
    return found


def _column_label(column: Selection) -> str:
    words = (f"less {term[2:]}" if term.startswith("- ") else term.removeprefix("iou ") for term in column.terms)
    return ", ".join(words).replace("_", " ")
