"""Rows of a comparison as arrays, in which paired runs of two policies have the same indices."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ralseg.evaluation.results import SUPERVISED, TWO_SET_MEAN, Row
from ralseg.foundation import generator
from ralseg.stats import Interval, Resamples, complete

RARE = "rare"
BILL = (
    "units", "pixels", "share", "images", "clicks", "label_cost_of_policy", "class_entropy", "seconds_choosing",
)  # fmt: skip


@dataclass(frozen=True)
class Runs:
    """All runs of one policy in one game on one split.

    Attributes:
        name: of the policy.
        reference: whether it sees true labels.
        learned: whether it was trained.
        figures: name -> (training seeds, draws, budgets) float64, NaN where a run has not been played. All policies of
            a game share the axes, but one that was not trained has one training seed, which broadcasts.
    """

    name: str
    reference: bool
    learned: bool
    figures: Mapping[str, np.ndarray]

    @property
    def miou(self) -> np.ndarray:
        """MIoU in percent, (training seeds, draws, budgets)."""
        return self.figures["miou"]

    @property
    def heuristic(self) -> bool:
        """Whether it is a formula that sees no true labels, other than chance."""
        return not (self.reference or self.learned or self.name == "random")

    def at(self, budget: int) -> "Runs":
        """These runs at one budget, given by its index: figures are (training seeds, draws)."""
        return Runs(self.name, self.reference, self.learned, {k: v[..., budget] for k, v in self.figures.items()})


def runs_of(
    rows: Sequence[Row], comparison: Mapping[str, Any], game: str, rare: Sequence[str]
) -> dict[str, dict[str, Runs]]:
    """The runs of one game.

    Args:
        rows: of the comparison.
        comparison: see `Results`.
        game: the game whose runs are wanted.
        rare: classes whose mean IoU is the figure `rare`.

    Returns:
        split (the two-set mean is one) -> policy -> its runs, for all that have one on that split.
    """
    place = {float(budget): number for number, budget in enumerate(comparison["budgets"])}
    rows = [row for row in rows if row["game"] == game and row["budget_units"] in place]
    names = [name for name in comparison["policies"] if name != SUPERVISED]
    trained = sorted({row["training_seed"] for row in rows} - {None})
    draws = {draw: number for number, draw in enumerate(sorted({row["seed"] for row in rows}))}
    figures = ["miou", *(f"iou_{name}" for name in comparison["classes"]), *BILL]
    splits: dict[str, dict[str, Runs]] = {}
    for split in comparison["splits"]:
        splits[split] = {}
        for name in names:
            own = [row for row in rows if row["policy"] == name and row["split"] == split]
            if not own:
                continue
            learned = any(row["training_seed"] is not None for row in own)
            seeds = {seed: number for number, seed in enumerate(trained if learned else [None])}
            values = np.full((len(figures), len(seeds), len(draws), len(place)), np.nan)
            at = [(seeds[row["training_seed"]], draws[row["seed"]], place[row["budget_units"]]) for row in own]
            values[:, *np.transpose(at)] = np.transpose([[row[figure] for figure in figures] for row in own])
            sees_truth = name in comparison["references"]
            splits[split][name] = Runs(name, sees_truth, learned, dict(zip(figures, values, strict=True)))
    if len(splits) == 2:
        both = {name: _mean_of(splits["dev"][name], splits["test"].get(name)) for name in splits["dev"]}
        splits[TWO_SET_MEAN] = {name: runs for name, runs in both.items() if runs is not None}
    return {split: {name: _with_rare(runs, rare) for name, runs in of.items()} for split, of in splits.items()}


def best_of(policies: Iterable[Runs], figure: str = "miou") -> str | None:
    """Name of the policy with the highest mean of a figure over all its runs; None without any."""
    means = {runs.name: float(mean_of_defined(runs.figures[figure])) for runs in policies}
    return max(means, key=lambda name: means[name], default=None)


def differences(
    runs: Runs, policies: Mapping[str, Runs], bases: Iterable[str | None]
) -> dict[str, dict[str, np.ndarray]]:
    """Paired differences to each base that is there and not the policy itself.

    Returns:
        base -> figure -> the policy's values less the base's; NaN where there is no pair.
    """
    there = [base for base in dict.fromkeys(bases) if base is not None and base in policies and base != runs.name]
    return {
        base: {name: values - policies[base].figures[name] for name, values in runs.figures.items() if name not in BILL}
        for base in there
    }


def mean_of_defined(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Mean that leaves NaN out; NaN where there is nothing else."""
    defined = np.isfinite(values)
    count = defined.sum(axis=axis)
    return np.where(count, np.where(defined, values, 0).sum(axis=axis) / np.maximum(count, 1), np.nan)


def measured(statistic: Callable[..., Interval], values: np.ndarray, resamples: Resamples) -> dict[str, Any] | None:
    """A statistic of runs as JSON values.

    Args:
        statistic: takes (training seeds, draws) and `rng`.
        values: (training seeds, draws), NaN where a run or its pair is missing; draws that not all training seeds have
            played are left out.
        resamples: shared by all.

    Returns:
        The fields of `ralseg.stats.Interval`. For a single run all but the mean, `n` and `method` are None; without any
        run the result is None.
    """
    values = complete(values)
    if not values.size:
        return None
    # One run has no interval, but it has a figure: that of itself and its like.
    found = asdict(statistic(values if values.size > 1 else np.repeat(values, 2, axis=1), rng=resamples))
    if values.size > 1:
        return found
    return found | {"n": 1, "method": "one run"} | dict.fromkeys(("low", "high", "standard_error", "level"))


def resamples_of_summary() -> Resamples:
    """The resamples behind all intervals of a comparison; every call gives the same ones."""
    # Crossed, because what a base that was not trained owes to the luck of a draw is common to all training seeds.
    return Resamples(generator(0, "summary"), crossed=True)


def identity(runs: Runs) -> dict[str, Any]:
    """The keys by which an entry of the summary says which policy it is about."""
    return {"policy": runs.name, "reference": runs.reference, "learned": runs.learned}


def run_counts(values: np.ndarray) -> dict[str, int]:
    """How many training seeds and how many draws have a figure; `values` is (training seeds, draws), NaN for none."""
    there = np.isfinite(values)
    return {"training_seeds": int(there.any(axis=1).sum()), "draws": int(there.any(axis=0).sum())}


def as_json(value: float | np.ndarray) -> float | None:
    """A number for JSON, None for NaN."""
    return float(value) if np.isfinite(value) else None


def _mean_of(dev: Runs, test: Runs | None) -> Runs | None:
    """Runs that were played on both sets; what was paid is the same on both."""
    if test is None or not (both := np.isfinite(dev.miou) & np.isfinite(test.miou)).any():
        return None
    figures = {
        name: np.where(both, values if name in BILL else (values + test.figures[name]) / 2, np.nan)
        for name, values in dev.figures.items()
    }
    return Runs(dev.name, dev.reference, dev.learned, figures)


def _with_rare(runs: Runs, rare: Sequence[str]) -> Runs:
    if not rare:
        return runs
    mean = 100 * mean_of_defined(np.stack([runs.figures[f"iou_{name}"] for name in rare]), axis=0)
    return Runs(runs.name, runs.reference, runs.learned, {**runs.figures, RARE: mean})
