"""The supervised learner: the training of a network and its averaged twin."""

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from ralseg.features.prediction import Prediction
from ralseg.foundation import RalsegError
from ralseg.foundation.optimisers import eager
from ralseg.segmentation.augmentation import View
from ralseg.segmentation.collectives import processes, rank
from ralseg.segmentation.devices import Precision, tensor, to_device
from ralseg.segmentation.labels import FullLabels, PartialLabels
from ralseg.segmentation.learners.batches import Batch, Sample, map_batches, samples_of_turn, window_batches
from ralseg.segmentation.learners.checkpoint import FitCheckpoint, Reached
from ralseg.segmentation.learners.images import LearnerImages
from ralseg.segmentation.learners.options import FitOptions, LearnOptions
from ralseg.segmentation.learners.protocol import TrainingSet
from ralseg.segmentation.learners.steps import Steps, above_the_cut, advance, with_shared_stages
from ralseg.segmentation.learners.trained import Trained
from ralseg.segmentation.losses import class_weights, cross_entropy
from ralseg.segmentation.networks import Cut, SegmentationNetwork
from ralseg.segmentation.networks.batch_norm import still_on_single_values
from ralseg.segmentation.sources import Source

AdamW = eager(torch.optim.AdamW)


class SupervisedLearner(Trained):
    """Trains the weights above the cut on partial labels, and predicts with averaged weights.

    The three games differ only in `options.cut`. `learn` freezes batch norm, whose noise would hide the gain of one
    turn. A learner of another kind overrides `objective`, and `make_companion` and `make_optimisers` if it trains more
    than the network.

    Args:
        network: a network at theta_0; the part below its cut is shared, not copied.
        images: the only images that the learner may read.
        options: the options of one turn.
        device: the device of the computations.
        precision: `float32`, `bfloat16` (for convolutions; weights, losses and sums stay float32) or `auto`, see
            `compute_dtype`.
        compiled: whether inference runs through `torch.compile`, which starts slowly and needs a compiler.
        source: the feature source of the network's maps; None for its own stages. With a source, the whole network is
            trained in every game.

    Attributes:
        dtype: the dtype of the convolutions.
        version: changes whenever predictions change.
        companion: what `make_companion` made.
        progress: how much of the training has passed before the present step, 0 to 1.
        weak_view: how the windows of the present step are cut.
    """

    companion: nn.Module
    weak_view: View

    def __init__(
        self,
        network: SegmentationNetwork,
        images: LearnerImages,
        options: LearnOptions,
        device: str | torch.device = "cpu",
        precision: Precision = "auto",
        compiled: bool = False,
        source: Source | None = None,
    ) -> None:
        self.options = options
        self._made = {"device": device, "precision": precision, "compiled": compiled, "source": source}
        self._network = network.to(device, memory_format=torch.channels_last).eval()  # pyright: ignore[reportCallIssue]
        self._averaged = with_shared_stages(self._network, options.cut).requires_grad_(False)
        above = above_the_cut(self._network, options.cut)
        self._theta0 = {name: tensor.clone() for name, tensor in above.items()}
        super().__init__(self._averaged, images, options.cut, torch.device(device), precision, compiled, source)
        self.reset()

    def another(self, options: LearnOptions) -> "SupervisedLearner":
        """A learner of the same images with other options, at the weights that this one predicts with.

        Both have the same cut and share the part below it.
        """
        network = with_shared_stages(self._averaged, self.options.cut)
        return SupervisedLearner(network, self.images, options, **self._made)

    def learn(self, data: TrainingSet, rng: np.random.Generator) -> Tensor:
        """Take a few steps on the images of the new units, filled up with earlier ones; see `Learner.learn`.

        To avoid waiting for a GPU, the next `predict` checks whether the loss is finite.
        """
        options, labels = self.options, data.labels
        if not len(labels) or not data.new:
            return torch.zeros((), device=self.device)
        self.begin(data)
        slots = options.steps * options.batch
        samples = samples_of_turn(data, slots, self._on_windows, rng)
        weights = self._weights(labels.class_counts)
        self._seed_dropout(rng)
        losses = [
            self._step(samples[i : i + options.batch], options.crops, weights, data, rng)
            for i in range(0, slots, options.batch)
        ]
        self._changed()
        self._loss = torch.stack(losses).mean()
        return self._loss

    def fit(
        self,
        data: TrainingSet,
        options: FitOptions,
        rng: np.random.Generator,
        validate: Callable[[], float] | None = None,
        on_step: Callable[[int, int], None] | None = None,
        checkpoint: FitCheckpoint | None = None,
    ) -> int:
        """Train the whole network to convergence; see `Learner.fit`.

        A batch norm that meets a single value per channel, which has no variance, is still for this batch.

        Raises:
            RalsegError: if nothing is labelled, the loss is not finite, or the network's stages are kept frozen.
        """
        labels = data.labels
        if not labels.class_counts.any():
            raise RalsegError("fit: no pixel is labelled; buy units with labels first")
        if self._own_stages and self.options.cut != "full":
            raise RalsegError(
                f"fit trains the whole network, but the {self.options.cut} game freezes a part of it; set cut=full"
            )
        if processes() > 1 and options.train_batch_norm:
            raise RalsegError("batch norm would differ between processes; set fit.options.train_batch_norm=false")
        steps = options.steps_for(int(labels.class_counts.sum()))
        self.begin(data)
        self._start(options.learning_rate, options.weight_decay, options.averaging, options.encoder_rate)
        schedules = self.make_schedules(steps)
        weights = self._weights(labels.class_counts)
        images, reached = labels.images, Reached()
        marks = set(np.linspace(0, steps, options.evaluations + 1).round()[1:].astype(int)) if validate else ()
        self._seed_dropout(rng)
        self._network.train(options.train_batch_norm)
        for stage in self._network.stage_modules() if options.encoder_rate == 0 else ():
            stage.eval()
        if checkpoint is not None and (kept := checkpoint.load()) is not None:
            reached = Reached.unpacked(*kept, self._drop, rng)
            self._put(kept[0])
            advance(schedules, reached.steps)
        for taken in range(reached.steps + 1, steps + 1):
            chosen: list[Sample] = [(images[i], None) for i in rng.integers(len(images), size=options.batch)]
            self.progress = (taken - 1) / steps
            with still_on_single_values(self._network):
                self._loss = self._step(chosen, options.crops, weights, data, rng)
            for schedule in schedules:
                schedule.step()
            if on_step is not None:
                on_step(taken, steps)
            if taken in marks or taken == steps:
                self.check()
            if validate is not None and taken in marks:
                self._changed()
                score = validate()
                if reached.score is None or score > reached.score:
                    best = copy.deepcopy(self._averaged.state_dict())
                    reached = Reached(score=score, best=best)
                else:
                    reached.stale += 1
            reached.steps = taken
            if reached.stale >= options.patience:
                break
            if checkpoint is not None and checkpoint.due:
                checkpoint.save(*reached.packed(self.state(), self._drop, rng))
        self._network.eval()
        if reached.score is not None:
            self._averaged.load_state_dict(reached.best)
        self._network.load_state_dict(self._averaged.state_dict())
        self._start_turns()
        if checkpoint is not None:
            checkpoint.remove()
        return reached.steps

    def check(self) -> None:
        """See `Predictor.check`.

        Raises:
            RalsegError: if the loss of the last turn was not finite.
        """
        if not torch.isfinite(self._loss):
            raise RalsegError(f"the segmentation loss is {self._loss.item()}; lower the learning rate")

    def begin(self, data: TrainingSet) -> None:
        """Called before the first step of `learn` and `fit`; does nothing here."""

    def objective(
        self, batches: Sequence[Batch], weights: Tensor, data: TrainingSet, rng: np.random.Generator
    ) -> Tensor:
        """The loss of one step, a 0-d tensor.

        Args:
            batches: the labelled samples of the step.
            weights: (C,) weights of the classes.
            data: all data of the training set.
            rng: the generator of all draws.
        """
        logits = [tensor(self.student(batch.maps).logits) for batch in batches]
        return cross_entropy(logits, [batch.targets for batch in batches], weights)

    def student(self, maps: tuple[Tensor, ...]) -> Prediction:
        """The training pass, with dropout if the network has it."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self._network(maps, self.options.cut, drop=self._drop)

    def make_companion(self) -> nn.Module:
        """What is trained or kept beside the network and has no part in predictions: none here.

        It is made anew, from the same seed, wherever optimisers are. Its parameters need an optimiser in
        `make_optimisers`.
        """
        return nn.Module()

    def make_optimisers(
        self, parameters: Sequence[nn.Parameter], learning_rate: float, weight_decay: float
    ) -> list[torch.optim.Optimizer]:
        """The optimisers of the trained weights, which take their steps in this order."""
        return [AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)]

    def make_schedules(self, steps: int) -> list[LRScheduler]:
        """The schedules of the optimisers' learning rates in `fit`; the rates that they have now are the highest."""
        if steps <= 2:
            return []
        shape = {"total_steps": steps, "pct_start": max(0.05, 2 / steps)}
        return [
            OneCycleLR(optimiser, [group["lr"] for group in optimiser.param_groups], **shape)
            for optimiser in self._steps.optimisers
        ]

    @property
    def _on_windows(self) -> bool:
        """Whether steps are taken on windows of images rather than on kept maps."""
        return self._own_stages and (self.options.cut == "full" or self.options.windows)

    def _start_turns(self) -> None:
        own = self.options
        self._start(own.learning_rate, own.weight_decay, own.averaging, own.encoder_rate)

    def _start(self, learning_rate: float, weight_decay: float, averaging: float, encoder_rate: float = 1.0) -> None:
        def optimisers(parameters: Sequence[nn.Parameter]) -> list[torch.optim.Optimizer]:
            return self.make_optimisers(parameters, learning_rate, weight_decay)

        cut: Cut = self.options.cut
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.companion = self.make_companion().to(self.device)
        self.progress, self.weak_view = 0.0, self.options.crops
        self._steps = Steps(self._network, self._averaged, cut, optimisers, averaging, self.options.clip, encoder_rate)
        self._loss = torch.zeros((), device=self.device)
        self._drop: torch.Generator | None = None
        self._changed()

    def _weights(self, counts: np.ndarray) -> Tensor:
        return to_device(class_weights(counts, self.options.loss), self.device)

    def _seed_dropout(self, rng: np.random.Generator) -> None:
        # Its own stream, so that a network with dropout gets the same batches as one without.
        seed = int(rng.spawn(1)[0].integers(2**63 - 1))
        # Each process disturbs other samples, so the masks differ between processes, too.
        self._drop = torch.Generator(self.device).manual_seed(seed + rank()) if self._network.drops else None

    def _step(
        self, samples: Sequence[Sample], view: View, weights: Tensor, data: TrainingSet, rng: np.random.Generator
    ) -> Tensor:
        batches = self._batches(samples, view, data.labels, rng)
        return self._steps.step(self.objective(batches, weights, data, rng))

    def _batches(
        self, samples: Sequence[Sample], view: View, labels: PartialLabels | FullLabels, rng: np.random.Generator
    ) -> list[Batch]:
        self.weak_view = view
        if self._on_windows:
            return window_batches(samples, labels, self.images, self._network, self.lower, view, rng, self.device)
        chunks = self._chunks([image for image, _ in samples], len(samples))
        kept = self.source_maps(), self.pixels
        return map_batches(chunks, labels, self.images, self._network, *kept, self.options.cut, self.device)
