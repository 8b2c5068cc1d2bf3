"""The learner that begins again in every turn, as protocols with few labelled pixels do."""

import numpy as np
import torch
from torch import Tensor

from ralseg.segmentation.learners.batches import Batch, Sample
from ralseg.segmentation.learners.protocol import TrainingSet
from ralseg.segmentation.learners.supervised import SupervisedLearner

AT_ONCE = 64
"""Images whose maps of labels are made together, of which labelled cells are kept."""


class FromScratchLearner(SupervisedLearner):
    """Trains from theta_0 on all labels so far, in every turn, with a learning rate that falls to 0.

    What it predicts depends on the labels alone, not on the turn in which each was bought. A network per pixel takes
    every step on all labelled cells; any other one on `batch` random labelled images.
    """

    def learn(self, data: TrainingSet, rng: np.random.Generator) -> Tensor:
        """See `Learner.learn`; `options.steps` are those of a turn."""
        options, labels = self.options, data.labels
        if not len(labels) or not data.new:
            return torch.zeros((), device=self.device)
        self.reset()
        weights, schedules = self._weights(labels), self.make_schedules(options.steps)
        self._seed_dropout(rng)
        every: list[Sample] = [(image, None) for image in labels.images]
        whole = None
        if self._network.per_pixel and not self._on_windows:
            parts = [every[i : i + AT_ONCE] for i in range(0, len(every), AT_ONCE)]
            whole = _together([batch for part in parts for batch in self._batches(part, options.crops, labels, rng)])
        losses = []
        for _ in range(options.steps):
            batches = whole
            if batches is None:
                chosen = [every[i] for i in rng.integers(len(every), size=options.batch)]
                batches = self._batches(chosen, options.crops, labels, rng)
            losses.append(self._steps.step(self.objective(batches, weights, data, rng)))
            for schedule in schedules:
                schedule.step()
        self._changed()
        self._loss = torch.stack(losses).mean()
        return self._loss


def _together(batches: list[Batch]) -> list[Batch]:
    """Batches of single cells, (1, D, 1, n) each, as one; others stay as they are."""
    cells = [batch for batch in batches if batch.targets.shape[0] == batch.targets.shape[2] == 1]
    if len(cells) < 2:
        return batches
    rest = [batch for batch in batches if not any(batch is other for other in cells)]
    maps = tuple(torch.cat(parts, dim=-1) for parts in zip(*(batch.maps for batch in cells), strict=True))
    return [Batch(maps, torch.cat([batch.targets for batch in cells], dim=-1)), *rest]
