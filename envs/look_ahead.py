"""The look-ahead: the learner as it would be after some steps on all labels that are known in training."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from ralseg.segmentation.labels import PartialLabels, revealed
from ralseg.segmentation.learners import SupervisedLearner, TrainingSet, taught
from ralseg.segmentation.store import ImageStore

BATCH = 24
"""Images in a step."""


class LookAhead:
    """An informed network for `ReducibleLoss`: the learner after a few more optimiser steps.

    To first order and in all trained layers, a step on D_R lowers the loss of a unit by as much as a step on the unit
    lowers the loss on D_R: by the product of their gradients. Several steps go beyond the first order.

    Args:
        learner: the learner of the game; it is not changed.
        store: the labels.
        images: store indices of the images whose labels are known.
        steps: number of optimiser steps, at the learning rate and with the loss of the game.
    """

    def __init__(self, learner: SupervisedLearner, store: ImageStore, images: Sequence[int], steps: int) -> None:
        self._learner, self._store, self._images = learner, store, images
        self._options = replace(learner.options, steps=steps, batch=BATCH, averaging=0.0)
        self._version: int | None = None

    @cached_property
    def _ahead(self) -> SupervisedLearner:
        return self._learner.another(self._options)

    @cached_property
    def _labels(self) -> PartialLabels:
        return revealed(self._store, self._images)

    def at(self, rng: np.random.Generator) -> SupervisedLearner:
        """The learner after these steps from its present weights, computed once per version of the weights.

        Args:
            rng: the generator that draws the batches.
        """
        if self._version != self._learner.version:
            self._ahead.start_from(self._learner)
            everywhere = [(image, (0.5, 0.5)) for image in self._images]
            taught(self._ahead, TrainingSet(self._labels, everywhere), rng)
            self._version = self._learner.version
        return self._ahead
