"""The settings of learners."""

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from ralseg.foundation import Count, Range, Settings, Share
from ralseg.segmentation.augmentation import Crops
from ralseg.segmentation.losses import Loss
from ralseg.segmentation.networks import Cut

Averaging = Annotated[float, Range(0, 0.9999)]


@dataclass(frozen=True)
class LearnOptions(Settings):
    """The options of `learn`, the training in one turn of the game.

    Attributes:
        cut: the game: `full`, `partial` or `frozen`.
        loss: `plain` or `balanced`.
        steps: optimiser steps per turn.
        batch: images (crops in the full game) per step: first those with new units, then earlier ones at random.
        learning_rate: step size of AdamW, 0 to 1.
        weight_decay: weight decay of AdamW, 0 to 1.
        averaging: the share of its own weights that the averaged network keeps at each step, from 0 (no averaging) to
            0.9999.
        clip: largest norm of the gradient.
        encoder_rate: the learning rate of the encoder's stages above the cut over that of the rest, 0 to 1; at 0 they
            are not trained.
        rehearse: whether D_S, which is also labelled, is among the earlier images. Without it the network may forget in
            a turn what its few units do not show.
        windows: whether the other games train on windows, too, for which the stages below the cut run in each step.
        crops: windows of the full game, and of the others with `windows`; otherwise they train on whole cached images.
    """

    cut: Cut = "partial"
    loss: Loss = "plain"
    steps: Annotated[int, Range(1, 100_000)] = 4
    batch: Annotated[int, Range(1, 100_000)] = 8
    learning_rate: Share = 1e-3
    weight_decay: Share = 1e-4
    averaging: Averaging = 0.95
    clip: Annotated[float, Range(0)] = 4.0
    encoder_rate: Share = 1.0
    rehearse: bool = True
    windows: bool = False
    crops: Crops = field(default_factory=lambda: Crops((112, 112)))


@dataclass(frozen=True)
class FitOptions(Settings):
    """The options of training to convergence: the final training on the bought labels, and theta_0.

    Attributes:
        steps: the fewest optimiser steps.
        steps_per_megapixel: further steps for each million labelled pixels.
        max_steps: the most optimiser steps.
        batch: windows per step.
        learning_rate: step size of AdamW at the start, 0 to 1; it falls to 0 along a cosine.
        weight_decay: weight decay of AdamW, 0 to 1.
        evaluations: number of evaluations on the validation images, evenly over the training; the best weights are
            kept.
        patience: number of evaluations without improvement after which the training ends early.
        averaging: as in `LearnOptions`.
        encoder_rate: the learning rate of the encoder's stages over that of the rest, 0 to 1; at 0 they are frozen with
            their batch norms.
        train_batch_norm: whether the statistics of batch norm follow the batches; otherwise they are frozen.
        crops: how windows are cut out of the training images.
    """

    steps: Count = 300
    steps_per_megapixel: Annotated[float, Range(0)] = 0.0
    max_steps: Count = 2000
    batch: Count = 16
    learning_rate: Share = 3e-3
    weight_decay: Share = 2e-2
    evaluations: Count = 10
    patience: Count = 10
    averaging: Averaging = 0.98
    encoder_rate: Share = 1.0
    train_batch_norm: bool = True
    crops: Crops = field(default_factory=lambda: Crops((144, 192), (0.7, 1.5), True, 0.2))

    def facts(self) -> dict[str, Any]:
        """The options as JSON values, for digests. At its default, `encoder_rate` is left out: it came later."""
        return {key: value for key, value in asdict(self).items() if key != "encoder_rate" or value != 1}

    def steps_for(self, pixels: int) -> int:
        """The optimiser steps for a number of labelled pixels."""
        return min(self.max_steps, round(self.steps + self.steps_per_megapixel * pixels / 1e6))
