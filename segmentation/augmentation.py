"""Weak, strong and mixed views for training: windows of images with soft targets of their known labels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol

import cv2
import numpy as np

from ralseg.foundation import Positive, RalsegError, Range, Settings, Share
from ralseg.segmentation.labels import soft_targets

LogitSize = Callable[[tuple[int, int]], tuple[int, int]]
Side = Annotated[int, Range(32)]


def quarter(size: tuple[int, int]) -> tuple[int, int]:
    """The (h, w) of logits at stride 4."""
    return -(-size[0] // 4), -(-size[1] // 4)


class View(Protocol):
    """A way to cut training windows out of an image; see `Crops.cut`."""

    def cut(
        self,
        image: np.ndarray,
        label: np.ndarray,
        classes: int,
        rng: np.random.Generator,
        centre: tuple[float, float] | None = None,
        logit_size: LogitSize = quarter,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cut one window: (height, width, 3) uint8 and its targets (C, h, w) float32."""
        ...


@dataclass(frozen=True)
class Crops(Settings, group="crops"):
    """The weak view: windows of training images, zoomed, mirrored and recoloured at random.

    Attributes:
        size: (height, width) of a window in pixels of the input, 32 or more; clipped to the image.
        zoom: range of the enlargement of the window's content, drawn uniformly on a logarithmic scale.
        flip: whether half of the windows are mirrored left to right.
        colour: strength of random brightness and contrast per channel, 0 to 1; 0 is none.
    """

    size: tuple[Side, Side]
    zoom: tuple[Positive, Positive] = (1.0, 1.0)
    flip: bool = True
    colour: Share = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.zoom[0] > self.zoom[1]:
            raise RalsegError(f"zoom={list(self.zoom)} must ascend")

    def cut(
        self,
        image: np.ndarray,
        label: np.ndarray,
        classes: int,
        rng: np.random.Generator,
        centre: tuple[float, float] | None = None,
        logit_size: LogitSize = quarter,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cut one window.

        Args:
            image: (h, w, 3) uint8 at the input size.
            label: (H, W) uint8 at the label's own size.
            classes: number of classes C.
            rng: the generator of all draws.
            centre: (y, x) as shares of the image, a point that the window must contain; None for any window.
            logit_size: gives (h, w) of the network's logits for a window of (height, width); stride 4 by default.

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
            window = coloured(window, self.colour, rng)
        return np.ascontiguousarray(window), np.ascontiguousarray(targets)


@dataclass(frozen=True)
class Strong(Settings, group="strong"):
    """The strong view: random colour, grey and blur, which change neither the geometry of a window nor its targets.

    Attributes:
        colour: strength of random brightness and contrast per channel, 0 to 1.
        grey: probability that a window becomes grey.
        blur: probability that a window is blurred.
        sigma: range of the blur's standard deviation in pixels.
    """

    colour: Share = 0.5
    grey: Share = 0.2
    blur: Share = 0.5
    sigma: tuple[Positive, Positive] = (0.1, 2.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sigma[0] > self.sigma[1]:
            raise RalsegError(f"sigma={list(self.sigma)} must ascend")

    def __call__(self, window: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Disturb one window (h, w, 3) uint8; the result has the same shape."""
        seen = coloured(window, self.colour, rng)
        if rng.random() < self.grey:
            seen = np.repeat(cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
        if rng.random() < self.blur:
            seen = cv2.GaussianBlur(seen, (0, 0), rng.uniform(*self.sigma))
        return seen


SHARE = 0.25, 0.5
"""Range of a rectangle's share of the window's area in CutMix."""


def sides(rows: int, columns: int, rng: np.random.Generator, share: tuple[float, float] = SHARE) -> tuple[int, int]:
    """Random (height, width) of a rectangle of cells, 1 or more, with a share of the area of `rows` x `columns`."""
    area, ratio = rng.uniform(*share), np.exp(rng.uniform(-0.5, 0.5))
    height = int(np.clip(round(rows * np.sqrt(area * ratio)), 1, rows))
    return height, int(np.clip(round(columns * np.sqrt(area / ratio)), 1, columns))


def cut_mixed(
    windows: np.ndarray, targets: np.ndarray, rng: np.random.Generator, share: tuple[float, float] = SHARE
) -> tuple[np.ndarray, np.ndarray]:
    """CutMix (Yun et al., ICCV 2019): paste a rectangle of the next window into each window of a batch.

    Args:
        windows: (B, h, w, 3) uint8.
        targets: (B, C, h', w') float32 of the same windows, mixed in the same way; rectangles end at cell borders.
        rng: the generator of all draws.
        share: range of the rectangle's share of the window's area.

    Returns:
        Mixed windows and targets of the same shapes.
    """
    windows, targets, (rows, columns) = windows.copy(), targets.copy(), targets.shape[2:]
    others, other_targets = np.roll(windows, -1, axis=0), np.roll(targets, -1, axis=0)
    for i in range(len(windows)):
        height, width = sides(rows, columns, rng, share)
        top, left = int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1))
        targets[i, :, top : top + height, left : left + width] = (
            other_targets[i, :, top : top + height, left : left + width]
        )  # fmt: skip
        y, x = (round(a * s / c) for a, s, c in ((top, windows.shape[1], rows), (left, windows.shape[2], columns)))
        below = round((top + height) * windows.shape[1] / rows)
        right = round((left + width) * windows.shape[2] / columns)
        windows[i, y:below, x:right] = others[i, y:below, x:right]
    return windows, targets


def coloured(window: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A window (h, w, 3) uint8 with random brightness and contrast per channel."""
    gain = 1 + rng.uniform(-strength, strength, 3)
    shift = 128 * rng.uniform(-strength, strength)
    return np.clip((window - 128.0) * gain + 128 + shift, 0, 255).astype(np.uint8)


def _start(rng: np.random.Generator, side: int, limit: int, centre: float | None) -> int:
    low, high = 0, limit - side
    if centre is not None:
        low, high = max(low, int(centre) - side + 1), min(high, int(centre))
    return int(rng.integers(low, max(low, high) + 1))
