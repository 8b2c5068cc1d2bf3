"""Class shares: the share of each unit's area that belongs to each class, predicted or labelled."""

from typing import Any

import numpy as np

from ralseg.features.arrays import Array, cast, constant, namespace, on_host
from ralseg.features.units import Units
from ralseg.foundation import RalsegError

RELEASED_FLOOR = 1e-7


def predicted_shares(class_map: Array, grid: Units, classes: int) -> Array:
    """The share of each unit's area that is predicted as each class (the "normalized count" of RALIS, section 3.2).

    Args:
        class_map: (..., h, w) whole numbers below `classes`, numpy array or torch tensor, at any resolution that covers
            the image.
        grid: the image's units.
        classes: number of classes C.

    Returns:
        (..., units, C) float32, sums to 1 over C, of the same kind and on the same device.

    Raises:
        RalsegError: if an id on the host is not below `classes`, or the map has no two spatial dimensions. On a device
            such a pixel counts for no class.
    """
    if on_host(class_map) and 0 not in class_map.shape and class_map.max() >= classes:
        raise RalsegError(f"class shares: a predicted map holds id {int(class_map.max())} with {classes} classes")
    one_hot: Any = class_map[..., None, :, :] == constant(class_map, _ids, classes)
    return namespace(class_map).moveaxis(grid.pool(one_hot), -2, -1)


def true_shares(counts: np.ndarray) -> np.ndarray:
    """The class shares of the labelled pixels of each unit.

    Args:
        counts: (..., C) pixels per class, void left out.

    Returns:
        (..., C) float32, sums to 1; zeros where no pixel is labelled.

    Raises:
        RalsegError: if a count is negative or NaN.
    """
    counts = np.asarray(_counts(counts))
    total = counts.sum(axis=-1, keepdims=True)
    return (counts / np.where(total > 0, total, 1)).astype(np.float32)


def released_counts(counts: Array) -> Array:
    """The class part of a unit's vector as in RALIS's released code: raw pixel counts, which are never normalised.

    Args:
        counts: (..., C) predicted pixels per class (shares times area where predictions are coarser), numpy array or
            torch tensor.

    Returns:
        (..., C + 1) float32, of the same kind and on the same device: the counts, with 1e-7 for an empty class and
        in the last place, void, which is never predicted. NaN stays NaN.

    Raises:
        RalsegError: if a count on the host is negative or NaN.
    """
    xp, counts = namespace(counts), _counts(counts)
    return _floored(xp.concatenate([counts, xp.zeros_like(counts[..., :1])], axis=-1))


def released_true_shares(counts: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Class shares of labelled units as in RALIS's released code: void is a class, and an absent class holds 1e-7.

    Args:
        counts: (..., C) labelled pixels per class, void left out.
        areas: (...) pixels of each unit, 1 or more.

    Returns:
        (..., C + 1) float32 shares of the unit's area, void last.

    Raises:
        RalsegError: if a count is negative or NaN, or a unit holds more labelled pixels than its area.
    """
    counts = np.asarray(_counts(counts))
    areas = np.asarray(areas, dtype=np.float64)[..., None]
    void = areas - counts.sum(axis=-1, keepdims=True)
    if (areas < 1).any() or (void < 0).any():
        raise RalsegError("class shares: a unit holds more labelled pixels than its area; pass its own grid's areas")
    return np.asarray(_floored(np.concatenate([counts, void], axis=-1) / areas))


def _floored(values: Array) -> Array:
    return cast(namespace(values).where(values <= 0, RELEASED_FLOOR, values), "float32")


def _counts(counts: Array) -> Array:
    counts = cast(counts, "float64")
    if counts.ndim < 1 or (on_host(counts) and not (counts >= 0).all()):
        raise RalsegError("class shares: class counts must be (..., classes), 0 or more and no NaN")
    return counts


def square_root_gain(counts: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """How much each unit adds to the sum over the classes of the square root of the labelled pixels.

    A policy that is greedy for this gain labels rare classes first. Since it needs the true classes, it serves as the
    reference `class_truth`.

    Args:
        counts: (..., C) true pixels per class of each unit.
        labelled: (C,) pixels per class that are labelled so far.

    Returns:
        (...,) float32, 0 or more.
    """
    labelled = np.asarray(labelled, float)
    return (np.sqrt(labelled + counts) - np.sqrt(labelled)).sum(-1).astype(np.float32)


def _ids(classes: int) -> np.ndarray:
    """(C, 1, 1) uint8: the classes."""
    return np.arange(classes, dtype=np.uint8)[:, None, None]
