"""Settings of learners, checked where they are made."""

from dataclasses import dataclass, field

from ralseg.foundation import RalsegError
from ralseg.segmentation.augmentation import Crops
from ralseg.segmentation.losses import LOSSES, Loss
from ralseg.segmentation.networks import CUTS, Cut


def check_range(owner: object, name: str, low: float, high: float = float("inf")) -> None:
    """Refuse a number outside [low, high].

    Raises:
        RalsegError: naming the setting, its value and the range.
    """
    value = getattr(owner, name)
    if not low <= value <= high:
        raise RalsegError(f"{type(owner).__name__}.{name}={value} is out of range; choose from {low:g} to {high:g}")


@dataclass(frozen=True)
class LearnOptions:
    """One turn of the game: what `learn` trains, and how.

    Attributes:
        cut: the game: `full`, `partial` or `frozen`.
        loss: `plain` or `balanced`.
        steps: optimiser steps per turn.
        batch: images (crops in the full game) per step: first those with new units, then earlier ones at random.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        averaging: weights of the averaged network are its own by this share after each step, 0 (no averaging) to 1.
        clip: largest norm of the gradient.
        rehearse: whether D_S, which is labelled as well, is among the earlier images; else a turn may unlearn what its
            few units do not show.
        crops: windows of the full game; the other games train on whole cached images.
    """

    cut: Cut = "partial"
    loss: Loss = "plain"
    steps: int = 4
    batch: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    averaging: float = 0.95
    clip: float = 4.0
    rehearse: bool = True
    crops: Crops = field(default_factory=lambda: Crops((112, 112)))

    def __post_init__(self) -> None:
        if self.cut not in CUTS:
            raise RalsegError(f"game={self.cut!r} is unknown; choose from {', '.join(CUTS)}")
        if self.loss not in LOSSES:
            raise RalsegError(f"loss={self.loss!r} is unknown; choose from {', '.join(LOSSES)}")
        for name in ("steps", "batch"):
            check_range(self, name, 1, 100_000)
        check_range(self, "learning_rate", 0, 1)
        check_range(self, "weight_decay", 0, 1)
        check_range(self, "averaging", 0, 0.9999)
        check_range(self, "clip", 0)


@dataclass(frozen=True)
class FitOptions:
    """Training to convergence: the final training on what was bought, and the pretraining of theta_0.

    Attributes:
        steps: optimiser steps at the least.
        steps_per_megapixel: further steps for each million labelled pixels.
        max_steps: optimiser steps at the most.
        batch: windows per step.
        learning_rate: of AdamW at the start; it falls to nothing along a cosine.
        weight_decay: of AdamW.
        evaluations: how often the validation images are evaluated, evenly over the training; the best weights are kept.
        patience: evaluations without a better one before the training ends early.
        averaging: see `LearnOptions`.
        train_batch_norm: whether batch norm follows the batches (else it stands still).
        crops: windows.
    """

    steps: int = 300
    steps_per_megapixel: float = 0.0
    max_steps: int = 2000
    batch: int = 16
    learning_rate: float = 3e-3
    weight_decay: float = 2e-2
    evaluations: int = 10
    patience: int = 10
    averaging: float = 0.98
    train_batch_norm: bool = True
    crops: Crops = field(default_factory=lambda: Crops((144, 192), (0.7, 1.5), True, 0.2))

    def __post_init__(self) -> None:
        for name in ("steps", "max_steps", "batch", "evaluations", "patience"):
            check_range(self, name, 1, 10_000_000)
        check_range(self, "steps_per_megapixel", 0)
        check_range(self, "learning_rate", 0, 1)
        check_range(self, "weight_decay", 0, 1)
        check_range(self, "averaging", 0, 0.9999)

    def steps_for(self, pixels: int) -> int:
        """Steps for so many labelled pixels."""
        return min(self.max_steps, round(self.steps + self.steps_per_megapixel * pixels / 1e6))
