"""The measured part of `ralseg-query recommend`: `uv run tools/guide_evidence.py [--write]`.

Reads results/best_practices_*, where the mean teacher's policies are called `random (mean teacher)`, and compares the
areas under the budget curves (mean of dev and test, over the range of the budgets), paired by draw.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ralseg.annotation.guide import kind_of_budget
from ralseg.evaluation.results import load_results
from ralseg.foundation import RalsegError, atomic_write
from ralseg.stats import area_under_budget_curve, paired_interval

ROOT = Path(__file__).resolve().parents[1]
EVIDENCE = ROOT / "annotation" / "evidence.json"
KINDS = {"random": "random", "then_entropy": "single", "then_coreset": "batch"}
"""Policy of the experiment -> the kind that it stands for."""
SEMI = " (mean teacher)"

Areas = dict[str, dict[int, float]]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the evidence, or write it; 1 if the file is not what the results say."""
    parser = argparse.ArgumentParser("guide_evidence", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write annotation/evidence.json")
    text = json.dumps(entries(ROOT / "results"), indent=1) + "\n"
    if parser.parse_args(argv).write:
        with atomic_write(EVIDENCE, "w") as file:
            file.write(text)
    print(text, end="")
    return int(EVIDENCE.read_text() != text)


def entries(results: Path) -> list[dict[str, Any]]:
    """The evidence of all comparisons of the experiment, see `ralseg.annotation.guide.evidence`."""
    found = []
    for folder in sorted(path.parent for path in results.glob("best_practices_*/comparison.json")):
        own = areas(folder)
        if missing := [policy for policy in KINDS if policy not in own]:
            raise RalsegError(f"{folder}: there are no runs of {missing[0]}; play experiment=best_practices there")
        differences = _between_kinds(own, "")
        others = {policy: own[policy + SEMI] for policy in KINDS if policy + SEMI in own}
        if both := list(others):
            differences["semi-supervised - supervised"] = _interval(*(_mean_of(both, of) for of in (others, own)))
            if len(both) == len(KINDS):
                differences |= _between_kinds(others, ", semi-supervised")
            for policy in both if len(both) > 1 else ():
                name = f"semi-supervised - supervised, {KINDS[policy]}"
                differences[name] = _interval(others[policy], own[policy])
        config = load_results(folder).comparison["config"]
        found.append(
            {
                "pool": "redundant" if config["protocol"].get("runs", 1) > 1 else "diverse",
                "budget": kind_of_budget(config["game"]["budget"]),
                "data": folder.name.split("_")[2],
                "results": folder.name,
                "draws": len(own["random"]),
                "differences": differences,
            }
        )
    return found


def areas(folder: Path) -> Areas:
    """Policy -> seed -> area under the curve of mIoU (mean of dev and test, in percent) over the budgets' range."""
    scores: dict[tuple[str, int], dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in load_results(folder).rows:
        scores[row["policy"], int(row["seed"])][float(row["budget_units"])].append(float(row["miou"]))
    found: Areas = defaultdict(dict)
    for (policy, seed), curve in scores.items():
        budgets = sorted(curve)
        values = [float(np.mean(curve[budget])) for budget in budgets]
        found[policy][seed] = float(area_under_budget_curve(budgets, values).normalised)
    return found


def _between_kinds(of: Areas, suffix: str) -> dict[str, list[float]]:
    pairs = (("single", "random"), ("batch", "random"), ("batch", "single"))
    named = {kind: of[policy] for policy, kind in KINDS.items()}
    return {f"{first} - {second}{suffix}": _interval(named[first], named[second]) for first, second in pairs}


def _mean_of(policies: Sequence[str], of: Areas) -> dict[int, float]:
    """The mean over policies of each seed: they share their first labels, so they are one draw."""
    seeds = set.intersection(*(set(of[policy]) for policy in policies))
    return {seed: float(np.mean([of[policy][seed] for policy in policies])) for seed in seeds}


def _interval(first: dict[int, float], second: dict[int, float]) -> list[float]:
    seeds = sorted(first.keys() & second.keys())
    found = paired_interval(np.array([[first[seed] - second[seed] for seed in seeds]]))
    return [round(value, 3) for value in (found.mean, found.low, found.high)]


if __name__ == "__main__":
    sys.exit(main())
