"""The ledger: what was paid, in every measure of a budget."""

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

Measure = Literal["units", "units_per_image", "pixels", "share", "clicks", "polygon_clicks"]
CLICKS = ("clicks", "polygon_clicks")
"""Measures that nobody knows before a unit is labelled: each costs one click at least."""


@dataclass
class Ledger:
    """What was paid so far.

    Attributes:
        total: number of pixels in the pool.
        pool_images: number of images in the pool.
        units: number of units bought.
        pixels: number of their pixels, void included.
        clicks: one for each class in each unit (the cost model of multi-class queries, where a click paints a class).
        images: number of images with a bought unit.
        polygon_clicks: of drawing their outlines (`ralseg.features.clicks`); counted where somebody needs it.
    """

    total: int
    pool_images: int = 1
    units: int = 0
    pixels: int = 0
    clicks: int = 0
    images: int = 0
    polygon_clicks: int = 0

    @property
    def share(self) -> float:
        """Share of the pool's pixels that was paid for, 0 to 1."""
        return self.pixels / self.total

    @property
    def units_per_image(self) -> float:
        """Units bought for each image of the pool."""
        return self.units / self.pool_images

    def paid(self, measure: str) -> float:
        """What was paid in one of the measures."""
        return getattr(self, measure)

    def left(self, budget: float, measure: str) -> int:
        """What a budget still pays, a whole number: of pixels for a share, of units for units per image, otherwise of
        what it is set in.

        Below 0 where the labels of a turn took more clicks than were left.
        """
        whole, paid = {"share": (self.total, self.pixels), "units_per_image": (self.pool_images, self.units)}.get(
            measure, (1, self.paid(measure))
        )
        # Rounding errors may put the product just below a whole number.
        return int(budget * whole * (1 + 1e-12)) - int(paid)

    def prices(self, areas: np.ndarray, measure: str) -> np.ndarray:
        """The prices of units with these areas (pixels), in the measure of `left`; of clicks the least price, 1."""
        return areas if measure in ("pixels", "share") else np.ones_like(areas)

    def to_dict(self) -> dict[str, float]:
        """All measures that are counted everywhere, for files and `info`."""
        row = asdict(self) | {"share": self.share}
        del row["total"], row["pool_images"], row["polygon_clicks"]
        return row
