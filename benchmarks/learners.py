"""What a training step of each learner costs against a supervised one, on the same network and windows."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ralseg.benchmarks.measure import alternate, configured
from ralseg.envs import World
from ralseg.foundation import generator
from ralseg.segmentation.augmentation import Crops
from ralseg.segmentation.labels import revealed
from ralseg.segmentation.learners import FitOptions, Learner, LearnOptions, TrainingSet, fitted

LEARNERS = ("supervised", "mean_teacher", "s4gan", "u2pl")
STEPS, BATCH, ROUNDS = 5, 8, 7
RATES = {"trained": 1.0, "kept": 0.0}
"""What becomes of the encoder -> its learning rate over that of the rest."""


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """Train each learner on as many labelled as unlabelled windows, by turns.

    Args:
        overrides: of `train_agent.yaml`; without `learner`.
        share: share of the rounds, above 0 and at most 1.
    """
    worlds = {name: World(configured((), [*overrides, f"learner={name}"])) for name in LEARNERS}
    options = LearnOptions(cut="full", loss="balanced")
    learners = {name: world.learner("compare", options) for name, world in worlds.items()}
    world = worlds["supervised"]
    data = TrainingSet(revealed(world.store, world.images("state")), [], world.images("compare"))
    rounds, found = max(1, round(share * ROUNDS)), {}
    for encoder, rate in RATES.items():
        fit = FitOptions(steps=STEPS, batch=BATCH, encoder_rate=rate, crops=Crops((144, 192), (0.7, 1.5)))
        works = {name: partial(train, learner, data, fit) for name, learner in learners.items()}
        alternate(works, 1)
        seconds = {name: float(np.median(each)) / STEPS for name, each in alternate(works, rounds).items()}
        found[encoder] = {
            name: {"seconds": each, "ratio": each / seconds["supervised"]} for name, each in seconds.items()
        }
    return {"encoder": found}


def train(learner: Learner, data: TrainingSet, options: FitOptions) -> None:
    """Some steps from where the learner is."""
    fitted(learner, data, options, generator(0, "benchmark"))


def rows(found: dict[str, Any]) -> list[list[Any]]:
    """One line for each learner."""
    table: list[list[Any]] = [["learner", *(f"{part}, encoder {of}" for of in RATES for part in ("CPU s", "ratio"))]]
    for name in LEARNERS:
        cells = [round(found["encoder"][of][name][part], 3) for of in RATES for part in ("seconds", "ratio")]
        table.append([name, *cells])
    return table
