"""What STAL remembers along a training: the confidence of each class, and which classes each image holds."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ralseg.segmentation.collectives import summed
from ralseg.segmentation.learners.u2pl import Representations, U2plOptions
from ralseg.segmentation.losses import added


class StalMemory(Representations):
    """What `Representations` has, the confidence of each class, and the classes that each image was last seen to hold.

    Args:
        width: see `Representations`.
        classes: number of classes C.
        told: the options of the learner.
        images: number of images in the store.
    """

    confidence: Tensor
    steps: Tensor
    held: Tensor

    def __init__(self, width: int, classes: int, told: U2plOptions, images: int) -> None:
        super().__init__(width, classes, told)
        self.register_buffer("confidence", torch.zeros(classes, dtype=torch.float64))
        self.register_buffer("steps", torch.zeros(classes, dtype=torch.float64))
        self.register_buffer("held", torch.zeros(images, classes, dtype=torch.bool))

    @torch.no_grad()
    def see(self, shares: Sequence[Tensor], targets: Sequence[Tensor], keep: float) -> None:
        """Move the confidence of the labelled classes; a mean of the steps in which each was seen (no bias to 0)."""
        counts = summed(added([t.sum((0, 2, 3)).double() for t in targets]))
        sums = summed(added([(p * t).sum((0, 2, 3)).double() for p, t in zip(shares, targets, strict=True)]))
        there = counts > 0
        now = sums / counts.clamp_min(1)
        self.confidence.copy_(torch.where(there, keep * self.confidence + (1 - keep) * now, self.confidence))
        self.steps.copy_(torch.where(there, keep * self.steps + (1 - keep), self.steps))

    def confidences(self) -> np.ndarray:
        """(C,) float64 mean confidence of each class, 0 to 1; 0 of one that was never labelled."""
        return (self.confidence / self.steps.clamp_min(1e-12)).numpy(force=True)

    def chances(self) -> np.ndarray:
        """(C,) float64 probabilities by which classes are drawn: the softmax of 1 - confidence (AEL, equation 4)."""
        raised = np.exp(1 - self.confidences())
        return raised / raised.sum()

    def rates(self) -> np.ndarray:
        """(C,) float32 share of its pseudo-labels that each class keeps: sqrt((1 - confidence) / the largest of it)."""
        unsure = 1 - self.confidences()
        return np.sqrt(unsure / max(unsure.max(), 1e-12)).astype(np.float32)

    @torch.no_grad()
    def remember(self, images: np.ndarray, shares: Tensor) -> None:
        """Note which classes are predicted somewhere in windows of images; `shares` is (B, C, h, w)."""
        held = nn.functional.one_hot(shares.argmax(1), shares.shape[1]).flatten(1, 2).any(1)
        self.held[torch.from_numpy(images).to(held.device)] = held

    def holds(self, images: np.ndarray, number: int) -> np.ndarray:
        """(n,) bool, whether the images were last seen to hold a class."""
        return self.held[:, number].numpy(force=True)[images]
