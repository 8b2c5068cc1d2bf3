"""What lies around single pixels that were bought."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ralseg.segmentation.datasets import Dataset

REACH = 24
"""How far a neighbourhood reaches from its pixel, pixels."""


def of_pixels(comparison: Mapping[str, Any]) -> bool:
    """Whether the units of a comparison are single pixels."""
    return comparison["config"]["game"]["unit"] == "pixel"


def neighbourhood(photograph: np.ndarray, y: int, x: int) -> np.ndarray:
    """The photograph around a pixel, which is in the middle; beyond the edge it is reflected.

    Args:
        photograph: (H, W, 3) uint8.
        y: row of the pixel.
        x: its column.

    Returns:
        (2 REACH + 1, 2 REACH + 1, 3) uint8.
    """
    around = np.pad(photograph, ((REACH, REACH), (REACH, REACH), (0, 0)), mode="symmetric")
    return around[y : y + 2 * REACH + 1, x : x + 2 * REACH + 1]


def class_at(dataset: Dataset, label: np.ndarray, y: int, x: int) -> str:
    """The name of the true class of a pixel, or `void`."""
    return dataset.classes[label[y, x]] if label[y, x] < len(dataset.classes) else "void"


def strip(pictures: Sequence[np.ndarray], colour: Sequence[int], zoom: int = 2) -> np.ndarray:
    """Neighbourhoods side by side, enlarged, each with a cross of a colour whose arms leave out the pixel itself."""
    shown = []
    for picture in pictures:
        large = picture.repeat(zoom, 0).repeat(zoom, 1)
        middle = slice(zoom * REACH, zoom * (REACH + 1))
        for arm in (slice(zoom * (REACH - 7), zoom * (REACH - 2)), slice(zoom * (REACH + 3), zoom * (REACH + 8))):
            large[arm, middle] = large[middle, arm] = colour
        shown.append(np.pad(large, ((0, 0), (0, zoom), (0, 0)), constant_values=255))
    return np.concatenate(shown, axis=1)
