"""Mode collapse in a comparison whose units are images: are a policy's images closer together than chance's?"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ralseg.evaluation.pool_embedding import embedding_of
from ralseg.evaluation.results import Results
from ralseg.evaluation.run_arrays import as_json, measured, run_counts
from ralseg.foundation import generator
from ralseg.stats import Resamples, distances, effective_number, paired_interval, reach

RANDOM = 100
"""Random choices that a choice is compared with."""
MOST_IMAGES = 12_000
"""Larger pools are left out: the distances between their images would take more than half a GB."""
FIGURES = ("spread", "coverage", "groups")


def collapse(results: Results, resamples: Resamples) -> dict[str, Any] | None:
    """What `summarise` returns as `collapse`.

    Args:
        results: of the comparison.
        resamples: shared by all figures of the comparison.

    Returns:
        None where no embedding of the pool is kept (units are no images), the pool is too large, or `bought/` is
        missing.

    Raises:
        RalsegError: if the embedding or a file of `bought/` is damaged.
    """
    pool = embedding_of(results)
    if pool is None or not 2 <= len(pool.images) <= MOST_IMAGES or not (bought := results.bought_runs()):
        return None
    place = {name: number for number, name in enumerate(pool.images)}
    apart, group = distances(pool.points), np.unique(pool.groups, return_inverse=True)[1]
    every = [run for runs in bought.values() for run in runs]
    sizes, draws = sorted({size for run in every for size in run["counts"]}), sorted({run["seed"] for run in every})
    rng = generator(0, "collapse")
    chance = np.stack([_measured(apart, group, rng.permutation(len(apart)), sizes) for _ in range(RANDOM)])
    usual = chance.mean(axis=0)
    low, high = np.quantile([_beside(own, usual) for own in chance], [0.025, 0.975], axis=0)
    spans = np.stack([_beside(usual, usual), low, high])

    def beside_chance(run: Mapping[str, Any]) -> np.ndarray:
        own = _measured(apart, group, [place[unit[0]] for unit in run["units"]], run["counts"])
        return np.stack([*_beside(own, usual[:, np.searchsorted(sizes, run["counts"])]), run["counts"]])

    values = {name: _values(runs, draws, beside_chance) for name, runs in bought.items()}
    found: dict[str, Any] = {
        "images": len(apart),
        "groups": float(effective_number(np.bincount(group))) if group.max() + 1 < len(apart) else None,
        "random": [],
        "entries": [],
    }
    for number, budget in enumerate(results.comparison["budgets"]):
        size, *others = {run["counts"][number] for run in every}
        if not others:
            span = zip(FIGURES, spans[..., sizes.index(size)].T, strict=True)
            named = {key: dict(zip(("mean", "low", "high"), map(as_json, own), strict=True)) for key, own in span}
            found["random"].append({"budget": budget, **named})
        for name, of in values.items():
            *figures, images = of[..., number]
            who = {"policy": name, "reference": name in results.comparison["references"]}
            learned = bought[name][0]["training_seed"] is not None
            shown = {key: measured(paired_interval, own, resamples) for key, own in zip(FIGURES, figures, strict=True)}
            counts = run_counts(images) | {"images": float(np.nanmean(images))}
            found["entries"].append({"budget": budget, **who, "learned": learned, **counts, **shown})
    return found


def _values(
    runs: Sequence[Mapping[str, Any]], draws: list[int], figures: Callable[[Mapping[str, Any]], np.ndarray]
) -> np.ndarray:
    """(figures, training seeds, draws, budgets) of the runs of a policy, NaN where none was played."""
    seeds = sorted({run["training_seed"] for run in runs}, key=str)
    found = {(seeds.index(run["training_seed"]), draws.index(run["seed"])): figures(run) for run in runs}
    some = next(iter(found.values()))
    values = np.full((len(some), len(seeds), len(draws), some.shape[1]), np.nan)
    for (seed, draw), own in found.items():
        values[:, seed, draw] = own
    return values


def _measured(apart: np.ndarray, group: np.ndarray, order: Sequence[int] | np.ndarray, sizes: list[int]) -> np.ndarray:
    """(3, sizes): the distances of `Reach` and the effective number of groups, of the first images of an order."""
    groups = [effective_number(np.bincount(group[order[:size]])) for size in sizes]
    return np.stack([*reach(apart, order[: sizes[-1]], sizes), groups])


def _beside(figures: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """(3, sizes): spread, coverage and groups; of the first two, 1 is the mean of random choices."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([figures[0] / usual[0], usual[1] / figures[1], figures[2]])
