"""How often the intervals of `stats.forecast` held what recorded curves did next."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ralseg.evaluation.results import Results, load_results
from ralseg.foundation import RalsegError
from ralseg.stats.forecast import ROUNDS, Curve

RESULTS = Path(__file__).resolve().parents[1] / "results"
LEVELS = (0.8, 0.95)
REACHES = {"up to as many labels again": (0.0, 1.0), "beyond": (1.0, np.inf)}
"""Labels beyond the last point, over those paid by then: more than the first, at most the second."""


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """Forecast every later point of every recorded curve from its first 4, 5, ... points.

    Args:
        overrides: must be empty, as the curves are those in results/.
        share: share of the curves of each folder, above 0 and at most 1; one is always forecast.

    Raises:
        RalsegError: if there are overrides, or no folder has curves of enough points.
    """
    if overrides:
        raise RalsegError(f"forecast takes no overrides, it reads results/; leave out {' '.join(overrides)}")
    found = {}
    for folder in sorted(path for path in RESULTS.iterdir() if (path / "results.csv").exists()):
        if curves := list(long_curves(load_results(folder))):
            kept = curves[: max(1, round(share * len(curves)))]
            found[folder.name] = {"curves": len(kept)} | coverage(kept)
    if not found:
        raise RalsegError(f"{RESULTS}: no curve has more than {ROUNDS} budgets")
    return {"folders": found}


def long_curves(results: Results) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(units paid, mIoU) of each run and split with more than `ROUNDS` budgets."""
    points: defaultdict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for row in results.rows:
        # Networks trained anew at each budget are no curve of one campaign.
        if not row["game"].endswith("+fit"):
            points[row["run_id"], row["split"]][row["units"]] = row["miou"]
    for curve in points.values():
        if len(curve) > ROUNDS:
            labels = np.array(sorted(curve))
            yield labels, np.array([curve[paid] for paid in labels.tolist()])


def coverage(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """What came of the forecasts, for each of `REACHES`.

    Args:
        curves: labels paid and mIoU, each (n,).

    Returns:
        Reach -> `forecasts`, `held` (level -> share of the intervals that held the mIoU), `width` (level -> mean),
        `error` (of the median, mean absolute) and `bias` (mean of mIoU less median); None where there are none.
    """
    cells: defaultdict[str, list[np.ndarray]] = defaultdict(list)
    tails = [(1 + sign * level) / 2 for level in LEVELS for sign in (-1, 1)]
    for labels, miou in curves:
        for k in range(ROUNDS, len(labels)):
            median, *ends = Curve(labels[:k], miou[:k], np.zeros(k)).quantiles(labels[k:], (0.5, *tails))
            beyond, rest = labels[k:] / labels[k - 1] - 1, miou[k:]
            lows, highs = ends[::2], ends[1::2]
            held = [(low <= rest) & (rest <= high) for low, high in zip(lows, highs, strict=True)]
            widths = [high - low for low, high in zip(lows, highs, strict=True)]
            facts = np.stack([*held, *widths, np.abs(rest - median), rest - median])
            for name, (more, most) in REACHES.items():
                cells[name].append(facts[:, (beyond > more) & (beyond <= most)])
    return {name: _summary(np.concatenate(parts, axis=1)) for name, parts in cells.items()}


def _summary(facts: np.ndarray) -> dict[str, Any] | None:
    if not facts.size:
        return None
    means, n = [float(mean) for mean in facts.mean(axis=1)], len(LEVELS)
    by_level = (
        {f"{level:g}": mean for level, mean in zip(LEVELS, part, strict=True)} for part in (means[:n], means[n:-2])
    )
    held, width = by_level
    return {"forecasts": facts.shape[1], "held": held, "width": width, "error": means[-2], "bias": means[-1]}


def rows(found: dict[str, Any]) -> list[list[Any]]:
    """One line for each folder and reach."""
    cells = [f"{level:.0%} {what}" for what in ("held", "width") for level in LEVELS]
    table: list[list[Any]] = [["curves", "number", "reach", "forecasts", *cells, "error", "bias"]]
    for folder, what in found["folders"].items():
        for reach in REACHES:
            if (at := what[reach]) is not None:
                held = [f"{share:.0%}" for share in at["held"].values()]
                widths = [f"{width:.2f}" for width in at["width"].values()]
                errors = [f"{at['error']:.2f}", f"{at['bias']:+.2f}"]
                table.append([folder, what["curves"], reach, at["forecasts"], *held, *widths, *errors])
    return table
