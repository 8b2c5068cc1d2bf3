"""What semi-supervised learners share: windows of unlabelled images, and a teacher's opinion of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ralseg.features.prediction import Prediction
from ralseg.foundation import Count, RalsegError, Range, Settings, settings
from ralseg.segmentation.augmentation import Strong, cut_mixed
from ralseg.segmentation.collectives import gathered, own_share, processes, rank
from ralseg.segmentation.datasets import IGNORE
from ralseg.segmentation.devices import tensor, to_device
from ralseg.segmentation.labels import PartialLabels
from ralseg.segmentation.learners.batches import Batch
from ralseg.segmentation.learners.from_scratch import FromScratchLearner
from ralseg.segmentation.learners.protocol import TrainingSet
from ralseg.segmentation.losses import cross_entropy, global_mean

Weight = Annotated[float, Range(0)]


@dataclass(frozen=True)
class SemiSupervisedOptions(Settings, group="learner"):
    """What all semi-supervised learners can be told.

    Attributes:
        images: unlabelled windows in each step; whole images where the game caches lower stages.
    """

    images: Count = 8


@dataclass(frozen=True)
class DisturbingOptions(SemiSupervisedOptions):
    """What those can be told that train on disturbed windows.

    Attributes:
        strong: how windows are disturbed.
    """

    strong: Strong = field(default_factory=Strong)


class SemiSupervisedLearner(FromScratchLearner):
    """Trains from theta_0 in every turn, on what is labelled and on the images of the pool that are not.

    Args:
        arguments: those of `SupervisedLearner`.
        named: those of `SupervisedLearner`, and the fields of `Options`.

    Attributes:
        Options: the class of its options.
        told: its options.

    Raises:
        RalsegError: if an option is out of range, or the network reads another source than its own stages.
    """

    Options: ClassVar[type[SemiSupervisedOptions]] = SemiSupervisedOptions

    def __init__(self, *arguments: Any, **named: Any) -> None:
        own = {option.name for option in fields(self.Options)} & set(named)
        self.told = settings(self.Options, {name: named.pop(name) for name in own}, "learner")
        self._noted: dict[str, list[float]] = {}
        super().__init__(*arguments, **named)
        if not self._own_stages:
            raise RalsegError("a semi-supervised learner disturbs images, which source=stages alone can do; set it")

    def begin(self, data: TrainingSet) -> None:
        """See `SupervisedLearner.begin`: figures begin anew."""
        self._noted = {}

    def objective(
        self, batches: Sequence[Batch], weights: Tensor, data: TrainingSet, rng: np.random.Generator
    ) -> Tensor:
        """See `SupervisedLearner.objective`: the supervised loss, and the unlabelled part where there is any."""
        loss = super().objective(batches, weights, data, rng)
        for windows, share in self.unlabelled_windows(data, rng):
            loss = loss + share * self.unsupervised(windows, weights, data, rng)
        return loss

    def unlabelled_windows(self, data: TrainingSet, rng: np.random.Generator) -> list[tuple[np.ndarray, float]]:
        """The weak view of random images of the pool, (B, h, w, 3) uint8 in groups of one size, with their shares.

        They are those of all processes, so that none depends on their number; each looks at `own_share` of a group.
        """
        if not data.unlabelled:
            return []
        chosen = rng.choice(np.array(data.unlabelled), self.told.images).tolist()
        return [(windows, len(windows) / len(chosen)) for windows, _ in self.windows(chosen, None, rng)]

    @property
    def figures(self) -> dict[str, float]:
        """See `TellsFigures`; means over the steps of the last training."""
        return {name: float(np.mean(values)) for name, values in self._noted.items()}

    def note(self, name: str, value: float) -> None:
        """Add a figure of the present step."""
        self._noted.setdefault(name, []).append(value)

    def unsupervised(self, windows: np.ndarray, weights: Tensor, data: TrainingSet, rng: np.random.Generator) -> Tensor:
        """The loss of a step on what is not labelled, a 0-d tensor.

        Args:
            windows: (B, h, w, 3) uint8 of unlabelled images, those of all processes.
            weights: (C,) weights of the classes.
            data: all data of the training set.
            rng: the generator of all draws.
        """
        raise NotImplementedError

    def windows(
        self, images: Sequence[int], labels: PartialLabels | None, rng: np.random.Generator
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The weak view of images, in groups of one size.

        Args:
            images: store indices.
            labels: gives targets; None for none.
            rng: the generator of all draws.

        Returns:
            (B, h, w, 3) uint8 and (B, C, h', w') float32 labelled pixels of each class and cell.
        """
        groups: dict[tuple[int, ...], list[tuple[np.ndarray, np.ndarray]]] = {}
        for image in images:
            window, targets = self._window(image, labels, rng)
            groups.setdefault(window.shape, []).append((window, targets))
        return [
            (np.stack([window for window, _ in group]), np.stack([targets for _, targets in group]))
            for group in groups.values()
        ]

    def seen(self, windows: np.ndarray) -> Prediction:
        """The training pass of windows (B, h, w, 3) uint8."""
        return self.student(self.lower(windows))

    def taught_by(self, windows: np.ndarray) -> Prediction:
        """What the averaged network, the teacher, predicts of windows (B, h, w, 3) uint8."""
        return self.taught_on(self.lower(windows))

    @torch.no_grad()
    def taught_on(self, maps: tuple[Tensor, ...]) -> Prediction:
        """What the teacher predicts from maps below the cut, without a graph."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self._averaged(maps, self.options.cut)

    def disturbed(
        self, windows: np.ndarray, targets: Tensor, strong: Strong, rng: np.random.Generator
    ) -> tuple[Prediction, Tensor]:
        """The training pass of the strong view, with rectangles pasted from window to window (CutMix).

        Args:
            windows: (B, h, w, 3) uint8, the weak view, of all processes.
            targets: (B, N, h', w') float32 of them, any N.
            strong: how windows are disturbed.
            rng: the generator of all draws.

        Returns:
            The prediction of the windows of this process, `own_share`, and the targets of what all processes saw.
        """
        seen = np.stack([strong(window, rng) for window in windows])
        mixed, of_mixed = cut_mixed(seen, targets.numpy(force=True), rng)
        return self.seen(own_share(mixed)), to_device(of_mixed, self.device)

    def pseudo_labelled(self, found: Prediction, targets: Tensor, weights: Tensor) -> Tensor:
        """The cross-entropy of a prediction with targets (B, C, h, w), as a mean over all cells of all processes.

        Cells whose targets are 0 count in the mean, so that few sure cells weigh little.
        """
        covered = targets.sum(1).clamp(max=1)
        covered = global_mean(covered.sum(), torch.full_like(covered, 1).sum())
        return covered * cross_entropy([tensor(found.logits)], [targets], weights)

    def _window(
        self, image: int, labels: PartialLabels | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        pixels = self.images.image(image)
        known = np.full(pixels.shape[:2], IGNORE, np.uint8) if labels is None else labels.label(image)
        if self._on_windows:
            return self.weak_view.cut(pixels, known, self.classes, rng, None, self._network.logit_size)
        size = self._network.logit_size(pixels.shape[:2])
        empty = np.zeros((self.classes, *size), np.float32)
        return pixels, empty if labels is None else labels.targets(image, size)


def of_everyone(own: Tensor, samples: Tensor | None = None) -> Tensor:
    """Maps (B, N, h, w) of the samples of all processes, without a gradient; `samples` are those of a `Batch`."""
    own = own.detach()
    if samples is None:
        return gathered(own)
    return gathered(own.movedim(1, -1).flatten(0, 2), samples).T[None, :, None]


def own_part(maps: Tensor, samples: Tensor | None = None) -> Tensor:
    """The inverse of `of_everyone`: maps (B, N, h, w) of the samples of this process."""
    if samples is None:
        return own_share(maps)
    own = gathered(samples, samples) % processes() == rank()
    return maps[..., own] if own.any() else maps[:0, ..., :1]


def as_targets(ids: Tensor, sure: Tensor, classes: int) -> Tensor:
    """Targets (B, C, h, w) of class ids (B, h, w) int64: 1 where `sure` (B, h, w) bool, 0 elsewhere."""
    return torch.nn.functional.one_hot(ids, classes).movedim(-1, 1).float() * sure[:, None]


def rising(progress: float, until: float) -> float:
    """The weight of an unsupervised loss at the beginning: exp(-5 (1 - t)^2), 1 from `until` on (Laine, Aila 2017)."""
    return 1.0 if progress >= until else float(np.exp(-5 * (1 - progress / until) ** 2))
