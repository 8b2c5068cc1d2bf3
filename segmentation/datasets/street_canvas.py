"""A picture and its label, drawn together: flat polygons seen by a pinhole camera, then light and texture.

Drawing is in integers without antialiasing, tables are integers, and floating-point arithmetic is limited to what IEEE
754 specifies exactly (no transcendental functions), so that a picture is the same, to the bit, on every machine.
"""

import math
from collections.abc import Iterable, Sequence
from functools import cache

import cv2
import numpy as np
from numpy.typing import ArrayLike

from ralseg.foundation import generator

Color = tuple[float, float, float]
"""RGB, 0 to 255; values outside are clipped."""

Span = tuple[float, float]
"""A range: from, to."""

CAMERA_HEIGHT = 1.5
NEAREST = 1.6
"""Metres; points that are nearer are projected as if they were at this depth."""

HAZE_DEPTH = 160.0
"""Metres at which half of a colour is haze."""

TILE = 1024

CIRCLE_UNIT = 4096
_ANGLES = np.arange(32) * (np.pi / 16)
CIRCLE = np.rint(CIRCLE_UNIT * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], -1)).astype(np.int32)
"""A circle's outline; rounded, so that the last bit of a cosine does not matter."""


def rgb(channels: Iterable[float]) -> Color:
    """A colour of three channels."""
    red, green, blue = channels
    return red, green, blue


