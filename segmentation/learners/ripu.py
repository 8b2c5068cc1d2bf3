"""RIPU's training: labels of both domains, smooth boundaries in the source, and what the target surely lacks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ralseg.foundation import Count, Share
from ralseg.segmentation.collectives import own_share
from ralseg.segmentation.devices import tensor
from ralseg.segmentation.learners.batches import Batch
from ralseg.segmentation.learners.protocol import TrainingSet
from ralseg.segmentation.learners.semi_supervised import SemiSupervisedLearner, SemiSupervisedOptions, Weight
from ralseg.segmentation.losses import added, cross_entropy, global_mean


@dataclass(frozen=True)
class RipuOptions(SemiSupervisedOptions):
    """The options of `RipuLearner`, with the paper's weights.

    Attributes:
        images: unlabelled windows in each step, for the negative learning.
        consistency: weight of the local consistency.
        negative: weight of the negative learning.
        unlikely: the probability below which a class is surely not that of a cell.
    """

    images: Count = 2
    consistency: Weight = 0.1
    negative: Weight = 1.0
    unlikely: Share = 0.05


class RipuLearner(SemiSupervisedLearner):
    """The training of RIPU (Xie et al., CVPR 2022), without pseudo-labels.

    Besides the cross-entropy with all labels, a boundary cell of the source domain must be predicted like the mean of
    its 3 x 3 cells (L1), and classes that a cell of the target domain has with a probability below `unlikely` are
    pushed to 0: - log(1 - p), a mean over all such classes and cells.
    """

    Options: ClassVar[type[SemiSupervisedOptions]] = RipuOptions
    told: RipuOptions

    def objective(
        self, batches: Sequence[Batch], weights: Tensor, data: TrainingSet, rng: np.random.Generator
    ) -> Tensor:
        """See `SupervisedLearner.objective`."""
        logits = [tensor(self.student(batch.maps).logits) for batch in batches]
        loss = cross_entropy(logits, [batch.targets for batch in batches], weights)
        of_target = [z for z, batch in zip(logits, batches, strict=True) if not batch.of_source]
        unlabelled = [tensor(self.seen(own_share(windows)).logits) for windows, _ in self.unlabelled_windows(data, rng)]
        of_target += unlabelled
        unlikely = [unlikely_classes(z.softmax(1), self.told.unlikely) for z in of_target]
        if unlabelled:
            of_unlabelled = [z.detach().softmax(1) < self.told.unlikely for z in unlabelled]
            counts = added([below.sum().float() for below in of_unlabelled])
            self.note("unlikely", float(global_mean(counts, added([torch.ones_like(b).sum() for b in of_unlabelled]))))
        rough = [
            unevenness(z.softmax(1), batch.targets) for z, batch in zip(logits, batches, strict=True) if batch.of_source
        ]
        for weight, found in ((self.told.negative, unlikely), (self.told.consistency, rough)):
            if found:
                totals, counts = zip(*found, strict=True)
                loss = loss + weight * global_mean(added(totals), added(counts))
        return loss


def unlikely_classes(shares: Tensor, below: float) -> tuple[Tensor, Tensor]:
    """The sum of - log(1 - p) over all classes of all cells with p < `below`, and their number.

    Args:
        shares: (B, C, h, w) probabilities.
        below: 0 to 1.
    """
    chosen = shares < below
    return -(torch.log1p(-shares.clamp(max=0.999)) * chosen).sum(), chosen.sum().float()


def unevenness(shares: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The sum over boundary cells of |p - mean of the 3 x 3 cells|, summed over classes, and their number.

    A boundary cell has a labelled neighbour of another class. Cells beyond the border do not count in the mean.

    Args:
        shares: (B, C, h, w) probabilities.
        targets: (B, C, h, w) labelled pixels per class and cell.
    """
    known, ids = targets.sum(1) > 0, targets.argmax(1)
    # The highest and the lowest class of the neighbourhood differ at a boundary; cells without a label are neither.
    highest = functional.max_pool2d(torch.where(known, ids, -1)[:, None].float(), 3, 1, 1)[:, 0]
    lowest = -functional.max_pool2d(-torch.where(known, ids, targets.shape[1])[:, None].float(), 3, 1, 1)[:, 0]
    boundary = known & (highest != lowest)
    means = functional.avg_pool2d(shares, 3, 1, 1, count_include_pad=False)
    return ((shares - means).abs().sum(1) * boundary).sum(), boundary.sum().float()
