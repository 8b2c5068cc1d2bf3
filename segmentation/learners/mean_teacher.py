"""Mean teacher with CutMix: the network must find in disturbed windows what its average finds in clean ones."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from ralseg.foundation import Share
from ralseg.segmentation.collectives import own_share
from ralseg.segmentation.devices import tensor
from ralseg.segmentation.learners.protocol import TrainingSet
from ralseg.segmentation.learners.semi_supervised import (
    DisturbingOptions,
    SemiSupervisedLearner,
    SemiSupervisedOptions,
    Weight,
    as_targets,
    of_everyone,
    rising,
)


@dataclass(frozen=True)
class MeanTeacherOptions(DisturbingOptions):
    """The options of `MeanTeacherLearner`.

    Attributes:
        weight: of the unsupervised loss.
        sure: the probability of the best class above which a cell has a pseudo-label.
        ramp_up: share of the training in which the unsupervised loss rises to its weight.
    """

    weight: Weight = 1.0
    sure: Share = 0.9
    ramp_up: Share = 0.2


class MeanTeacherLearner(SemiSupervisedLearner):
    """Mean teacher (Tarvainen, Valpola, NeurIPS 2017) with CutMix (French et al., BMVC 2020).

    The teacher is the averaged network (`averaging`). Its class is the pseudo-label of each cell of which it is sure;
    the loss is a mean over all cells, so that few sure cells weigh little.
    """

    Options: ClassVar[type[SemiSupervisedOptions]] = MeanTeacherOptions
    told: MeanTeacherOptions

    def unsupervised(self, windows: np.ndarray, weights: Tensor, data: TrainingSet, rng: np.random.Generator) -> Tensor:
        """See `SemiSupervisedLearner.unsupervised`."""
        best, ids = tensor(self.taught_by(own_share(windows)).logits).softmax(1).max(1)
        targets = of_everyone(as_targets(ids, best > self.told.sure, self.classes))
        self.note("sure", float(targets.sum(1).mean()))
        found, targets = self.disturbed(windows, targets, self.told.strong, rng)
        weight = self.told.weight * rising(self.progress, self.told.ramp_up)
        return weight * self.pseudo_labelled(found, own_share(targets), weights)
