"""Peak memory of trainings, envs, KL histograms and a pool as large as Cityscapes, each in a fresh process."""

import tempfile
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
import torch

from ralseg.agents.acquisitions import FixedPolicy, make
from ralseg.agents.replay import as_stored
from ralseg.benchmarks.fresh import in_fresh_process
from ralseg.benchmarks.games import GAMES, hindsight, training
from ralseg.benchmarks.generated import GeneratedStore
from ralseg.benchmarks.measure import (
    batch_dqn,
    cpu_seconds,
    one_thread,
    peak_megabytes,
    random_choice,
    resident_megabytes,
)
from ralseg.configs import composed
from ralseg.envs import EnvFactory, Game, GameOptions, Pool, World
from ralseg.evaluation.play import Job, Plan, Player
from ralseg.evaluation.policies import make_policies
from ralseg.features import ObservationSpec, kl_histogram, linear_edges
from ralseg.foundation import generator
from ralseg.segmentation.learners import FitOptions, LearnerImages, LearnOptions, SupervisedLearner
from ralseg.segmentation.networks import Cut, SmallFPN

EPISODES = 4
DRAWS = 3
KL_UNITS, KL_CLASSES = 25_600, 19
POOLS = (300, 1000, 2615)
SLATES, CANDIDATES = 256, 100
TURNS = {"full": 3, "partial": 16}
"""Cut -> turns that are played. In the partial game they touch most of the pool, whose maps below the cut are kept."""
CITY = {"size": (1024, 2048), "unit": (128, 128), "scale": 0.25}


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """Measure the peak MB (10^6 bytes) of processes, shared pages included.

    Args:
        overrides: of `train_agent.yaml`, for the training and the envs.
        share: share of the episodes, KL histograms and pools, above 0 and at most 1.
    """
    overrides = list(overrides)
    envs = {}
    for game in GAMES:
        settings = [*overrides, f"game={game}"]
        in_fresh_process(prepare, overrides=settings)
        envs[game] = in_fresh_process(env_peak, overrides=settings)["result"]
    replay = in_fresh_process(replay_bytes, overrides=overrides)["result"]
    kl = in_fresh_process(kl_peak, units=max(100, round(share * KL_UNITS)))["result"]
    city: dict[str, Any] = {"slates": max(4, round(share * SLATES)), "candidates": max(4, round(share * CANDIDATES))}
    with tempfile.TemporaryDirectory() as folder:
        episodes = [f"training.episodes={max(2, round(share * EPISODES))}", "training.streams=2"]
        settings = [*overrides, *episodes, "training.processes=2"]
        trained = in_fresh_process(training, f"{folder}/cache", overrides=settings, run=folder, held=replay)["result"]
    pools = [
        in_fresh_process(pool_peak, cut=cut, images=max(16, round(share * images)), **city)["result"]
        for cut in TURNS
        for images in POOLS
    ]
    compared = in_fresh_process(comparison_peak, overrides=overrides, draws=max(1, round(share * DRAWS)))["result"]
    imports = in_fresh_process(peak_megabytes)["result"]
    training_peaks = trained["peak_megabytes"] | {"replay": replay / 1e6}
    return {
        "imports": imports,
        "training": training_peaks,
        "env": envs,
        "comparison": compared,
        "kl": kl,
        "pools": pools,
    }


def rows(found: dict[str, Any]) -> list[list[Any]]:
    """One line for each process."""
    kl, parent = found["kl"], found["training"]
    table = [["process", "peak MB", "CPU seconds"], ["torch imported, nothing done", found["imports"], ""]]
    table.append([f"training: parent, with {parent['replay']:.0f} MB of full replay", parent["parent"], ""])
    table += [["training: worker", peak, ""] for peak in parent["workers"]]
    table += [[f"env, {game} game", peak, ""] for game, peak in found["env"].items()]
    whole = found["comparison"]
    table.append(
        [f"comparison of all {whole['policies']} acquisitions, {whole['draws']} draws", whole["megabytes"], ""]
    )
    table.append([f"KL histograms of {kl['units']} units, beyond inputs", kl["megabytes"], kl["seconds"]])
    for pool in found["pools"]:
        name = f"pool of {pool['images']} images, {pool['cut']} game, a turn's draw and scores"
        table.append([name, pool["megabytes"], pool["draw_seconds"] + pool["score_seconds"]])
    return table


