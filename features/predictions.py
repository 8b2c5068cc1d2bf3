"""Maps of what a network believes, from its logits: class, entropy, margin, confidence, mutual information."""

import numpy as np

from ralseg.foundation import RalsegError

CLASS_AXIS = -3


def softmax(logits: np.ndarray) -> np.ndarray:
    """Class probabilities.

    Args:
        logits: (..., C, h, w), finite.

    Returns:
        (..., C, h, w) float32, sums to 1 over C.

    Raises:
        RalsegError: if the logits have fewer than three dimensions, no class, or NaN or infinities.
    """
    _, exponentials, total = _shifted(logits)
    return exponentials / total


def class_map(logits: np.ndarray) -> np.ndarray:
    """The most probable class of each pixel, (..., h, w) uint8; the lowest id wins a tie. Raises as `softmax`."""
    return _checked(logits).argmax(axis=CLASS_AXIS).astype(np.uint8)


def entropy_map(logits: np.ndarray) -> np.ndarray:
    """Shannon entropy of each pixel's class probabilities, (..., h, w) float32 nats in [0, ln C]. Raises as `softmax`.

    Computed as log sum exp(z) - sum p z, which needs no logarithm of a vanishing probability.
    """
    shifted, exponentials, total = _shifted(logits)
    shifted *= exponentials
    expectation = shifted.sum(axis=CLASS_AXIS)
    total = np.squeeze(total, axis=CLASS_AXIS)
    return np.clip(np.log(total) - expectation / total, 0, np.float32(np.log(exponentials.shape[CLASS_AXIS])))


def margin_map(logits: np.ndarray) -> np.ndarray:
    """Probability of the best class less that of the second, (..., h, w) float32 in [0, 1].

    Raises:
        RalsegError: as `softmax`, and for a single class.
    """
    shifted, exponentials, total = _shifted(logits)
    if shifted.shape[CLASS_AXIS] < 2:
        raise RalsegError("margin: logits of a single class have no second best; give two classes or more")
    best = shifted.argmax(axis=CLASS_AXIS, keepdims=True)
    np.put_along_axis(exponentials, best, 0, axis=CLASS_AXIS)
    # The best class is shifted to logit 0, so its exponential is exactly 1.
    return (1 - exponentials.max(axis=CLASS_AXIS)) / np.squeeze(total, axis=CLASS_AXIS)


def confidence_map(logits: np.ndarray) -> np.ndarray:
    """Probability of the best class, (..., h, w) float32 in [1 / C, 1]. Raises as `softmax`."""
    _, _, total = _shifted(logits)
    return 1 / np.squeeze(total, axis=CLASS_AXIS)


def mutual_information_map(logits: np.ndarray) -> np.ndarray:
    """Mutual information of a pixel's class and the network's weights, BALD (Houlsby et al. 2011): H(mean p) - mean H.

    Args:
        logits: (M, ..., C, h, w), M noisy predictions of the same pixels.

    Returns:
        (..., h, w) float32 nats, 0 or more.

    Raises:
        RalsegError: as `softmax`, and if no dimension of noisy predictions leads.
    """
    logits = np.asarray(logits)
    if logits.ndim < 4 or len(logits) == 0:
        raise RalsegError(f"mutual information: logits {logits.shape} are not noisy predictions (M, ..., C, h, w)")
    mean = softmax(logits).mean(axis=0)
    # p log p tends to 0 with p: the floor only keeps the logarithm finite.
    of_mean = -(mean * np.log(np.maximum(mean, np.finfo(np.float32).tiny))).sum(axis=CLASS_AXIS)
    return np.maximum(of_mean - entropy_map(logits).mean(axis=0), 0)


def _checked(logits: np.ndarray) -> np.ndarray:
    logits = np.asarray(logits)
    if logits.ndim < 3 or 0 in logits.shape[CLASS_AXIS:] or logits.shape[CLASS_AXIS] > 255:
        raise RalsegError(f"prediction: logits have shape {logits.shape}; give (..., C, h, w) with 1 to 255 classes")
    logits = logits.astype(np.float32, copy=False)
    if not np.isfinite(logits).all():
        raise RalsegError("prediction: the logits hold NaN or infinities; the network diverged: lower the rate")
    return logits


def _shifted(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits less their maximum over the classes, their exponentials (both fresh arrays), the exponentials' sum."""
    logits = _checked(logits)
    shifted = logits - logits.max(axis=CLASS_AXIS, keepdims=True)
    exponentials = np.exp(shifted)
    return shifted, exponentials, exponentials.sum(axis=CLASS_AXIS, keepdims=True)
