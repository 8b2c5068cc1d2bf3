"""The file from which a killed training to convergence goes on."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ralseg.foundation import RalsegError, atomic_write
from ralseg.segmentation.collectives import rank
from ralseg.segmentation.devices import copied

EVERY = 30.0
"""Seconds between two writes."""


@dataclass
class Reached:
    """Where a training to convergence stands.

    Attributes:
        steps: optimiser steps so far.
        stale: how often the best score was not beaten since.
        score: the best one; None before the first.
        best: the weights that had it, by name.
    """

    steps: int = 0
    stale: int = 0
    score: float | None = None
    best: dict[str, Tensor] = field(default_factory=dict)

    def packed(
        self, state: Mapping[str, Tensor], drop: torch.Generator | None, rng: np.random.Generator
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What a checkpoint holds: tensors on the CPU, and JSON values.

        Args:
            state: of the learner.
            drop: draws its dropout; None if it has none.
            rng: draws everything else.
        """
        tensors = {**state} | {f"best.{name}": copied(value) for name, value in self.best.items()}
        if drop is not None:
            tensors["dropout"] = drop.get_state()
        record = {"steps": self.steps, "stale": self.stale, "score": self.score}
        return tensors, record | {"generator": rng.bit_generator.state}

    @classmethod
    def unpacked(
        cls,
        tensors: dict[str, Tensor],
        record: Mapping[str, Any],
        drop: torch.Generator | None,
        rng: np.random.Generator,
    ) -> "Reached":
        """The inverse: sets both generators and takes everything out of `tensors` but the state of the learner."""
        best = {name.removeprefix("best."): tensors.pop(name) for name in list(tensors) if name.startswith("best.")}
        if drop is not None:
            drop.set_state(tensors.pop("dropout"))
            if rank() > 0:
                # The kept stream is that of the first process, and others must drop other channels.
                drop.manual_seed(drop.initial_seed() + record["steps"] + rank())
        rng.bit_generator.state = record["generator"]
        return cls(record["steps"], record["stale"], record["score"], best)


class FitCheckpoint:
    """What `Learner.fit` has reached, in one file. When it is written has no influence on what comes out.

    Args:
        path: the file, in the format of safetensors.
        of: names the training by all that it depends on; the file of another one is written over.
        every: seconds between two writes; None for `EVERY`.
    """

    def __init__(self, path: str | Path, of: str, every: float | None = None) -> None:
        self.path, self._of, self._every = Path(path), of, EVERY if every is None else every
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() - self._last >= self._every

    def save(self, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
        """Write what is reached.

        Args:
            tensors: on the CPU.
            record: JSON values.
        """
        content = save(tensors, {"of": self._of, "record": json.dumps(record)})
        with atomic_write(self.path) as file:
            file.write(content)
        self._last = time.monotonic()

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What was reached; None if nothing was written, or by another training.

        Raises:
            RalsegError: if the file is damaged.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                facts = file.metadata() or {}
                if facts.get("of") != self._of:
                    return None
                return {name: file.get_tensor(name) for name in file.keys()}, json.loads(facts["record"])  # noqa: SIM118
        except (SafetensorError, KeyError, ValueError) as error:
            raise RalsegError(f"{self.path} is damaged ({error}); remove it, and the training begins again") from error

    def remove(self) -> None:
        """Remove the file, when the training is over."""
        self.path.unlink(missing_ok=True)
