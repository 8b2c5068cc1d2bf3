"""What all tables share: CPU seconds, alternating measurements, convolution rate, peak memory, configurations."""

import os
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from gymnasium.spaces import MultiDiscrete

from ralseg.agents.options import BatchDQNOptions, agent_options
from ralseg.configs import composed
from ralseg.envs import Game, RegionSelectionEnv
from ralseg.foundation import RalsegError, generator
from ralseg.segmentation.devices import single_thread
from ralseg.segmentation.learners import SupervisedLearner

FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
"""Processor flags that decide how fast a convolution is."""
CONVOLUTION_FLOP = 2 * 90 * 120 * 256 * 256 * 9


def one_thread() -> None:
    """Keep torch, numpy and OpenCV on one thread, so that CPU seconds do not depend on the number of cores."""
    single_thread()
    cv2.setNumThreads(1)


def cpu_seconds(work: Callable[[], Any]) -> float:
    """The CPU seconds of this process that one call of `work` takes."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def alternate(works: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Measure several calls by turns, each once in a round, so that a noisy machine slows all of them alike.

    Args:
        works: name -> the call.
        rounds: how often each call is made.

    Returns:
        name -> the CPU seconds of each round.
    """
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(cpu_seconds(work))
    return found


class Clock:
    """Adds up the CPU seconds of some methods over all their calls.

    Attributes:
        seconds: phase -> CPU seconds so far.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def watch(self, owner: object, method: str, phase: str) -> None:
        """Add the CPU seconds of an object's method to a phase; a watched method must not call another watched one."""
        original = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = time.process_time()
            try:
                return original(*args, **kwargs)
            finally:
                self.seconds[phase] += time.process_time() - begun

        setattr(owner, method, timed)


def convolution_rate(dtype: torch.dtype) -> float:
    """GFLOP/s of a 3x3 convolution with 256 channels in and out on 90x120, batch 1, channels last; the best of 10."""
    layer = torch.nn.Conv2d(256, 256, 3, padding=1, dtype=dtype).to(memory_format=torch.channels_last)
    maps = torch.zeros(1, 256, 90, 120, dtype=dtype).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        return CONVOLUTION_FLOP / min(cpu_seconds(lambda: layer(maps)) for _ in range(10)) / 1e9


def peak_megabytes(process: int | str = "self") -> float:
    """The peak resident memory of a process in MB (10^6 bytes), shared pages included.

    Args:
        process: its id, or `self`.

    Raises:
        RalsegError: if the process is not in /proc, as on any system but Linux.
    """
    return _resident(process, "VmHWM")


def resident_megabytes() -> float:
    """The memory in MB (10^6 bytes) that is resident in this process now; raises as `peak_megabytes` does."""
    return _resident("self", "VmRSS")


def cpu_seconds_of(process: int) -> float:
    """CPU seconds of another process so far, to a hundredth, without its children; raises as `peak_megabytes` does."""
    # The name, in brackets, may hold anything.
    fields = _proc(process, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(process: int | str, field: str) -> float:
    # Not getrusage: a process started from a large one inherits that one's maximum.
    lines = _proc(process, "status").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024 / 1e6


def _proc(process: int | str, name: str) -> str:
    try:
        return Path(f"/proc/{process}/{name}").read_text()
    except FileNotFoundError as error:
        raise RalsegError(
            f"process {process} is not in /proc, where its memory and time are read; run this table on Linux"
        ) from error


def machine() -> dict[str, Any]:
    """The processor, those of `FLAGS` that it has, and torch's version and number of threads."""
    cpuinfo = Path("/proc/cpuinfo")
    facts = {}
    for line in reversed(cpuinfo.read_text().splitlines() if cpuinfo.exists() else []):
        key, _, value = line.partition(":")
        facts[key.strip()] = value.strip()
    return {
        "processor": facts.get("model name") or platform.processor() or platform.machine(),
        "flags": [flag for flag in FLAGS if flag in facts.get("flags", "").split()],
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def forget_predictions(game: Game) -> None:
    """Drop what the learner of a game keeps of its predictions, so that the next question is a forward pass."""
    assert isinstance(game.learner, SupervisedLearner)
    game.learner.forget()


def random_turns(game: Game, seed: int) -> Iterator[None]:
    """Play a game with random choices; the iterator stops after the reset and after every turn."""
    rng = generator(seed, "benchmark")
    game.reset(seed)
    yield
    while not game.over:
        game.step(rng.integers(game.options.candidates, size=game.options.slates))
        yield


def configured(defaults: Sequence[str], overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration of `train_agent.py` with a table's defaults, over which the command line takes precedence.

    Where the command line chooses another option of a group (`dataset=camvid`), the defaults inside that group are
    dropped.

    Args:
        defaults: overrides of the table.
        overrides: those of the command line.
    """
    chosen = {override.split("=")[0] for override in overrides}
    kept = [d for d in defaults if d.split("=")[0] not in chosen and d.split(".")[0] not in chosen]
    return composed("train_agent", [*kept, *overrides])


def batch_dqn(config: Mapping[str, Any]) -> BatchDQNOptions:
    """The options of a configuration's agent.

    Raises:
        RalsegError: if it is an agent of Stable-Baselines3, which no table measures.
    """
    options = agent_options(config["agent"])
    if not isinstance(options, BatchDQNOptions):
        raise RalsegError(
            f"agent={options.algorithm} is not measured by these tables; choose another, e.g. agent=ralseg"
        )
    return options


def random_choice(env: RegionSelectionEnv, rng: np.random.Generator) -> np.ndarray:
    """A choice for each slate, masked candidates included: (K,) int64."""
    space = env.action_space
    assert isinstance(space, MultiDiscrete)
    return rng.integers(space.nvec)
