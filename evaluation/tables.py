"""The summary as tables: for the terminal and as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ralseg.evaluation.summary import BASELINES, TWO_SET_MEAN

NAMES = {TWO_SET_MEAN: "mean"}
FOOT = (
    "mIoU in percent. A difference is paired by draw, with its 95 % interval in brackets"
    " (a single run has none); it is taken on {split}."
)
BILL = ("entropy", "clicks", "its labels")
REFERENCE = "* sees true labels: a reference, neither a contender nor a bound."
LABELS = "its labels: units of D_T and D_R whose labels the policy was trained with."
ONE_SEED = "A policy with one training seed: its intervals know of the draws alone, not of how much training varies."


def table_rows(entries: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of one game and budget.

    Args:
        entries: of the summary, all of one game and budget.
    """
    splits = list(dict.fromkeys(entry["split"] for entry in entries))
    bases = [base for base in BASELINES if any(base in entry["difference"] for entry in entries)]
    shares = any(entry["share_of_supervised"] is not None for entry in entries)
    header = ["policy", *(NAMES.get(split, split) for split in splits), *(f"less {base}" for base in bases)]
    header += ["of supervised"] * shares + [*BILL, "runs"]
    rows = []
    for name in dict.fromkeys(entry["policy"] for entry in entries):
        own = {entry["split"]: entry for entry in entries if entry["policy"] == name}
        last = own[splits[-1]]
        row = [name + "*" * last["reference"], *(f"{own[split]['miou']:.2f}" for split in splits)]
        row += [_difference(last["difference"].get(base)) for base in bases]
        row += [f"{100 * last['share_of_supervised']:.1f} %"] if shares else []
        runs = f"{last['training_seeds']} x {last['draws']}" if last["training_seeds"] > 1 else str(last["draws"])
        row += [f"{last['class_entropy']:.2f}", f"{last['clicks']:.0f}", f"{last['label_cost_of_policy']:.0f}", runs]
        rows.append(row)
    return header, rows


def tables(summary: Mapping[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """(title, header, rows) for each game and budget."""
    made = []
    for game, budget in dict.fromkeys((entry["game"], entry["budget"]) for entry in summary["entries"]):
        here = [entry for entry in summary["entries"] if (entry["game"], entry["budget"]) == (game, budget)]
        full = summary["supervised"].get(game)
        title = f"{game}, budget {budget}" + (f"; fully supervised {_full(full)}" if full else "")
        made.append((title, *table_rows(here)))
    return made


def footnotes(summary: Mapping[str, Any], billed: bool = True) -> list[str]:
    """What a reader of the tables must know; `billed` if they show what was paid."""
    entries = summary["entries"]
    splits = [NAMES.get(entry["split"], entry["split"]) for entry in entries]
    lines = [FOOT.format(split=f"the {splits[-1]} of dev and test" if splits[-1] == "mean" else splits[-1])]
    lines += [REFERENCE] * any(entry["reference"] for entry in entries)
    learned = [entry for entry in entries if entry["label_cost_of_policy"]]
    lines += [LABELS] * (billed and bool(learned)) + [ONE_SEED] * any(entry["training_seeds"] == 1 for entry in learned)
    return [*lines, *(f"Note: {note}." for note in summary["notes"])]


def terminal(summary: Mapping[str, Any]) -> Group:
    """The tables of the largest budget for a terminal, without what was paid."""
    shown: list[Any] = []
    largest = max(entry["budget"] for entry in summary["entries"])
    last = [entry for entry in summary["entries"] if entry["budget"] == largest]
    for title, header, rows in tables({**summary, "entries": last}):
        kept = [column for column, name in enumerate(header) if name not in BILL]
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for column in kept:
            table.add_column(header[column], justify="left" if column == 0 else "right", no_wrap=True)
        for row in rows:
            table.add_row(*(Text(row[column]) for column in kept))
        shown.append(table)
    return Group(*shown, *(Text(line) for line in footnotes(summary, billed=False)))


def markdown(summary: Mapping[str, Any]) -> str:
    """The tables as Markdown."""
    parts = []
    for title, header, rows in tables(summary):
        lines = [f"**{title}**", "", _line(header), _line(["---", *["---:"] * (len(header) - 1)])]
        parts.append("\n".join([*lines, *(_line(row) for row in rows)]))
    return "\n\n".join([*parts, "  \n".join(line.replace("*", "\\*") for line in footnotes(summary))]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("*", "\\*") for cell in cells) + " |"


def _difference(interval: Mapping[str, Any] | None) -> str:
    if interval is None:
        return ""
    ends = "" if interval["low"] is None else f" [{interval['low']:+.2f}, {interval['high']:+.2f}]"
    return f"{interval['mean']:+.2f}{ends}"


def _full(splits: Mapping[str, float]) -> str:
    return ", ".join(f"{NAMES.get(split, split)} {miou:.2f}" for split, miou in splits.items())
