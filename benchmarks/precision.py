"""The reward in bfloat16 against float32 with the same weights and images, step by step."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ralseg.benchmarks.measure import configured, random_turns
from ralseg.envs import World
from ralseg.segmentation.learners import SupervisedLearner

EPISODES = 10
CLEAR = 0.02
"""Points of mIoU above which the sign of a reward is clear enough to support a claim."""


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """Play random games in float32 and evaluate D_R after every turn in both precisions.

    Args:
        overrides: of `train_agent.yaml`.
        share: share of the episodes that is played, above 0 and at most 1.
    """
    world = World(configured(("precision=float32",), overrides))
    game, copy = world.game("train", observed=False), world.network()
    if world.learn_options.cut == "frozen":
        copy.add_frozen_head(world.theta0_options.frozen_hidden)
    mious: dict[str, list[list[float]]] = {"float32": [], "bfloat16": []}
    for seed in range(max(1, round(share * EPISODES))):
        episode = [evaluated(game, copy) for _ in random_turns(game, seed)]
        for precision, values in zip(mious, zip(*episode, strict=True), strict=True):
            mious[precision].append(list(values))
    rewards = {p: np.concatenate([np.diff(episode) for episode in episodes]) for p, episodes in mious.items()}
    return compared(**rewards) | {"rewards": {p: values.tolist() for p, values in rewards.items()}}


def evaluated(game: Any, copy: Any) -> tuple[float, float]:
    """MIoU on D_R (percent) in float32 and in bfloat16, with the weights of the game's learner.

    Args:
        game: a game in float32.
        copy: a network like the learner's, whose weights are overwritten.
    """
    learner = game.learner
    copy.load_state_dict(learner.weights())
    rough = SupervisedLearner(copy, learner.images, learner.options, precision="bfloat16")
    return game.evaluator(learner, game.reward).miou, game.evaluator(rough, game.reward).miou


def compared(float32: np.ndarray, bfloat16: np.ndarray) -> dict[str, Any]:
    """Differences between rewards of the same steps: mean, deviation, largest, and the share of equal signs."""
    difference, same = bfloat16 - float32, np.sign(bfloat16) == np.sign(float32)
    clear = np.abs(float32) > CLEAR
    return {
        "steps": len(float32),
        "mean": float(difference.mean()),
        "sd": float(difference.std()),
        "largest": float(np.abs(difference).max()),
        "within_0.02": float((np.abs(difference) <= CLEAR).mean()),
        "same_sign": float(same.mean()),
        "same_sign_of_clear": float(same[clear].mean()) if clear.any() else None,
        "clear_steps": int(clear.sum()),
        "sd_of_reward": float(float32.std()),
    }


def rows(found: dict[str, Any]) -> list[list[Any]]:
    """One line for each figure."""
    names = ("steps", "mean", "sd", "largest", "within_0.02", "same_sign", "same_sign_of_clear", "sd_of_reward")
    return [["reward, bfloat16 less float32", "points of mIoU"], *([name, found[name]] for name in names)]
