"""Seconds and memory of every acquisition, for the candidates of a step and for a whole pool."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from ralseg.agents.acquisitions import make, names
from ralseg.benchmarks.fresh import in_fresh_process
from ralseg.benchmarks.measure import alternate, configured, one_thread, peak_megabytes
from ralseg.envs import Game, Pool, World
from ralseg.foundation import generator

DEFAULTS = ("network.dropout=0.5",)
"""All share the network that BALD needs."""
ROUNDS = 5
OFFERS = ("step", "pool")


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """CPU seconds of a choice, forward passes included, by turns; peak memory in a fresh process each.

    Args:
        overrides: of `train_agent.yaml`.
        share: of the rounds.
    """
    found: dict[str, dict[str, Any]] = {name: {} for name in names()}
    for offer in OFFERS:
        game = offered(overrides, offer)
        works = {name: choosing(game, name) for name in names()}
        works["random"]()
        works["entropy"]()
        seconds = {n: median(rounds) for n, rounds in alternate(works, max(1, round(share * ROUNDS))).items()}
        for name in names():
            peak = in_fresh_process(peak_of, overrides=list(overrides), offer=offer, name=name)["result"]
            found[name][offer] = {
                "candidates": int(game.mask.sum()),
                "seconds": seconds[name],
                "over_entropy": seconds[name] / seconds["entropy"],
                "peak_megabytes": peak,
            }
    return {"acquisitions": found}


def rows(found: dict[str, Any]) -> list[list[Any]]:
    """An acquisition a line; memory as the peak of its process less that of random choice."""
    acquisitions = found["acquisitions"]
    head = [f"{offer}: {cell}" for offer in OFFERS for cell in ("CPU seconds", "over entropy", "MB over random")]
    table = [["acquisition", *head]]
    for name, offers in acquisitions.items():
        line = [name]
        for offer, at in offers.items():
            beyond = at["peak_megabytes"] - acquisitions["random"][offer]["peak_megabytes"]
            line += [at["seconds"], at["over_entropy"], round(beyond)]
        table.append(line)
    return table


def offered(overrides: Sequence[str], offer: str) -> Game:
    """A game that has begun, with theta_0, whose first turn offers the candidates of a step, or of the whole pool."""
    world = World(configured(DEFAULTS, overrides))
    game = world.game("train", observed=False)
    if offer == "pool":
        options = replace(game.options, candidates=-(-len(game.pool) // game.options.slates))
        pool = Pool(world.store, world.images("train"), world.unit)
        game = Game(game.learner, pool, game.state, game.reward, game.spec, options)
    game.reset(0)
    return game


def choosing(game: Game, name: str) -> Callable[[], Any]:
    """An acquisition's choice among what is offered, everything computed anew."""
    acquisition, rng = make(name), generator(0, "benchmark")
    return lambda: acquisition.select(game.view(acquisition.needs, acquisition.needs_observation), rng)


def peak_of(overrides: Sequence[str], offer: str, name: str) -> float:
    """Peak MB of this process, in which one acquisition chooses twice."""
    one_thread()
    choose = choosing(offered(overrides, offer), name)
    choose()
    choose()
    return peak_megabytes()
