"""The cost of the three games: a step, a policy from nothing, and a training with a second process."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from multiprocessing import active_children
from pathlib import Path
from statistics import median
from typing import Any, TypedDict

import numpy as np

from ralseg.agents.progress import Progress
from ralseg.agents.training import train
from ralseg.benchmarks.fresh import in_fresh_process
from ralseg.benchmarks.measure import Clock, batch_dqn, cpu_seconds_of, one_thread, peak_megabytes, random_choice
from ralseg.configs import composed
from ralseg.envs import EnvFactory, World
from ralseg.foundation import generator

GAMES = ("frozen", "partial", "full")
LEARNED = ("partial", "frozen")
EPISODES = 100
"""Episodes of a policy from nothing, of 20 steps each."""
COMPARED = 12
"""Episodes of each training that compares one process with two."""
ROUNDS = 3
TRAININGS = 2
"""How many trainings there are with one and with two processes, by turns."""
START = 1 / 3
"""Share of a training that is not timed, as imports, the image store and the first maps fall into it."""


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """Measure the CPU seconds of steps and of trainings.

    Args:
        overrides: of `train_agent.yaml`; those of the agent decide which hindsight the env gives.
        share: share of the trainings' episodes that is played, above 0 and at most 1.
    """
    steps = {game: step_seconds([*overrides, f"game={game}"]) for game in GAMES}
    whole, compared = (max(4, round(share * number)) for number in (EPISODES, COMPARED))
    with tempfile.TemporaryDirectory() as folder:
        scaling = {game: processes_compared([*overrides, f"game={game}"], compared, folder) for game in LEARNED}
        nothing = {game: from_nothing([*overrides, f"game={game}"], whole, folder) for game in LEARNED}
    return {"step_seconds": steps, "from_nothing": nothing, "processes": scaling}


def rows(found: dict[str, Any]) -> list[list[Any]]:
    """A table of steps, phase by phase, and two of trainings below it."""
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
    """CPU seconds of an env step and of its phases under random choices, medians over some episodes.

    `learn` is the learner's turn, `reward` the evaluation of D_R, `observe` the forward passes and the features of
    state and candidates, `rest` the oracle, the ledger, the draw and the env itself. A first episode fills the
    caches and is not counted.
    """
    config = composed("train_agent", overrides)
    env = EnvFactory(config, **hindsight(config))()
    clock = Clock()
    clock.watch(env.game.learner, "learn", "learn")
    clock.watch(env.game, "evaluate_reward", "reward")
    clock.watch(env, "_look", "observe")
    found = []
    for seed in range(ROUNDS + 1):
        rng = generator(seed, "benchmark")
        env.reset(seed=seed)
        clock.seconds.clear()
        begun, steps, over = time.process_time(), 0, False
        while not over:
            over = env.step(random_choice(env, rng))[2]
            steps += 1
        phases = dict(clock.seconds) | {"step": time.process_time() - begun}
        phases["rest"] = phases["step"] - sum(clock.seconds.values())
        found.append({phase: seconds / steps for phase, seconds in phases.items()})
    return {phase: median(episode[phase] for episode in found[1:]) for phase in found[0]}


def from_nothing(overrides: Sequence[str], episodes: int, folder: str) -> dict[str, Any]:
    """The cost of a training with an empty cache: imports, image store, theta_0, cached maps and every step."""
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        return trained(overrides, episodes, 2, folder, cache)


def processes_compared(overrides: Sequence[str], episodes: int, folder: str) -> dict[str, Any]:
    """Steps per CPU second with one and with two processes on a filled cache, without and with the start-up."""
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
    """The result of `training` in a fresh process, with the `cpu_seconds` of all its processes."""
    with tempfile.TemporaryDirectory(dir=folder) as run:
        settings = [*overrides, f"training.episodes={episodes}", f"training.processes={processes}"]
        found = in_fresh_process(training, cache, overrides=[*settings, "training.streams=2"], run=run)
    return found["result"] | {"cpu_seconds": found["cpu_seconds"]}


def training(overrides: Sequence[str], run: str, held: int = 0) -> dict[str, Any]:
    """Train a policy, without a comparison.

    Args:
        overrides: of `train_agent.yaml`.
        run: folder that the training writes into.
        held: bytes that this process allocates beside the training, to stand for a full replay.

    Returns:
        `steps`, `theta0_seconds` (CPU, imports included), `steps_per_cpu_second` of parent and workers together without
        the start, and `peak_megabytes` of each process.
    """
    one_thread()
    ballast = np.ones(held, np.uint8)
    config = composed("train_agent", overrides)
    world = World(config)
    world.theta0()
    agent = batch_dqn(config)
    prepared, options = time.process_time(), config["training"]
    peaks: dict[int, float] = {}
    marks: list[tuple[int, float]] = []

    def watch(at: Progress) -> None:
        workers = [worker.pid for worker in active_children() if worker.pid is not None]
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


class Hindsight(TypedDict):
    """The arguments of `EnvFactory` that say which hindsight the env gives."""

    credit: bool
    reference: bool


def hindsight(config: Mapping[str, Any]) -> Hindsight:
    """The hindsight that the agent of a configuration learns from."""
    signal = config["agent"].get("signal", {})
    return {"credit": bool(signal.get("credit")), "reference": bool(signal.get("reference"))}
