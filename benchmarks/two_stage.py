"""Two-stage eDALD at the sizes of its paper: the coverage of CamVid's pool, and a round on Cityscapes' images.

With a data set (`dataset=camvid dataset.root=<folder>`), also the passes of the source and whole runs on it.
"""

import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ralseg.agents.acquisitions import make
from ralseg.agents.acquisitions.coverage import Rbf, max_herding, median_bandwidth
from ralseg.agents.acquisitions.limits import Free
from ralseg.benchmarks.fresh import in_fresh_process
from ralseg.benchmarks.generated import GeneratedStore
from ralseg.benchmarks.measure import cpu_seconds, one_thread, peak_megabytes, resident_megabytes
from ralseg.benchmarks.selection import KINDS, cloud
from ralseg.configs import composed
from ralseg.envs import Game, GameOptions, Pool, World
from ralseg.evaluation.play import Job, Plan, Player
from ralseg.evaluation.policies import make_policies
from ralseg.features.reduction import noises_of
from ralseg.foundation import generator
from ralseg.segmentation.learners import FitOptions, LearnerImages, LearnOptions, Predictor, SupervisedLearner
from ralseg.segmentation.networks import PixelMLP
from ralseg.segmentation.sources import PLAIN, Source, Variant

COVERAGE = {"points": 18_350, "picks": 9175}
"""50 pixels of each of 367 images, and half of them."""
NUMBERS = 128
"""Of a vector, as a random projection leaves them."""
IMAGES, SIZE = 2975, (256, 512)
WIDTHS = (768, 768, 1536, 3072)
"""Channels of the published blocks 17, 12, 8 and 5 at three timesteps."""
PUBLISHED = {
    "stages": [
        {"by": {"max_herding": {"embedding": "source", "numbers": 256}}, "per_image": 50},
        {"by": {"max_herding": {"embedding": "source", "numbers": 256}}, "share": 0.5, "at_once": 20_000},
        {"by": {"edald": {"noise": {"kind": "simulated", "draws": 5}}}},
    ]
}
CANDIDATES = 500
RUNS = ("herded_margin", "herded_two_stage_edald")
"""Of the policies of the experiment, one without noise and the paper's."""


