"""From masks to the labels of units, with an account of what was cut, painted over or left empty."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from ralseg.annotation.formats.codecs import Box
from ralseg.annotation.query import NOT_LABELLED, Answers, Query

Layers = Iterable[tuple[int, np.ndarray]]
"""Class id and mask, (height, width) bool of the picture that was annotated, in the order of painting."""

SPARSE = 0.1
"""A finished unit with a smaller labelled share is told, since it may have been finished by mistake."""


class Painting:
    """Collects the labels of finished units.

    Args:
        query: the query.
        order: which of two masks holds where they overlap, e.g. "the later one".
    """

    def __init__(self, query: Query, order: str) -> None:
        self._query, self._order = query, order
        self._labels: dict[int, np.ndarray] = {}
        self._cut: Counter[str] = Counter()
        self._overlapping: Counter[str] = Counter()

    def unit(self, number: int, layers: Layers, shape: tuple[int, int], top: int, left: int) -> None:
        """Paint a finished unit that was annotated on a picture of its own.

        Args:
            number: its place in the query.
            layers: its masks.
            shape: (height, width) of the picture.
            top: pixels of the picture above the unit.
            left: pixels of the picture on its left.
        """
        name, _, _, height, width = self._query.units[number]
        box = (top, left, height, width)
        canvas, cut, overlapping = _painted(layers, shape, [box])
        self._finish(name, {number: _part(canvas, box)}, cut, overlapping)

    def image(self, name: str, layers: Layers, finished: Collection[int] | None = None) -> None:
        """Paint the finished units of an image that was annotated as a whole.

        Args:
            name: the image.
            layers: its masks; all are read, and so checked, even if no unit is finished.
            finished: places of units; without them, each unit is finished in which a pixel is labelled.
        """
        boxes = {number: unit[1:] for number, unit in enumerate(self._query.units) if unit[0] == name}
        canvas, cut, overlapping = _painted(layers, self._query.sizes[name], list(boxes.values()))
        labels = {number: _part(canvas, box) for number, box in boxes.items()}
        if finished is None:
            finished = [number for number, label in labels.items() if (label != NOT_LABELLED).any()]
        self._finish(name, {number: labels[number] for number in finished}, cut, overlapping)

    def answers(self, *notes: str) -> Answers:
        """What was painted.

        Args:
            notes: what the format has to tell before this account.
        """
        told = [*notes]
        if self._cut:
            told.append(
                f"{self._cut.total():,} labelled pixels outside the queried regions were cut ({_listed(self._cut)})."
            )
        if self._overlapping:
            told.append(
                f"{self._overlapping.total():,} pixels lie in masks of several classes, of which {self._order} holds "
                f"({_listed(self._overlapping)})."
            )
        labels = dict(sorted(self._labels.items()))
        if missing := len(self._query.units) - len(labels):
            told.append(f"{missing} of {len(self._query.units)} units stay unlabelled.")
        sparse = [number for number, label in labels.items() if (label != NOT_LABELLED).mean() < SPARSE]
        if sparse:
            told.append(
                f"{len(sparse)} finished units are labelled on less than {SPARSE:.0%} of their pixels "
                f"({_listed([f'unit {number}' for number in sparse])})."
            )
        return Answers(labels, tuple(told))

    def _finish(self, name: str, labels: Mapping[int, np.ndarray], cut: int, overlapping: int) -> None:
        self._labels.update({number: label.copy() for number, label in labels.items()})
        if labels:
            # Adding a Counter keeps what is above 0, and only that needs a note.
            self._cut += Counter({name: cut})
            self._overlapping += Counter({name: overlapping})


def _painted(layers: Layers, shape: tuple[int, int], boxes: Sequence[Box]) -> tuple[np.ndarray, int, int]:
    """The canvas, how many labelled pixels lie outside all boxes, and how many in a box lie in several classes."""
    canvas = np.full(shape, NOT_LABELLED, np.uint8)
    overlapping, inside = np.zeros(shape, bool), np.zeros(shape, bool)
    for box in boxes:
        _part(inside, box)[:] = True
    for label, mask in layers:
        overlapping |= mask & (canvas != NOT_LABELLED) & (canvas != label)
        canvas[mask] = label
    outside = canvas[~inside] != NOT_LABELLED
    return canvas, int(outside.sum()), int((overlapping & inside).sum())


def _part(canvas: np.ndarray, box: Box) -> np.ndarray:
    y, x, height, width = box
    return canvas[y : y + height, x : x + width]


def _listed(names: Iterable[str]) -> str:
    """The first three names."""
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
