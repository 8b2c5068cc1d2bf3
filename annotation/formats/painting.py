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
            notes: what the format has to tell before this account; empty ones are left out.
        """
        labels = dict(sorted(self._labels.items()))
        total = len(self._query.units)
        sparse = [number for number, label in labels.items() if (label != NOT_LABELLED).mean() < SPARSE]
        told = [
            *notes,
            counted(total - len(labels), f"of {total} units stays unlabelled", f"of {total} units stay unlabelled"),
            counted(
                self._cut.total(),
                f"labelled pixel outside the queried regions was cut ({_listed(self._cut)})",
                f"labelled pixels outside the queried regions were cut ({_listed(self._cut)})",
            ),
            counted(
                self._overlapping.total(),
                f"pixel lies in masks of several classes, of which {self._order} holds ({_listed(self._overlapping)})",
                f"pixels lie in masks of several classes, of which {self._order} holds ({_listed(self._overlapping)})",
            ),
            counted(
                len(sparse),
                f"finished unit is labelled on less than {SPARSE:.0%} of its pixels ({_listed(sparse, 'unit ')})",
                f"finished units are labelled on less than {SPARSE:.0%} of their pixels ({_listed(sparse, 'unit ')})",
            ),
        ]
        return Answers(labels, tuple(note for note in told if note))

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


def counted(count: int, one: str, many: str) -> str:
    """A count as a sentence; empty for 0."""
    return f"{count:,} {one if count == 1 else many}." if count else ""


def _listed(names: Iterable[str | int], before: str = "") -> str:
    """The first three names."""
    names = [f"{before}{name}" for name in names]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
