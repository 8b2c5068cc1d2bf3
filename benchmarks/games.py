"""The three games: what a step costs, what a policy costs from nothing, and what a second process costs."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from multiprocessing import active_children
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ralseg.agents.options import agent_options
from ralseg.agents.progress import Progress
from ralseg.agents.training import train
from ralseg.benchmarks.fresh import in_fresh_process
from ralseg.benchmarks.measure import Clock, cpu_seconds_of, one_thread, peak_megabytes
from ralseg.configs import composed
from ralseg.envs import EnvFactory, World
from ralseg.foundation import generator

GAMES = ("frozen", "partial", "full")
LEARNED = ("partial", "frozen")
EPISODES = 100
"""Episodes of a policy from nothing: 2000 steps of 20."""
COMPARED = 12
"""Episodes of each training with one and with two processes."""
ROUNDS = 3
TRAININGS = 2
"""Trainings with one and with two processes, by turns."""
START = 1 / 3
"""Share of a training after which its steps are timed: imports, image store and first maps lie before."""


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """CPU seconds of steps and of trainings.

    Args:
        overrides: of `train_agent.yaml`; those of the agent decide which hindsight the env gives.
        share: of the episodes of the trainings.
    """
    steps = {game: step_seconds([*overrides, f"game={game}"]) for game in GAMES}
    whole, compared = (max(4, round(share * number)) for number in (EPISODES, COMPARED))
    with tempfile.TemporaryDirectory() as folder:
        scaling = {game: processes_compared([*overrides, f"game={game}"], compared, folder) for game in LEARNED}
        nothing = {game: from_nothing([*overrides, f"game={game}"], whole, folder) for game in LEARNED}
    return {"step_seconds": steps, "from_nothing": nothing, "processes": scaling}


def rows(found: dict[str, Any]) -> list[list[Any]]:
    """Steps phase by phase; below, trainings."""
    phases = ("learn", "reward", "observe", "rest", "step")
    table = [["CPU seconds of a step", *phases]]
    table += [[game, *(seconds[phase] for phase in phases)] for game, seconds in found["step_seconds"].items()]
    table += [[], ["from nothing", "CPU seconds", "steps", "theta_0", "MB parent", "MB worker"]]
    for game, run in found["from_nothing"].items():
        workers = max(run["peak_megabytes"]["workers"], default="")
        seconds = [run["cpu_seconds"], run["steps"], run["theta0_seconds"]]
        table.append([game, *seconds, run["peak_megabytes"]["parent"], workers])
    table += [[], ["steps a CPU second", "1 process", "2 processes", "ratio", "with start: 1", "2"]]
    for game, pair in found["processes"].items():
        without, whole = pair["steps_per_cpu_second"], pair["steps_per_cpu_second_with_start"]
        table.append([game, without["1"], without["2"], pair["ratio"], whole["1"], whole["2"]])
    return table


def step_seconds(overrides: Sequence[str]) -> dict[str, float]:
    """CPU seconds of an env step and its phases, by random choices: medians over some episodes.

    `learn` is the learner's turn, `reward` the evaluation of D_R, `observe` the forward passes and features of state
    and candidates, `rest` the oracle, the ledger, the draw and the env's own. A first episode fills the caches.
    """
    config = composed("train_agent", overrides)
    env = EnvFactory(config, **hindsight(config))()
    clock = Clock()
    clock.watch(env.game.learner, "learn", "learn")
    clock.watch(env.game, "evaluate_reward", "reward")
    clock.watch(env.game, "reduce_candidates", "observe")
    clock.watch(env.game, "observe", "observe")
    found = []
    for seed in range(ROUNDS + 1):
        rng = generator(seed, "benchmark")
        env.reset(seed=seed)
        clock.seconds.clear()
        begun, steps, over = time.process_time(), 0, False
        while not over:
            over = env.step(rng.integers(env.action_space.nvec))[2]
            steps += 1
        phases = dict(clock.seconds) | {"step": time.process_time() - begun}
        phases["rest"] = phases["step"] - sum(clock.seconds.values())
        found.append({phase: seconds / steps for phase, seconds in phases.items()})
    return {phase: median(episode[phase] for episode in found[1:]) for phase in found[0]}


def from_nothing(overrides: Sequence[str], episodes: int, folder: str) -> dict[str, Any]:
    """A training in fresh processes with an empty cache: imports, image store, theta_0, cached maps and every step."""
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        return trained(overrides, episodes, 2, folder, cache)


def processes_compared(overrides: Sequence[str], episodes: int, folder: str) -> dict[str, Any]:
    """Steps per CPU second of one and of two processes on a filled cache, start-up left out and counted in."""
    World(composed("train_agent", overrides)).theta0()
    runs: dict[str, list[dict[str, Any]]] = {"1": [], "2": []}
    for _ in range(TRAININGS):
        for processes, found in runs.items():
            found.append(trained(overrides, episodes, int(processes), folder))
    rates = {n: median(run["steps_per_cpu_second"] for run in found) for n, found in runs.items()}
    whole = {n: median(run["steps"] / run["cpu_seconds"] for run in found) for n, found in runs.items()}
    return {
        "steps_per_cpu_second": rates,
        "steps_per_cpu_second_with_start": whole,
        "ratio": rates["2"] / rates["1"],
        "runs": runs,
    }


def trained(
    overrides: Sequence[str], episodes: int, processes: int, folder: str, cache: str | None = None
) -> dict[str, Any]:
    """What a training in fresh processes costs; see `training`."""
    with tempfile.TemporaryDirectory(dir=folder) as run:
        settings = [*overrides, f"training.episodes={episodes}", f"training.processes={processes}"]
        found = in_fresh_process(training, cache, overrides=[*settings, "training.streams=2"], run=run)
    return found["result"] | {"cpu_seconds": found["cpu_seconds"]}


def training(overrides: Sequence[str], run: str, held: int = 0) -> dict[str, Any]:
    """Train a policy, without a comparison.

    Args:
        overrides: of `train_agent.yaml`.
        run: folder of what is written.
        held: bytes that this process keeps beside it, in the place of a replay that is full.

    Returns:
        `steps`, `theta0_seconds` (CPU, imports included), `steps_per_cpu_second` of parent and workers together, the
        start left out, and `peak_megabytes` of each.
    """
    one_thread()
    ballast = np.ones(held, np.uint8)
    config = composed("train_agent", overrides)
    world = World(config)
    world.theta0()
    agent = agent_options(config["agent"])
    prepared, options, peaks, marks = time.process_time(), config["training"], {}, []

    def watch(at: Progress) -> None:
        workers = [worker.pid for worker in active_children()]
        peaks.update({worker: peak_megabytes(worker) for worker in workers})
        marks.append((at.env_steps, time.process_time() + sum(map(cpu_seconds_of, workers))))

    result = train(
        EnvFactory(config, **hindsight(config)),
        agent,
        Path(run),
        seed=options["seed"],
        episodes=options["episodes"],
        streams=options["streams"],
        processes=options["processes"],
        prior_column=world.spec.prior_column(agent.prior_of),
        tensorboard=options["tensorboard"],
        on_step=watch,
    )
    del ballast
    steps, seconds = np.subtract(marks[-1], marks[int(START * len(marks))])
    return {
        "steps": result.env_steps,
        "theta0_seconds": prepared,
        "steps_per_cpu_second": steps / seconds,
        "peak_megabytes": {"parent": peak_megabytes(), "workers": list(peaks.values())},
    }


def hindsight(config: Mapping[str, Any]) -> dict[str, bool]:
    """Which hindsight the agent of a configuration learns from, as `EnvFactory` takes it."""
    signal = config["agent"].get("signal", {})
    return {name: bool(signal.get(name)) for name in ("credit", "reference")}
