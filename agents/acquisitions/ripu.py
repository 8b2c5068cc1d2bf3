"""RIPU: impurity of the predicted classes times uncertainty (Xie et al., CVPR 2022)."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np

from ralseg.agents.acquisitions.base import Scored
from ralseg.features import class_map, entropy_map, predicted_shares, ripu_map, unit_impurity
from ralseg.features.arrays import Array
from ralseg.features.impurity import Mode
from ralseg.features.prediction import Prediction, as_array, resized
from ralseg.features.units import Reducer, Units
from ralseg.foundation import RalsegError, Range

RADII = {"ra": 1, "pa": 32}
"""The published radii, which give windows of 3 x 3 and 65 x 65 pixels."""


@dataclass(frozen=True, kw_only=True)
class Ripu(Scored):
    """Entropy of the classes predicted around a pixel, times the prediction's entropy, each divided by ln C; 0 to 1.

    If units are pixels, it is taken in a window around each one at the image's own resolution; otherwise, in the unit,
    at that resolution, too, if no unit is larger than four cells of the prediction.

    Attributes:
        mode: for pixels, `ra` (the mean entropy of the window) or `pa` (the entropy of the pixel itself).
        radius: radius of the window in pixels; None for 1 with `ra` and 32 with `pa`.

    Raises:
        RalsegError: if the radius is below 0; in use, if `pa` meets units that are not pixels.
    """

    name = "ripu"

    mode: Mode = "ra"
    radius: Annotated[int, Range(0)] | None = None

    @cached_property
    def reducers(self) -> tuple[Reducer, ...]:
        """See `Acquisition.reducers`."""
        return (Reducer(f"ripu {self.mode} {self.radius}", self._find),)

    def _find(self, prediction: Prediction, grid: Units) -> Array:
        if grid.single_pixels:
            size = (grid.height, grid.width)
            logits = as_array(resized(prediction.logits, size))
            return grid.pool(ripu_map(logits, RADII[self.mode] if self.radius is None else self.radius, self.mode))
        if self.mode == "pa":
            raise RalsegError("ripu.mode=pa scores pixels; set game.unit=pixel, or ripu.mode=ra for larger units")
        logits = as_array(prediction.logits)
        classes, (rows, columns) = logits.shape[1], logits.shape[2:]
        if grid.areas.max() * rows * columns <= 4 * grid.height * grid.width:
            logits = as_array(resized(prediction.logits, (grid.height, grid.width)))
        impurity = unit_impurity(predicted_shares(class_map(logits), grid, classes))
        return impurity * grid.pool(entropy_map(logits)) / float(np.log(max(classes, 2)))
