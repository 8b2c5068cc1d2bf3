"""The learner that begins again in every turn, as protocols with few labelled pixels do."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from ralseg.foundation import RalsegError, Range, Share, checked
from ralseg.segmentation.learners.batches import Batch, Sample, pixel_batch
from ralseg.segmentation.learners.options import FitOptions
from ralseg.segmentation.learners.protocol import TrainingSet
from ralseg.segmentation.learners.supervised import SupervisedLearner
from ralseg.segmentation.networks.batch_norm import still_on_single_values

AT_ONCE = 64
"""Images whose maps of labels are made together, of which labelled cells are kept."""


class FromScratchLearner(SupervisedLearner):
    """Trains from theta_0 on all labels so far, in every turn, with a learning rate that falls to 0.

    What it predicts depends on the labels alone, not on the turn in which each was bought. A network per pixel takes
    every step on all labelled pixels; any other one on `batch` random labelled images.

    Args:
        unlabelled: how many pixels without a label a network per pixel also passes in every step, drawn at random from
            the images of the pool. They have no part in the loss; its batch norms see them. Two-stage eDALD (NeurIPS
            2025) passes all pixels.
        epochs: how often each labelled image is seen in a turn, besides `options.steps`: with more labels, longer.
        source_share: share of the windows of each step that show the source domain, where there is one (STAL 0.4, RIPU
            0.5); at 0 nothing is learned from it after theta_0 (source-free).

    For the others see `SupervisedLearner`.

    Raises:
        RalsegError: if an option is out of range, `unlabelled` is set for another network, or for one without batch
            norm, or `source_share` for a network per pixel.
    """

    def __init__(
        self,
        *arguments: Any,
        unlabelled: Annotated[int, Range(0)] = 0,
        epochs: Annotated[float, Range(0)] = 0.0,
        source_share: Share = 0.0,
        **named: Any,
    ) -> None:
        self.unlabelled = checked(Annotated[int, Range(0)], unlabelled, "learner.unlabelled")
        self.epochs = checked(Annotated[float, Range(0)], epochs, "learner.epochs")
        self.source_share = checked(Share, source_share, "learner.source_share")
        super().__init__(*arguments, **named)
        self._norms = any(
            isinstance(m, nn.BatchNorm2d) for part in self._network.trained("full") for m in part.modules()
        )
        if self.unlabelled and not (self._by_pixel and self._norms):
            raise RalsegError(
                "learner.unlabelled is for the batch norms of a network per pixel; set network=pixel_mlp "
                "network.norm=batch, or learner.unlabelled=0"
            )
        if self.source_share and self._by_pixel:
            raise RalsegError(
                "learner.source_share is for networks that learn from windows or whole images; set it to 0 for a "
                "network per pixel"
            )

    def learn(self, data: TrainingSet, rng: np.random.Generator) -> Tensor:
        """See `Learner.learn`; a turn has `options.steps` and those of `epochs`."""
        options, labels = self.options, data.labels
        if not len(labels) or not data.new:
            return torch.zeros((), device=self.device)
        self.reset()
        self.begin(data)
        steps = options.steps + round(self.epochs * len(labels.images) / options.batch)
        weights, schedules = self.weights_of(data), self.make_schedules(steps)
        self._seed_dropout(rng)
        every: list[Sample] = [(image, None) for image in labels.images]
        whole = self._all_pixels(every, data, rng) if self._by_pixel else None
        self._network.train(self._by_pixel)
        losses = []
        for taken in range(steps):
            self.progress = taken / steps
            batches = whole
            if batches is None:
                batches = self.labelled_batches(data, rng)
            with still_on_single_values(self._network):
                losses.append(self._steps.step(self.objective(batches, weights, data, rng)))
            for schedule in schedules:
                schedule.step()
        self._network.eval()
        self._changed()
        self._loss = torch.stack(losses).mean()
        return self._loss

    def trains_together(self, options: FitOptions | None) -> bool:
        """See `SupervisedLearner.trains_together`; the batch norms of a network per pixel follow the labels."""
        return super().trains_together(options) and not (self._by_pixel and self._norms)

    def labelled_batches(self, data: TrainingSet, rng: np.random.Generator) -> list[Batch]:
        """Random labelled images of the target domain, and of the source domain if it has a share."""
        batch, labels, batches = self.options.batch, data.labels, []
        other = round(batch * self.source_share) if data.source_domain else 0
        for of, count in ((labels, batch - other), (data.source_domain, other)):
            if of is not None and count:
                chosen: list[Sample] = [(of.images[i], None) for i in rng.integers(len(of.images), size=count)]
                found = self._batches(chosen, self.options.crops, of, rng)
                batches += [replace(one, of_source=of is not labels) for one in found]
        return batches

    def weights_of(self, data: TrainingSet) -> Tensor:
        """(C,) weights of the classes, by the shares of their pixels in what the steps see."""
        if not (data.source_domain and self.source_share):
            return self._weights(data.labels.class_counts)
        shares = [of.class_counts / max(1, of.class_counts.sum()) for of in (data.labels, data.source_domain)]
        return self._weights((1 - self.source_share) * shares[0] + self.source_share * shares[1])

    @property
    def _by_pixel(self) -> bool:
        return self._network.per_pixel and not self._on_windows

    def _all_pixels(self, every: list[Sample], data: TrainingSet, rng: np.random.Generator) -> list[Batch]:
        """All that is labelled, and random pixels that are not, as few batches."""
        parts = [every[i : i + AT_ONCE] for i in range(0, len(every), AT_ONCE)]
        found = [batch for part in parts for batch in self._batches(part, self.options.crops, data.labels, rng)]
        if self.unlabelled and data.unlabelled:
            found.append(self._unlabelled_pixels(data.unlabelled, rng))
        return _together(found)

    def _unlabelled_pixels(self, images: Sequence[int], rng: np.random.Generator) -> Batch:
        drawn, counts = np.unique(rng.choice(np.array(images), self.unlabelled), return_counts=True)
        places = {
            image: rng.integers(self.images.size(image), size=(count, 2))
            for image, count in zip(drawn.tolist(), counts.tolist(), strict=True)
        }
        return pixel_batch(places, None, self.images, self.pixels, self.device, self.classes)


def _together(batches: list[Batch]) -> list[Batch]:
    """Batches of single cells, (1, D, 1, n) each, as one; others stay as they are."""
    cells = [batch for batch in batches if batch.targets.shape[0] == batch.targets.shape[2] == 1]
    if len(cells) < 2:
        return batches
    rest = [batch for batch in batches if not any(batch is other for other in cells)]
    maps = tuple(torch.cat(parts, dim=-1) for parts in zip(*(batch.maps for batch in cells), strict=True))
    return [Batch(maps, torch.cat([batch.targets for batch in cells], dim=-1)), *rest]
