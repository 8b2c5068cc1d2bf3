"""Disagreement of several predictions of the same pixels, a measure of the uncertainty about the weights."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from ralseg.agents.acquisitions.base import Scored
from ralseg.agents.acquisitions.reducers import Reducer, noisy_reducer
from ralseg.agents.acquisitions.selection import Selection
from ralseg.features import (
    balanced_entropy_map,
    edald_as_released_map,
    edald_map,
    entropy_map,
    mutual_information_map,
    symmetric_divergence_map,
)
from ralseg.features.arrays import Array, namespace
from ralseg.features.prediction import FEATURE_NOISE, Noise
from ralseg.foundation import RalsegError

POWER = Selection(stochastic="power")
Map = tuple[str, Callable[[Array, Array], Array]]
"""A name and (logits (B, C, h, w), noisy logits (M, B, C, h, w)) -> (B, h, w)."""
DROPOUT, MIRRORED = Noise("dropout", 20), Noise("flip", 1)


@dataclass(frozen=True, kw_only=True)
class Disagreement(Scored):
    """The mean over the unit of a map of the prediction and several noisy ones.

    Attributes:
        noise: the noise of the noisy predictions, see `Noise`.
        fewest: the fewest draws that the formula needs.
    """

    noise: Noise = DROPOUT

    fewest: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise.draws < self.fewest:
            raise RalsegError(f"noise.draws={self.noise.draws} is out of range; it must be {self.fewest} or more")

    @property
    def map(self) -> Map:
        """Its name and function."""
        raise NotImplementedError

    @cached_property
    def reducers(self) -> tuple[Reducer, ...]:
        """See `Acquisition.reducers`."""
        name, make = self.map
        return (noisy_reducer(f"{name} {self.noise}", make, self.noise, by_pixel=True),)


@dataclass(frozen=True, kw_only=True)
class Bald(Disagreement):
    """Mutual information of class and weights (Houlsby et al., 2011; Gal et al., 2017); nats, 0 to ln C."""

    name = "bald"

    @property
    def map(self) -> Map:
        """See `Disagreement.map`."""
        return "mutual_information", lambda _, noisy: mutual_information_map(noisy)


@dataclass(frozen=True, kw_only=True)
class PowerBald(Bald):
    """BALD, drawn in proportion to the score (Kirsch et al., 2023), which makes a batch more diverse."""

    name = "power_bald"

    selection: Selection = POWER


@dataclass(frozen=True, kw_only=True)
class BalancedEntropy(Disagreement):
    """Balanced entropy (Woo, 2023): it balances the entropy of the class and that of its posterior. Unbounded."""

    name, lowest = "balanced_entropy", -np.inf

    @property
    def map(self) -> Map:
        """See `Disagreement.map`."""
        return "balanced_entropy", lambda _, noisy: balanced_entropy_map(noisy)


@dataclass(frozen=True, kw_only=True)
class Dald(Bald):
    """BALD with feature noise in place of dropout, which needs no network trained for it; nats, 0 to ln C."""

    name = "dald"

    noise: Noise = FEATURE_NOISE


@dataclass(frozen=True, kw_only=True)
class PowerDald(Dald):
    """DALD, drawn in proportion to the score."""

    name = "power_dald"

    selection: Selection = POWER


@dataclass(frozen=True, kw_only=True)
class Edald(Dald):
    """Entropy of the prediction plus mutual information over noise (Two-stage eDALD, 2025, eq. 8); nats, 0 to 2 ln C.

    Attributes:
        as_released: whether the second term is as in the released code, which passes probabilities where log
            probabilities belong.
    """

    name = "edald"

    as_released: bool = False

    @property
    def map(self) -> Map:
        """See `Disagreement.map`."""
        return ("edald_as_released", edald_as_released_map) if self.as_released else ("edald", edald_map)


@dataclass(frozen=True, kw_only=True)
class PowerEdald(Edald):
    """eDALD, drawn in proportion to the score."""

    name = "power_edald"

    selection: Selection = POWER


@dataclass(frozen=True, kw_only=True)
class Equal(Disagreement):
    """EquAL (Golestaneh & Kitani, 2020): divergence between the predictions of the image and of its mirror image.

    Attributes:
        as_released: whether the sum of both predictions' entropies is used, as in the code of the Best Practices study.
    """

    name, fewest = "equal", 1

    noise: Noise = MIRRORED
    as_released: bool = False

    @property
    def map(self) -> Map:
        """See `Disagreement.map`."""
        return ("entropies", _entropies) if self.as_released else ("divergence", symmetric_divergence_map)


def _entropies(logits: Array, noisy: Array) -> Array:
    entropies = entropy_map(noisy)
    return entropy_map(logits) + namespace(entropies).mean(entropies, axis=0)
