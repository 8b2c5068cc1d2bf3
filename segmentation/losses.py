"""Losses on soft targets, which are counts of labelled pixels per class and cell."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from torch import Tensor
from torch.nn import functional

from ralseg.foundation import checked
from ralseg.segmentation.collectives import summed

Loss = Literal["plain", "balanced"]


def class_weights(counts: np.ndarray, loss: Loss) -> np.ndarray:
    """Weights of the classes in the cross-entropy.

    Args:
        counts: (C,) labelled pixels per class, 0 or more.
        loss: `plain` (all 1) or `balanced` (one over the square root of the class's frequency, scaled so that the mean
            over the labelled pixels is 1; a class without pixels gets the weight of the rarest class that has some).

    Returns:
        (C,) float32.

    Raises:
        RalsegError: if the loss is unknown.
    """
    counts = np.asarray(counts, float)
    if checked(Loss, loss, "loss") == "plain" or not counts.any():
        return np.ones(len(counts), np.float32)
    weights = 1 / np.sqrt(np.maximum(counts, counts[counts > 0].min()))
    return (weights * counts.sum() / (weights * counts).sum()).astype(np.float32)


def cross_entropy(logits: Sequence[Tensor], targets: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Weighted cross-entropy per labelled pixel, over all batches of all processes together.

    Args:
        logits: (B, C, h, w) float32 of each batch.
        targets: (B, C, h, w) pixel counts of each batch, 0 or more; a cell without counts is not labelled.
        weights: (C,) weights of the classes.

    Returns:
        A float32 scalar: the weighted mean over the labelled pixels, 0 if there is none; see `global_mean`.
    """
    weighted = [t * weights[:, None, None] for t in targets]
    terms = [(w * functional.log_softmax(z, dim=1)).sum() for z, w in zip(logits, weighted, strict=True)]
    return global_mean(-added(terms), added([w.sum() for w in weighted]))


def global_mean(total: Tensor, weight: Tensor) -> Tensor:
    """The total of all processes divided by their weight, with the gradient of this process's total.

    Args:
        total: the total of this process, a scalar with a gradient.
        weight: the weight of this process, a scalar of 0 or more.
    """
    return summed(total) / summed(weight.detach()).clamp_min(1)


def added(terms: Sequence[Tensor]) -> Tensor:
    """The sum of one or more tensors, added in their order."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
