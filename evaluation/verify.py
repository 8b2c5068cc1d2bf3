"""Whether the documents say what the results say: `ralseg-verify-results [--write] [FOLDER]`; see docs/doors.md."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ralseg.evaluation.evidence import Evidence, TableSettings, table_lines
from ralseg.evaluation.figures import Figure
from ralseg.evaluation.markers import Document, Number, Problem, Selection, Table, read_document
from ralseg.evaluation.tables import markdown
from ralseg.foundation import RalsegError, atomic_write

STRICT = ("README.md", "docs/results.md")
"""Documents in which every decimal number has a marker, as in the cards."""


@dataclass
class Report:
    """What was checked and what came of it.

    Attributes:
        documents: with markers, or strict.
        numbers: in prose that were recomputed.
        cells: of generated tables that were recomputed.
        tables: how many.
        folders: of results whose summaries were recomputed.
        differences: what stands and what was recomputed; `write` mends them.
        problems: what only an author can mend.
        written: file -> its text as it should be, for files that differ.
    """

    documents: int = 0
    numbers: int = 0
    cells: int = 0
    tables: int = 0
    folders: int = 0
    differences: list[Problem] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    written: dict[Path, str] = field(default_factory=dict)


Edit = tuple[int, int, str]
"""(start, end, what stands there then) in a document's text."""


def verify(root: Path) -> Report:
    """Recompute every summary in results/ and every marked number in README.md, docs/, results/README.md and the cards
    in policies/.

    Args:
        root: of a checkout.

    Raises:
        RalsegError: if it holds no results.
    """
    if not (root / "results").is_dir():
        raise RalsegError(f"{root}: holds no folder results; run this in a checkout, or name one")
    report, evidence = Report(), Evidence(root)
    for folder in sorted(path for path in (root / "results").iterdir() if path.is_dir()):
        _check_folder(report, evidence, folder)
    cards = sorted((root / "policies").glob("*/README.md"))
    for path in [root / "README.md", *sorted((root / "docs").rglob("*.md")), root / "results/README.md", *cards]:
        if path.exists():
            name = path.relative_to(root)
            document = read_document(name, path.read_text())
            _check_document(report, evidence, document, path, str(name) in STRICT or path in cards)
    return report


def write(report: Report) -> list[Path]:
    """Mend the differences of a report; returns the files that were written.

    Raises:
        RalsegError: if it has problems that must be mended first.
    """
    if report.problems:
        raise RalsegError("nothing was written; mend what is named above first")
    for path, text in report.written.items():
        with atomic_write(path, "w") as file:
            file.write(text)
    return sorted(report.written)


def _check_folder(report: Report, evidence: Evidence, folder: Path) -> None:
    path = folder / "summary.md"
    name = path.relative_to(evidence.root)
    try:
        text = markdown(evidence.comparison(folder.name).summary)
    except RalsegError as error:
        report.problems.append(Problem(name, 1, str(error)))
        return
    report.folders += 1
    if not path.exists() or path.read_text() != text:
        report.differences.append(Problem(name, 1, "is not what the rows give today"))
        report.written[path] = text


def _check_document(report: Report, evidence: Evidence, document: Document, path: Path, strict: bool) -> None:
    report.documents += bool(strict or document.numbers or document.tables or document.problems)
    report.problems += document.problems
    edits = []
    for number in document.numbers:
        try:
            edits += _check_number(report, document, number, _figure(evidence, number.source))
        except RalsegError as error:
            report.problems.append(Problem(document.path, number.line, str(error)))
    for table in document.tables:
        try:
            edits += _check_table(report, evidence, document, table)
        except RalsegError as error:
            report.problems.append(Problem(document.path, table.line, str(error)))
    if strict:
        mend = "name its source behind it, <!-- folder: policy, split --> or <!-- quoted: where -->"
        report.problems += [
            Problem(document.path, line, f"{number} has no marker; {mend}") for line, number in document.uncovered
        ]
    if edits:
        text = document.text
        for start, end, new in sorted(edits, reverse=True):
            text = text[:start] + new + text[end:]
        report.written[path] = text


def _figure(evidence: Evidence, source: str) -> Figure:
    folder, _, terms = source.partition(": ")
    if folder.startswith("benchmarks/"):
        return evidence.benchmark(folder.removeprefix("benchmarks/"), terms)
    figure = evidence.figure(Selection.parse(source))
    if figure is None or figure.value is None:
        raise RalsegError(f"{source}: the results do not hold this figure")
    return figure


