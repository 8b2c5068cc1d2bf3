"""The supervised learner: a network, its averaged twin, and how they are trained, asked and evaluated."""

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ralseg.features.prediction import Prediction
from ralseg.foundation import RalsegError
from ralseg.foundation.optimisers import eager
from ralseg.segmentation.devices import Precision, to_device
from ralseg.segmentation.labels import PartialLabels
from ralseg.segmentation.learners.options import FitOptions, LearnOptions
from ralseg.segmentation.learners.predictor import Predictor
from ralseg.segmentation.losses import class_weights, cross_entropy
from ralseg.segmentation.metrics import Confusion
from ralseg.segmentation.networks import SegmentationNetwork, normalise
from ralseg.segmentation.store import ImageStore

AdamW = eager(torch.optim.AdamW)


class SupervisedLearner(Predictor):
    """Trains what lies above the cut on partial labels; predicts and is evaluated with averaged weights.

    The three games are this one class with another `options.cut`. Batch norm stands still in `learn`, so that the gain
    of one turn is not drowned in noise.

    Args:
        network: a network holding theta_0.
        store: images and labels.
        options: of one turn.
        device: where to compute.
        precision: `float32`, `bfloat16` (of convolutions; weights, losses and sums stay float32), or `auto`: bfloat16
            where the processor has it.
        compiled: whether inference runs through `torch.compile`, which takes its time at first and needs a compiler.

    Attributes:
        dtype: what convolutions compute in.
        version: changes whenever predictions change.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        store: ImageStore,
        options: LearnOptions,
        device: str | torch.device = "cpu",
        precision: Precision = "auto",
        compiled: bool = False,
    ) -> None:
        self.options = options
        self._made = {"device": device, "precision": precision, "compiled": compiled}
        self._network = network.to(device, memory_format=torch.channels_last).eval()
        self._averaged = copy.deepcopy(self._network).requires_grad_(False)
        self._theta0 = {key: value.clone() for key, value in self._network.state_dict().items()}
        super().__init__(self._averaged, store, options.cut, torch.device(device), precision, compiled)
        self.reset()

    def reset(self) -> None:
        """Back to theta_0, with a fresh optimiser."""
        for network in (self._network.eval(), self._averaged):
            network.load_state_dict(self._theta0)
        self._loss = torch.zeros((), device=self.device)
        self._start(self.options.cut, self.options.learning_rate, self.options.weight_decay)
        self._changed()

    def another(self, options: LearnOptions) -> "SupervisedLearner":
        """A learner of the same images with other options and, of its own, the weights that this one predicts with."""
        return SupervisedLearner(copy.deepcopy(self._averaged), self.store, options, **self._made)

    def start_from(self, other: "SupervisedLearner") -> None:
        """Take the weights that another learner of the same network predicts with for theta_0, and go there."""
        for name, value in other._averaged.state_dict().items():
            self._theta0[name].copy_(value)
        self.reset()

    def learn(
        self, labels: PartialLabels, new: Sequence[tuple[int, tuple[float, float]]], rng: np.random.Generator
    ) -> Tensor:
        """One turn: a few optimiser steps on the images of the new units, filled up with earlier ones.

        Args:
            labels: all that is labelled, the new units included.
            new: (image, centre of the unit as shares of height and width) of each new unit.
            rng: order and filling of the batches, crops.

        Returns:
            The mean loss of the steps, a 0-d float32 tensor on the device (a GPU is not waited for); 0 if nothing is
            labelled. Whether it is finite is checked by the next `evaluate`.
        """
        options = self.options
        if not len(labels) or not new:
            return torch.zeros((), device=self.device)
        slots = options.steps * options.batch
        if options.cut == "full":
            fresh = [new[i] for i in rng.permutation(len(new))]
        else:
            fresh = [(int(i), None) for i in rng.permutation(list({image for image, _ in new}))]
        earlier = labels.images
        filling = [(earlier[i], None) for i in rng.integers(len(earlier), size=max(0, slots - len(fresh)))]
        samples = (fresh + filling)[:slots]
        samples = [samples[i] for i in rng.permutation(slots)]
        weights = to_device(class_weights(labels.class_counts, options.loss), self.device)
        self._seed_dropout(rng)
        losses = [
            self._step(self._batch(samples[i : i + options.batch], labels, rng), weights, options.averaging)
            for i in range(0, slots, options.batch)
        ]
        self._changed()
        self._loss = torch.stack(losses).mean()
        return self._loss

    def fit(
        self,
        labels: PartialLabels,
        options: FitOptions,
        rng: np.random.Generator,
        validation: Sequence[int] = (),
        on_step: Callable[[int, int], None] | None = None,
    ) -> int:
        """Train the whole network to convergence on what is labelled, from its present weights.

        Args:
            labels: all that is labelled.
            options: how long and how.
            rng: images, crops.
            validation: images whose mIoU picks the weights that are kept (D_R); none: the last ones.
            on_step: called with (step, steps).

        Returns:
            The number of steps taken.

        Raises:
            RalsegError: if nothing is labelled, or the loss is not finite.
        """
        if not labels.class_counts.any():
            raise RalsegError("fit: no pixel is labelled; buy units with labels first")
        if self.options.cut != "full":
            raise RalsegError(
                f"fit trains the whole network; this learner keeps what the {self.options.cut} game froze"
            )
        steps = options.steps_for(int(labels.class_counts.sum()))
        self._start("full", options.learning_rate, options.weight_decay)
        schedule = None
        if steps > 2:
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                self._optimiser, options.learning_rate, total_steps=steps, pct_start=max(0.05, 2 / steps)
            )
        weights = to_device(class_weights(labels.class_counts, self.options.loss), self.device)
        images, best, stale, taken = labels.images, None, 0, 0
        marks = set(np.linspace(0, steps, options.evaluations + 1).round()[1:].astype(int)) if len(validation) else ()
        self._seed_dropout(rng)
        self._network.train(options.train_batch_norm)
        for taken in range(1, steps + 1):
            chosen = [(images[i], None) for i in rng.integers(len(images), size=options.batch)]
            loss = self._step(self._crop_batch(chosen, labels, rng, options.crops), weights, options.averaging)
            if schedule is not None:
                schedule.step()
            if on_step is not None:
                on_step(taken, steps)
            self._loss = loss
            if taken in marks or taken == steps:
                self._check_loss()
            if taken in marks:
                self._changed()
                miou = self.evaluate(validation).miou
                if best is None or miou > best[0]:
                    best, stale = (miou, copy.deepcopy(self._averaged.state_dict())), 0
                else:
                    stale += 1
                if stale >= options.patience:
                    break
        self._network.eval()
        if best is not None:
            self._averaged.load_state_dict(best[1])
        self._network.load_state_dict(self._averaged.state_dict())
        self._changed()
        return taken

    def evaluate(
        self, images: Sequence[int], observer: Callable[[Prediction, Sequence[int]], None] | None = None
    ) -> Confusion:
        """See `Predictor.evaluate`.

        Raises:
            RalsegError: if the loss of the last turn was not finite.
        """
        found = super().evaluate(images, observer)
        self._check_loss()
        return found

    def _start(self, cut: str, learning_rate: float, weight_decay: float) -> None:
        self._network.requires_grad_(False)
        modules = self._network.trained(cut)
        for module in modules:
            module.requires_grad_(True)
        twins = self._averaged.trained(cut)
        self._trained = [p for module in modules for p in module.parameters()]
        self._twins = [p for module in twins for p in module.parameters()]
        self._buffers = [b for m in modules for b in m.buffers()], [b for m in twins for b in m.buffers()]
        self._optimiser = AdamW(self._trained, lr=learning_rate, weight_decay=weight_decay, fused=True)

    def _seed_dropout(self, rng: np.random.Generator) -> None:
        # A stream of its own: a network with dropout sees the same batches as one without.
        seed = int(rng.spawn(1)[0].integers(2**63 - 1))
        self._drop = torch.Generator(self.device).manual_seed(seed) if self._network.dropout else None

    def _step(self, groups: list[tuple[tuple[Tensor, ...], Tensor]], weights: Tensor, averaging: float) -> Tensor:
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits = [self._network.upper(maps, self.options.cut, drop=self._drop).logits for maps, _ in groups]
        loss = cross_entropy(logits, [targets for _, targets in groups], weights)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._trained, self.options.clip)
        self._optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(self._twins, self._trained, 1 - averaging)
            for own, twin in zip(*self._buffers, strict=True):
                twin.copy_(own)
        return loss.detach()

    def _check_loss(self) -> None:
        if not torch.isfinite(self._loss):
            raise RalsegError(f"the segmentation loss is {self._loss.item()}; lower the learning rate")

    def _batch(self, samples: Sequence[tuple], labels: PartialLabels, rng: np.random.Generator) -> list[tuple]:
        if self.options.cut == "full":
            return self._crop_batch(samples, labels, rng, self.options.crops)
        groups = []
        for _, chunk in self._chunks([image for image, _ in samples], len(samples)):
            maps = self._lower(chunk)
            size = self._network.logit_size(self.store.input_size(chunk[0]))
            targets = np.stack([labels.targets(i, size) for i in chunk])
            groups.append((maps, to_device(targets, self.device)))
        return groups

    def _crop_batch(
        self, samples: Sequence[tuple], labels: PartialLabels, rng: np.random.Generator, crops
    ) -> list[tuple]:
        windows: dict[tuple, list] = {}
        for image, centre in samples:
            pixels, known = self.store.image(image), labels.label(image)
            window = crops.cut(pixels, known, self.classes, rng, centre, self._network.logit_size)
            windows.setdefault(window[0].shape, []).append(window)
        return [
            (
                (normalise(to_device(np.stack([w for w, _ in group]), self.device)),),
                to_device(np.stack([t for _, t in group]), self.device),
            )
            for group in windows.values()
        ]
