"""Pasting by class: cells of a class from one labelled window into another, and rectangles around them (CutMix)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ralseg.segmentation.augmentation import LogitSize, View, quarter, sides
from ralseg.segmentation.labels import FullLabels, PartialLabels
from ralseg.segmentation.learners.images import LearnerImages

Labels = PartialLabels | FullLabels


class Donors:
    """The labelled images that hold each class.

    Args:
        images: the images.
        labels: those of each domain; classes have the same ids in all.
    """

    def __init__(self, images: LearnerImages, labels: Sequence[Labels]) -> None:
        self._images = images
        self._of: list[list[tuple[Labels, int]]] = [[] for _ in range(labels[0].classes)]
        for of in labels:
            for image in of.images:
                for number in np.flatnonzero(of.counts(image)):
                    self._of[number].append((of, image))

    def draw(self, number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray] | None:
        """A random image (h, w, 3) uint8 that holds a class, and its label (H, W) uint8; None if no image holds it."""
        holders = self._of[number]
        if not holders:
            return None
        of, image = holders[rng.integers(len(holders))]
        return self._images.image(image), of.label(image)


@dataclass(frozen=True)
class Pasting(View):
    """A view into whose windows cells of other labelled windows are pasted.

    Attributes:
        view: cuts both windows.
        donors: where cells come from.
        probability: that something is pasted into a window.
        classes: how many classes are drawn for it.
        chances: gives (C,) probabilities of the classes.
    """

    view: View
    donors: Donors
    probability: float
    classes: int
    chances: Callable[[], np.ndarray]

    def cut(
        self,
        image: np.ndarray,
        label: np.ndarray,
        classes: int,
        rng: np.random.Generator,
        centre: tuple[float, float] | None = None,
        logit_size: LogitSize = quarter,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `View.cut`."""
        window, targets = self.view.cut(image, label, classes, rng, centre, logit_size)
        if rng.random() >= self.probability:
            return window, targets
        for number in rng.choice(classes, self.classes, p=self.chances()).tolist():
            if (donor := self.donors.draw(number, rng)) is None:
                continue
            y, x = _somewhere(donor[1] == number, rng)
            other, of_other = self.view.cut(*donor, classes, rng, (y, x), logit_size)
            if other.shape == window.shape:
                cells = (of_other.sum(0) > 0) & (of_other.argmax(0) == number)
                window, targets = pasted(window, targets, other, of_other, cells)
        return window, targets


def pasted(
    window: np.ndarray, targets: np.ndarray, other: np.ndarray, of_other: np.ndarray, cells: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A window (h, w, 3) uint8 and its targets (N, h', w') with those of another one in the cells (h', w') bool."""
    size = window.shape[1], window.shape[0]
    pixels = cv2.resize(cells.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
    return np.where(pixels[..., None], other, window), np.where(cells, of_other, targets)


def exchanged(
    windows: np.ndarray, maps: np.ndarray, ids: np.ndarray, numbers: Sequence[int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """CutMix within pairs: each window gets a rectangle of the other, around a cell of the class of the pair.

    Args:
        windows: (2n, h, w, 3) uint8.
        maps: (2n, N, h', w') float32 of them.
        ids: (2n, h', w') int64 classes.
        numbers: n classes.
        rng: the generator of all draws.

    Returns:
        Mixed windows and maps of the same shapes.
    """
    seen, of_seen = windows.copy(), maps.copy()
    for place in range(len(windows)):
        other = place ^ 1
        cells = rectangle(ids[other] == numbers[place // 2], rng)
        seen[place], of_seen[place] = pasted(windows[place], maps[place], windows[other], maps[other], cells)
    return seen, of_seen


def rectangle(wanted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random rectangle of cells, (h, w) bool, that contains one of the wanted cells (h, w) if there is any."""
    rows, columns = wanted.shape
    height, width = sides(rows, columns, rng)
    places = np.flatnonzero(wanted) if wanted.any() else np.arange(wanted.size)
    row, column = divmod(int(places[rng.integers(len(places))]), columns)
    top = int(rng.integers(max(0, row - height + 1), min(row, rows - height) + 1))
    left = int(rng.integers(max(0, column - width + 1), min(column, columns - width) + 1))
    cells = np.zeros(wanted.shape, bool)
    cells[top : top + height, left : left + width] = True
    return cells


def _somewhere(mask: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """A random place of a mask (H, W) bool that is not empty, as shares of its height and width."""
    place = np.flatnonzero(mask)[rng.integers(int(mask.sum()))]
    return (place // mask.shape[1] + 0.5) / mask.shape[0], (place % mask.shape[1] + 0.5) / mask.shape[1]
