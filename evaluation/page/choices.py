"""The page's part on images that were chosen: the map of the pool, and how concentrated a choice is."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ralseg.evaluation import tables
from ralseg.evaluation.cells import Cell
from ralseg.evaluation.page import charts
from ralseg.evaluation.page.material import Material
from ralseg.evaluation.page.words import plural
from ralseg.evaluation.pool_map import PoolMap, axis_names, pool_map, step_colours

WIDTH, MOST_HEIGHT, AIR = 300, 300, 8
LABELS = {"spread": "spread (random choices: 1)", "coverage": "coverage (random choices: 1)", "groups": "groups"}


def choices(material: Material) -> dict[str, Any] | None:
    """What the template of the choices takes; None where no embedding of the pool is kept.

    Raises:
        RalsegError: if a file of the comparison is damaged.
    """
    drawn, budgets = pool_map(material.results), material.results.comparison["budgets"]
    found: dict[str, Any] = {"map": drawn and _map(drawn, material, budgets), "charts": [], "tables": []}
    if "collapse" in material.summary:
        found["charts"] = _charts(material, budgets)
        found["tables"] = [tables.collapse(material.summary, budget) for budget in reversed(budgets)]
    return found if found["map"] or found["tables"] else None


def _map(drawn: PoolMap, material: Material, budgets: Sequence[float]) -> dict[str, Any]:
    low, high = drawn.at.min(axis=0), drawn.at.max(axis=0)
    span = np.maximum(high - low, 1e-9)
    # One scale for both axes, as distances count, unless the pool is much higher than wide.
    scale = min((WIDTH - 2 * AIR) / span[0], (MOST_HEIGHT - 2 * AIR) / span[1])
    height = float(scale * span[1] + 2 * AIR)
    at = (drawn.at - (low + high) / 2) * scale * [1, -1] + [WIDTH / 2, height / 2]
    colours = step_colours(len(budgets))
    panels = []
    for name, steps in drawn.chosen.items():
        many = [f"{plural(len(step), 'image')} by budget {b:g}" for step, b in zip(steps, budgets, strict=True)]
        dots = zip(many, (_dots(at[step]) for step in steps), colours, strict=True)
        panels.append({"policy": name, "steps": list(dots), "described": f"{name} chose {', '.join(many)}"})
    threads = "".join("M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in at[thread]) for thread in drawn.threads)
    return {
        "width": WIDTH,
        "height": round(height, 1),
        "pool": _dots(at),
        "threads": threads,
        "panels": panels,
        "legend": list(zip([f"{budget:g}" for budget in budgets], colours, strict=True)),
        "axes": axis_names(drawn),
        "images": plural(len(at), "image"),
        "groups": drawn.groups if threads else 0,
    }


def _dots(at: np.ndarray) -> str:
    """Dots as one path: lines of no length, with round ends."""
    return "".join(f"M{x:.1f},{y:.1f}h0" for x, y in at)


def _charts(material: Material, budgets: Sequence[float]) -> list[dict[str, Any]]:
    entries = material.summary["collapse"]["entries"]
    levels = {"spread": (1.0, "random choices"), "coverage": (1.0, "random choices")}
    if (groups := material.summary["collapse"]["groups"]) is not None:
        levels["groups"] = (groups, "the whole pool")
    drawn = []
    for key, level in levels.items():
        cells = {(e["policy"], e["budget"]): Cell.of(e[key]) for e in entries if e[key] is not None}
        if not cells:
            continue
        name, label, span = f"collapse-{key}", LABELS[key], charts.reach(cells.values(), level[0])
        looks = [look for look in material.looks.values() if any(policy == look.name for policy, _ in cells)]
        if len(budgets) == 1:
            rows = {look: cells.get((look.name, budgets[0])) for look in looks}
            chart = charts.dots(name, label, rows, span, label, level)
        else:
            curves = {look: [(b, c) for b in budgets if (c := cells.get((look.name, b)))] for look in looks}
            chart = charts.lines(name, label, curves, span, label, material.across, level)
        drawn.append({"caption": key.capitalize(), "chart": chart})
    return drawn
