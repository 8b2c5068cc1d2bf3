"""Uncertainty of the network's prediction, reduced over the unit."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ralseg.agents.acquisitions.base import Scored
from ralseg.agents.acquisitions.reducers import Reducer, Reduction, map_reducer
from ralseg.features import confidence_map, entropy_map, margin_map, released_entropy_map
from ralseg.features.view import CandidatesView


@dataclass(frozen=True, kw_only=True)
class Entropy(Scored):
    """Entropy of the predicted class distribution; nats, 0 to ln C (times the unit's pixels where they are summed).

    Attributes:
        reduction: pooling over the unit: `mean`, `sum` (over its pixels) or `max`.
        as_released: whether the entropies of each image are stretched to 0..1, as in the code of the Best Practices
            study.
    """

    name = "entropy"

    reduction: Reduction = "mean"
    as_released: bool = False

    @cached_property
    def reducers(self) -> tuple[Reducer, ...]:
        """See `Acquisition.reducers`."""
        name, make = ("released_entropy", released_entropy_map) if self.as_released else ("entropy", entropy_map)
        return (map_reducer(f"{name} {self.reduction}", make, self.reduction, by_pixel=not self.as_released),)


@dataclass(frozen=True, kw_only=True)
class Margin(Scored):
    """The smallest mean margin between the two most probable classes (Scheffer et al., 2001)."""

    name, lowest = "margin", -1.0

    reducers = (map_reducer("margin", margin_map, by_pixel=True),)

    def score(self, candidates: CandidatesView) -> np.ndarray:
        """See `Scored.score`; minus the margin, -1 to 0."""
        return -candidates.reduced("margin")


@dataclass(frozen=True, kw_only=True)
class LeastConfidence(Scored):
    """The smallest mean probability of the most probable class (Lewis & Gale, 1994)."""

    name, lowest = "least_confidence", -1.0

    reducers = (map_reducer("confidence", confidence_map, by_pixel=True),)

    def score(self, candidates: CandidatesView) -> np.ndarray:
        """See `Scored.score`; minus the probability, -1 to -1/C."""
        return -candidates.reduced("confidence")
