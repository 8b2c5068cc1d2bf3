"""The supervised learner: a network, its averaged twin, and how they are trained, asked and evaluated."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ralseg.foundation import RalsegError
from ralseg.segmentation.labels import PartialLabels
from ralseg.segmentation.learners.lower import LowerMaps
from ralseg.segmentation.learners.options import FitOptions, LearnOptions
from ralseg.segmentation.losses import class_weights, cross_entropy
from ralseg.segmentation.metrics import Confusion, confusion, upsampled_classes
from ralseg.segmentation.networks import Prediction, SegmentationNetwork, normalise
from ralseg.segmentation.store import ImageStore

Reducer = Callable[[Prediction, Sequence[int]], Mapping[str, np.ndarray]]
"""`reducer(prediction, images)` keeps what it needs of the prediction of a batch of images: name -> rows."""


class SupervisedLearner:
    """Trains what lies above the cut on partial labels; predicts and is evaluated with averaged weights.

    The three games are this one class with another `options.cut`. Batch norm stands still in `learn`, so that the gain
    of one turn is not drowned in noise.

    Args:
        network: a network holding theta_0.
        store: images and labels.
        options: of one turn.
        device: where to compute.

    Attributes:
        version: changes whenever predictions change.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        store: ImageStore,
        options: LearnOptions,
        device: str | torch.device = "cpu",
    ) -> None:
        self.store, self.options, self.device = store, options, torch.device(device)
        self.classes = network.classes
        self._network = network.to(self.device, memory_format=torch.channels_last).eval()
        self._averaged = copy.deepcopy(self._network).requires_grad_(False)
        self._theta0 = {key: value.clone() for key, value in self._network.state_dict().items()}
        self._lower = LowerMaps(self._averaged, store, options.cut, self.device)
        self.version = 0
        self.reset()

    def reset(self) -> None:
        """Back to theta_0, with a fresh optimiser."""
        for network in (self._network.eval(), self._averaged):
            network.load_state_dict(self._theta0)
        self._start(self.options.cut, self.options.learning_rate, self.options.weight_decay)
        self.version += 1

    def learn(
        self, labels: PartialLabels, new: Sequence[tuple[int, tuple[float, float]]], rng: np.random.Generator
    ) -> float:
        """One turn: a few optimiser steps on the images of the new units, filled up with earlier ones.

        Args:
            labels: all that is labelled, the new units included.
            new: (image, centre of the unit as shares of height and width) of each new unit.
            rng: order and filling of the batches, crops.

        Returns:
            The mean loss of the steps; 0 if nothing is labelled.

        Raises:
            RalsegError: if the loss is not finite.
        """
        options = self.options
        if not len(labels) or not new:
            return 0.0
        slots = options.steps * options.batch
        if options.cut == "full":
            fresh = [new[i] for i in rng.permutation(len(new))]
        else:
            fresh = [(int(i), None) for i in rng.permutation(list({image for image, _ in new}))]
        earlier = labels.images
        filling = [(earlier[i], None) for i in rng.integers(len(earlier), size=max(0, slots - len(fresh)))]
        samples = (fresh + filling)[:slots]
        samples = [samples[i] for i in rng.permutation(slots)]
        weights = class_weights(labels.class_counts, options.loss)
        self._seed_dropout(rng)
        losses = [
            self._step(self._batch(samples[i : i + options.batch], labels, rng), weights)
            for i in range(0, slots, options.batch)
        ]
        self.version += 1
        return float(np.mean(losses))

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
        weights = class_weights(labels.class_counts, self.options.loss)
        images, best, stale, taken = labels.images, None, 0, 0
        marks = set(np.linspace(0, steps, options.evaluations + 1).round()[1:].astype(int)) if len(validation) else ()
        self._seed_dropout(rng)
        self._network.train(options.train_batch_norm)
        for taken in range(1, steps + 1):
            chosen = [(images[i], None) for i in rng.integers(len(images), size=options.batch)]
            self._step(self._crop_batch(chosen, labels, rng, options.crops), weights, options.averaging)
            if schedule is not None:
                schedule.step()
            if on_step is not None:
                on_step(taken, steps)
            if taken in marks:
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
        self.version += 1
        return taken

    def predict(
        self,
        images: Sequence[int],
        reducers: Sequence[Reducer],
        draws: int = 0,
        generator: torch.Generator | None = None,
        batch: int = 16,
    ) -> dict[str, list[np.ndarray]]:
        """One forward pass per image, reduced batch by batch, so that no probability map outlives its batch.

        Args:
            images: indices in the store, any sizes.
            reducers: what to keep; each gets batches of images of one size.
            draws: noisy predictions by dropout, see `SegmentationNetwork.upper`.
            generator: of the dropout masks.
            batch: images at once.

        Returns:
            name -> one array per image, in the order of `images`.
        """
        kept: dict[str, list[np.ndarray]] = {}
        for places, chunk in self._chunks(images, batch):
            with torch.inference_mode():
                prediction = self._averaged.upper(self._lower(chunk), self.options.cut, draws, generator)
            for reducer in reducers:
                for name, rows in reducer(prediction, chunk).items():
                    kept.setdefault(name, [np.empty(0)] * len(images))
                    for place, row in zip(places, rows, strict=True):
                        kept[name][place] = row
        return kept

    def evaluate(
        self, images: Sequence[int], observer: Callable[[Prediction, Sequence[int]], None] | None = None
    ) -> Confusion:
        """The confusion matrix over full labels at their own size.

        Args:
            images: indices in the store.
            observer: is shown every prediction, so that whoever needs it makes no second forward pass.
        """
        total = Confusion(np.zeros((self.classes, self.classes), np.int64))
        for _, chunk in self._chunks(images, 16):
            with torch.inference_mode():
                prediction = self._averaged.upper(self._lower(chunk, again=True), self.options.cut)
            if observer is not None:
                observer(prediction, chunk)
            predicted = upsampled_classes(prediction.logits, *self.store.size(chunk[0]))
            labels = np.stack([self.store.label(i) for i in chunk])
            total += confusion(predicted, labels, self.classes)
        return total

    def lower_maps(self, images: Sequence[int]) -> Iterator[tuple[Tensor, ...]]:
        """The cached maps below the cut, batch by batch of one size."""
        for _, chunk in self._chunks(images, 16):
            yield self._lower(chunk)

    @property
    def head(self) -> nn.Module:
        """The last layer of the averaged network, on whose input `Prediction.decoded` it acts."""
        return self._averaged.last_layer(self.options.cut)

    def weights(self) -> dict[str, Tensor]:
        """A copy of the averaged weights, for a checkpoint."""
        state = self._averaged.state_dict()
        return {key: value.cpu().clone(memory_format=torch.contiguous_format) for key, value in state.items()}

    def _start(self, cut: str, learning_rate: float, weight_decay: float) -> None:
        self._network.requires_grad_(False)
        modules = self._network.trained(cut)
        for module in modules:
            module.requires_grad_(True)
        twins = self._averaged.trained(cut)
        self._trained = [p for module in modules for p in module.parameters()]
        self._twins = [p for module in twins for p in module.parameters()]
        self._buffers = [b for m in modules for b in m.buffers()], [b for m in twins for b in m.buffers()]
        self._optimiser = torch.optim.AdamW(self._trained, lr=learning_rate, weight_decay=weight_decay, fused=True)

    def _seed_dropout(self, rng: np.random.Generator) -> None:
        # A stream of its own: a network with dropout sees the same batches as one without.
        seed = int(rng.spawn(1)[0].integers(2**63 - 1))
        self._drop = torch.Generator(self.device).manual_seed(seed) if self._network.dropout else None

    def _step(
        self, groups: list[tuple[tuple[Tensor, ...], Tensor]], weights: np.ndarray, averaging: float | None = None
    ) -> float:
        averaging = self.options.averaging if averaging is None else averaging
        weights = torch.from_numpy(weights).to(self.device)
        upper, cut, drop = self._network.upper, self.options.cut, self._drop
        parts = [(upper(maps, cut, drop=drop).logits, targets) for maps, targets in groups]
        mass = [float((t * weights[:, None, None]).sum()) for _, t in parts]
        loss = sum(
            cross_entropy(z, t, weights) * (m / max(sum(mass), 1)) for (z, t), m in zip(parts, mass, strict=True)
        )
        value = loss.item()
        if not np.isfinite(value):
            raise RalsegError(f"the segmentation loss is {value}; lower the learning rate")
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._trained, self.options.clip)
        self._optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(self._twins, self._trained, 1 - averaging)
            for own, twin in zip(*self._buffers, strict=True):
                twin.copy_(own)
        return value

    def _batch(self, samples: Sequence[tuple], labels: PartialLabels, rng: np.random.Generator) -> list[tuple]:
        if self.options.cut == "full":
            return self._crop_batch(samples, labels, rng, self.options.crops)
        groups = []
        for _, chunk in self._chunks([image for image, _ in samples], len(samples)):
            maps = self._lower(chunk)
            size = self._network.logit_size(self.store.input_size(chunk[0]))
            targets = np.stack([labels.targets(i, size) for i in chunk])
            groups.append((maps, torch.from_numpy(targets).to(self.device)))
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
                (normalise(torch.from_numpy(np.stack([w for w, _ in group])).to(self.device)),),
                torch.from_numpy(np.stack([t for _, t in group])).to(self.device),
            )
            for group in windows.values()
        ]

    def _chunks(self, images: Sequence[int], batch: int) -> Iterator[tuple[list[int], list[int]]]:
        sizes: dict[tuple, list[int]] = {}
        for place, i in enumerate(images):
            sizes.setdefault((self.store.input_size(i), self.store.size(i)), []).append(place)
        for places in sizes.values():
            for start in range(0, len(places), batch):
                chunk = places[start : start + batch]
                yield chunk, [images[place] for place in chunk]