def _check_number(report: Report, document: Document, number: Number, figure: Figure) -> list[Edit]:
    """Compare a number with its figure, in the form in which it is written; returns what has to change."""
    report.numbers += 1
    written = number.written
    start, stands = number.span("mean")[0], written[0].rstrip("*_")
    if figure.bound and not " ".join(document.text[:start].split()[-2:]).endswith(figure.bound.strip()):
        raise RalsegError(f"{number.source}: this figure is a bound; write {figure.bound!r} before it")
    scale, sign = 100 if figure.share and written["percent"] else 1, "+" if written["mean"][0] in "+-" else ""
    edits, recomputed = [], stands
    for group, value in (("high", figure.high), ("low", figure.low), ("mean", figure.value)):
        if (old := written[group]) is None:
            continue
        if value is None:
            raise RalsegError(f"{number.source}: this figure has no interval; write the number alone")
        if group != "mean" and (written[f"{group}_bound"] or "") != (bound := getattr(figure, f"{group}_bound")):
            raise RalsegError(
                f"{number.source}: this end of the interval is {'a' if bound else 'no'} bound; mend its sign"
            )
        new = f"{scale * value:{sign}.{len(old.partition('.')[2])}f}"
        if new != old:
            first, last = number.span(group)
            edits.append((first, last, new))
            recomputed = recomputed[: first - start] + new + recomputed[last - start :]
    if edits:
        stands, recomputed = (" ".join(text.split()) for text in (stands, recomputed))
        message = f"{stands} stands, {recomputed} recomputed ({number.source})"
        report.differences.append(Problem(document.path, number.line, message))
    return edits


def _check_table(report: Report, evidence: Evidence, document: Document, table: Table) -> list[Edit]:
    """Compare a table with its figures, cell by cell; returns what has to change."""
    lines = table_lines(evidence, TableSettings.parse(table.settings))
    report.tables += 1
    report.cells += sum(len(line) - 1 for line in lines[1:])
    rows = document.text[table.start : table.end].strip("\n").split("\n")
    rows = [[cell.strip() for cell in row.strip().removeprefix("|").removesuffix("|").split("|")] for row in rows]
    # Behind the header is the rule.
    del rows[1:2]
    found = [*_cell_differences(rows, lines)]
    report.differences += [Problem(document.path, table.first + row + (row > 0), message) for row, message in found]
    if not found:
        return []
    if [len(row) for row in rows] == [len(line) for line in lines]:
        lines = [[_emphasised(*cells) for cells in zip(*pair, strict=True)] for pair in zip(rows, lines, strict=True)]
    rule = ["---", *["---:"] * (len(lines[0]) - 1)]
    text = "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]])
    return [(table.start, table.end, f"\n{text}\n")]


def _cell_differences(rows: list[list[str]], lines: list[list[str]]) -> Iterator[tuple[int, str]]:
    """(row, what differs) of a table; its emphasis is the author's."""
    rows, lines = ([[_plain(cell) for cell in line] for line in table] for table in (rows, lines))
    if rows[0] != lines[0] or [row[0] for row in rows] != [line[0] for line in lines]:
        yield 0, f"{_named(rows)} stands, {_named(lines)} recomputed"
        return
    for number, (row, line) in enumerate(zip(rows, lines, strict=True)):
        if len(row) != len(line):
            yield number, f"{line[0]}: {len(row)} cells stand, {len(line)} recomputed"
            continue
        for column, old, new in zip(lines[0], row, line, strict=True):
            if old != new:
                yield number, f"{line[0]}, {column}: {old or 'nothing'} stands, {new or 'nothing'} recomputed"


def _plain(cell: str) -> str:
    return cell.strip("*")


def _emphasised(old: str, new: str) -> str:
    """A new cell in the emphasis of the old one, where both hold something."""
    stars = old[: len(old) - len(old.lstrip("*"))] if _plain(old) else ""
    return f"{stars}{_plain(new)}{stars}" if stars and new else new


def _named(lines: list[list[str]]) -> str:
    names = ", ".join(line[0] for line in lines[1:])
    return f"a table of {names} under {' | '.join(lines[0])}" if names else "no table"


def main(argv: Sequence[str] | None = None) -> int:
    """The door; returns the exit status: 0 if all documents hold, 1 if not, 2 if there is nothing to check."""
    parser = argparse.ArgumentParser("ralseg-verify-results", description="Recompute every number in the documents.")
    parser.add_argument("folder", nargs="?", default=".", help="of a checkout (default: this one)")
    parser.add_argument("--write", action="store_true", help="mend the documents and summaries in place")
    arguments = parser.parse_args(argv)
    try:
        report = verify(Path(arguments.folder))
    except RalsegError as error:
        print(error, file=sys.stderr)
        return 2
    for problem in [*report.problems, *report.differences]:
        print(problem)
    print(
        f"checked {report.numbers} numbers and {report.tables} tables of {report.cells} cells in {report.documents} "
        f"documents, and the summaries of {report.folders} comparisons: "
        + (f"{len(report.differences)} differ" if report.differences else "none differs")
        + f", {len(report.problems)} to mend by hand" * bool(report.problems)
    )
    if not arguments.write:
        return int(bool(report.problems or report.differences))
    try:
        for path in write(report):
            print(f"wrote {path}")
    except RalsegError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
