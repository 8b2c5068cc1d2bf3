"""A data set of the size of Cityscapes, from files in its layout to a step of the game: seconds and peak memory."""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ralseg.agents.networks import build_network
from ralseg.agents.query_policy import QueryPolicy
from ralseg.benchmarks.fresh import in_fresh_process
from ralseg.benchmarks.generated import GeneratedStore
from ralseg.benchmarks.measure import batch_dqn, cpu_seconds, peak_megabytes
from ralseg.configs import composed
from ralseg.envs import EnvFactory, World
from ralseg.segmentation.datasets.cityscapes import cityscapes_files
from ralseg.segmentation.datasets.palettes import CITYSCAPES
from ralseg.segmentation.datasets.streets_as_cityscapes import write_pair
from ralseg.segmentation.evaluation import Evaluator

SIZE = (1024, 2048)
TRAIN, VAL, TOWNS = 2975, 500, 20
ROLES = {"state": 10, "train": 150, "reward": 200}
"""Number of images in D_S, D_T and D_R; the other images of train are D_V."""
SLATES, CANDIDATES = 256, 100
PATCH = 8
"""Side in pixels of the square of each class that every label holds."""


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """Measure the CPU seconds and peak MB (10^6 bytes), mapped files included, of three processes.

    One reads all files into the image store and makes theta_0, one plays a step of the env with a query network's
    choice, one computes results on val.

    Args:
        overrides: of `train_agent.yaml`.
        share: share of the images, slates and candidates, above 0 and at most 1.
    """
    scaled = {role: max(8, round(share * count)) for role, count in ROLES.items()}
    train, val = max(60, round(share * TRAIN)), max(4, round(share * VAL))
    counts = scaled | {"compare": train - sum(scaled.values()), "dev": 0}
    slates, candidates = max(4, round(share * SLATES)), max(4, round(share * CANDIDATES))
    with tempfile.TemporaryDirectory() as folder:
        write_tree(Path(folder) / "data", train, val)
        settings = [
            "dataset=cityscapes", f"dataset.root={folder}/data", "agent=transferable", "features=transferable",
            "protocol.counts={" + ", ".join(f"{role}: {count}" for role, count in counts.items()) + "}",
            "protocol.exact=false", f"game.slates={slates}", f"game.candidates={candidates}", f"game.budget={slates}",
            "theta0.fit.steps=20", *overrides,
        ]  # fmt: skip
        works = {"files": read, "step": one_step, "val": evaluate}
        cache = f"{folder}/cache"
        found = {name: in_fresh_process(work, cache, overrides=settings)["result"] for name, work in works.items()}
    sizes = {"counts": counts, "val": val, "slates": slates, "candidates": candidates}
    return {"sizes": sizes, "processes": found}


def rows(found: dict[str, Any]) -> list[list[Any]]:
    """One line for each phase; the last phase of a process holds the peak of that process."""
    table = [["phase", "CPU seconds", "peak MB of the process"]]
    for process in found["processes"].values():
        phases = list(process["seconds"].items())
        table += [[name, seconds, ""] for name, seconds in phases[:-1]]
        table.append([*phases[-1], process["peak_megabytes"]])
    return table


def write_tree(root: Path, train: int, val: int) -> None:
    """Write drawn streets in the layout of Cityscapes."""
    store, classes = GeneratedStore(train + val, SIZE), np.arange(len(CITYSCAPES), dtype=np.uint8)
    for number in range(train + val):
        name = f"town{number % TOWNS:02d}_{number:06d}_000019"
        image, label = store.image(number).copy(), store.label(number).copy()
        # Scenes recur, and of images that are the same only one would be drawn for a role.
        image[0, 0, :2] = divmod(number, 256)
        # D_S must hold every class, which a few drawn streets alone do not.
        label[:PATCH, : PATCH * len(classes)] = classes.repeat(PATCH)
        write_pair(cityscapes_files(root, "train" if number < train else "val", name), image, label)


def read(overrides: Sequence[str]) -> dict[str, Any]:
    """Decode every file into the image store and make theta_0."""
    world = World(composed("train_agent", overrides))
    seconds = {"files to store": cpu_seconds(lambda: world.store), "theta_0, 20 steps": cpu_seconds(world.theta0)}
    stored = sum(path.stat().st_size for path in world.store.folder.glob("*.bin"))
    return {"seconds": seconds, "peak_megabytes": peak_megabytes(), "store_megabytes": stored / 1e6}


def one_step(overrides: Sequence[str]) -> dict[str, Any]:
    """Make and reset the env, choose with a query network, and play a step: learning, reward on D_R, observation."""
    config = composed("train_agent", overrides)
    seconds = {}

    def timed(phase: str, work: Callable[[], Any]) -> Any:
        begun = time.process_time()
        result = work()
        seconds[phase] = time.process_time() - begun
        return result

    make = EnvFactory(config, "compare", credit=False, reference=False)
    env = timed("env made, components fitted", make)
    observation, _ = timed("reset and observation", lambda: env.reset(seed=0))
    spec, options = World(config).spec, batch_dqn(config)
    network = build_network(options, env.observation_space, spec.prior_column(options.prior_of), spec.token_layout)
    chosen = timed("choice", lambda: QueryPolicy(network, {}).choose(observation))
    timed("step", lambda: env.step(chosen))
    return {"seconds": seconds, "peak_megabytes": peak_megabytes()}


def evaluate(overrides: Sequence[str]) -> dict[str, Any]:
    """Compute the mIoU on val."""
    world = World(composed("train_agent", overrides))
    learner = world.learner("compare")
    evaluator = Evaluator(world.store, learner.classes)
    return {
        "seconds": {"val": cpu_seconds(lambda: evaluator(learner, world.images("test")))},
        "peak_megabytes": peak_megabytes(),
    }
