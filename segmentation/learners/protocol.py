"""The interface of every learner: it learns from labels and images, and predicts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ralseg.features.prediction import Noise, Prediction
from ralseg.segmentation.labels import FullLabels, PartialLabels
from ralseg.segmentation.learners.checkpoint import FitCheckpoint
from ralseg.segmentation.learners.images import LearnerImages
from ralseg.segmentation.learners.options import FitOptions


@dataclass(frozen=True)
class TrainingSet:
    """The data that a learner learns from.

    Attributes:
        labels: all labels so far, those of the new units included.
        new: (image, centre of the unit as shares of height and width) of each new unit.
        unlabelled: images of the pool that the learner may read without their labels.
        source_domain: the labels of another domain; None without one.
    """

    labels: PartialLabels
    new: Sequence[tuple[int, tuple[float, float]]]
    unlabelled: Sequence[int] = ()
    source_domain: FullLabels | None = None

    @property
    def images(self) -> set[int]:
        """All images that may be read."""
        return {*self.labels.images, *self.unlabelled, *(self.source_domain.images if self.source_domain else ())}


class Learner(Protocol):
    """A network, its optimisers and the way it trains.

    The constructor takes `network, images, options, device, precision, compiled, source` like `SupervisedLearner`, and
    further options by keyword.

    Attributes:
        images: the only images that it may read; see `LearnerImages`.
        classes: number of classes C.
        device: the device of its computations.
        version: changes whenever predictions change.
    """

    images: LearnerImages
    classes: int
    device: torch.device
    version: int

    def reset(self) -> None:
        """Go back to theta_0, with fresh optimisers."""
        ...

    def learn(self, data: TrainingSet, rng: np.random.Generator) -> Tensor:
        """Learn for one turn. Call it through `taught`, which denies access to all other images.

        Args:
            data: labels and images.
            rng: the generator of all random draws.

        Returns:
            The mean loss of the turn, a 0-d float32 tensor on the device; 0 if nothing was learned.
        """
        ...

    def fit(
        self,
        data: TrainingSet,
        options: FitOptions,
        rng: np.random.Generator,
        validate: Callable[[], float] | None = None,
        on_step: Callable[[int, int], None] | None = None,
        checkpoint: FitCheckpoint | None = None,
    ) -> int:
        """Train to convergence from the present weights. Call it through `fitted`, which denies access to other images.

        Args:
            data: labels and images.
            options: length and settings of the training.
            rng: the generator of all random draws.
            validate: the score of the present weights, higher is better; the best weights are kept, or the last ones
                with None.
            on_step: called with (step, steps).
            checkpoint: what a killed training goes on from, to end with the same weights as if it had never been
                killed; None if it begins again. It is removed at the end.

        Returns:
            The number of steps taken.
        """
        ...

    def predict(
        self,
        images: Sequence[int],
        noises: Sequence[Noise] = (),
        generator: torch.Generator | None = None,
        again: bool = False,
    ) -> Iterator[Prediction]:
        """Predict images batch by batch, each image in one forward pass.

        Args:
            images: store indices, of any sizes.
            noises: noisy predictions to make.
            generator: draws the noise.
            again: whether exactly these images will be used again, so that their maps are worth keeping.

        Yields:
            Predictions of images of one size; `Prediction.images` holds their indices.
        """
        ...

    def state(self) -> dict[str, Tensor]:
        """CPU copies of all tensors that learning changes, for a safetensors file."""
        ...

    def restore(self, state: dict[str, Tensor]) -> None:
        """Restore a `state` of a learner with the same theta_0; both then continue the same, bit for bit."""
        ...

    def weights(self) -> dict[str, Tensor]:
        """A CPU copy of the weights that it predicts with, for a checkpoint."""
        ...


@runtime_checkable
class PredictsPixels(Protocol):
    """What a learner may also be able to do: predict single pixels and nothing else of their images."""

    @property
    def predicts_pixels(self) -> bool:
        """Whether it can: where a network per pixel reads a frozen source."""
        ...

    def predict_pixels(
        self,
        where: Mapping[int, np.ndarray],
        noises: Sequence[Noise] = (),
        generator: torch.Generator | None = None,
    ) -> Iterator[Prediction]:
        """Predict single pixels, which costs as much as they are many, whatever the size of the images.

        Args:
            where: store index of an image -> (n, 2) int64 row and column of its pixels, in the size of its label.
            noises: noisy predictions to make, of all kinds but `features`.
            generator: draws the noise.

        Yields:
            Predictions of the pixels of some images as one row: logits are (1, C, 1, n), the pixels of the first of
            `Prediction.images` before those of the next. Sources are interpolated at the middle of each pixel.
        """
        ...


@runtime_checkable
class TellsFigures(Protocol):
    """What a learner may also be able to do: tell how its last training went."""

    @property
    def figures(self) -> dict[str, float]:
        """Name -> figure, such as the share of predictions that it learned from."""
        ...