@cache
def noise_tiles() -> np.ndarray:
    """Two tiles of signed noise, int16 (2, TILE, TILE) in -64..63: fine grain, and blotches some ten pixels wide."""
    rng = generator(0, "street noise")
    fine = rng.integers(-64, 64, (TILE, TILE), np.int16)
    blotches = np.zeros((TILE, TILE), np.int32)
    for step in (4, 8, 16):
        coarse = rng.integers(-64, 64, (TILE // step, TILE // step), np.int32)
        blotches += coarse.repeat(step, 0).repeat(step, 1)
    for axis in (0, 1):
        blotches = np.sum([np.roll(blotches, shift, axis) for shift in (-2, -1, 0, 1, 2)], axis=0, dtype=np.int32)
    return np.stack([fine, np.clip(blotches // 40, -64, 63).astype(np.int16)])


class Dice:
    """Simple draws from a generator, made of uniform numbers alone, which are the same on every machine."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.rng.random()

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return self.rng.random() < probability

    def count(self, mean: float) -> int:
        """A whole number between 0 and 2 * mean, with that mean."""
        return int(self.uniform(0, 2 * mean) + self.rng.random())

    def choice(self, items: Sequence):
        """One of the items."""
        return items[int(self.rng.random() * len(items))]

    def color(self, items: Sequence[Color], jitter: float = 18.0) -> Color:
        """One of the colours, made lighter or darker and varied slightly in each channel."""
        base, shift = self.choice(items), self.uniform(-jitter, jitter)
        return rgb(channel + shift + self.uniform(-jitter, jitter) / 3 for channel in base)


class Canvas:
    """The picture and the label that are drawn on.

    World coordinates are metres: x to the right of the camera, y above the road, z ahead.

    Args:
        size: (height, width) in pixels.
        horizon: (y, x) of the vanishing point as shares of the size.
        haze: the colour that distant things fade to.
        ids: part name -> id in the label.
    """

    def __init__(self, size: tuple[int, int], horizon: Span, haze: Color, ids: dict[str, int]):
        self.height, self.width = size
        self.horizon, self.middle = horizon[0] * self.height, horizon[1] * self.width
        self.focal = 4 * self.height / 3
        self.haze, self.ids = haze, ids
        self.image = np.zeros((*size, 3), np.uint8)
        self.label = np.zeros(size, np.uint8)

    def scale(self, z: float) -> float:
        """Pixels per metre at depth z."""
        return self.focal / max(z, NEAREST)

    def project(self, points: ArrayLike) -> np.ndarray:
        """World points (..., 3) to pixels, int32 (..., 2) as (x, y)."""
        world = np.asarray(points, np.float64)
        scale = self.focal / np.maximum(world[..., 2], NEAREST)
        x = self.middle + world[..., 0] * scale
        y = self.horizon + (CAMERA_HEIGHT - world[..., 1]) * scale
        return np.rint(np.stack([x, y], -1)).astype(np.int32)

    def shade(self, color: Color, z: float) -> Color:
        """A colour as it appears at depth z."""
        share = z / (z + HAZE_DEPTH)
        return rgb(channel + share * (haze - channel) for channel, haze in zip(color, self.haze, strict=True))

    def polygons(self, pixels: Sequence[np.ndarray] | np.ndarray, color: Color | None, part: str | None = None) -> None:
        """Fill convex polygons of pixels (n, k, 2), in the picture if given a colour, in the label if given a part."""
        # Not fillPoly: its edges differ by a pixel between versions of OpenCV.
        for polygon in pixels:
            if color is not None:
                cv2.fillConvexPoly(self.image, polygon, color)
            if part is not None:
                cv2.fillConvexPoly(self.label, polygon, self.ids[part])

    def face(self, points: Sequence[tuple[float, float, float]], color: Color, part: str | None = None) -> None:
        """Fill one convex polygon of world points, with haze according to its mean depth."""
        depth = sum(point[2] for point in points) / len(points)
        self.polygons([self.project(points)], self.shade(color, depth), part)

    def upright(self, x: Span, y: Span, z: float, color: Color, part: str | None = None) -> None:
        """Fill a rectangle that faces the camera."""
        self.face([(x[0], y[0], z), (x[0], y[1], z), (x[1], y[1], z), (x[1], y[0], z)], color, part)

    def disc(self, x: float, y: float, z: float, radius: float, color: Color, part: str | None = None) -> None:
        """Fill a disc that faces the camera, at least one pixel in radius."""
        center = self.project((x, y, z)).tolist()
        pixels = max(1, round(radius * self.scale(z)))
        cv2.circle(self.image, center, pixels, self.shade(color, z), -1)
        if part is not None:
            cv2.circle(self.label, center, pixels, self.ids[part], -1)

    def ring(self, x: float, y: float, z: float, radius: float, rim: float, color: Color, part: str) -> None:
        """Draw a ring `rim` metres thick that faces the camera; its label is the whole disc."""
        outer = self.project((x, y, z)) + CIRCLE * round(radius * self.scale(z)) // CIRCLE_UNIT
        inner = self.project((x, y, z)) + CIRCLE * round((radius - rim) * self.scale(z)) // CIRCLE_UNIT
        segments = np.stack([outer, np.roll(outer, 1, 0), np.roll(inner, 1, 0), inner], 1)
        self.polygons(segments, self.shade(color, z))
        self.polygons([outer], None, part)

    def bar(self, start: tuple, end: tuple, width: float, color: Color, part: str | None = None) -> None:
        """Fill a bar between two world points, `width` metres thick, at least one pixel."""
        ends = self.project([start, end])
        depth = (start[2] + end[2]) / 2
        along = (ends[1] - ends[0]).astype(np.float64)
        # A filled polygon includes its outline, which adds a pixel to the thickness.
        half = max(0.0, width * self.scale(depth) - 1) / 2
        across = along[::-1] * (-half, half) / max(1.0, math.sqrt(along[0] ** 2 + along[1] ** 2))
        corners = np.stack([ends[0] - across, ends[0] + across, ends[1] + across, ends[1] - across])
        self.polygons([np.rint(corners).astype(np.int32)], self.shade(color, depth), part)

    def finish(self, grain: np.ndarray, tint: Color, shadow: np.ndarray | None, noise: int, blur: int, dice: Dice):
        """Add texture, a cast shadow, the colour of the light, sensor noise and blur.

        Args:
            grain: int16 (2, 256), the strength of fine grain and blotches on each id, in 64ths.
            tint: the factor of each channel.
            shadow: int32 (k, 2), a polygon of pixels in the shade, or None.
            noise: the strength of the sensor noise, in 64ths.
            blur: how many times the picture is blurred.
            dice: draws where the noise is cut from.

        Returns:
            image uint8 (H, W, 3).
        """
        fine, blotches = (self._cut(tile, dice) * grain[i][self.label] for i, tile in enumerate(noise_tiles()))
        texture = (fine + blotches) >> 6
        light = np.full((self.height, self.width), 256, np.int16)
        if shadow is not None:
            cv2.fillConvexPoly(light, shadow, 150)
        image = self.image.astype(np.int16)
        image += texture[..., None]
        gains = (np.array(tint) * 256).astype(np.int32)
        bright = np.clip(image, 0, 255).astype(np.int32) * light[..., None]
        image = np.minimum((bright >> 8) * gains >> 8, 255).astype(np.int16)
        for _ in range(blur):
            image[:, 1:-1] = (image[:, :-2] + 2 * image[:, 1:-1] + image[:, 2:]) >> 2
            image[1:-1] = (image[:-2] + 2 * image[1:-1] + image[2:]) >> 2
        if noise:
            image += (np.stack([self._cut(noise_tiles()[0], dice) for _ in range(3)], -1) * noise) >> 6
        return np.clip(image, 0, 255).astype(np.uint8)

    def _cut(self, tile: np.ndarray, dice: Dice) -> np.ndarray:
        """A window of the image's size from a tile, repeated where the image is larger."""
        y, x = (int(dice.uniform(0, TILE)) for _ in range(2))
        if y + self.height <= TILE and x + self.width <= TILE:
            return tile[y : y + self.height, x : x + self.width]
        rows, columns = np.arange(y, y + self.height) % TILE, np.arange(x, x + self.width) % TILE
        return tile[rows[:, None], columns]
