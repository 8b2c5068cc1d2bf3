"""TensorBoard files of a training, over env steps."""

from pathlib import Path
from typing import Any, Self

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from ralseg.agents.batch_dqn import BatchModeDQN, UpdateStats


class TrainingLog:
    """Writes one point per episode and one per round.

    Args:
        folder: the folder of the event files.
        resumed_at: env steps of the checkpoint that the training continues from, None at the start. Points that the
            killed run logged after it are purged, so that none appears twice.
        enabled: False writes nothing.
    """

    def __init__(self, folder: Path, resumed_at: int | None, enabled: bool = True) -> None:
        purge = None if resumed_at is None else resumed_at + 1
        self.writer = SummaryWriter(str(folder), purge_step=purge) if enabled else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.writer:
            self.writer.close()

    def episode(self, env_steps: int, total: dict[str, float], class_shares: np.ndarray) -> None:
        """Log a finished episode: return, final mIoU (percent), refused choices, mean class shares bought."""
        points = {"game/return": total["return"], "game/miou": total["miou"], "game/refused": total["refused"]}
        points |= {f"class_share/{c:02d}": share for c, share in enumerate(class_shares)}
        self._write(env_steps, points)

    def round(self, env_steps: int, algorithm: BatchModeDQN, stats: UpdateStats | None, speed: float) -> None:
        """Log the end of a round: epsilon, learning rate, speed and the last update's loss and mean Q-value."""
        points: dict[str, Any] = {
            "agent/epsilon": algorithm.epsilon,
            "agent/learning_rate": algorithm.learning_rate,
            "speed/env_steps_per_second": speed,
        }
        if stats:
            points |= {"agent/loss": stats.loss, "agent/mean_q": stats.mean_value}
        self._write(env_steps, points)
        if self.writer:
            self.writer.flush()

    def _write(self, env_steps: int, points: dict[str, Any]) -> None:
        if self.writer:
            for name, value in points.items():
                self.writer.add_scalar(name, float(value), env_steps)
