"""CPU seconds of an environment step in each of the three games: `env_step.py [overrides of train_agent.yaml ...]`.

Random choices, all of D_R, credit included; one torch thread. Prints a table and, as the last line, one JSON object.
"""

import json
import sys
import time

import numpy as np
import torch

from ralseg.configs import composed
from ralseg.envs import EnvFactory
from ralseg.foundation import generator

EPISODES = 3


def step_seconds(overrides: list[str]) -> list[float]:
    """Mean CPU seconds of a step in each of some episodes; the first, which fills the caches, is not counted."""
    env = EnvFactory(composed("train_agent", overrides))()
    shape = env.action_space.nvec
    found = []
    for seed in range(EPISODES + 1):
        rng = generator(seed, "benchmark")
        env.reset(seed=seed)
        begun, steps, over = time.process_time(), 0, False
        while not over:
            over = env.step(rng.integers(shape))[2]
            steps += 1
        found.append((time.process_time() - begun) / steps)
    return found[1:]


def main() -> None:
    """Measure all three games."""
    torch.set_num_threads(1)
    rows = {game: step_seconds([*sys.argv[1:], f"game={game}"]) for game in ("frozen", "partial", "full")}
    for game, seconds in rows.items():
        print(f"{game:8} {np.median(seconds):.3f} s a step (lowest {min(seconds):.3f}, highest {max(seconds):.3f})")
    print(json.dumps({"overrides": sys.argv[1:], "episodes": EPISODES, "cpu_seconds_per_step": rows}))


if __name__ == "__main__":
    main()