def prepare(overrides: Sequence[str]) -> None:
    """Make the image store and theta_0, so that no env is charged with them."""
    World(composed("train_agent", overrides)).theta0()


def env_peak(overrides: Sequence[str]) -> float:
    """The peak MB of this process after two episodes with random choices."""
    config = composed("train_agent", overrides)
    env = EnvFactory(config, **hindsight(config))()
    for seed in range(2):
        rng, over = generator(seed, "benchmark"), False
        env.reset(seed=seed)
        while not over:
            over = env.step(random_choice(env, rng))[2]
    return peak_megabytes()


def comparison_peak(overrides: Sequence[str], draws: int) -> dict[str, Any]:
    """The peak MB of a process of a comparison that plays with every acquisition that can, one after the other.

    Args:
        overrides: of `train_agent.yaml`; without `network.dropout`, BALD and its relatives are left out.
        draws: how often each of them plays.
    """
    config = composed("train_agent", [*overrides, "game=frozen"])
    able = config["network"].get("dropout", 0)
    policies, world = [each for each in make_policies("all") if able or not each.policy.dropout], World(config)
    plan = Plan(config, (world.game_options.budget,), ("dev",), FitOptions(), "", world.store.digest)
    player = Player(plan)
    for seed in range(draws):
        for policy in policies:
            player.play(Job(policy, seed, "", None))
    return {"policies": len(policies), "draws": draws, "megabytes": peak_megabytes()}


def replay_bytes(overrides: Sequence[str]) -> int:
    """Bytes of a full replay: the stored observations, a signal for each candidate, and the choices."""
    config = composed("train_agent", overrides)
    options, env = batch_dqn(config), EnvFactory(config)()
    stored = as_stored(env.reset(seed=0)[0], options.replay_half, "the first step")
    row = sum(part.nbytes for part in stored.values()) + stored["mask"].size * 4 + len(stored["mask"]) * 8
    return options.replay_size * row


def kl_peak(units: int) -> dict[str, float]:
    """Seconds and MB of the KL histograms (32 bins) of that many units against each other."""
    one_thread()
    shares = generator(0, "kl").dirichlet(np.full(KL_CLASSES, 0.3), units).astype(np.float32)
    before, begun = resident_megabytes(), time.process_time()
    kl_histogram(shares, shares, linear_edges())
    return {"units": units, "seconds": time.process_time() - begun, "megabytes": peak_megabytes() - before}


def pool_peak(cut: Cut, images: int, slates: int, candidates: int) -> dict[str, Any]:
    """Seconds and MB of drawing candidates from a pool of generated images and scoring them by entropy."""
    one_thread()
    store = GeneratedStore(images + 8, CITY["size"], scale=CITY["scale"])
    torch.manual_seed(0)
    learner = SupervisedLearner(SmallFPN(store.classes), LearnerImages(store), LearnOptions(cut=cut))
    pool = Pool(store, range(images), CITY["unit"])
    options = GameOptions(slates=slates, candidates=candidates, budget=slates)
    spec = ObservationSpec.preset("compact", store.classes)
    game = Game(learner, pool, range(images, images + 4), range(images + 4, images + 8), spec, options)
    entropy, rng, draw, score = FixedPolicy(make("entropy")), generator(0, "benchmark"), [], []
    for turn in range(TURNS[cut]):
        draw.append(cpu_seconds(lambda turn=turn: game.reset(turn)))
        score.append(cpu_seconds(lambda: entropy.select(game.view(entropy.needs, observed=False), rng)))
    return {
        "cut": cut,
        "images": images,
        "units": len(pool),
        "megabytes": peak_megabytes(),
        "draw_seconds": median(draw),
        "score_seconds": median(score),
    }
