"""How well the clicks of the polygon model are predicted before a label is bought."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from ralseg.agents.acquisitions.reducers import PREDICTED_SHARES
from ralseg.benchmarks.measure import configured
from ralseg.envs import World
from ralseg.envs.pool import unit_grid
from ralseg.features.clicks import PREDICTED_CLICKS, TOLERANCE, Clicks, polygon_clicks
from ralseg.foundation import generator
from ralseg.stats import Resamples
from ralseg.stats.intervals import percentile_interval

ROLE = "compare"
TOLERANCES = (1.0, TOLERANCE, 3.0)
RESAMPLES = 1000


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """Count the clicks of every unit of D_V in its labels and in the prediction of the network at theta_0.

    Args:
        overrides: of `train_agent.yaml`.
        share: share of the images, above 0 and at most 1; two are always read.
    """
    world = World(configured((), overrides))
    images = world.labelled(ROLE)
    images = images[: max(2, round(share * len(images)))]
    unit = world.unit if isinstance(world.unit, str) else (world.unit[0], world.unit[1])
    grid = unit_grid(world.store.size(images[0]), unit)
    predicted, guessed, seconds = [], [], 0.0
    for prediction in world.learner(ROLE).predict(images):
        guessed.append(np.asarray(PREDICTED_SHARES.find(prediction, grid)))
        begun = time.process_time()
        predicted.append(np.asarray(PREDICTED_CLICKS.find(prediction, grid)))
        seconds += time.process_time() - begun
    predicted, guessed = np.concatenate(predicted), np.concatenate(guessed)
    labels = np.stack([world.store.label(image) for image in images])
    classes = (grid.class_counts(labels, len(world.dataset.classes)) > 0).sum(axis=-1)
    found: dict[str, Any] = {
        "images": len(images),
        "unit": [grid.unit_height, grid.unit_width],
        "own_ms_an_image": 1000 * seconds / len(images),
    }
    found["predicted"] = quantiles(predicted)
    found["true"] = {f"{tolerance:g}": counted(polygon_clicks(labels, grid, tolerance)) for tolerance in TOLERANCES}
    true = polygon_clicks(labels, grid).total
    found["rank_correlation"] = {
        "predicted clicks": rank_correlation(predicted, true),
        "predicted number of classes": rank_correlation((guessed > 0).sum(axis=-1), true),
        "true number of classes": rank_correlation(classes, true),
    }
    return found


def counted(clicks: Clicks) -> dict[str, Any]:
    """Means a unit of each kind of click, and the spread of all together."""
    return {name: float(kind.mean()) for name, kind in clicks._asdict().items()} | {"total": quantiles(clicks.total)}


def quantiles(clicks: np.ndarray) -> dict[str, float]:
    """Mean, median and 90 % quantile."""
    return {"mean": float(clicks.mean())} | {f"{p:.0%}": float(np.quantile(clicks, p)) for p in (0.5, 0.9)}


def rank_correlation(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Spearman's rank correlation over all units (images, units).

    Its 95 % interval is of resampled images, whose units keep the ranks that they have among all.
    """
    a, b = (rankdata(values).reshape(values.shape) / values.size for values in (one, other))
    means = np.stack([a, b, a * b, a * a, b * b], axis=1).mean(axis=2)
    times = Resamples(generator(0, "clicks"), RESAMPLES).times(1, len(one))
    first, second, product, squares, others = means.T @ np.vstack([np.ones(len(one)), times]).T / len(one)
    spread = np.maximum(0, (squares - first**2) * (others - second**2)) ** 0.5
    # What is the same everywhere says nothing of the other.
    rho = np.where(spread > 1e-9, product - first * second, 0) / np.maximum(spread, 1e-9)
    interval = percentile_interval(rho[0], rho[1:], 0.95, len(one), "bootstrap over images")
    return {"rho": interval.mean, "low": interval.low, "high": interval.high}


def rows(found: dict[str, Any]) -> list[list[Any]]:
    """Clicks a unit, and how their ranks agree with those of the true clicks."""
    table: list[list[Any]] = [["clicks a unit", "vertices", "intersections", "classes", "mean", "median", "90 %"]]
    for tolerance, true in found["true"].items():
        kinds = [true[kind] for kind in Clicks._fields]
        table.append([f"true, tolerance {tolerance}", *kinds, *true["total"].values()])
    table.append(["predicted", "", "", "", *found["predicted"].values()])
    table += [[], ["rank correlation with true clicks", "rho", "95 % interval"]]
    for name, rho in found["rank_correlation"].items():
        table.append([name, f"{rho['rho']:.2f}", f"[{rho['low']:.2f}, {rho['high']:.2f}]"])
    return table
