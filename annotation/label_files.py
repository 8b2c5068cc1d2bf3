"""Labels of single units as PNG files of one channel: a pixel is a class id, 255 where it is not labelled."""

from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from ralseg.foundation import RalsegError, atomic_write, read_file
from ralseg.segmentation.datasets.images import png_header


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write a picture atomically.

    Args:
        path: the file; missing folders are made.
        pixels: uint8 (height, width) of class ids, or (height, width, 3) in OpenCV's order blue, green, red.

    Raises:
        RalsegError: if the file cannot be written.
    """
    with atomic_write(path) as file:
        file.write(cv2.imencode(".png", pixels)[1].tobytes())


def read_label(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Read the label of a unit.

    Args:
        path: the file.
        size: (height, width) of the unit, pixels.

    Returns:
        (height, width) uint8.

    Raises:
        RalsegError: if the file is missing, damaged, or of another size.
    """
    height, width = size
    # A PNG of one channel is hardly larger than its pixels.
    data = np.frombuffer(read_file(path, 2 * height * width + 10_000), np.uint8)
    label = None
    with suppress(RalsegError):
        # Before anything is decoded, so that a small file cannot become a huge picture.
        if png_header(path)[0] == size:
            label = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if label is None or label.dtype != np.uint8 or label.shape != (height, width):
        raise RalsegError(f"{path}: no label of {height} x {width} pixels; restore it")
    return label
