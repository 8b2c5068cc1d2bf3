"""Losses on soft targets, which are counts of labelled pixels per class and cell."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from torch import Tensor, distributed
from torch.nn import functional

from ralseg.foundation import checked

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
    """The total of this process divided by the weight of all processes, scaled for data-parallel training.

    DistributedDataParallel averages gradients over processes. Each process divides its own total by the weight of all
    processes and multiplies it by their number, so that the averaged gradient is that of one process with all samples.

    Args:
        total: the total of this process, a scalar with a gradient.
        weight: the weight of this process, a scalar of 0 or more.
    """
    if processes() > 1:
        weight = weight.detach().clone()
        distributed.all_reduce(weight)
        total = total * processes()
    return total / weight.clamp_min(1)


def processes() -> int:
    """Number of processes that train together; 1 if torch.distributed is not initialised."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def added(terms: Sequence[Tensor]) -> Tensor:
    """The sum of one or more tensors, added in their order."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
