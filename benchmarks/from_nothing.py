"""The cost of a policy from nothing in one game: imports, image store, theta_0, cached maps and every step."""

import tempfile
from collections.abc import Sequence
from typing import Any

import torch

from ralseg.benchmarks.games import EPISODES, trained
from ralseg.benchmarks.measure import convolution_rate
from ralseg.configs import composed


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """Measure the CPU seconds of one training in fresh processes with an empty cache.

    Args:
        overrides: of `train_agent.yaml`; they choose the game and `training.processes`.
        share: share of the episodes that is played, above 0 and at most 1.
    """
    config = composed("train_agent", overrides)
    processes = config["training"]["processes"]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as cache:
        found = trained(overrides, max(4, round(share * EPISODES)), processes, folder, cache)
    rates = {name: convolution_rate(getattr(torch, name)) for name in ("float32", "bfloat16")}
    return {"game": config["game"]["learn"]["cut"], "processes": processes, "convolution_rate": rates, **found}


def rows(found: dict[str, Any]) -> list[list[Any]]:
    """One line."""
    peaks = found["peak_megabytes"]
    line = [found["game"], found["processes"], found["cpu_seconds"], found["steps"], found["theta0_seconds"]]
    rates = [f"{rate:.0f}" for rate in found["convolution_rate"].values()]
    heads = ["from nothing", "processes", "CPU seconds", "steps", "theta_0", "MB parent", "MB worker"]
    line += [peaks["parent"], max(peaks["workers"], default="")]
    return [[*heads, "convolution GFLOP/s"], [*line, " / ".join(rates)]]
