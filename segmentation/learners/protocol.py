"""What every learner is, given labels and images and asked for predictions, and how it is called to learn."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ralseg.features.prediction import Noise, Prediction
from ralseg.segmentation.labels import PartialLabels
from ralseg.segmentation.learners.images import LearnerImages
from ralseg.segmentation.learners.options import FitOptions


@dataclass(frozen=True)
class TrainingSet:
    """What a learner is given to learn from.

    Attributes:
        labels: all that is labelled so far, the new units included.
        new: (image, centre of the unit as shares of height and width) of each new unit.
        unlabelled: images of the pool that the learner may look at, without their labels.
    """

    labels: PartialLabels
    new: Sequence[tuple[int, tuple[float, float]]]
    unlabelled: Sequence[int] = ()

    @property
    def images(self) -> set[int]:
        """All images that may be looked at."""
        return {*self.labels.images, *self.unlabelled}


class Learner(Protocol):
    """A network, its optimisers and the way it trains.

    Make it with `network, images, options, device, precision, compiled, source`, as `SupervisedLearner` is made, and
    options of its own by keyword.

    Attributes:
        images: the only images that it may read; see `LearnerImages`.
        classes: number of classes C.
        device: where it computes.
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
        """Learn for one turn. Call it through `taught`, which keeps all other images away.

        Args:
            data: labels and images.
            rng: source of all random draws.

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
    ) -> int:
        """Train to convergence from the present weights. Call it through `fitted`, which keeps all other images away.

        Args:
            data: labels and images.
            options: how long and how.
            rng: source of all random draws.
            validate: the score of the present weights, higher is better; the best weights are kept. None: the last.
            on_step: called with (step, steps).

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
            images: indices in the store, any sizes.
            noises: noisy predictions to make.
            generator: source of their random draws.
            again: whether just these images will be asked for again, so that what they need is worth keeping.

        Yields:
            Predictions of images of one size; `Prediction.images` says which.
        """
        ...

    def state(self) -> dict[str, Tensor]:
        """Copies of all that changes while it learns, on the CPU, for a safetensors file."""
        ...

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over a `state` of a learner with the same theta_0; what follows is the same, bit for bit."""
        ...

    def weights(self) -> dict[str, Tensor]:
        """A copy of the weights that it predicts with, on the CPU, for a checkpoint."""
        ...


def taught(learner: Learner, data: TrainingSet, rng: np.random.Generator) -> Tensor:
    """`Learner.learn` while no image but those of the training set can be reached.

    Raises:
        RalsegError: if the learner asks for another image.
    """
    with learner.images.only(data.images):
        return learner.learn(data, rng)


def fitted(
    learner: Learner,
    data: TrainingSet,
    options: FitOptions,
    rng: np.random.Generator,
    validate: Callable[[], float] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> int:
    """`Learner.fit` while no image but those of the training set can be reached, `validate` excepted.

    Raises:
        RalsegError: if the learner asks for another image.
    """
    unrestricted = None if validate is None else learner.images.only(None)(validate)
    with learner.images.only(data.images):
        return learner.fit(data, options, rng, unrestricted, on_step)
