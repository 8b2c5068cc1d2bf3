"""Figures over all budgets: areas under curves, labels saved, and which policy beats which."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ralseg.evaluation.run_arrays import Runs, as_json, best_of, differences, identity, measured, run_counts
from ralseg.stats import Resamples, area_under_budget_curve, complete, labels_saved, paired_interval, penalty_matrix

AREA = "area"


def labelled_share(config: Mapping[str, Any]) -> bool:
    """Whether the budgets of a configuration are labelled shares, from 0 to 1: of the images, or of the pixels."""
    game = config.get("game", {})
    whole = game.get("unit") == "image" and game.get("budget_measure") == "units_per_image"
    return whole or game.get("budget_measure") == "share"


def areas(
    policies: Sequence[Runs], budgets: Sequence[float], bases: Sequence[str], resamples: Resamples, auc: bool = False
) -> list[dict[str, Any]]:
    """The normalised area under the budget curve of each policy that has played all budgets; see `summarise`.

    Args:
        policies: the runs of one game on one split.
        budgets: ascending; with fewer than two there are no areas.
        bases: names of the baselines besides the best heuristic.
        resamples: shared by all figures of the comparison.
        auc: whether entries also have the area that is not normalised.
    """
    with_area = _with_area(policies, budgets)
    best = best_of((runs for runs in with_area.values() if runs.heuristic), AREA)
    span = budgets[-1] - budgets[0]
    return [
        {
            **identity(runs),
            **run_counts(runs.figures[AREA]),
            "best_heuristic": best,
            AREA: measured(paired_interval, runs.figures[AREA], resamples),
            **({"auc": measured(paired_interval, span * runs.figures[AREA], resamples)} if auc else {}),
            "difference": {
                base: measured(paired_interval, of[AREA], resamples)
                for base, of in differences(runs, with_area, [*bases, best]).items()
            },
        }
        for runs in with_area.values()
    ]


def labels_saved_of(
    policies: Sequence[Runs], budgets: Sequence[float], resamples: Resamples, base: str | None = None
) -> list[dict[str, Any]]:
    """The labels that each policy saves compared with a base; see `summarise`.

    Args:
        policies: the runs of one game on one split.
        budgets: ascending; with fewer than two there are no entries.
        resamples: shared by all figures of the comparison.
        base: the name of the base; None for the best heuristic by area.
    """
    with_area = _with_area(policies, budgets)
    base = base or best_of((runs for runs in with_area.values() if runs.heuristic), AREA)
    entries = []
    for runs in with_area.values():
        if base not in with_area or base == runs.name:
            continue
        both = complete(np.concatenate(np.broadcast_arrays(runs.miou, with_area[base].miou), axis=-1))
        if not both.size:
            continue
        own, others = np.split(both, 2, axis=-1)
        one_run = own.shape[:2] == (1, 1)
        if one_run:
            own, others = (np.repeat(curve, 2, axis=1) for curve in (own, others))
        saved = asdict(labels_saved(budgets, own, others, resamples))
        if one_run:
            unknown = ("low", "high", "level", "at_most", "at_least", "flat_base")
            saved |= {"n": 1, "method": "one run"} | dict.fromkeys(unknown)
        entries.append({**identity(runs), "base": base, **saved})
    return entries


def penalty(policies: Sequence[Runs]) -> list[dict[str, Any]]:
    """The pairwise penalty matrix of the contenders, in a list; empty with fewer than two. See `summarise`.

    Args:
        policies: the runs of one game on one split.
    """
    contenders = [runs for runs in policies if not runs.reference]
    if len(contenders) < 2:
        return []
    found = penalty_matrix([runs.miou for runs in contenders])
    return [
        {
            "policies": [runs.name for runs in contenders],
            "budgets": contenders[0].miou.shape[-1],
            "matrix": [[as_json(value) for value in line] for line in found.matrix],
            "beaten": [as_json(value) for value in found.beaten],
        }
    ]


def _with_area(policies: Sequence[Runs], budgets: Sequence[float]) -> dict[str, Runs]:
    """The policies that have a run with all budgets, with the area as one more figure."""
    found = {}
    for runs in policies if len(budgets) > 1 else ():
        whole = np.isfinite(runs.miou).all(axis=-1)
        if whole.any():
            area = np.full(whole.shape, np.nan)
            area[whole] = area_under_budget_curve(budgets, runs.miou[whole]).normalised
            found[runs.name] = Runs(runs.name, runs.reference, runs.learned, {"miou": runs.miou, AREA: area})
    return found
