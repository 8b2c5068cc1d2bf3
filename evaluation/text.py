"""The summary in plain text: tables for a terminal, and the same tables in full as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box, table
from rich.console import Group
from rich.text import Text

from ralseg.evaluation.alike import remarks
from ralseg.evaluation.cells import MARKDOWN, TERMINAL, Table
from ralseg.evaluation.results import TWO_SET_MEAN
from ralseg.evaluation.tables import GLOSSARY, of_summary, one_seed


def terminal(summary: Mapping[str, Any]) -> Group:
    """The tables of the largest budget and over all budgets, for a terminal.

    What was paid is left out, and so are differences to others than chance and the best heuristic.
    """
    shown: list[Any] = []
    largest = max(entry["budget"] for entry in summary["entries"])
    for made in (made.on(TERMINAL) for made in of_summary(summary, largest)):
        drawn = table.Table(title=made.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        header, *rows = cells(made)
        for column, name in enumerate(header):
            # A difference with its interval takes 20 characters.
            name = name if len(name) <= 20 else name.replace("less ", "less\n")
            drawn.add_column(name, justify="left" if column == 0 else "right", no_wrap=True)
        for row in rows:
            drawn.add_row(*map(Text, row))
        shown.append(drawn)
    return Group(*shown, *(Text(line) for line in footnotes(summary, billed=False)))


def markdown(summary: Mapping[str, Any]) -> str:
    """The tables as Markdown."""
    parts = []
    for made in (made.on(MARKDOWN) for made in of_summary(summary)):
        lines = [[cell.replace("*", "\\*") for cell in line] for line in cells(made)]
        parts.append(f"**{made.title}**\n\n{piped(lines)}")
    return "\n\n".join([*parts, "  \n".join(line.replace("*", "\\*") for line in footnotes(summary))]) + "\n"


def cells(made: Table) -> list[list[str]]:
    """The header and the rows of a table as text; policies that see true labels have a star."""
    lines = [[made.corner.head, *(column.head for column in made.columns)]]
    for row in made.rows:
        shown = zip(row.cells, made.columns, strict=True)
        figures = [cell.figure if column.level else str(cell) for cell, column in shown]
        lines.append([row.policy + "*" * row.reference, *figures])
    if made.foot is not None:
        lines.append([made.foot[0], *map(str, made.foot[1])])
    return lines


def piped(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells, the header first, as a Markdown table."""
    rule = ["---", *["---:"] * (len(lines[0]) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]])


def footnotes(summary: Mapping[str, Any], billed: bool = True) -> list[str]:
    """What a reader of the tables must know; `billed` if they show what was paid."""
    entries = summary["entries"]
    split = "the mean of dev and test" if entries[-1]["split"] == TWO_SET_MEAN else entries[-1]["split"]
    lines = [
        *remarks(summary),
        "mIoU in percent. A difference is paired by draw, with its 95 % interval in brackets (a single run has none); "
        f"it is taken on {split}.",
    ]
    learned = any(entry["learned"] for entry in entries)
    named = {
        "rank": any(entry["rank"] is not None for entry in entries),
        "its labels": billed and learned,
        "runs": learned,
        "area": summary["areas"],
        "saved": summary["labels_saved"],
        "AUC": billed and any("auc" in area for area in summary["areas"]),
        "beaten by": summary["areas"] and summary["penalty"],
        **dict.fromkeys(("spread", "coverage"), "collapse" in summary),
        "groups": summary.get("collapse", {}).get("groups") is not None,
    }
    lines += ["* sees true labels: a reference, neither a contender nor a bound."] * any(
        e["reference"] for e in entries
    )
    lines += [f"{name}: {GLOSSARY[name]}." for name, shown in named.items() if shown]
    if names := one_seed(entries):
        lines.append(f"One training seed alone: {', '.join(names)}.")
    return [*lines, *(f"Note: {note}." for note in summary["notes"])]
