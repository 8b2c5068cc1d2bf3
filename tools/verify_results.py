"""Whether the documents say what the results say: `uv run tools/verify_results.py [--write] [FOLDER]`."""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path

from ralseg.evaluation.text import markdown, piped
from ralseg.foundation import RalsegError, atomic_write
from ralseg.tools.documents import Document, Passage, Problem, read_document
from ralseg.tools.evidence import Evidence, Selection
from ralseg.tools.ledger import row_problems

STRICT = ("README.md", "docs/results.md", "docs/small_network.md")
"""Documents in which every decimal number has a source, as in the cards."""


@dataclass
class Report:
    """What was checked and what came of it.

    Attributes:
        counts: of what was recomputed.
        differences: what stands and what was recomputed; `write` mends them.
        problems: what only an author can mend.
        written: file -> its text as it should be, for files that differ.
    """

    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("numbers", "tables", "cells", "comparisons"), 0)
    )
    differences: list[Problem] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    written: dict[Path, str] = field(default_factory=dict)


Edit = tuple[int, int, str]
"""(start, end, what should stand there) in a document's text."""


def verify(root: Path) -> Report:
    """Check every row and summary in results/, and every sourced number in README.md, docs/, results/README.md and the
    cards in policies/.

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
        comparison = evidence.comparison(folder.name)
    except RalsegError as error:
        report.problems.append(Problem(name, 1, str(error)))
        return
    rows = name.with_name("results.csv")
    report.problems += [Problem(rows, 1, message) for message in row_problems(comparison.results)]
    text = markdown(comparison.summary)
    report.counts["comparisons"] += 1
    if not path.exists() or path.read_text() != text:
        report.differences.append(Problem(name, 1, "is not what the rows give today"))
        report.written[path] = text


def _check_document(report: Report, evidence: Evidence, document: Document, path: Path, strict: bool) -> None:
    report.problems += document.problems
    edits = []
    for check, passages in ((_check_number, document.numbers), (_check_table, document.tables)):
        for passage in passages:
            try:
                edits += check(report, evidence, document, passage)
            except RalsegError as error:
                report.problems.append(document.problem(passage.start, str(error)))
    if strict:
        mend = "put it into a block, or name its source behind it, <!-- folder: policy, split -->"
        report.problems += [
            Problem(document.path, line, f"{number} has no source; {mend}") for line, number in document.uncovered
        ]
    if edits:
        text = document.text
        for start, end, new in sorted(edits, reverse=True):
            text = text[:start] + new + text[end:]
        report.written[path] = text


def _check_number(report: Report, evidence: Evidence, document: Document, number: Passage) -> list[Edit]:
    """Compare a number with its figure, in the form in which it is written; returns what has to change."""
    report.counts["numbers"] += 1
    cell = evidence.figure(Selection.parse(number.source))
    if cell.mean is None:
        raise RalsegError(f"{number.source}: the results do not hold this figure")
    if not " ".join(document.text[: number.start].split()[-2:]).endswith(cell.bound):
        raise RalsegError(f"{number.source}: this figure is a bound; write {cell.bound!r} before it")
    stands = " ".join(document.text[number.start : number.end].split())
    sign, decimals = re.match(r"([+-]?)\d+\.?(\d*)", stands).groups()  # pyright: ignore[reportOptionalMemberAccess]
    shown = replace(cell, form=f"{'+' * bool(sign)}.{len(decimals)}f", percent=cell.percent and "%" in stands, bound="")
    recomputed = str(shown if "[" in stands else replace(shown, low=None))
    if recomputed == re.sub(r"\s?%", " %", stands):
        return []
    message = f"{stands} stands, {recomputed} recomputed ({number.source})"
    report.differences.append(document.problem(number.start, message))
    return [(number.start, number.end, recomputed)]


def _check_table(report: Report, evidence: Evidence, document: Document, table: Passage) -> list[Edit]:
    """Compare a table with its figures, cell by cell; returns what has to change."""
    lines = evidence.table(table.source)
    report.counts["tables"] += 1
    report.counts["cells"] += sum(len(line) - 1 for line in lines[1:])
    rows = document.text[table.start : table.end].strip("\n").split("\n")
    stands = [[cell.strip() for cell in row.strip().removeprefix("|").removesuffix("|").split("|")] for row in rows]
    # Behind the header is the rule.
    del stands[1:2]
    found = [*_row_differences(stands, lines)]
    first = document.line_of(table.start) + 1
    report.differences += [Problem(document.path, first + row + (row > 0), message) for row, message in found]
    return [(table.start, table.end, f"\n{piped(lines)}\n")] if found else []


def _row_differences(stands: list[list[str]], lines: list[list[str]]) -> Iterator[tuple[int, str]]:
    """(row, what differs) of a table."""
    for number, (row, line) in enumerate(zip_longest(stands, lines, fillvalue=[])):
        if row[:1] != line[:1] or len(row) != len(line) or (number == 0 and row != line):
            yield number, f"{' | '.join(row) or 'no row'} stands, {' | '.join(line) or 'no row'} recomputed"
            continue
        for column, old, new in zip(lines[0], row, line, strict=True):
            if old != new:
                yield number, f"{line[0]}, {column}: {old or 'nothing'} stands, {new or 'nothing'} recomputed"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 0 if all documents hold, 1 if not, 2 if there is nothing to check."""
    parser = argparse.ArgumentParser("verify_results.py", description="Recompute every number in the documents.")
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
    checked = ", ".join(f"{count} {what}" for what, count in report.counts.items())
    print(f"checked {checked}: {len(report.differences)} differ, {len(report.problems)} to mend by hand")
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
