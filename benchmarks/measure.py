"""What all tables measure with: CPU seconds, alternated works, the machine's convolution rate, peak memory."""

import os
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import torch

from ralseg.configs import composed
from ralseg.envs import Game
from ralseg.foundation import RalsegError, generator
from ralseg.segmentation.devices import single_thread

FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
"""Processor flags that decide how fast a convolution is."""
CONVOLUTION_FLOP = 2 * 90 * 120 * 256 * 256 * 9


def one_thread() -> None:
    """Keep torch, numpy and OpenCV on one thread: CPU seconds are then what the work costs, on any number of cores."""
    single_thread()
    cv2.setNumThreads(1)


def cpu_seconds(work: Callable[[], Any]) -> float:
    """CPU seconds of this process that a call takes."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def alternate(works: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of some works, one after the other in every round, so that a noisy machine slows all of them alike.

    Returns:
        name -> the seconds of each round.
    """
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(cpu_seconds(work))
    return found


class Clock:
    """Adds up the CPU seconds of methods while others call them.

    Attributes:
        seconds: phase -> CPU seconds so far.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def watch(self, owner: object, method: str, phase: str) -> None:
        """Count what a method of an object takes towards a phase; no method may call another one that is watched."""
        original = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = time.process_time()
            try:
                return original(*args, **kwargs)
            finally:
                self.seconds[phase] += time.process_time() - begun

        setattr(owner, method, timed)


def convolution_rate(dtype: torch.dtype) -> float:
    """GFLOP/s of a 3x3 convolution from 256 to 256 channels on 90x120, batch 1, channels last: the best of 10."""
    layer = torch.nn.Conv2d(256, 256, 3, padding=1).to(dtype, memory_format=torch.channels_last)
    maps = torch.zeros(1, 256, 90, 120, dtype=dtype).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        return CONVOLUTION_FLOP / min(cpu_seconds(lambda: layer(maps)) for _ in range(10)) / 1e9


def peak_megabytes(process: int | str = "self") -> float:
    """The most memory (MB of 10^6 bytes) that a process has had resident, shared pages included.

    Raises:
        RalsegError: where the system does not tell.
    """
    return _resident(process, "VmHWM")


def resident_megabytes() -> float:
    """The memory (MB of 10^6 bytes) that this process has resident now. Raises as `peak_megabytes`."""
    return _resident("self", "VmRSS")


def cpu_seconds_of(process: int) -> float:
    """CPU seconds of another process so far, its children left out, to a hundredth. Raises as `peak_megabytes`."""
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
    """Processor, those of `FLAGS` that it has, torch's version and threads."""
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


def random_turns(game: Game, seed: int) -> Iterator[None]:
    """Play a game with random choices; stops after the reset and after every turn."""
    rng = generator(seed, "benchmark")
    game.reset(seed)
    yield
    while not game.over:
        game.step(rng.integers(game.options.candidates, size=game.options.slates))
        yield


def configured(defaults: Sequence[str], overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration of `train_agent.py` with a table's defaults below what the command line says.

    Where the command line chooses a group anew (`dataset=camvid`), the defaults inside that group are dropped.
    """
    chosen = {override.split("=")[0] for override in overrides}
    kept = [d for d in defaults if d.split("=")[0] not in chosen and d.split(".")[0] not in chosen]
    return composed("train_agent", [*kept, *overrides])
