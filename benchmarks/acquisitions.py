"""Seconds and memory of every acquisition, for the candidates of a step and for a whole pool."""

from collections import deque
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch

from ralseg.agents.acquisitions import FixedPolicy, make, names
from ralseg.benchmarks.fresh import in_fresh_process
from ralseg.benchmarks.measure import alternate, configured, forget_predictions, one_thread, peak_megabytes
from ralseg.envs import Game, World
from ralseg.foundation import generator

DEFAULTS = ("network.dropout=0.5",)
"""All acquisitions share the network that BALD needs."""
ROUNDS = 5
OFFERS = {"step": "clustered", "pool": "pool"}
"""What an acquisition chooses from -> the draw that offers it."""


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """Measure the CPU seconds of a choice and of its forward passes by turns, and the peak memory in fresh processes.

    Args:
        overrides: of `train_agent.yaml`.
        share: share of the rounds, above 0 and at most 1; one round is always played.
    """
    found: dict[str, dict[str, Any]] = {name: {} for name in names()}
    for offer in OFFERS:
        game = offered(overrides, offer)
        images = len(set(game.pool.images[game.pool.locate(game.offer.units[game.offer.mask])[0]].tolist()))
        works = {name: choosing(game, name) for name in names()}
        works |= {f"{name} forward": passing(game, name) for name in names()}
        # Some maps are computed once for each image: those of mirrored images and of the informed network.
        for name in ("entropy", "equal", "class_truth", "reducible_loss", "look_ahead"):
            works[name]()
        seconds = {n: median(rounds) for n, rounds in alternate(works, max(1, round(share * ROUNDS))).items()}
        for name in names():
            peak = in_fresh_process(peak_of, overrides=list(overrides), offer=offer, name=name)["result"]
            found[name][offer] = {
                "candidates": int(game.offer.mask.sum()),
                "images": images,
                "seconds": seconds[name],
                "over_entropy": seconds[name] / seconds["entropy"],
                "own_ms_an_image": 1000 * (seconds[name] - seconds[f"{name} forward"]) / images,
                "peak_megabytes": peak,
            }
    return {"acquisitions": found}


def rows(found: dict[str, Any]) -> list[list[Any]]:
    """One line for each acquisition; memory is the peak of its process less that of random choice."""
    acquisitions = found["acquisitions"]
    cells = ("CPU seconds", "over entropy", "own ms an image", "MB over random")
    table = [["acquisition", *(f"{offer}: {cell}" for offer in OFFERS for cell in cells)]]
    for name, offers in acquisitions.items():
        line = [name]
        for offer, at in offers.items():
            beyond = at["peak_megabytes"] - acquisitions["random"][offer]["peak_megabytes"]
            line += [at["seconds"], at["over_entropy"], at["own_ms_an_image"], round(beyond)]
        table.append(line)
    return table


def offered(overrides: Sequence[str], offer: str) -> Game:
    """A game after its reset, at theta_0, whose first turn offers the candidates of a step or the whole pool."""
    game = World(configured(DEFAULTS, [*overrides, f"game.draw={OFFERS[offer]}"])).game("train", observed=False)
    game.reset(0)
    return game


def choosing(game: Game, name: str) -> Callable[[], Any]:
    """A call that chooses with an acquisition among what is offered, computing everything anew."""
    policy, rng = FixedPolicy(make(name)), generator(0, "benchmark")

    def work() -> None:
        forget_predictions(game)
        policy.select(game.view(policy.needs, policy.needs_observation), rng)

    return work


def passing(game: Game, name: str) -> Callable[[], Any]:
    """A call that makes only the forward passes of that choice, including noisy predictions."""
    needs = make(name).needs
    images = (
        sorted(set(game.pool.images[game.pool.locate(game.offer.units[game.offer.mask])[0]].tolist())) if needs else []
    )
    noises = list(dict.fromkeys(reducer.noise for reducer in needs if reducer.noise))
    rng = torch.Generator().manual_seed(0)
    labelled = any(reducer.labelled for reducer in needs)

    def work() -> None:
        forget_predictions(game)
        deque(game.learner.predict(images, noises, rng), maxlen=0)
        if labelled:
            deque(game.learner.predict(game.state, again=True), maxlen=0)

    return work


def peak_of(overrides: Sequence[str], offer: str, name: str) -> float:
    """The peak MB of this process after one acquisition has chosen twice."""
    one_thread()
    choose = choosing(offered(overrides, offer), name)
    choose()
    choose()
    return peak_megabytes()
