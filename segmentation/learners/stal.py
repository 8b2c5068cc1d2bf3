"""STAL: self-training on the target domain, in which classes that the network is unsure of are seen more often."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ralseg.features.prediction import Prediction
from ralseg.foundation import Count, Share
from ralseg.segmentation.augmentation import View
from ralseg.segmentation.collectives import gathered, own_share
from ralseg.segmentation.devices import tensor, to_device
from ralseg.segmentation.labels import FullLabels, PartialLabels
from ralseg.segmentation.learners.batches import Batch, Sample
from ralseg.segmentation.learners.copy_paste import Donors, Pasting, exchanged
from ralseg.segmentation.learners.protocol import TrainingSet
from ralseg.segmentation.learners.semi_supervised import (
    SemiSupervisedOptions,
    Weight,
    as_targets,
    of_everyone,
    own_part,
)
from ralseg.segmentation.learners.stal_memory import StalMemory
from ralseg.segmentation.learners.u2pl import (
    Cells,
    U2plLearner,
    U2plOptions,
    cells_of,
    decoded,
    joined,
    majority,
)
from ralseg.segmentation.losses import cross_entropy

Drop = Literal["unsure", "as_released"]
Pair = tuple[np.ndarray, list[int], int]
"""Two windows (2, h, w, 3) uint8, their images, and the class that the second one should hold."""


@dataclass(frozen=True)
class StalOptions(U2plOptions):
    """The options of `StalLearner`, those of the released recipe but for `memory`; see `U2plOptions` for the others.

    Attributes:
        drop: which cells have no pseudo-label at first: `unsure`, the share `unreliable` with the highest entropy, or
            `as_released`, that with the lowest.
        contrast_from: share of the training after which the contrastive loss begins.
        power: of the teacher's probability, in the weight of a pseudo-label.
        paste: probability that cells of other labelled windows are pasted into a labelled window; where whole images
            are trained on (`game.learn.windows=false`), nothing is.
        pasted: how many classes are drawn for that.
        memory_of_confidence: the share of itself that the mean confidence of a class keeps in each step.
        easy: the probability of its class above which a labelled cell has no loss (OHEM).
        kept: the share of the labelled cells, the hardest, that have one all the same.
    """

    drop: Drop = "unsure"
    contrast_from: Share = 0.1
    power: Weight = 2.0
    paste: Share = 0.5
    pasted: Count = 3
    memory_of_confidence: Share = 0.999
    easy: Share = 0.7
    kept: Share = 0.05
    anchors: Count = 256
    negatives: Count = 50


class StalLearner(U2plLearner):
    """The self-training of STAL (Guan and Yuan, arXiv 2301.13361), which joins AEL (Hu et al., NeurIPS 2021) and U2PL.

    The confidence of a class is the mean probability that the network gives it where it is labelled. The less it is,
    the more often the class is pasted into labelled windows, shown to its neighbour by CutMix, and kept among the
    pseudo-labels. A pseudo-label weighs as much as the teacher's probability to the power `power`, over the sum of all
    weights. The student also follows the teacher on labelled windows. The contrastive loss is U2PL's.

    Different from the released code: windows are mixed in pairs of which both are used, every class can be pasted, and
    all losses are means over all processes.
    """

    Options: ClassVar[type[SemiSupervisedOptions]] = StalOptions
    told: StalOptions
    companion: StalMemory

    def make_companion(self) -> nn.Module:
        """See `SupervisedLearner.make_companion`."""
        return StalMemory(self.head.in_channels, self.classes, self.told, len(self.images))

    def begin(self, data: TrainingSet) -> None:
        """See `SupervisedLearner.begin`."""
        super().begin(data)
        of_source = [data.source_domain] if data.source_domain and self.source_share else []
        self._donors = Donors(self.images, [data.labels, *of_source])

    def objective(
        self, batches: Sequence[Batch], weights: Tensor, data: TrainingSet, rng: np.random.Generator
    ) -> Tensor:
        """See `SemiSupervisedLearner.objective`."""
        found = [self.student(batch.maps) for batch in batches]
        logits, targets = [tensor(p.logits) for p in found], [batch.targets for batch in batches]
        self.companion.see([z.detach().softmax(1) for z in logits], targets, self.told.memory_of_confidence)
        loss = cross_entropy(logits, hard_cells(logits, targets, self.told.easy, self.told.kept), weights)
        if not data.unlabelled:
            return loss
        self.companion.follow(self._steps.averaging)
        cells, followed = [], []
        for prediction, batch in zip(found, batches, strict=True):
            taught = self.taught_on(batch.maps)
            shares, there = (of_everyone(m, batch.samples) for m in (tensor(taught.logits).softmax(1), decoded(taught)))
            ids = of_everyone(majority(batch.targets)[:, None], batch.samples)[:, 0]
            pseudo = self._pseudo_labels(shares, torch.ones_like(ids).bool(), rng)
            followed.append((tensor(prediction.logits), own_part(pseudo, batch.samples)))
            unsure = torch.zeros_like(ids).bool()
            cells.append(cells_of(decoded(prediction), there, shares, ids, unsure, batch.samples))
        for windows, images, numbers in self._pairs(data, rng):
            prediction, pseudo, of_windows = self._mixed(windows, images, numbers, rng)
            followed.append((tensor(prediction.logits), own_share(pseudo)))
            cells.append(of_windows)
        seen, pseudo = zip(*followed, strict=True)
        loss = loss + self.told.weight * cross_entropy(seen, pseudo, weights)
        if self.progress < self.told.contrast_from:
            return loss
        draws = torch.Generator(self.device).manual_seed(int(rng.integers(2**63 - 1)))
        return loss + self.told.contrast * self.companion.contrast(joined(cells), draws)

    def _pairs(self, data: TrainingSet, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray, list[int]]]:
        """Unlabelled windows in pairs: (2n, h, w, 3) uint8, (2n,) int64 their images, and n classes of the pairs.

        The second image of a pair is one in which the teacher saw the class last time, if it saw it anywhere.
        """
        pool = np.array(data.unlabelled)
        groups: dict[tuple[int, ...], list[Pair]] = {}
        for number in rng.choice(self.classes, max(1, self.told.images // 2), p=self.companion.chances()).tolist():
            holders = pool[self.companion.holds(pool, number)]
            pair = [int(rng.choice(pool)), int(rng.choice(holders if len(holders) else pool))]
            for windows, _ in self.windows(pair, None, rng):
                # Images of two sizes make no pair.
                if len(windows) == len(pair):
                    groups.setdefault(windows.shape, []).append((windows, pair, number))
        of_pairs = (zip(*group, strict=True) for group in groups.values())
        return [(np.concatenate(own), np.concatenate(of), list(numbers)) for own, of, numbers in of_pairs]

    def _mixed(
        self, windows: np.ndarray, images: np.ndarray, numbers: Sequence[int], rng: np.random.Generator
    ) -> tuple[Prediction, Tensor, Cells]:
        """The training pass of mixed pairs, the weighted pseudo-labels (B, C, h, w) of all processes, and the cells."""
        taught = self.taught_by(own_share(windows))
        shares, there = of_everyone(tensor(taught.logits).softmax(1)), of_everyone(decoded(taught))
        entropy = -(shares * shares.clamp_min(1e-12).log()).sum(1)
        unsure = entropy > torch.quantile(entropy.flatten(), 1 - self.told.unreliable)
        taken = with_pseudo_label(entropy, self.told.unreliable * (1 - self.progress), self.told.drop)
        pseudo = self._pseudo_labels(shares, taken, rng)
        self.note("pseudo_labels", float((pseudo.sum(1) > 0).float().mean()))
        self.companion.remember(images, shares)
        maps = [pseudo, shares, unsure[:, None].float(), taken[:, None].float(), there]
        kept = torch.cat(maps, dim=1).numpy(force=True)
        seen, of_seen = exchanged(windows, kept, shares.argmax(1).numpy(force=True), numbers, rng)
        pseudo, shares, unsure, taken, there = to_device(of_seen, self.device).split([m.shape[1] for m in maps], dim=1)
        prediction = self.seen(own_share(np.stack([self.told.strong(window, rng) for window in seen])))
        ids = torch.where(taken[:, 0] > 0, shares.argmax(1), -1)
        return prediction, pseudo, cells_of(decoded(prediction), there, shares, ids, unsure[:, 0] > 0)

    def _pseudo_labels(self, shares: Tensor, taken: Tensor, rng: np.random.Generator) -> Tensor:
        """Targets (B, C, h, w) with the teacher's class, weighted by its probability, of those cells that are taken.

        Of a class whose confidence is high, fewer cells are (AEL, equation 5).
        """
        best, ids = shares.max(1)
        rates = to_device(self.companion.rates(), self.device)
        drawn = to_device(rng.random(ids.shape, np.float32), self.device) < rates[ids]
        return as_targets(ids, taken & drawn, self.classes) * best[:, None] ** self.told.power

    def _batches(
        self, samples: Sequence[Sample], view: View, labels: PartialLabels | FullLabels, rng: np.random.Generator
    ) -> list[Batch]:
        pasting = Pasting(view, self._donors, self.told.paste, self.told.pasted, self.companion.chances)
        batches = super()._batches(samples, pasting, labels, rng)
        self.weak_view = view
        return batches


def with_pseudo_label(entropy: Tensor, left_out: float, drop: Drop) -> Tensor:
    """Which cells have a pseudo-label: all but a share, by their entropy.

    U2PL leaves out the unsure ones; STAL's code does the opposite and leaves out the surest.

    Args:
        entropy: (B, h, w) of the teacher's prediction.
        left_out: the share, 0 to 1.
        drop: see `StalOptions`.

    Returns:
        (B, h, w) bool.
    """
    quantile = 1 - left_out if drop == "unsure" else left_out
    bound = torch.quantile(entropy.flatten(), quantile)
    return entropy <= bound if drop == "unsure" else entropy >= bound


def hard_cells(logits: Sequence[Tensor], targets: Sequence[Tensor], easy: float, kept: float) -> list[Tensor]:
    """Targets without those of easy cells (online hard example mining: Shrivastava et al., CVPR 2016).

    Args:
        logits: (B, C, h, w) of each batch.
        targets: (B, C, h, w) labelled pixels per class and cell of each batch.
        easy: the mean probability of its labels above which a cell is easy.
        kept: the share of the labelled cells that is kept at least, the hardest.
    """
    with torch.no_grad():
        counts = [t.sum(1) for t in targets]
        right = [(z.softmax(1) * t).sum(1) / c.clamp_min(1) for z, t, c in zip(logits, targets, counts, strict=True)]
        labelled = gathered(torch.cat([p[c > 0] for p, c in zip(right, counts, strict=True)]))
        if not len(labelled):
            return list(targets)
        bound = torch.quantile(labelled, kept).clamp_min(easy)
        return [t * (p <= bound)[:, None] for t, p in zip(targets, right, strict=True)]