class Simulated(Source):
    """Half-precision maps as wide as those of the published diffusion network, of random numbers and few cells."""

    key, widths, stride, variants = "simulated", WIDTHS, 32, ("simulated",)

    def maps(self, image: np.ndarray, variant: Variant) -> tuple[Tensor, ...]:
        """See `Source.maps`."""
        draws = torch.Generator().manual_seed(variant.seed(image))
        sides = [(image.shape[0] // side, image.shape[1] // side) for side in (32, 64, 128, 256)]
        return tuple(
            torch.randn(width, *cells, generator=draws).half() for width, cells in zip(WIDTHS, sides, strict=True)
        )


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """Measure seconds and peak MB (10^6 bytes) in fresh processes.

    Args:
        overrides: of `evaluate_policy.yaml` with `experiment=two_stage_edald`; without them no runs are played.
        share: share of the points and images, above 0 and at most 1.
    """
    sizes: dict[str, Any] = {name: max(20, round(share * value)) for name, value in COVERAGE.items()}
    return {
        "coverage": [in_fresh_process(coverage, kind=kind, **sizes)["result"] for kind in KINDS],
        "rounds": [
            in_fresh_process(one_round, images=max(8, round(share * part * IMAGES)))["result"] for part in (0.25, 1)
        ],
        "runs": runs_apart(overrides) if overrides else [],
    }


def rows(found: dict[str, Any]) -> list[list[Any]]:
    """The coverage of CamVid's pool, and below it rounds on two numbers of images."""
    table = [["coverage", "points", "picks", "CPU seconds", "peak MB"]]
    table += [
        [each["kind"], each["points"], each["picks"], each["seconds"], each["megabytes"]] for each in found["coverage"]
    ]
    table += [[], ["a round", "images", "candidates", "CPU seconds", "peak MB", "of these before it"]]
    for each in found["rounds"]:
        table.append(["", each["images"], each["candidates"], each["seconds"], each["megabytes"], each["before"]])
    if found["runs"]:
        table += [[], ["a run", "CPU seconds", "passes", "their CPU seconds", "peak MB"]]
    for each in found["runs"]:
        table.append([each["policy"], each["seconds"], each["passes"], each["source_seconds"], each["megabytes"]])
    return table


def coverage(kind: str, points: int, picks: int) -> dict[str, Any]:
    """Measure MaxHerding at the size of the paper's second half of the first stage."""
    one_thread()
    own = cloud(kind, points, NUMBERS)
    kernel = Rbf(median_bandwidth(own, generator(0, "bandwidth")))
    seconds = cpu_seconds(lambda: max_herding(own, own[:0], picks, Free(points), kernel))
    return {"kind": kind, "points": points, "picks": picks, "seconds": seconds, "megabytes": peak_megabytes()}


def one_round(images: int) -> dict[str, Any]:
    """Measure the choice of a tenth of a pixel an image, source included, by the two stages of the paper."""
    one_thread()
    store = GeneratedStore(images + 2, SIZE)
    torch.manual_seed(0)
    source = Simulated()
    network = PixelMLP(store.classes, source.widths, source.stride, hidden=[128, 32])
    learner = SupervisedLearner(network, LearnerImages(store), LearnOptions(cut="frozen"), source=source)
    pool = Pool(store, range(images), "pixel", offer_void=False)
    options = GameOptions(
        slates_per_image=0.1, draw="pool", pool_per_image=CANDIDATES, redraw="game", budget_measure="units_per_image",
        budget=1.0,
    )  # fmt: skip
    game = Game(learner, pool, [images], [images + 1], None, options.on(images), rehearse=False)
    before = resident_megabytes()
    acquisition = make("stages", **PUBLISHED)
    begun = time.process_time()
    game.reset(0)
    chosen = acquisition.select(game.view(acquisition.needs, False), game.offer.choices, generator(0, "benchmark"))
    game.ask(chosen)
    return {
        "images": images,
        "candidates": game.offer.units.shape[1],
        "chosen": len(chosen),
        "seconds": time.process_time() - begun,
        "before": before,
        "megabytes": peak_megabytes(),
    }


def runs_apart(overrides: Sequence[str]) -> list[dict[str, Any]]:
    """Runs of `RUNS`, each with a cache of its own."""
    found = []
    for policy in RUNS:
        with tempfile.TemporaryDirectory() as cache:
            found.append(in_fresh_process(one_run, cache, overrides=list(overrides), policy=policy)["result"])
    return found


def one_run(overrides: Sequence[str], policy: str) -> dict[str, Any]:
    """Measure one draw of a policy with all its evaluations, and apart from it the passes of the source before it."""
    one_thread()
    config = composed("evaluate_policy", ["experiment=two_stage_edald", *overrides])
    (contender,) = make_policies(config["policies"], only=[policy])
    world = World(config)
    plan = Plan(config, tuple(config["budgets"]), tuple(config["splits"]), FitOptions(), "", world.store.digest)
    player = Player(plan)
    learner = player.game.learner
    assert isinstance(learner, Predictor)
    noises = noises_of(contender.policy.needs)
    draws = [Variant(noise.kind, draw) for noise in noises for draw in range(noise.draws)]
    read = {image for role in ("state", *plan.splits) for image in world.images(role)}
    passes = [(PLAIN, image) for image in sorted(read)]
    passes += [(variant, image) for variant in (PLAIN, *draws) for image in world.images("compare")]

    def pass_all() -> None:
        for variant, image in passes:
            learner.source_maps(variant)([image])

    source_seconds = cpu_seconds(pass_all)
    seconds = cpu_seconds(lambda: player.play(Job(contender, 0, "", None)))
    return {
        "policy": policy,
        "passes": len(passes),
        "source_seconds": source_seconds,
        "seconds": seconds,
        "megabytes": peak_megabytes(),
    }
