"""The reward on a part of D_R against the reward on all of it: bias, noise and time saved.

`reward_subset.py [overrides of train_agent.yaml ...]` is short for `run.py reward_subset ...`.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ralseg.benchmarks.measure import configured, cpu_seconds, forget_predictions, random_turns
from ralseg.envs import Game, World
from ralseg.envs.reward_subset import stratified_subset
from ralseg.foundation import generator
from ralseg.segmentation.metrics import Confusion

EPISODES = 10
SHARES = (1 / 2, 1 / 4, 1 / 8)
SUBSETS = 20
"""Number of subsets of each kind and share; figures are means over them."""


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """Play random games and compare the rewards that parts of D_R would have given.

    Args:
        overrides: of `train_agent.yaml`.
        share: share of the episodes that is played, above 0 and at most 1.
    """
    world = World(configured((), overrides))
    game = world.game("train", observed=False)
    images, counts = world.images("reward"), world.store.class_counts()[world.images("reward")]
    groups = [world.dataset.groups[name] for name in world.splits.reward]
    subsets = {
        f"{kind} {part:g}": [draw(groups, counts, part, generator(i, "benchmark", kind)) for i in range(SUBSETS)]
        for part in SHARES
        for kind, draw in {"stratified": stratified_subset, "random": random_subset}.items()
    }
    episodes = [played(game, seed, images) for seed in range(max(1, round(share * EPISODES)))]
    whole = rewards(episodes, np.arange(len(images)))
    table = {
        name: {"images": len(drawn[0])} | averaged([compared(whole, rewards(episodes, subset)) for subset in drawn])
        for name, drawn in subsets.items()
    }
    for part in SHARES:
        chosen = [images[i] for i in subsets[f"stratified {part:g}"][0]]
        table[f"stratified {part:g}"]["seconds"] = evaluation_seconds(game, chosen)
    return {
        "episodes": len(episodes),
        "steps": len(whole),
        "images": len(images),
        "subsets": SUBSETS,
        "sd_of_reward": float(whole.std()),
        "mean_of_reward": float(whole.mean()),
        "seconds": evaluation_seconds(game, images),
        "kinds": table,
    }


def random_subset(groups: Sequence[str], counts: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a share of the images at random; arguments and result are those of `stratified_subset`."""
    return rng.choice(len(groups), max(1, round(share * len(groups))), replace=False)


def played(game: Game, seed: int, images: Sequence[int]) -> np.ndarray:
    """Play a game with random choices; returns (turns + 1, images, C, C) int64 confusion matrices after each turn."""
    return np.stack([each(game, images) for _ in random_turns(game, seed)])


def each(game: Game, images: Sequence[int]) -> np.ndarray:
    """(images, C, C) int64 confusion matrices. They are additive, so one pass over D_R serves all subsets."""
    return np.stack([game.evaluator(game.learner, [image]).counts for image in images])


def rewards(episodes: Sequence[np.ndarray], places: np.ndarray) -> np.ndarray:
    """(steps,) the rewards that only the images at some places of D_R would have given."""
    return np.concatenate(
        [np.diff([Confusion(matrices[places].sum(0)).miou for matrices in episode]) for episode in episodes]
    )


def compared(whole: np.ndarray, part: np.ndarray) -> dict[str, float]:
    """Bias, deviation, correlation and share of equal signs of the rewards of a part of D_R against all of it."""
    difference = part - whole
    return {
        "bias": float(difference.mean()),
        "sd": float(difference.std()),
        "correlation": float(np.corrcoef(whole, part)[0, 1]),
        "same_sign": float((np.sign(whole) == np.sign(part)).mean()),
    }


def averaged(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each figure over subsets, and also that of the absolute bias, because signs would cancel out."""
    size = {"bias_size": float(np.mean([abs(row["bias"]) for row in rows]))}
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} | size


def evaluation_seconds(game: Game, images: Sequence[int]) -> float:
    """CPU seconds of one evaluation, the least of five, after one that fills the caches of images and labels."""

    def work() -> None:
        forget_predictions(game)
        game.evaluator(game.learner, images)

    work()
    return min(cpu_seconds(work) for _ in range(5))


def rows(found: dict[str, Any]) -> list[list[Any]]:
    """One line for each kind of subset."""
    names = ("images", "bias", "bias_size", "sd", "correlation", "same_sign", "seconds")
    table: list[list[Any]] = [["reward on a part of D_R", *names]]
    table.append(["all of it", found["images"], 0.0, 0.0, 0.0, 1.0, 1.0, found["seconds"]])
    table += [[name, *(row.get(key, "") for key in names)] for name, row in found["kinds"].items()]
    return [*table, [f"sd of the reward itself, {found['steps']} steps", "", "", "", found["sd_of_reward"], "", "", ""]]


if __name__ == "__main__":
    from ralseg.benchmarks.run import main

    sys.exit(main(["reward_subset", *sys.argv[1:]]))
