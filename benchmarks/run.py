"""Measures the cost of the game: `run.py TABLE [--share S] [--out FILE] [overrides of train_agent.yaml ...]`.

Prints a readable table and, as the last line, one JSON object. docs/speed.md says what each table holds.
"""

import argparse
import importlib
import json
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from ralseg.benchmarks.measure import machine, one_thread
from ralseg.evaluation.readings import code_version
from ralseg.foundation import RalsegError, write_json

TABLES = (
    "same_work",
    "learners",
    "games",
    "growth",
    "memory",
    "cityscapes",
    "acquisitions",
    "precision",
    "reward_subset",
    "batches",
    "from_nothing",
    "selection",
    "two_stage",
    "as_released",
    "theta0",
    "references",
    "reward",
    "kill",
    "clicks",
    "forecast",
    "loop",
    "recommend",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure one table; returns the exit status, which is 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("overrides", nargs="*", help="of train_agent.yaml, e.g. dataset=camvid dataset.root=<folder>")
    parser.add_argument(
        "--share", type=float, default=1.0, help="share of the work, above 0 and at most 1; results need 1"
    )
    parser.add_argument("--out", help="file to write the JSON object to")
    arguments = parser.parse_intermixed_args(argv)
    one_thread()
    table = importlib.import_module(f"ralseg.benchmarks.{arguments.table}")
    try:
        if not 0 < arguments.share <= 1:
            raise RalsegError(f"--share={arguments.share} is out of range; it is above 0 and at most 1")
        found = facts(arguments) | table.measure(arguments.overrides, arguments.share)
        print("\n".join(markdown(table.rows(found))))
        if arguments.out:
            write_json(arguments.out, found)
    except RalsegError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found, allow_nan=False))
    return 0


def facts(arguments: argparse.Namespace) -> dict[str, Any]:
    """The command, date, commit and machine, without which a raw result is worth nothing."""
    # Where a user keeps a data set must not end up in published results.
    shown = ["dataset.root=<folder>" if o.startswith("dataset.root=") else shlex.quote(o) for o in arguments.overrides]
    share = [] if arguments.share == 1 else [f"--share {arguments.share:g}"]
    return {
        "table": arguments.table,
        "command": " ".join(["uv run benchmarks/run.py", arguments.table, *share, *shown]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": code_version(),
        **machine(),
    }


def markdown(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Lines of Markdown tables with numbers to four digits, aligned to the right; an empty row ends a table."""
    lines = []
    for empty, group in groupby(rows, key=lambda row: not row):
        if empty:
            lines.append("")
            continue
        texts = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in group]
        widths = [max(3, *map(len, column)) for column in zip(*texts, strict=True)]
        padded = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in texts]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        lines += [f"| {' | '.join(row)} |" for row in (padded[0], rule, *padded[1:])]
    return lines


if __name__ == "__main__":
    sys.exit(main())
