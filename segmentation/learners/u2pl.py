"""U2PL: sure pixels are pseudo-labels, and unsure ones are examples of what they are surely not."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ralseg.features.prediction import Prediction, resized
from ralseg.foundation import Count, Positive, Range, Share
from ralseg.segmentation.collectives import gathered, own_share, processes, rank, summed
from ralseg.segmentation.devices import tensor
from ralseg.segmentation.learners.batches import Batch
from ralseg.segmentation.learners.protocol import TrainingSet
from ralseg.segmentation.learners.semi_supervised import (
    DisturbingOptions,
    SemiSupervisedLearner,
    SemiSupervisedOptions,
    Weight,
    as_targets,
    of_everyone,
)
from ralseg.segmentation.learners.supervised import AdamW
from ralseg.segmentation.losses import cross_entropy


@dataclass(frozen=True)
class U2plOptions(DisturbingOptions):
    """The options of `U2plLearner`; but for `memory` they are those of the paper.

    Attributes:
        unreliable: share of the cells, those with the highest entropy, that are unreliable at the beginning; it falls
            to 0 along the training.
        weight: of the cross-entropy with pseudo-labels.
        contrast: weight of the contrastive loss.
        temperature: of the contrastive loss.
        width: channels of the representation.
        anchors: cells of each class in a step that are anchors.
        negatives: cells that each anchor is held against.
        memory: cells of each class that are kept as negatives.
        sure: probability of its class above which a cell may be an anchor.
        ranks: from which rank on a class is surely not that of an unlabelled cell, and up to which; 0 is the best.
    """

    unreliable: Share = 0.2
    weight: Weight = 1.0
    contrast: Weight = 0.1
    temperature: Positive = 0.5
    width: Count = 256
    anchors: Count = 50
    negatives: Count = 256
    memory: Count = 2000
    sure: Share = 0.3
    ranks: tuple[Annotated[int, Range(1)], Annotated[int, Range(1)]] = (3, 20)


@dataclass(frozen=True)
class Cells:
    """Cells of a step, (n, ...) each, those of all processes.

    Attributes:
        student: (m, D) the decoder's map with a graph, from which representations are made, of the cells of this
            process.
        teacher: (n, D) the same of the teacher, without.
        shares: (n, C) probabilities of the teacher.
        ids: (n,) int64, the label or pseudo-label; -1 for none.
        unsure: (n,) bool, unlabelled with a high entropy.
        own: (n,) bool, the cells of this process.
    """

    student: Tensor
    teacher: Tensor
    shares: Tensor
    ids: Tensor
    unsure: Tensor
    own: Tensor


class U2plLearner(SemiSupervisedLearner):
    """U2PL (Wang et al., CVPR 2022).

    The teacher is the averaged network. Its class is the pseudo-label of reliable cells; the loss is their mean
    cross-entropy over their share, so that its weight does not fall with it. In a contrastive loss (equation 6) the
    representation of a cell, its anchor, is drawn to the mean of its class and away from cells that are surely of
    another one: labelled ones of other classes among whose best `ranks[0]` the class is, and unreliable ones among
    whose better classes it is not. They come from a memory of each class.
    """

    Options: ClassVar[type[SemiSupervisedOptions]] = U2plOptions
    told: U2plOptions
    companion: "Representations"

    def make_companion(self) -> nn.Module:
        """See `SupervisedLearner.make_companion`."""
        return Representations(self.head.in_channels, self.classes, self.told)

    def make_optimisers(
        self, parameters: Sequence[nn.Parameter], learning_rate: float, weight_decay: float
    ) -> list[torch.optim.Optimizer]:
        """See `SupervisedLearner.make_optimisers`; the layers of the representation have the network's settings."""
        of_network = super().make_optimisers(parameters, learning_rate, weight_decay)
        own = AdamW(self.companion.own.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
        return [*of_network, own]

    def objective(
        self, batches: Sequence[Batch], weights: Tensor, data: TrainingSet, rng: np.random.Generator
    ) -> Tensor:
        """See `SemiSupervisedLearner.objective`."""
        found = [self.student(batch.maps) for batch in batches]
        loss = cross_entropy([tensor(p.logits) for p in found], [batch.targets for batch in batches], weights)
        if not data.unlabelled:
            return loss
        draws = torch.Generator(self.device).manual_seed(int(rng.integers(2**63 - 1)))
        self.companion.follow(self._steps.averaging)
        cells = []
        for prediction, batch in zip(found, batches, strict=True):
            taught = self.taught_on(batch.maps)
            found_there = [decoded(taught), tensor(taught.logits).softmax(1), majority(batch.targets)[:, None].float()]
            maps = of_everyone(torch.cat(found_there, dim=1), batch.samples)
            there, shares, ids = maps.split([part.shape[1] for part in found_there], dim=1)
            ids = ids[:, 0].long()
            unsure = torch.zeros_like(ids).bool()
            cells.append(cells_of(decoded(prediction), there, shares, ids, unsure, batch.samples))
        for windows, share in self.unlabelled_windows(data, rng):
            prediction, targets, of_windows = self._unlabelled(windows, rng)
            reliable = targets.sum(1).mean().clamp_min(1e-6)
            self.note("reliable", float(reliable))
            sure = cross_entropy([tensor(prediction.logits)], [own_share(targets)], weights)
            loss = loss + share * self.told.weight / reliable * sure
            cells.append(of_windows)
        return loss + self.told.contrast * self.companion.contrast(joined(cells), draws)

    def _unlabelled(self, windows: np.ndarray, rng: np.random.Generator) -> tuple[Prediction, Tensor, Cells]:
        """The training pass of disturbed windows, the pseudo-labels (B, C, h, w) of all processes, and the cells."""
        taught = self.taught_by(own_share(windows))
        there, shares = of_everyone(decoded(taught)), of_everyone(tensor(taught.logits).softmax(1))
        entropy = -(shares * shares.clamp_min(1e-12).log()).sum(1)
        unsure = entropy > torch.quantile(entropy.flatten(), 1 - self.told.unreliable * (1 - self.progress))
        targets = as_targets(shares.argmax(1), ~unsure, self.classes)
        # All that the teacher finds goes with the rectangles of CutMix, so that it looks at each window once.
        found = [targets, shares, unsure[:, None].float(), there]
        prediction, seen = self.disturbed(windows, torch.cat(found, dim=1), self.told.strong, rng)
        targets, shares, unsure, there = seen.split([maps.shape[1] for maps in found], dim=1)
        ids, unsure = majority(targets), unsure[:, 0] > 0
        return prediction, targets, cells_of(decoded(prediction), there, shares, ids, unsure)


class Representations(nn.Module):
    """The layers of a representation, their average, and a memory of what each class is surely not.

    Args:
        width: channels of the map that the last layer of the network reads.
        classes: number of classes C.
        told: the options of the learner.
    """

    memory: Tensor
    filled: Tensor

    def __init__(self, width: int, classes: int, told: U2plOptions) -> None:
        super().__init__()
        self._told = told
        # A class that is among all ranks can be told from nothing.
        self._ranks = min(told.ranks[0], classes - 1), told.ranks[1]
        self.own = nn.Sequential(nn.Linear(width, told.width), nn.ReLU(), nn.Linear(told.width, told.width))
        self.average = copy.deepcopy(self.own).requires_grad_(False)
        self.register_buffer("memory", torch.zeros(classes, told.memory, told.width))
        self.register_buffer("filled", torch.zeros(classes, dtype=torch.int64))

    @torch.no_grad()
    def follow(self, averaging: float) -> None:
        """Move the average towards the layers, of which it keeps the share `averaging` of its own."""
        for own, average in zip(self.own.parameters(), self.average.parameters(), strict=True):
            average.lerp_(own, 1 - averaging)

    def contrast(self, cells: Cells, draws: torch.Generator) -> Tensor:
        """The contrastive loss of a step (equation 6), a 0-d tensor; its negatives go into the memory first."""
        with torch.no_grad():
            teacher = functional.normalize(self.average(cells.teacher), dim=1)
            self._remember(cells, teacher, draws)
        terms = []
        for number in range(len(self.memory)):
            known = int(self.filled[number].clamp_max(self._told.memory))
            anchors = torch.nonzero((cells.ids == number) & (cells.shares[:, number] > self._told.sure))[:, 0]
            if not known or not len(anchors):
                continue
            positive = functional.normalize(teacher[anchors].mean(0), dim=0)
            chosen = anchors[_drawn(len(anchors), self._told.anchors, draws)]
            others = self.memory[number, _drawn(known, self._told.negatives, draws)]
            student = self._of_students(cells, chosen)
            logits = torch.cat([student @ positive[:, None], student @ others.T], dim=1) / self._told.temperature
            terms.append(-logits.log_softmax(1)[:, 0].mean())
        return torch.stack(terms).mean() if terms else cells.student.new_zeros(())

    def _of_students(self, cells: Cells, chosen: Tensor) -> Tensor:
        """(k, W) representations of k chosen cells, of which each process makes its own."""
        here = torch.nonzero(cells.own[chosen])[:, 0]
        rows = (cells.own.cumsum(0) - 1)[chosen[here]]
        made = functional.normalize(self.own(cells.student[rows]), dim=1)
        return summed(made.new_zeros(len(chosen), made.shape[1]).index_copy(0, here, made))

    def _remember(self, cells: Cells, teacher: Tensor, draws: torch.Generator) -> None:
        """Put cells that are surely not of a class into its memory, in the place of the oldest."""
        low, high = self._ranks
        for number in range(len(self.memory)):
            place = (cells.shares > cells.shares[:, number, None]).sum(1)
            labelled = (cells.ids >= 0) & (cells.ids != number) & ~cells.unsure & (place < low)
            surely_not = torch.nonzero(labelled | (cells.unsure & (place >= low) & (place < high)))[:, 0]
            surely_not = surely_not[_drawn(len(surely_not), min(self._told.negatives, self._told.memory), draws)]
            slots = (self.filled[number] + torch.arange(len(surely_not), device=place.device)) % self._told.memory
            self.memory[number, slots] = teacher[surely_not]
            self.filled[number] += len(surely_not)


def decoded(prediction: Prediction) -> Tensor:
    """(B, D, h, w) float32: the map that the last layer reads, at the size of the logits."""
    logits = tensor(prediction.logits)
    return resized(tensor(prediction.features).float(), (logits.shape[2], logits.shape[3]))


def cells_of(
    student: Tensor, teacher: Tensor, shares: Tensor, ids: Tensor, unsure: Tensor, samples: Tensor | None = None
) -> Cells:
    """The cells of maps.

    Args:
        student: (b, D, h, w) of the samples of this process, see `own_share`.
        teacher: (B, D, h, w) of the samples of all processes, as what follows; see `of_everyone`.
        shares: (B, C, h, w).
        ids: (B, h, w) int64.
        unsure: (B, h, w) bool.
        samples: those of a `Batch`.
    """
    if samples is None:
        numbers = torch.arange(len(ids), device=ids.device).repeat_interleave(ids[0].numel())
    else:
        numbers = gathered(samples, samples)
    student, teacher, shares = (maps.movedim(1, -1).flatten(0, 2) for maps in (student, teacher, shares))
    return Cells(student, teacher, shares, ids.flatten(), unsure.flatten(), numbers % processes() == rank())


def majority(targets: Tensor) -> Tensor:
    """(B, h, w) int64: the class of more than half of what is labelled in a cell of targets (B, C, h, w); else -1."""
    most, ids = targets.max(1)
    return torch.where(most > targets.sum(1) / 2, ids, -1)


def joined(cells: Sequence[Cells]) -> Cells:
    """All cells together."""
    return Cells(*(torch.cat([getattr(of, part.name) for of in cells]) for part in fields(Cells)))


def _drawn(count: int, most: int, draws: torch.Generator) -> Tensor:
    """At most so many of the numbers below `count`, at random."""
    return torch.randperm(count, generator=draws, device=draws.device)[:most]
