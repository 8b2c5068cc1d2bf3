"""What networks know before the game: mIoU at theta_0, and the CPU seconds that its training costs."""

import os
import tempfile
import time
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from ralseg.benchmarks.measure import configured
from ralseg.envs import World
from ralseg.segmentation.evaluation import Evaluator

LITE0 = ["network=lite0"]
DEEPLAB = ["network=deeplabv3plus", "network.encoder=tu-tf_efficientnet_lite0", "network.imagenet=imagenet"]
NETWORKS = {
    "lite0": LITE0,
    "lite0, 600 steps": [*LITE0, "theta0.fit.steps=600"],
    "lite0, pyramid of 128": [*LITE0, "network.pyramid=128"],
    "lite0, dropout of 0.1": [*LITE0, "network.dropout=0.1"],
    "deeplabv3plus on lite0's encoder": [*DEEPLAB, "theta0=encoder"],
    "small_fpn": ["network=small_fpn"],
}
SEEDS = (0, 1)
SPLITS = ("dev", "reward")


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """Train theta_0 of several networks, each with several seeds, and evaluate it.

    Args:
        overrides: of `train_agent.yaml`.
        share: share of the steps of each training, above 0 and at most 1.
    """
    return {
        "networks": {
            name: [one([*overrides, *given, f"seed={seed}"], share) for seed in SEEDS]
            for name, given in NETWORKS.items()
        }
    }


def one(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """One theta_0: CPU seconds of its training, and mIoU in percent on dev and D_R."""
    config = configured(("game=full",), overrides)
    fit = config["theta0"]["fit"]
    fit["steps"] = max(1, round(share * fit["steps"]))
    world = World(config)
    world.store.image(0)
    # Its own cache, so that each is trained; the images stay where they are.
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, RALSEG_CACHE=folder):
        start = time.process_time()
        world.theta0("train")
        seconds = time.process_time() - start
        learner, evaluator = world.learner("train"), Evaluator(world.store, len(world.dataset.classes))
    found = {split: evaluator(learner, world.images(split)).miou for split in SPLITS}
    return {"steps": fit["steps"], "batch": fit["batch"], "cpu_seconds": seconds, "miou": found}


def rows(found: dict[str, Any]) -> list[list[Any]]:
    """A row for each network: what its seeds reach and cost."""
    table: list[list[Any]] = [["theta_0", "steps", "mIoU dev", "mIoU D_R", "CPU seconds"]]
    for name, runs in found["networks"].items():
        steps = f"{runs[0]['steps']} of {runs[0]['batch']}"
        mious = [", ".join(f"{run['miou'][split]:.1f}" for run in runs) for split in SPLITS]
        table.append([name, steps, *mious, ", ".join(f"{run['cpu_seconds']:.0f}" for run in runs)])
    return table
