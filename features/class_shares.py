"""Class shares: what part of each unit belongs to each class, predicted or labelled."""

import numpy as np

from ralseg.features.grid import UnitGrid
from ralseg.foundation import RalsegError

RELEASED_FLOOR = 1e-7


def predicted_shares(class_map: np.ndarray, grid: UnitGrid, classes: int) -> np.ndarray:
    """Share of each unit's area predicted as each class (RALIS section 3.2: 'normalized count').

    Args:
        class_map: (..., h, w) uint8 ids below `classes`, at any resolution that covers the image.
        grid: the image's units.
        classes: number of classes C.

    Returns:
        (..., units, C) float32, sums to 1 over C.

    Raises:
        RalsegError: if an id is not below `classes`, or the map has no two spatial dimensions.
    """
    class_map = np.asarray(class_map)
    if class_map.size and class_map.max() >= classes:
        raise RalsegError(f"class shares: a predicted map holds id {class_map.max()} with {classes} classes")
    if class_map.shape[-2:] == (grid.height, grid.width):
        return (grid.class_counts(class_map, classes) / grid.areas[:, None]).astype(np.float32)
    one_hot = class_map[..., None, :, :] == np.arange(classes)[:, None, None]
    return np.moveaxis(grid.pool(one_hot), -2, -1)


def true_shares(counts: np.ndarray) -> np.ndarray:
    """Class shares of the labelled pixels of each unit.

    Args:
        counts: (..., C) pixels per class, void left out.

    Returns:
        (..., C) float32, sums to 1; zeros where no pixel is labelled.

    Raises:
        RalsegError: if a count is negative or NaN.
    """
    counts = _counts(counts)
    total = counts.sum(axis=-1, keepdims=True)
    return (counts / np.where(total > 0, total, 1)).astype(np.float32)


def released_counts(counts: np.ndarray) -> np.ndarray:
    """The class part of a unit's vector as RALIS's released code has it: raw pixel counts, never normalised.

    Args:
        counts: (..., C) predicted pixels per class (shares times area where predictions are coarser).

    Returns:
        (..., C + 1) float32: the counts, 1e-7 for an empty class and in the last slot, void, which nothing predicts.

    Raises:
        RalsegError: if a count is negative or NaN.
    """
    counts = _counts(counts)
    return _with_void(counts, np.zeros_like(counts[..., :1]))


def released_true_shares(counts: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Class shares of labelled units as RALIS's released code has them: void is a class, an absent class holds 1e-7.

    Args:
        counts: (..., C) labelled pixels per class, void left out.
        areas: (...) pixels of each unit, 1 or more.

    Returns:
        (..., C + 1) float32 shares of the unit's area, void last.

    Raises:
        RalsegError: if a count is negative or NaN, or a unit holds more labelled pixels than its area.
    """
    counts = _counts(counts)
    areas = np.asarray(areas, dtype=np.float64)[..., None]
    void = areas - counts.sum(axis=-1, keepdims=True)
    if (areas < 1).any() or (void < 0).any():
        raise RalsegError("class shares: a unit holds more labelled pixels than its area; pass its own grid's areas")
    return _with_void(counts / areas, void / areas)


def _with_void(classes: np.ndarray, void: np.ndarray) -> np.ndarray:
    values = np.concatenate([classes, void], axis=-1)
    return np.where(values > 0, values, RELEASED_FLOOR).astype(np.float32)


def _counts(counts: np.ndarray) -> np.ndarray:
    counts = np.asarray(counts, dtype=np.float64)
    if counts.ndim < 1 or not (counts >= 0).all():
        raise RalsegError("class shares: class counts must be (..., classes), 0 or more and no NaN")
    return counts


def square_root_gain(counts: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """What each unit adds to the sum over classes of the square root of the labelled pixels, true classes known.

    A chooser that is greedy for it labels rare classes first; it is the reference `class_truth`.

    Args:
        counts: (..., C) true pixels per class of each unit.
        labelled: (C,) pixels per class that are labelled so far.

    Returns:
        (...,) float32, 0 or more.
    """
    labelled = np.asarray(labelled, float)
    return (np.sqrt(labelled + counts) - np.sqrt(labelled)).sum(-1).astype(np.float32)
