"""Crops for training: windows of an image with the soft targets of what is known of their labels."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from ralseg.foundation import RalsegError
from ralseg.segmentation.labels import soft_targets


@dataclass(frozen=True)
class Crops:
    """How windows are cut out of training images.

    Attributes:
        size: (height, width) of a window as the network sees it, pixels of the input; clipped to the image.
        zoom: range of the enlargement of the window's content, drawn uniformly on a logarithmic scale.
        flip: whether half of the windows are mirrored left to right.
        colour: strength of random brightness and contrast per channel, 0 to 1; 0 is none.
    """

    size: tuple[int, int]
    zoom: tuple[float, float] = (1.0, 1.0)
    flip: bool = True
    colour: float = 0.0

    def __post_init__(self) -> None:
        if min(self.size) < 32:
            raise RalsegError(f"crop size {tuple(self.size)} is too small; a side has 32 pixels or more")
        if not 0 < self.zoom[0] <= self.zoom[1]:
            raise RalsegError(f"crop zoom {tuple(self.zoom)} is not an ascending range above 0")
        if not 0 <= self.colour <= 1:
            raise RalsegError(f"crop colour {self.colour} is not in [0, 1]")

    def cut(
        self,
        image: np.ndarray,
        label: np.ndarray,
        classes: int,
        rng: np.random.Generator,
        centre: tuple[float, float] | None = None,
        logit_size: Callable[[tuple[int, int]], tuple[int, int]] = lambda size: (-(-size[0] // 4), -(-size[1] // 4)),
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cut one window.

        Args:
            image: (h, w, 3) uint8 at the input's size.
            label: (H, W) uint8 at the label's own size.
            classes: number of classes C.
            rng: generator of all draws.
            centre: (y, x) as shares of the image that the window must contain; None: anywhere.
            logit_size: (h, w) of the network's logits for a window of (height, width); default: stride 4.

        Returns:
            The window (height, width, 3) uint8 and its targets (C, h, w) float32.
        """
        h, w = image.shape[:2]
        zoom = np.exp(rng.uniform(np.log(self.zoom[0]), np.log(self.zoom[1])))
        height, width = (min(side, limit) for side, limit in zip(self.size, (h, w), strict=True))
        source = [max(1, min(round(side / zoom), limit)) for side, limit in ((height, h), (width, w))]
        top = [_start(rng, side, limit, None if centre is None else c * limit)
               for side, limit, c in zip(source, (h, w), centre or (0, 0), strict=True)]  # fmt: skip
        window = image[top[0] : top[0] + source[0], top[1] : top[1] + source[1]]
        if window.shape[:2] != (height, width):
            window = cv2.resize(window, (width, height), interpolation=cv2.INTER_LINEAR)
        ratio = label.shape[0] / h, label.shape[1] / w
        rows, columns = (
            slice(round(t * r), max(round((t + s) * r), round(t * r) + 1))
            for t, s, r in zip(top, source, ratio, strict=True)
        )
        targets = soft_targets(label[rows, columns], classes, logit_size((height, width)))
        if self.flip and rng.random() < 0.5:
            window, targets = window[:, ::-1], targets[:, :, ::-1]
        if self.colour:
            gain = 1 + rng.uniform(-self.colour, self.colour, 3)
            shift = 128 * rng.uniform(-self.colour, self.colour)
            window = np.clip((window - 128.0) * gain + 128 + shift, 0, 255).astype(np.uint8)
        return np.ascontiguousarray(window), np.ascontiguousarray(targets)


def _start(rng: np.random.Generator, side: int, limit: int, centre: float | None) -> int:
    low, high = 0, limit - side
    if centre is not None:
        low, high = max(low, int(centre) - side + 1), min(high, int(centre))
    return int(rng.integers(low, max(low, high) + 1))
