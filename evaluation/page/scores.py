"""The page's first part, for each game: figures of scores and differences, tables, whole curves, who beats whom."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ralseg.evaluation.page import charts, tables
from ralseg.evaluation.page.charts import Point
from ralseg.evaluation.page.markup import Markup, tag
from ralseg.evaluation.page.material import Entry, Material
from ralseg.evaluation.page.provenance import source
from ralseg.evaluation.page.words import number, split_name


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


def scores(material: Material, game: str) -> list[Any]:
    """All that is said of one game, but for its classes."""
    results, looks, budgets = material.results, material.looks, material.budgets(game)
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
    parts = _figures(material, game, figures)
    parts += [tables.scores(material.entries(game, budgets[-1]), looks), _supervised(material, game)]
    parts.append(source(results, game, "Means over runs, the highest first.", budget_units=budgets[-1]))
    if budgets[:-1]:
        earlier = [tables.scores(material.entries(game, budget), looks) for budget in budgets[-2::-1]]
        parts.append(tag("details", tag("summary", "Scores at the smaller budgets"), earlier))
    curves = material.by_split(lambda split: tables.whole_curves(material.summary, game, split, looks))
    if curves:
        parts += [tag("h3", "Whole curves"), curves, source(results, game, "Made of all budgets of each run.")]
    matrices = material.by_split(lambda split: tables.penalties(material.summary, game, split, looks))
    if matrices:
        about = "At which share of the budgets the row beats the column."
        parts += [
            tag("h3", "Who beats whom"),
            tag("p", about, class_="about"),
            matrices,
            source(results, game, "Paired t tests, Holm-corrected."),
        ]
    return parts


def _figures(material: Material, game: str, figures: list[Figure]) -> list[Any]:
    """A row of panels for each figure; one row of all where there is one split."""
    drawn = {figure: panels for figure in figures if (panels := _panels(material, game, figure))}
    if len(material.splits) > 1:
        return [
            [tag("h3", figure.heading), tag("p", figure.about, class_="about"), tag("div", panels, class_="panels")]
            for figure, panels in drawn.items()
        ]
    about = " ".join(figure.about for figure in drawn)
    return [tag("p", about, class_="about"), tag("div", list(drawn.values()), class_="panels")]


def _panels(material: Material, game: str, figure: Figure) -> list[Markup]:
    entries, budgets = material.entries(game), material.budgets(game)
    found = {(e["policy"], e["split"], e["budget"]): figure.of(e) for e in entries}
    points = {key: Point(i["mean"], i["low"], i["high"]) for key, i in found.items() if i is not None}
    if not points:
        return []
    shown = {policy for policy, _, _ in points}
    last = tables.ordered(material.entries(game, budgets[-1], material.splits[-1]))
    looks = [material.looks[entry["policy"]] for entry in last if entry["policy"] in shown]
    spans = _spans(material, points, figure.difference)
    full = material.summary["supervised"].get(game, {})
    panels = []
    for split, span in spans.items():
        name, title = f"{figure.name}-{material.games.index(game)}-{split}", f"{figure.label}, {split_name(split)}"
        level = (full[split], "fully supervised") if split in full else None
        level = (0.0, "no difference") if figure.difference else level
        if len(budgets) == 1:
            rows = [(look, points.get((look.name, split, budgets[0]))) for look in looks]
            drawn = charts.dots(name, title, rows, span, figure.label, level)
        else:
            curves = {look: [(b, points.get((look.name, split, b))) for b in budgets] for look in looks}
            kept = [(look, [(b, point) for b, point in curve if point]) for look, curve in curves.items()]
            across = f"budget, {material.results.comparison['config']['game']['budget_measure']}"
            drawn = charts.lines(name, title, [own for own in kept if own[1]], span, figure.label, across, level)
        caption = split_name(split) if len(material.splits) > 1 else f"{figure.heading}, {split_name(split)}"
        panels.append(tag("figure", tag("figcaption", caption), drawn))
    return panels


def _spans(material: Material, points: Mapping[tuple, Point], difference: bool) -> dict[str, charts.Range]:
    own = {split: [point for key, point in points.items() if key[1] == split] for split in material.splits}
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


def _supervised(material: Material, game: str) -> Markup | None:
    full = material.summary["supervised"].get(game)
    if not full:
        return None
    figures = ", ".join(f"{split_name(split)} {number(miou)}" for split, miou in full.items())
    return tag("p", f"With all labels (fully supervised, the same training): {figures}.", class_="about")
