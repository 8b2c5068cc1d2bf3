"""The ledger: what was paid, in every measure of a budget."""

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

Measure = Literal["units", "pixels", "share", "clicks", "polygon_clicks"]
CLICKS = ("clicks", "polygon_clicks")
"""Measures that nobody knows before a unit is labelled: each costs one click at least."""


@dataclass
class Ledger:
    """What was paid so far.

    Attributes:
        total: number of pixels in the pool.
        units: number of units bought.
        pixels: number of their pixels, void included.
        clicks: one for each class in each unit (the cost model of multi-class queries, where a click paints a class).
        images: number of images with a bought unit.
        polygon_clicks: of drawing their outlines (`ralseg.features.clicks`); counted where somebody needs it.
    """

    total: int
    units: int = 0
    pixels: int = 0
    clicks: int = 0
    images: int = 0
    polygon_clicks: int = 0

    @property
    def share(self) -> float:
        """Share of the pool's pixels that was paid for, 0 to 1."""
        return self.pixels / self.total

    def paid(self, measure: str) -> float:
        """What was paid in one of the measures."""
        return getattr(self, measure)

    def left(self, budget: float, measure: str) -> int:
        """What a budget still pays, a whole number: of pixels for a share, otherwise of what it is set in.

        Below 0 where the labels of a turn took more clicks than were left.
        """
        limit = budget * self.total if measure == "share" else budget
        # Rounding errors may put the product of a share just below a whole number.
        return int(limit * (1 + 1e-12)) - int(self.pixels if measure == "share" else self.paid(measure))

    def prices(self, areas: np.ndarray, measure: str) -> np.ndarray:
        """The prices of units with these areas (pixels), in the measure of `left`; of clicks the least price, 1."""
        return areas if measure in ("pixels", "share") else np.ones_like(areas)

    def to_dict(self) -> dict[str, float]:
        """All measures that are counted everywhere, for files and `info`."""
        row = asdict(self) | {"share": self.share}
        del row["total"], row["polygon_clicks"]
        return row
