"""What a comparison says: means, paired differences with intervals, shares of full supervision; from its rows alone."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ralseg.evaluation.play import SUPERVISED
from ralseg.evaluation.results import ALL, Results, Row
from ralseg.foundation import generator
from ralseg.stats import paired_interval, two_set_mean

TWO_SET_MEAN = "two_set_mean"
BASELINES = ("random", "margin")
"""Policies that others are compared with, where they are there: chance, and the heuristic that is hardest to beat."""

_BILL = (
    "units", "pixels", "share", "images", "clicks", "label_cost_of_policy", "class_entropy", "seconds_choosing",
)  # fmt: skip


def summarise(results: Results) -> dict[str, Any]:
    """The summary, JSON values.

    Returns:
        `notes`, `supervised` (game -> split -> mIoU) and `entries`, one for each game, budget, split (the two-set mean
        is one) and policy. An entry has `reference` (whether it sees true labels, and so is neither a contender nor a
        bound), the numbers of `training_seeds` and `draws`, the means of `miou`, `iou` (per class, None where it is
        nowhere defined; both percent) and of what was paid, the `interval` of the mean, `difference` (baseline ->
        interval of the paired difference) and `share_of_supervised` (of the network of the same training). An interval
        is mean, low, high, standard_error, n, level and method (see `ralseg.stats.paired_interval`); a single run has a
        mean alone.
    """
    comparison, rows = results.comparison, results.rows
    full = _supervised(rows)
    entries = []
    games = list(dict.fromkeys(sorted(row["game"] for row in rows if row["budget_units"] != ALL)))
    for game in games:
        for budget in comparison["budgets"]:
            here = [row for row in rows if row["game"] == game and row["budget_units"] == budget]
            for split in splits_of(comparison):
                tables = {name: _table(here, name, split) for name in comparison["policies"] if name != SUPERVISED}
                tables = {name: table for name, table in tables.items() if table}
                entries += [
                    {"game": game, "budget": budget, "split": split, "reference": name in comparison["references"]}
                    | _entry(name, tables, comparison["classes"], full.get(game, {}).get(split))
                    for name in tables
                ]
    commits = len({row["commit"] for row in rows})
    notes = [*comparison["notes"], *[f"the runs were played by {commits} versions of the code"] * (commits > 1)]
    return {"notes": notes, "supervised": full, "entries": entries}


def splits_of(comparison: Any) -> list[str]:
    """The splits of a comparison, and the two-set mean where it has both."""
    splits = list(comparison["splits"])
    return [*splits, TWO_SET_MEAN] if len(splits) == 2 else splits


Table = dict[tuple[int | None, int], dict[str, Any]]
"""(training seed, draw) -> figures of one policy at one budget on one split."""


def _table(rows: Sequence[Row], policy: str, split: str) -> Table:
    if split == TWO_SET_MEAN:
        dev, test = (_table(rows, policy, part) for part in ("dev", "test"))
        return {key: _mean_of(dev[key], test[key]) for key in dev if key in test}
    own = [row for row in rows if row["policy"] == policy and row["split"] == split]
    return {(row["training_seed"], row["seed"]): row for row in own}


def _mean_of(dev: Row, test: Row) -> dict[str, Any]:
    figures = {key: (dev[key] + test[key]) / 2 for key in dev if key.startswith("iou_")}
    return {key: dev[key] for key in _BILL} | figures | {"miou": float(two_set_mean(dev["miou"], test["miou"]))}


def _entry(name: str, tables: dict[str, Table], classes: Sequence[str], full: float | None) -> dict[str, Any]:
    table = tables[name]
    miou = float(np.mean([row["miou"] for row in table.values()]))
    return {
        "policy": name,
        "training_seeds": len({seed for seed, _ in table}),
        "draws": len({draw for _, draw in table}),
        "miou": miou,
        "interval": _interval(_matrix(table)),
        "difference": {base: difference(table, tables[base]) for base in BASELINES if base in tables and base != name},
        "share_of_supervised": None if not full else miou / full,
        "iou": {c: _defined_mean([100 * row[f"iou_{c}"] for row in table.values()]) for c in classes},
    } | {key: float(np.mean([row[key] for row in table.values()])) for key in _BILL}


def difference(table: Table, base: Table) -> dict[str, Any] | None:
    """Interval of the paired difference in mIoU; None where no pair is there.

    A draw of one policy is paired with the same draw of the other; a baseline that was not trained meets every training
    seed of the policy.
    """
    trained = {seed for seed, _ in base}
    pairs = {
        (seed, draw): row["miou"] - base[seed if seed in trained else None, draw]["miou"]
        for (seed, draw), row in table.items()
        if (seed if seed in trained else None, draw) in base
    }
    return _interval(_matrix({key: {"miou": value} for key, value in pairs.items()}))


def _matrix(table: Table) -> np.ndarray:
    """(training seeds, draws) of mIoU, over the draws that all training seeds have played."""
    seeds = sorted({seed for seed, _ in table}, key=str)
    draws = [draw for draw in sorted({draw for _, draw in table}) if all((seed, draw) in table for seed in seeds)]
    return np.array([[table[seed, draw]["miou"] for draw in draws] for seed in seeds])


def _interval(values: np.ndarray) -> dict[str, Any] | None:
    if not values.size:
        return None
    if values.size == 1:
        nothing = dict.fromkeys(("low", "high", "standard_error", "level"))
        return {"mean": float(values[0, 0]), "n": 1, "method": "one run"} | nothing
    return asdict(paired_interval(values, rng=generator(0, "summary")))


def _supervised(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    full: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["budget_units"] == ALL:
            full.setdefault(row["game"], {})[row["split"]] = row["miou"]
    for splits in full.values():
        if {"dev", "test"} <= splits.keys():
            splits[TWO_SET_MEAN] = float(two_set_mean(splits["dev"], splits["test"]))
    return full


def _defined_mean(values: Sequence[float]) -> float | None:
    defined = np.array(values)[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else None
