"""Colours of label files as ids."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ralseg.foundation import RalsegError

UNKNOWN = -1
"""In tables of label files: no class and not void."""


class ColorTable:
    """Finds the ids of colours.

    Args:
        colors: uint8 (n, 3), the known colours.
        ids: the id inside ralseg of each.
        where: the file that gives the colours, for messages.
        rest: what all other colours are, `UNKNOWN` or `IGNORE`.

    Raises:
        RalsegError: if two are the same.
    """

    def __init__(self, colors: np.ndarray, ids: Sequence[int], where: object, rest: int = UNKNOWN) -> None:
        self._rest = np.int16(rest)
        codes = _codes(colors)
        order = codes.argsort(kind="stable")
        self._codes, self._ids = codes[order], np.array(ids, np.int16)[order]
        if (same := np.flatnonzero(self._codes[1:] == self._codes[:-1])).size:
            color = colors[order[same[0]]].tolist()
            raise RalsegError(
                f"{where}: two classes, or a class and void, have the colour {color}; give each its own, since labels "
                "hold colours"
            )

    def __call__(self, colors: np.ndarray) -> np.ndarray:
        """The ids of colours uint8 (..., 3), int16 (...); `rest` for a colour that is not in the table."""
        codes = _codes(colors)
        places = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        return np.where(self._codes[places] == codes, self._ids[places], self._rest)

    def label(self, colors: np.ndarray, path: Path, mend: str) -> np.ndarray:
        """The label of a map of colours.

        Args:
            colors: uint8 (H, W, 3).
            path: the file that holds them.
            mend: the end of the message if one is not in the table.

        Returns:
            uint8 (H, W).

        Raises:
            RalsegError: if a colour is not in the table.
        """
        label = self(colors)
        if (unknown := label == UNKNOWN).any():
            y, x = np.unravel_index(unknown.argmax(), unknown.shape)
            raise RalsegError(f"{path}: the colour {colors[y, x].tolist()} at y={y}, x={x} is that of no class; {mend}")
        return label.astype(np.uint8)


def _codes(colors: np.ndarray) -> np.ndarray:
    red, green, blue = (colors[..., channel].astype(np.int32) for channel in range(3))
    return red << 16 | green << 8 | blue
