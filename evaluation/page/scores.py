"""The page's first part, for each game: figures of scores and differences, tables, whole curves, who beats whom."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ralseg.evaluation import tables
from ralseg.evaluation.cells import Cell, share_of_reference, split_name
from ralseg.evaluation.page import charts
from ralseg.evaluation.page.material import Entry, Material


@dataclass(frozen=True)
class Figure:
    """A row of panels, one for each split.

    Attributes:
        name: of the figure, a part of ids.
        heading: above it.
        label: of its axis.
        about: a sentence.
        of: entry -> the interval that is shown.
        difference: whether it is one, so that zero is shown.
    """

    name: str
    heading: str
    label: str
    about: str
    of: Callable[[Entry], Mapping[str, Any] | None]
    difference: bool = True


def scores(material: Material, game: str) -> dict[str, Any]:
    """All that is said of one game, but for its classes, as its template takes it."""
    summary, budgets = material.summary, material.budgets(game)
    figures = [
        Figure("miou", "mIoU", "mIoU, %", "Means and their 95 % intervals.", lambda entry: entry["interval"], False)
    ]
    # Few runs are trained to the end: their differences are in the table.
    if not game.endswith("+fit"):
        figures += [
            Figure(
                "random", "Against random choice", "mIoU less random's", "Differences run by run to random choice.",
                lambda entry: entry["difference"].get("random"),
            ),
            Figure(
                "best", "Against the best heuristic", "mIoU less the best heuristic's", _best(material, game),
                lambda entry: entry["difference"].get(entry["best_heuristic"]),
            ),
        ]  # fmt: skip
    drawn = [
        {"heading": figure.heading, "about": figure.about, "charts": panels}
        for figure in figures
        if (panels := _panels(material, game, figure))
    ]
    last = material.entries(game, budgets[-1])
    reference = next((e["share_of_reference"]["reference"] for e in last if share_of_reference(e).mean is not None), "")
    about = f"Advantage won: the share of what {reference}, which sees true labels, gains over random choice."
    full = material.summary["supervised"].get(game, {})
    levels = ", ".join(f"{split_name(split)} {Cell(miou)}" for split, miou in full.items())
    cut, _, fitted = game.partition("+")
    by_budget = {b: tables.scores(material.entries(game, b), f"Scores at budget {b:g}") for b in reversed(budgets)}
    latest, *earlier = by_budget.values()
    return {
        "name": f"{cut} game" + ", a fresh network trained to convergence on what was bought" * bool(fitted),
        "figures": drawn,
        "several_splits": len(material.splits) > 1,
        "table": latest,
        "earlier": earlier,
        "advantage": about if reference else "",
        "supervised": f"With all labels (fully supervised, the same training): {levels}." if full else "",
        "source": material.source(game, "Means over runs, the highest first.", budgets[-1]),
        "curves": material.by_split(lambda split: tables.curves(summary, game, split)),
        "source_of_curves": material.source(game, "Made of all budgets of each run."),
        "penalties": material.by_split(lambda split: tables.penalties(summary, game, split)),
        "source_of_penalties": material.source(game, "Paired t tests, Holm-corrected."),
    }


def _panels(material: Material, game: str, figure: Figure) -> list[dict[str, Any]]:
    entries, budgets = material.entries(game), material.budgets(game)
    found = {(e["policy"], e["split"], e["budget"]): figure.of(e) for e in entries}
    cells = {key: Cell.of(interval) for key, interval in found.items() if interval is not None}
    if not cells:
        return []
    shown = {policy for policy, _, _ in cells}
    last = tables.scores(material.entries(game, budgets[-1], material.splits[-1]), "").ranked()
    looks = [material.looks[row.policy] for row in last if row.policy in shown]
    full = material.summary["supervised"].get(game, {})
    panels = []
    for split, span in _spans(material, cells, figure.difference).items():
        name, title = f"{figure.name}-{material.games.index(game)}-{split}", f"{figure.label}, {split_name(split)}"
        level = (full[split], "fully supervised") if split in full else None
        level = (0.0, "no difference") if figure.difference else level
        if len(budgets) == 1:
            rows = {look: cells.get((look.name, split, budgets[0])) for look in looks}
            chart = charts.dots(name, title, rows, span, figure.label, level)
        else:
            curves = {look: [(b, c) for b in budgets if (c := cells.get((look.name, split, b)))] for look in looks}
            kept = {look: curve for look, curve in curves.items() if curve}
            chart = charts.lines(name, title, kept, span, figure.label, material.across, level)
        caption = split_name(split) if len(material.splits) > 1 else f"{figure.heading}, {split_name(split)}"
        panels.append({"caption": caption, "chart": chart})
    return panels


def _spans(material: Material, cells: Mapping[tuple, Cell], difference: bool) -> dict[str, charts.Range]:
    own = {split: [cell for key, cell in cells.items() if key[1] == split] for split in material.splits}
    own = {split: found for split, found in own.items() if found}
    zero = [0.0] * difference
    spans = [charts.reach(found, *zero) for found in own.values()]
    # Differences share their axis, so that the zeros are in line; scores share its span alone, for the sets differ.
    spans = [charts.union(spans)] * len(spans) if difference else charts.same_span(spans)
    return dict(zip(own, spans, strict=True))


def _best(material: Material, game: str) -> str:
    """Which heuristic was the best where; with nothing bought all are the same."""
    where: dict[str, dict[str, list[str]]] = {}
    for entry in material.entries(game):
        if entry["best_heuristic"] and entry["budget"]:
            places = where.setdefault(split_name(entry["split"]), {}).setdefault(entry["best_heuristic"], [])
            if (budget := f"{entry['budget']:g}") not in places:
                places.append(budget)
    names = {name for split in where.values() for name in split}
    if len(names) == 1:
        return f"Differences run by run to {names.pop()}, the heuristic with the highest mean."
    named = "; ".join(
        f"{split}: " + ", ".join(f"{name} at {', '.join(at)}" if len(own) > 1 else name for name, at in own.items())
        for split, own in where.items()
    )
    return f"Differences run by run to the heuristic with the highest mean there ({named})."
