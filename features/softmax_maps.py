"""Maps computed from a network's logits: class, entropy, margin, confidence.

Logits are numpy arrays or torch tensors of any real type, bfloat16 included; maps are of the same kind and on the same
device. NaN and infinities are refused if the logits are on the host. On a device, where a check would have to wait for
it, they turn into NaN in every map except that of the classes.
"""

from functools import cached_property
from typing import Any

import numpy as np

from ralseg.features.arrays import Array, cast, check_finite, constant, namespace
from ralseg.foundation import RalsegError

CLASS_AXIS = -3


class Softmax:
    """A softmax over the classes, computed once for all the maps that are derived from it.

    Args:
        logits: (..., C, h, w), finite, 1 to 255 classes, in any memory layout.

    Raises:
        RalsegError: if the logits have fewer than three dimensions, no class, or (on the host) NaN or infinities.
    """

    def __init__(self, logits: Array) -> None:
        if len(logits.shape) < 3 or 0 in logits.shape[CLASS_AXIS:] or logits.shape[CLASS_AXIS] > 255:
            shape = tuple(logits.shape)
            raise RalsegError(f"prediction: logits have shape {shape}; give (..., C, h, w) with 1 to 255 classes")
        self._xp = namespace(logits)
        self.classes = logits.shape[CLASS_AXIS]
        # Networks compute with channels last in memory; reductions over a few classes are fastest over whole planes.
        logits = cast(logits, "float32").reshape(-1).reshape(logits.shape)
        check_finite(logits, "prediction: the logits hold NaN or infinities; the network diverged: lower the rate")
        self.best = self._xp.amax(logits, axis=CLASS_AXIS, keepdims=True)
        self._shifted = logits - self.best

    @cached_property
    def _exponentials(self) -> Array:
        return self._xp.exp(self._shifted)

    @cached_property
    def _total(self) -> Array:
        return self._xp.sum(self._exponentials, axis=CLASS_AXIS)

    @cached_property
    def _rank(self) -> Array:
        # A maximum of bytes, several times as fast as an argmax: C for class 0, ..., 1 for the last, so that the lowest
        # id wins a tie.
        rank = (self._shifted == 0) * constant(self.best, _ranks, self.classes)
        return self._xp.amax(rank, axis=CLASS_AXIS, keepdims=True)

    @cached_property
    def one_hot(self) -> Array:
        """(..., C, h, w) float32: 1 for the most probable class of a pixel, 0 for the others."""
        best: Any = self._rank == constant(self.best, _ranks, self.classes)
        return cast(best, "float32")

    @property
    def probabilities(self) -> Array:
        """(..., C, h, w) float32, sums to 1 over C."""
        return self._exponentials / self._total[..., None, :, :]

    @property
    def log_probabilities(self) -> Array:
        """(..., C, h, w) float32, 0 or less; finite where the probability itself vanishes."""
        return self._shifted - self._xp.log(self._total)[..., None, :, :]

    @property
    def class_map(self) -> Array:
        """(..., h, w) uint8; the lowest id wins a tie."""
        return self.classes - self._rank[..., 0, :, :]

    @cached_property
    def entropy(self) -> Array:
        """(..., h, w) float32 nats in [0, ln C]: log sum exp(z) - sum p z needs no log of a vanishing probability."""
        expectation = self._xp.sum(self._shifted * self._exponentials, axis=CLASS_AXIS)
        entropy = self._xp.log(self._total) - expectation / self._total
        return self._xp.clip(entropy, 0, float(np.float32(np.log(self.classes))))

    @cached_property
    def margin(self) -> Array:
        """(..., h, w) float32 in [0, 1]: the probability of the best class minus that of the second.

        Raises:
            RalsegError: for a single class.
        """
        if self.classes < 2:
            raise RalsegError("margin: logits of a single class have no second best; give two classes or more")
        # The best class is shifted to logit 0, so its exponential is exactly 1.
        second = self._xp.amax(self._exponentials - self.one_hot, axis=CLASS_AXIS)
        return (1 - second) / self._total

    @property
    def confidence(self) -> Array:
        """(..., h, w) float32 in [1 / C, 1]: the probability of the best class."""
        return 1 / self._total


def class_map(logits: Array) -> Array:
    """The most probable class of each pixel, (..., h, w) uint8; the lowest id wins a tie. Raises as `Softmax`.

    On a device, where NaN is not refused, a pixel without a best class has the id C.
    """
    return Softmax(logits).class_map


def entropy_map(logits: Array) -> Array:
    """Entropy of each pixel's class probabilities, (..., h, w) float32 nats in [0, ln C]. Raises as `Softmax`."""
    return Softmax(logits).entropy


def margin_map(logits: Array) -> Array:
    """Probability of the best class minus that of the second, (..., h, w) float32 in [0, 1].

    Raises:
        RalsegError: as `Softmax`, and for a single class.
    """
    return Softmax(logits).margin


def confidence_map(logits: Array) -> Array:
    """Probability of the best class, (..., h, w) float32 in [1 / C, 1]. Raises as `Softmax`."""
    return Softmax(logits).confidence


def _ranks(classes: int) -> np.ndarray:
    """(C, 1, 1) uint8: C for class 0 down to 1 for the last."""
    return np.arange(classes, 0, -1, dtype=np.uint8)[:, None, None]
