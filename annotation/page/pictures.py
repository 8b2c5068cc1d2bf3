"""What the page shows of a unit: its picture with a margin, the whole image as a small map, and superpixels."""

import threading
from collections.abc import Callable

import cv2
import numpy as np

from ralseg.annotation.query import Query
from ralseg.foundation import Kept, RalsegError

SMALLEST_MARGIN = 24
"""Pixels of the image that are shown around a unit, at least."""
MAP_WIDTH = 560
"""Pixels of the map's longer side, at most: twice what it takes on the page, for screens of two pixels a point."""
SPACING = 8
"""Pixels between the seeds of superpixels, in units that are not large."""
MOST_SUPERPIXELS = 60_000
"""Fewer than uint16 can number."""
KEPT = 1 << 27
"""Bytes of decoded images that are kept."""


def superpixels(image: np.ndarray, spacing: int = SPACING) -> np.ndarray:
    """Divide an image into small areas that follow its edges: a watershed from seeds on a grid.

    Args:
        image: (height, width, 3) uint8.
        spacing: pixels between two seeds, 1 or more; more in an image that would have more than `MOST_SUPERPIXELS`.

    Returns:
        (height, width) uint16, each superpixel a number from 0.
    """
    height, width = image.shape[:2]
    spacing = max(spacing, int(np.ceil(np.sqrt(height * width / MOST_SUPERPIXELS))))
    marks = np.zeros((height, width), np.int32)
    # A side that is shorter than the spacing has its seed in the middle; the watershed overwrites the outermost pixels.
    y, x = (np.arange(min(spacing, side) // 2, max(side - 1, 2), spacing) for side in (height, width))
    marks[np.ix_(y, x)] = 1 + np.arange(len(y) * len(x)).reshape(len(y), len(x))
    if min(height, width) > 2:
        # The watershed is drawn along noise otherwise. It takes no image of less than three pixels.
        marks = cv2.watershed(np.ascontiguousarray(cv2.bilateralFilter(image, 5, 30, 5)), marks)
    marks = np.maximum(marks, 0).astype(np.float32)
    while not marks.all():
        # The lines between areas, one pixel wide, go to a neighbour.
        marks = np.where(marks, marks, cv2.dilate(marks, np.ones((3, 3), np.uint8)))
    return (marks - 1).astype(np.uint16)


class Pictures:
    """Pictures of the units of a query. Threads may share an object.

    Args:
        query: the query.
        image: image name -> (height, width, 3) uint8, red, green and blue.
    """

    def __init__(self, query: Query, image: Callable[[str], np.ndarray]) -> None:
        self._query, self._load = query, image
        self._kept: Kept[np.ndarray] = Kept(KEPT, replace=True)
        self._lock = threading.Lock()

    def frame(self, unit: int) -> tuple[int, int, int, int]:
        """y, x, height and width of the picture of a unit in its image: the unit and a margin, as far as there is one.

        Args:
            unit: its place in the query.
        """
        name, y, x, height, width = self._query.units[unit]
        margin = max(SMALLEST_MARGIN, max(height, width) // 5)
        top, left = max(0, y - margin), max(0, x - margin)
        bottom, right = np.minimum((y + height + margin, x + width + margin), self._query.sizes[name]).tolist()
        return top, left, bottom - top, right - left

    def picture(self, unit: int) -> bytes:
        """The picture of a unit with its margin, as PNG.

        Args:
            unit: its place in the query.

        Raises:
            RalsegError: if the image is not as the query says.
        """
        top, left, height, width = self.frame(unit)
        part = self._image(unit)[top : top + height, left : left + width]
        # Little is gained by the best compression, which takes ten times as long.
        return _encoded(".png", part, [cv2.IMWRITE_PNG_COMPRESSION, 1])

    def map(self, unit: int) -> bytes:
        """The whole image of a unit, small, as JPEG.

        Args:
            unit: its place in the query.

        Raises:
            RalsegError: if the image is not as the query says.
        """
        image = self._image(unit)
        scale = min(1.0, MAP_WIDTH / max(image.shape))
        size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
        return _encoded(".jpg", cv2.resize(image, size, interpolation=cv2.INTER_AREA), [cv2.IMWRITE_JPEG_QUALITY, 88])

    def superpixels(self, unit: int) -> np.ndarray:
        """The superpixels of a unit, see `superpixels`.

        Args:
            unit: its place in the query.

        Raises:
            RalsegError: if the image is not as the query says.
        """
        _, y, x, height, width = self._query.units[unit]
        return superpixels(np.ascontiguousarray(self._image(unit)[y : y + height, x : x + width]))

    def _image(self, unit: int) -> np.ndarray:
        name = self._query.units[unit][0]
        # Picture, map and superpixels are asked for at once: the first one loads the image, the others wait for it.
        with self._lock:
            image = self._kept.get(name)
            if image is None:
                image, size = self._load(name), self._query.sizes[name]
                if image.dtype != np.uint8 or image.shape != (*size, 3):
                    raise RalsegError(f"{name} is {image.shape} {image.dtype}, not {(*size, 3)} uint8; restore it")
                self._kept.put(name, image, image.nbytes)
            return image


def _encoded(kind: str, image: np.ndarray, options: list[int]) -> bytes:
    return cv2.imencode(kind, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes()
