"""The tables that are made of a summary, for whatever renders them: scores, whole curves, the bill, classes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ralseg.evaluation.cells import (
    MARKDOWN,
    PAGE,
    TERMINAL,
    Cell,
    Column,
    Row,
    Table,
    difference,
    labels_saved,
    runs,
    share_of_reference,
    short_name,
    split_name,
)
from ralseg.evaluation.summary import BASELINES

Entry = Mapping[str, Any]
Made = tuple[Column, Callable[[Entry], Cell]]
"""A column, and how its cells are made of entries."""

POLICY = Column("policy")
GLOSSARY = {
    "mIoU": "intersection over union of predicted and true pixels, percent, averaged over the classes",
    "interval": "95 %, paired: run i of every policy meets the same draws, and differences are taken run by run. From "
    "five training seeds a bootstrap over seeds and draws, from two to four a t interval over the seeds' means, with "
    "one a t interval over its draws",
    "rank": "mean rank among the policies that see no true labels, in the same run; 1 is best",
    "beats": "share of paired wins: of the paired runs, those in which the policy has the higher mIoU; a tie is half a "
    "win; rliable's probability of improvement differs, as it compares every run with every other",
    "area": "area under the curve of mIoU over all budgets, divided by their range, which makes it a mean mIoU",
    "AUC": "area under the curve of mIoU in percent over the labelled share, from the first budget to the last, not "
    "divided by their range (AUC@B of Mittal et al. 2023)",
    "saved": "labels that the policy does not need to reach the mIoU that the best heuristic (by area) ends with, on "
    "curves made non-decreasing; at most, at least, <= and >= mark bounds, where the measured budgets do not tell; the "
    "base is flat where it does not rise",
    "beaten by": "mean share of the budgets at which another policy is significantly better, by a one-sided paired t "
    "test, Holm-corrected over all pairs of a budget (Ash et al. 2020); equal is not shown, only not different",
    "spread": "mean distance of a chosen image to the nearest other chosen one, over the mean of the same for random "
    "choices of as many; below 1 the choice is collapsed: its images are more alike than those of chance",
    "coverage": "mean distance of the pool's images to the nearest one of a random choice of as many, over that to the "
    "nearest chosen one; below 1 the pool is farther from what was chosen than from a random choice",
    "groups": "effective number of groups (clips, cities) among the chosen images: exp of the entropy of their shares",
    "reference": "a policy that sees true labels, neither a contender nor a bound; the share of its advantage over "
    "random says how much of what choice could win has been won",
    "entropy": "entropy of the class pixels that were bought, in nats; 0 is one class alone",
    "clicks": "one for each class in each unit",
    "its labels": "units of D_T and D_R whose labels a learned policy was trained with",
    "runs": "draws, and of a learned policy training seeds x draws; with one training seed the intervals cover the "
    "draws alone, not how much training varies",
}
_BILL = {
    "class_entropy": Column("entropy", "class entropy, nats"),
    "units": Column("units"),
    "images": Column("images", "images touched"),
    "clicks": Column("clicks"),
    "pixels": Column("pixels"),
    "label_cost_of_policy": Column("its labels"),
    "seconds_choosing": Column("seconds choosing"),
}
_BILL_FORMS = {"class_entropy": ".2f", "seconds_choosing": ".1f"}


def scores(entries: Sequence[Entry], title: str) -> Table:
    """The scores of one game and budget; differences and ranks are those of the last split.

    Args:
        entries: of the summary, all of one game and budget.
        title: of the table.
    """
    splits = list(dict.fromkeys(entry["split"] for entry in entries))
    by = {(entry["policy"], entry["split"]): entry for entry in entries}
    last = [entry for entry in entries if entry["split"] == splits[-1]]
    best = last[0]["best_heuristic"]
    made: list[Made] = [
        (
            Column(short_name(split), f"mIoU, {short_name(split)}", level=True),
            lambda entry, split=split: _level(by[entry["policy"], split]),
        )
        for split in splits
    ]
    made.append((Column("rank"), lambda entry: Cell(entry["rank"], form=".1f")))
    made += _differences(last)
    if best is not None:
        heading = Column(f"beats {best}", note="share of paired wins", on=(PAGE,))
        made.append((heading, lambda entry: _share(entry["share_of_paired_wins"].get(best))))
    if any(entry["share_of_supervised"] is not None for entry in last):
        heading = Column("of supervised", "of full supervision")
        made.append((heading, lambda entry: Cell(entry["share_of_supervised"], form=".1f", percent=True)))
    if any(share_of_reference(entry).mean is not None for entry in last):
        made.append((Column("advantage won", on=(PAGE,)), share_of_reference))
    if any(entry["rare"] is not None for entry in last):
        heading = Column("mIoU, rare classes", on=(PAGE,))
        made.append((heading, lambda entry: Cell.of(entry["rare"] and entry["rare"]["miou"])))
    paid = [
        (replace(column, on=(MARKDOWN,)), cell)
        for column, cell in _bill("class_entropy", "clicks", "label_cost_of_policy")
    ]
    made += [*paid, (Column("runs"), runs)]
    return _table(title, last, made, lambda entry: entry["miou"])


def bill(entries: Sequence[Entry]) -> Table:
    """What was bought and what it cost, means over the runs of one game and budget on one split."""
    return _table("What was paid", entries, _bill(*_BILL), lambda entry: entry["class_entropy"])


def curves(summary: Mapping[str, Any], game: str, split: str) -> Table | None:
    """What is said of a game over all budgets; None with one budget."""
    areas, saved, penalty = (
        [found for found in summary[key] if (found["game"], found["split"]) == (game, split)]
        for key in ("areas", "labels_saved", "penalty")
    )
    if not areas:
        return None
    records = {found["policy"]: found for found in saved}
    beaten = {name: share for of in penalty for name, share in zip(of["policies"], of["beaten"], strict=True)}
    made: list[Made] = [(Column("area", "area (a mean mIoU)", level=True), lambda area: Cell.of(area["area"]))]
    budgets = [entry["budget"] for entry in summary["entries"] if entry["game"] == game]
    if "auc" in areas[0]:
        made.append((Column(f"AUC@{100 * max(budgets):g}", on=(MARKDOWN, PAGE)), lambda area: Cell.of(area["auc"])))
    made += _differences(areas)
    if records:
        heading = Column("saved", f"labels saved against {saved[0]['base']}")
        made.append((heading, lambda area: labels_saved(records.get(area["policy"]))))
    if beaten:
        heading = Column("beaten by", on=(TERMINAL, MARKDOWN))
        made.append((heading, lambda area: Cell(beaten.get(area["policy"]), form=".0f", percent=True)))
    made.append((Column("runs"), runs))
    title = f"{game}, budgets {min(budgets)} to {max(budgets)}, {short_name(split)}"
    return _table(title, areas, made, lambda area: area["area"] and area["area"]["mean"])


def penalties(summary: Mapping[str, Any], game: str, split: str) -> Table | None:
    """The share of the budgets at which the row beats the column, for the page; None if nothing could be tested."""
    found = next((of for of in summary["penalty"] if (of["game"], of["split"]) == (game, split)), None)
    if found is None or all(share is None for share in found["beaten"]):
        return None
    names = found["policies"]
    rows = [
        Row(name, False, tuple(_heated(share, other == name) for other, share in zip(names, shares, strict=True)))
        for name, shares in zip(names, found["matrix"], strict=True)
    ]
    columns = tuple(Column(name, css="turned", policy=name) for name in names)
    foot = "is beaten, mean", tuple(_heated(share) for share in found["beaten"])
    return Table(
        split_name(split).capitalize(), columns, tuple(rows), Column("beats \N{RIGHTWARDS ARROW}"), "matrix", foot
    )


def collapse(summary: Mapping[str, Any], budget: float) -> Table:
    """How far the images that were chosen up to a budget are concentrated; the summary has a `collapse`."""
    found = summary["collapse"]
    entries = [entry for entry in found["entries"] if entry["budget"] == budget]
    made: list[Made] = [
        (Column("images"), lambda entry: Cell(entry["images"], form=".0f")),
        (Column("spread"), lambda entry: Cell.of(entry["spread"])),
        (Column("coverage"), lambda entry: Cell.of(entry["coverage"])),
    ]
    if found["groups"] is not None:
        heading = Column("groups", note=f"{found['groups']:.1f} in the pool")
        made.append((heading, lambda entry: Cell.of(entry["groups"], ".1f")))
    made.append((Column("runs"), runs))
    foot = None
    for chance in (chance for chance in found["random"] if chance["budget"] == budget):
        cells = tuple(cell({**chance, "images": entries[0]["images"]}) for _, cell in made[:-1])
        foot = "95 % of random choices", (*cells, Cell())
    title = f"Mode collapse, budget {budget}"
    return replace(_table(title, entries, made, lambda entry: (entry["spread"] or {"mean": 0})["mean"]), foot=foot)


def classes(entries: Sequence[Entry], pool: np.ndarray, rare: Sequence[str]) -> Table:
    """IoU per class, for the page, coloured by how far a policy is from `random` in that class.

    Args:
        entries: of one game, budget and split.
        pool: (C,) share of each class in the pool, percent, in the order of the classes.
        rare: names of the rare classes.
    """
    names = list(entries[0]["iou"])
    chance = next((entry["iou"] for entry in entries if entry["policy"] == "random"), {})
    made: list[Made] = [
        (
            Column(names[i], css="rare" * (names[i] in rare), note=f"{pool[i]:.1f} %"),
            lambda entry, name=names[i]: _iou(entry["iou"][name], chance.get(name)),
        )
        for i in np.argsort(-pool)
    ]
    title = f"IoU per class, %, {split_name(entries[0]['split'])}"
    corner = Column("policy", note="share of the pool")
    return _table(title, entries, made, lambda entry: entry["miou"], corner, "classes")


def of_summary(summary: Mapping[str, Any], only: float | None = None) -> list[Table]:
    """The tables of scores, one for each game and budget, and those over all budgets, one for each game.

    Args:
        summary: see `summarise`.
        only: the one budget whose scores are wanted; None: all.
    """
    made = []
    for game, budget in dict.fromkeys((entry["game"], entry["budget"]) for entry in summary["entries"]):
        if only not in (None, budget):
            continue
        here = [entry for entry in summary["entries"] if (entry["game"], entry["budget"]) == (game, budget)]
        full = summary["supervised"].get(game, {})
        levels = ", ".join(f"{short_name(split)} {Cell(miou)}" for split, miou in full.items())
        made.append(scores(here, f"{game}, budget {budget}" + f"; fully supervised {levels}" * bool(levels)))
    for game in dict.fromkeys(area["game"] for area in summary["areas"]):
        split = [area["split"] for area in summary["areas"] if area["game"] == game][-1]
        if (table := curves(summary, game, split)) is not None:
            made.append(table)
    collapsed = summary.get("collapse", {"entries": []})["entries"]
    budgets = dict.fromkeys(entry["budget"] for entry in collapsed)
    return made + [collapse(summary, budget) for budget in budgets if only in (None, budget)]


def one_seed(entries: Sequence[Entry]) -> list[str]:
    """The learned policies that were trained with one seed alone."""
    return list(dict.fromkeys(e["policy"] for e in entries if e["learned"] and e["training_seeds"] == 1))


def _table(
    title: str, entries: Sequence[Entry], made: Sequence[Made], order: Callable[[Entry], float | None],
    corner: Column = POLICY, css: str = "",
) -> Table:  # fmt: skip
    rows = [
        Row(entry["policy"], entry["reference"], tuple(cell(entry) for _, cell in made), order(entry))
        for entry in entries
    ]
    return Table(title, tuple(column for column, _ in made), tuple(rows), corner, css)


def _differences(found: Sequence[Entry]) -> list[Made]:
    """Columns of the differences to the baselines in their order, the best heuristic last."""
    best = found[0]["best_heuristic"]
    named = [base for base in BASELINES if base != best] + [best] * (best is not None)
    bases = [base for base in named if any(base in of["difference"] for of in found)]
    made: list[Made] = []
    for number, base in enumerate(bases):
        # A terminal has room for the first and the last.
        on = (MARKDOWN, PAGE) if 0 < number < len(bases) - 1 else (TERMINAL, MARKDOWN, PAGE)
        head = f"less {base}"
        column = Column(head, f"{head}, the best heuristic" if base == best else "", on=on)
        made.append((column, lambda entry, base=base: difference(entry["difference"].get(base))))
    return made


def _bill(*keys: str) -> list[Made]:
    return [(_BILL[key], lambda entry, key=key: Cell(entry[key], form=_BILL_FORMS.get(key, ",.0f"))) for key in keys]


def _level(entry: Entry) -> Cell:
    # The interval is of the draws that all training seeds have played, the figure is the mean of all runs.
    return replace(Cell.of(entry["interval"]), mean=entry["miou"])


def _share(interval: Mapping[str, Any] | None) -> Cell:
    return Cell.of(interval, ".0f", percent=True)


def _heated(share: float | None, own: bool = False) -> Cell:
    if own or share is None:
        return Cell(css="self" * own, word=" " * own)
    return Cell(share, form=".2g", heat=share)


def _iou(value: float | None, chance: float | None) -> Cell:
    if value is None or chance is None:
        return Cell(value, form=".1f")
    gain = value - chance
    note = f"{Cell(gain, form='+.1f')} against random"
    # Ten points of IoU are full colour.
    return Cell(value, form=".1f", heat=max(-1, min(gain / 10, 1)), css="less" if gain < 0 else "more", note=note)
