"""How many labels a project needs, by the commands of `ralseg-query` alone, with known labels in people's place."""

import contextlib
import io
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from torch import Tensor

from ralseg.annotation import commands
from ralseg.annotation.automatic import answer
from ralseg.annotation.label_files import write_png
from ralseg.annotation.learned import Networks
from ralseg.annotation.project import Project
from ralseg.annotation.rounds import open_units, rounds
from ralseg.benchmarks.measure import configured, one_thread
from ralseg.envs import World
from ralseg.foundation import read_json, write_json
from ralseg.segmentation.evaluation import Evaluator
from ralseg.segmentation.learners import LearnOptions
from ralseg.segmentation.networks import load_weights, read_tensors
from ralseg.stats import paired_interval

POLICIES = ("random", "margin")
CHOOSING = {"random": ["query_by=random"], "margin": [], "all": []}
"""settings of each kind of project; margin is the default"""
SEEDS, ROUNDS = 5, 8
PER_ROUND = 480
GOALS = (0.9, 0.95)
"""shares of the mIoU that all labels of the pool reach"""
ROLE, JUDGE = "compare", "dev"
FOLDER = Path("runs/loop")


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """Label the images of D_V round by round until the network is as good as `GOALS` say, or `ROUNDS` are over.

    The projects are in runs/loop and are gone on with; remove that folder to measure anew.

    Args:
        overrides: of `train_agent.yaml`; those whose keys begin with `project.` are settings of the projects.
        share: share of the seeds and of the rounds, above 0 and at most 1; two seeds and two rounds are always played.
    """
    own = [override.removeprefix("project.") for override in overrides if override.startswith("project.")]
    config = configured((), [override for override in overrides if not override.startswith("project.")])
    seeds, most = range(max(2, round(share * SEEDS))), max(2, round(share * ROUNDS))
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        full = list(pool.map(_full, *zip(*[(config, own, seed) for seed in seeds], strict=True)))
        jobs = [(config, own, by, seed, GOALS[-1] * full[seed]["miou"], most) for seed, by in product(seeds, POLICIES)]
        curves = list(pool.map(_curve, *zip(*jobs, strict=True)))
    rows = [row for curve in curves for row in curve]
    return {"all_labels": full, "rows": rows, "to": [_reached(rows, full, goal) for goal in GOALS]}


def rows(found: Mapping[str, Any]) -> list[list[str]]:
    """The readable table."""
    table = [["goal", "of", "random", "margin", "random less margin", "fewer"]]
    for each in found["to"]:
        for of, cell in each["less"].items():
            low, high = cell["interval"]
            shown = [f"{cell[by]:.0f}" for by in POLICIES]
            fewer = f"{100 * cell['less'] / cell['random']:.0f} %"
            table.append([f"{each['goal']:.0%}", of, *shown, f"{cell['less']:.0f} [{low:.0f}, {high:.0f}]", fewer])
    return table


def _curve(config: dict, own: Sequence[str], by: str, seed: int, goal: float, most: int) -> list[dict[str, Any]]:
    """The points of one project after each of its rounds."""
    one_thread()
    world, folder = World(config), FOLDER / f"{by}-{seed}"
    _begin(world, folder, [f"seed={seed}", *CHOOSING[by], *own])
    found: list[dict[str, Any]] = []
    while len(found) < most and not (found and found[-1]["miou"] >= goal):
        place = folder / f"point-{len(found) + 1:02d}.json"
        if not place.exists():
            begun = time.process_time()
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                _round(world, folder, len(found) + 1)
            project = Project(folder)
            trainings, seconds = Networks(project).trainings, time.process_time() - begun
            miou, paid = _miou(world, read_tensors(str(trainings[-1].weights), "weights")), project.campaign.ledger
            facts = {"by": by, "seed": seed, "round": len(trainings), "units": paid.units, "share": paid.share}
            write_json(place, facts | {"clicks": paid.polygon_clicks, "miou": miou, "cpu_s": seconds})
        found.append(read_json(place))
    return found


def _full(config: dict, own: Sequence[str], seed: int) -> dict[str, Any]:
    """A project whose first round asks for all labels."""
    return _curve(config, [*own, f"per_round={1 << 20}", "held_out=0"], "all", seed, 0.0, 1)[0]


def _begin(world: World, folder: Path, settings: Sequence[str]) -> None:
    if (folder / "project.json").exists():
        return
    for name in world.splits.compare:
        write_png(folder / "images" / f"{name}.png", world.dataset.load(name)[0][..., ::-1])
    colours = zip(world.dataset.classes, world.dataset.colors.tolist(), strict=True)
    classes = [{"name": name, "id": i, "color": color} for i, (name, color) in enumerate(colours)]
    (folder / "classes.yaml").write_text(yaml.safe_dump(classes))
    # All projects of a seed begin with the same round: what is compared is what comes after it.
    ours = [
        "start_by=random",
        f"budget={1 << 20}",
        f"per_round={PER_ROUND}",
        f"dataset.unit_size={list(world.dataset.unit_size)}",
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        commands.init(folder, [], None, False, [*ours, *settings])


def _round(world: World, folder: Path, number: int) -> None:
    """One round by the commands; what is done of it already is not done again."""
    project = Project(folder)
    every = rounds(project)
    if len(every) < number or open_units(project, every[-1]):
        out = folder / "exports" / f"{number:03d}-{time.time_ns()}"
        commands.export(folder, "png", out)
        answer(world.dataset, out)
        # A region that is void in the labels cannot be answered for.
        commands.import_(folder, "png", out, skip_rest=True)
    commands.train_(folder)


def _miou(world: World, weights: Mapping[str, Tensor]) -> float:
    """The mIoU of a network on the images of dev, percent."""
    network = world.network()
    load_weights(network, dict(weights), "the training", "this network")
    learner = world.learner_of(network, LearnOptions(cut="partial", loss=world.config["loss"]))
    return Evaluator(world.store, len(world.dataset.classes))(learner, world.images(JUDGE)).miou


def _reached(rows: Sequence[Mapping[str, Any]], full: Sequence[Mapping[str, Any]], goal: float) -> dict[str, Any]:
    """What each seed paid until its network first was as good as a share of all labels, between rounds in proportion.

    A seed that did not get there within its rounds counts with all that it paid, which is said in `short`.
    """
    seeds = range(len(full))
    curves = {(by, s): [row for row in rows if (row["by"], row["seed"]) == (by, s)] for by in POLICIES for s in seeds}
    short = {by: sum(curves[by, s][-1]["miou"] < goal * full[s]["miou"] for s in seeds) for by in POLICIES}
    less = {}
    for of in ("units", "clicks"):
        paid = {by: [_crossing(curves[by, s], of, goal * full[s]["miou"]) for s in seeds] for by in POLICIES}
        random, margin = (np.array(paid[by]) for by in POLICIES)
        means = {by: float(np.mean(paid[by])) for by in POLICIES}
        interval = paired_interval((random - margin)[None])
        less[of] = means | {"less": interval.mean, "interval": [interval.low, interval.high], "each": paid}
    return {"goal": goal, "short": short, "less": less}


def _crossing(curve: Sequence[Mapping[str, Any]], of: str, goal: float) -> float:
    before: Mapping[str, Any] = {of: 0, "miou": 0.0}
    for row in curve:
        if row["miou"] >= goal:
            return before[of] + (row[of] - before[of]) * (goal - before["miou"]) / (row["miou"] - before["miou"])
        before = row
    return float(before[of])
