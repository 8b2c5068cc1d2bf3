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
RANK = "rank: mean rank among the policies that see no true labels, 1 is best."
REFERENCE = "* sees true labels: a reference, neither a contender nor a bound."
LABELS = "its labels: units of D_T and D_R whose labels the policy was trained with."
AREA = "area: under the curve of mIoU over all budgets, divided by their range: a mean mIoU."
SAVED = (
    "saved: how much less a policy labels than the best heuristic (by area) for the mIoU that this one ends with;"
    " a bound where that lies outside the budgets."
)
BEATEN = "beaten by: mean share of the budgets at which another policy is significantly better (t test, Holm)."
ONE_SEED = "A policy with one training seed: its intervals know of the draws alone, not of how much training varies."


def table_rows(entries: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of one game and budget.

    Args:
        entries: of the summary, all of one game and budget.
    """
    splits = list(dict.fromkeys(entry["split"] for entry in entries))
    bases = _bases([entry for entry in entries if entry["split"] == splits[-1]])
    shares = any(entry["share_of_supervised"] is not None for entry in entries)
    header = ["policy", *(NAMES.get(split, split) for split in splits), "rank", *(f"less {base}" for base in bases)]
    header += ["of supervised"] * shares + [*BILL, "runs"]
    rows = []
    for name in dict.fromkeys(entry["policy"] for entry in entries):
        own = {entry["split"]: entry for entry in entries if entry["policy"] == name}
        last = own[splits[-1]]
        row = [name + "*" * last["reference"], *(f"{own[split]['miou']:.2f}" for split in splits)]
        row += ["" if last["rank"] is None else f"{last['rank']:.1f}"]
        row += [_difference(last["difference"].get(base)) for base in bases]
        row += [f"{100 * last['share_of_supervised']:.1f} %"] if shares else []
        row += [
            f"{last['class_entropy']:.2f}",
            f"{last['clicks']:.0f}",
            f"{last['label_cost_of_policy']:.0f}",
            _runs(last),
        ]
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


def curve_tables(summary: Mapping[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """(title, header, rows) of what is said over all budgets, for each game, on its last split (the two-set mean)."""
    made = []
    for game in dict.fromkeys(area["game"] for area in summary["areas"]):
        split = [area["split"] for area in summary["areas"] if area["game"] == game][-1]
        areas, saved, penalty = (
            [found for found in summary[key] if (found["game"], found["split"]) == (game, split)]
            for key in ("areas", "labels_saved", "penalty")
        )
        bases = _bases(areas)
        saved_by = {found["policy"]: _saved(found) for found in saved}
        beaten = {name: share for of in penalty for name, share in zip(of["policies"], of["beaten"], strict=True)}
        rows = [
            [
                area["policy"] + "*" * area["reference"],
                "" if area["area"] is None else f"{area['area']['mean']:.2f}",
                *(_difference(area["difference"].get(base)) for base in bases),
                *[saved_by.get(area["policy"], "")] * bool(saved_by),
                *["" if (share := beaten.get(area["policy"])) is None else f"{100 * share:.0f} %"] * bool(beaten),
                _runs(area),
            ]
            for area in areas
        ]
        header = ["policy", "area", *(f"less {base}" for base in bases), *["saved"] * bool(saved_by)]
        budgets = [entry["budget"] for entry in summary["entries"] if entry["game"] == game]
        title = f"{game}, budgets {min(budgets)} to {max(budgets)}, {NAMES.get(split, split)}"
        made.append((title, [*header, *["beaten by"] * bool(beaten), "runs"], rows))
    return made


def footnotes(summary: Mapping[str, Any], billed: bool = True) -> list[str]:
    """What a reader of the tables must know; `billed` if they show what was paid."""
    entries = summary["entries"]
    splits = [NAMES.get(entry["split"], entry["split"]) for entry in entries]
    lines = [FOOT.format(split=f"the {splits[-1]} of dev and test" if splits[-1] == "mean" else splits[-1])]
    lines += [RANK] * any(entry["rank"] is not None for entry in entries)
    lines += [REFERENCE] * any(entry["reference"] for entry in entries)
    learned = [entry for entry in entries if entry["label_cost_of_policy"]]
    lines += [LABELS] * (billed and bool(learned)) + [ONE_SEED] * any(entry["training_seeds"] == 1 for entry in learned)
    lines += [AREA] * bool(summary["areas"]) + [SAVED] * bool(summary["labels_saved"])
    lines += [BEATEN] * bool(summary["areas"] and summary["penalty"])
    return [*lines, *(f"Note: {note}." for note in summary["notes"])]


def terminal(summary: Mapping[str, Any]) -> Group:
    """The tables of the largest budget and over all budgets, for a terminal.

    What was paid is left out, and so are differences to others than chance and the best heuristic.
    """
    shown: list[Any] = []
    largest = max(entry["budget"] for entry in summary["entries"])
    last = [entry for entry in summary["entries"] if entry["budget"] == largest]
    for title, header, rows in [*tables({**summary, "entries": last}), *curve_tables(summary)]:
        bases = [name for name in header if name.startswith("less ")]
        left_out = (*BILL, *bases[1:-1])
        kept = [column for column, name in enumerate(header) if name not in left_out]
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for column in kept:
            # A difference with its interval takes 20 characters.
            name = header[column] if len(header[column]) <= 20 else header[column].replace("less ", "less\n")
            table.add_column(name, justify="left" if column == 0 else "right", no_wrap=True)
        for row in rows:
            table.add_row(*(Text(row[column]) for column in kept))
        shown.append(table)
    return Group(*shown, *(Text(line) for line in footnotes(summary, billed=False)))


def markdown(summary: Mapping[str, Any]) -> str:
    """The tables as Markdown."""
    parts = []
    for title, header, rows in [*tables(summary), *curve_tables(summary)]:
        lines = [f"**{title}**", "", _line(header), _line(["---", *["---:"] * (len(header) - 1)])]
        parts.append("\n".join([*lines, *(_line(row) for row in rows)]))
    return "\n\n".join([*parts, "  \n".join(line.replace("*", "\\*") for line in footnotes(summary))]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("*", "\\*") for cell in cells) + " |"


def _bases(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Baselines of a table in their order, the best heuristic last."""
    best = found[0]["best_heuristic"]
    named = [base for base in BASELINES if base != best] + [best] * (best is not None)
    return [base for base in named if any(base in of["difference"] for of in found)]


def _runs(found: Mapping[str, Any]) -> str:
    return f"{found['training_seeds']} x {found['draws']}" if found["training_seeds"] > 1 else str(found["draws"])


def _saved(found: Mapping[str, Any]) -> str:
    saved = f"{_percent(found['saved'])} %"
    if found["censored"] == "flat base":
        return found["censored"]
    if found["censored"] or found["low"] is None:
        return f"{found['censored']} {saved}".strip()
    # An end of the interval that lies among bounds is one.
    tail = (1 - found["level"]) / 2
    low = "<=" * (found["at_most"] > tail) + _percent(found["low"])
    high = ">=" * (found["at_least"] > tail) + _percent(found["high"])
    return f"{saved} [{low}, {high}]"


def _percent(share: float) -> str:
    # Rounded before it is written: no minus before a nought.
    return f"{round(100 * share):+d}".replace("+0", "0")


def _difference(interval: Mapping[str, Any] | None) -> str:
    if interval is None:
        return ""
    ends = "" if interval["low"] is None else f" [{interval['low']:+.2f}, {interval['high']:+.2f}]"
    return f"{interval['mean']:+.2f}{ends}"


def _full(splits: Mapping[str, float]) -> str:
    return ", ".join(f"{NAMES.get(split, split)} {miou:.2f}" for split, miou in splits.items())
