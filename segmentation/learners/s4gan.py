"""s4GAN: the network learns from those of its own predictions that a discriminator takes for labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ralseg.features.prediction import resized
from ralseg.foundation import Count, Share
from ralseg.foundation.optimisers import eager
from ralseg.segmentation.collectives import own_share, summed
from ralseg.segmentation.devices import tensor, to_device
from ralseg.segmentation.learners.protocol import TrainingSet
from ralseg.segmentation.learners.semi_supervised import (
    SemiSupervisedLearner,
    SemiSupervisedOptions,
    Weight,
    as_targets,
)

Adam = eager(torch.optim.Adam)

SLOPE, DROPPED = 0.2, 0.5
"""Of the discriminator's leaky ReLUs, and its share of dropped channels."""
SMALLEST = 16
"""Cells that a map needs along each side to leave one after four convolutions of stride 2."""


@dataclass(frozen=True)
class S4GanOptions(SemiSupervisedOptions):
    """The options of `S4GanLearner`; the weights and the gate are those of the paper.

    Attributes:
        matching: weight of the feature matching.
        training: weight of the self-training.
        gate: the discriminator's score above which a window's own prediction is its label.
        warm_up: share of the training before the gate may open: an untrained discriminator lets all windows pass.
        rate: learning rate of the discriminator.
        width: channels of its first layer; the others have 2, 4 and 8 times as many.
    """

    matching: Weight = 0.1
    training: Weight = 1.0
    gate: Share = 0.6
    warm_up: Share = 0.3
    rate: Share = 1e-4
    width: Count = 64


class S4GanLearner(SemiSupervisedLearner):
    """s4GAN (Mittal, Tatarchenko, Brox, TPAMI 2021) without its classifier branch.

    The loss is the supervised one plus `matching` times the distance between the mean features of the discriminator on
    labels and on predictions, plus `training` times the cross-entropy of unlabelled windows with their own best class
    where the discriminator's score is above the gate. The discriminator learns to tell labels from predictions by
    binary cross-entropy. It reads probabilities and the image at the size of the logits.
    """

    Options: ClassVar[type[SemiSupervisedOptions]] = S4GanOptions
    told: S4GanOptions
    companion: "Discriminator"

    def make_companion(self) -> nn.Module:
        """See `SupervisedLearner.make_companion`."""
        return Discriminator(self.classes, self.told.width)

    def make_optimisers(
        self, parameters: Sequence[nn.Parameter], learning_rate: float, weight_decay: float
    ) -> list[torch.optim.Optimizer]:
        """See `SupervisedLearner.make_optimisers`; the discriminator has its own."""
        own = Adam(self.companion.parameters(), lr=self.told.rate, betas=(0.9, 0.99), fused=True)
        return [*super().make_optimisers(parameters, learning_rate, weight_decay), own]

    def unsupervised(self, windows: np.ndarray, weights: Tensor, data: TrainingSet, rng: np.random.Generator) -> Tensor:
        """See `SemiSupervisedLearner.unsupervised`; the discriminator's own loss is part of it."""
        count, windows = len(windows), own_share(windows)
        found = self.seen(windows)
        logits = tensor(found.logits)
        seen = logits.softmax(1), to_device(windows, self.device), count
        drop = torch.Generator(self.device).manual_seed(int(rng.integers(2**63 - 1)))
        labelled = self._labelled(data, count, rng)
        # To the network the discriminator is fixed, or it would be trained to believe what the network predicts.
        self.companion.requires_grad_(False)
        score, features = self.companion(*seen, drop)
        true_features = torch.cat([self.companion(*group, drop)[1] for group in labelled])
        self.companion.requires_grad_(True)
        matching = (summed(features.sum(0)) - summed(true_features.sum(0))).abs().mean() / count
        passed = (score > self.told.gate) & (self.progress >= self.told.warm_up)
        self.note("passed", float(summed(passed.sum())) / count)
        self.note("score", float(summed(score.detach().sum())) / count)
        own = as_targets(logits.argmax(1), passed[:, None, None].expand_as(logits[:, 0]), self.classes)
        training = self.pseudo_labelled(found, own, weights)
        fake = self.companion(seen[0].detach(), *seen[1:], drop)[0]
        real = torch.cat([self.companion(*group, drop)[0] for group in labelled])
        told_apart = functional.binary_cross_entropy(fake, torch.zeros_like(fake), reduction="sum")
        told_apart = told_apart + functional.binary_cross_entropy(real, torch.ones_like(real), reduction="sum")
        told_apart = summed(told_apart) / (2 * count)
        return self.told.matching * matching + self.told.training * training + told_apart

    def _labelled(self, data: TrainingSet, count: int, rng: np.random.Generator) -> list[tuple[Tensor, Tensor, int]]:
        """Windows of labelled images in groups of one size: (B, C, h', w') shares of the classes, the pixels, and how
        many windows all processes have.
        """
        chosen = rng.choice(np.array(data.labels.images), count).tolist()
        groups = [
            (to_device(own_share(targets), self.device), to_device(own_share(windows), self.device), len(windows))
            for windows, targets in self.windows(chosen, data.labels, rng)
        ]
        return [(t / t.sum(1, keepdim=True).clamp_min(1), seen, whole) for t, seen, whole in groups]


class Discriminator(nn.Module):
    """Tells label maps from predictions: four convolutions, the mean over the map, one linear layer.

    Args:
        classes: number of classes C.
        width: channels of the first layer.
    """

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        widths = [classes + 3, width, 2 * width, 4 * width, 8 * width]
        self.layers = nn.ModuleList(nn.Conv2d(*pair, 4, stride=2, padding=1) for pair in pairwise(widths))
        self.last = nn.Linear(widths[-1], 1)

    def forward(self, shares: Tensor, images: Tensor, count: int, drop: torch.Generator) -> tuple[Tensor, Tensor]:
        """Judge maps.

        Args:
            shares: (B, C, h, w) float32 probabilities or shares of the classes.
            images: (B, H, W, 3) uint8 of them.
            count: how many maps all processes have, of which these are `own_share`; channels are dropped for all.
            drop: draws the channels that are dropped.

        Returns:
            (B,) the probability of being a label, and (B, D) the features that it rests on.
        """
        size = max(SMALLEST, shares.shape[2]), max(SMALLEST, shares.shape[3])
        picture = functional.interpolate(images.movedim(-1, 1).float() / 255, size=size, mode="area")
        made = torch.cat([resized(shares, size), picture], dim=1)
        for number, layer in enumerate(self.layers):
            made = functional.leaky_relu(layer(made), SLOPE)
            if number < len(self.layers) - 1:
                keep = torch.rand(count, made.shape[1], 1, 1, generator=drop, device=made.device) >= DROPPED
                made = made * own_share(keep) / (1 - DROPPED)
        features = made.mean((2, 3))
        return self.last(features)[:, 0].sigmoid(), features
