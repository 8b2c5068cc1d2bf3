"""Acquisitions that choose a set by embeddings, to cover the pool or to spread over it."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from ralseg.agents.acquisitions.base import Batch
from ralseg.agents.acquisitions.coverage import Rbf, TopHat, max_herding, median_bandwidth, purity_radius
from ralseg.agents.acquisitions.coverage import prob_cover as cover
from ralseg.agents.acquisitions.limits import Limits
from ralseg.agents.acquisitions.reducers import GRADIENT, PREDICTED_SHARES, Embedding, Reducer, embedding_reducer
from ralseg.agents.acquisitions.spread import k_center, k_means_plus_plus, typical
from ralseg.features.view import CandidatesView
from ralseg.foundation import Count, Positive, PositiveShare, RalsegError


@dataclass(frozen=True, kw_only=True)
class Embedded(Batch):
    """A set chosen by the embeddings of candidates and of labelled units.

    Attributes:
        embedding: the embedding of a unit: the `mean` of the map that the last layer reads, over the unit or each of
            its quarters (`2x2`), or the mean of the maps that the network reads from its `source`.
        numbers: how many numbers of an embedding a random projection leaves; None for all of them. A few hundred of
            thousands keep distances to some percent and save as much memory and time.
        unit_length: whether embeddings are scaled to length 1.
    """

    embedding: Embedding = "mean"
    numbers: Count | None = None

    unit_length: ClassVar[bool] = False

    @cached_property
    def reducers(self) -> tuple[Reducer, ...]:
        """See `Acquisition.reducers`."""
        return (embedding_reducer(self.embedding, self.numbers),)

    def points(self, candidates: CandidatesView) -> tuple[np.ndarray, np.ndarray]:
        """(n, D) and (m, D) float32: embeddings of the candidates and of the labelled units."""
        name = self.reducers[0].name
        points, labelled = candidates.reduced(name), candidates.labelled(name)
        return (_unit_length(points), _unit_length(labelled)) if self.unit_length else (points, labelled)


@dataclass(frozen=True, kw_only=True)
class Coreset(Embedded):
    """k-center greedy (Sener & Savarese, 2018): the candidate farthest from all labelled or chosen units."""

    name = "coreset"

    def choose(self, candidates: CandidatesView, choices: int, limits: Limits, rng: np.random.Generator) -> np.ndarray:
        """See `Batch.choose`."""
        return k_center(*self.points(candidates), choices, limits)


@dataclass(frozen=True, kw_only=True)
class MaxHerding(Embedded):
    """Greedy maximum coverage (Bae et al., ECCV 2024): the candidate that most raises the pool's similarity to the set.

    The set holds the labelled and the chosen units.

    Attributes:
        kernel: `rbf`, exp(-(d / h)^2), or `top_hat`, 1 up to distance h and 0 beyond, which is ProbCover.
        bandwidth: h, for embeddings of length 1; None, with `rbf`, for twice their median distance, as published.
    """

    name, unit_length = "max_herding", True

    kernel: Literal["rbf", "top_hat"] = "rbf"
    bandwidth: Positive | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel == "top_hat" and self.bandwidth is None:
            raise RalsegError("kernel=top_hat needs a bandwidth; prob_cover finds one by itself")

    def choose(self, candidates: CandidatesView, choices: int, limits: Limits, rng: np.random.Generator) -> np.ndarray:
        """See `Batch.choose`."""
        points, labelled = self.points(candidates)
        bandwidth = median_bandwidth(points, rng) if self.bandwidth is None else self.bandwidth
        kernel = Rbf(bandwidth) if self.kernel == "rbf" else TopHat(bandwidth)
        return max_herding(points, labelled, choices, limits, kernel)


@dataclass(frozen=True, kw_only=True)
class ProbCover(Embedded):
    """ProbCover (Yehuda et al., 2022): the candidate with the most candidates around it that are not covered yet.

    Attributes:
        radius: radius of the balls, for embeddings of length 1; None for the largest that satisfies `purity`.
        purity: share of candidates whose ball lies within their own cluster; there are as many clusters as classes.
    """

    name, unit_length = "prob_cover", True

    radius: Positive | None = None
    purity: PositiveShare = 0.95

    @cached_property
    def reducers(self) -> tuple[Reducer, ...]:
        """See `Acquisition.reducers`."""
        return (embedding_reducer(self.embedding, self.numbers), PREDICTED_SHARES)

    def choose(self, candidates: CandidatesView, choices: int, limits: Limits, rng: np.random.Generator) -> np.ndarray:
        """See `Batch.choose`."""
        points, labelled = self.points(candidates)
        classes = candidates.reduced(PREDICTED_SHARES.name).shape[1]
        radius = purity_radius(points, classes, rng, self.purity) if self.radius is None else self.radius
        return cover(points, labelled, choices, limits, radius)


@dataclass(frozen=True, kw_only=True)
class KMeansPlusPlus(Embedded):
    """D^2 sampling (Arthur & Vassilvitskii, 2007): drawn in proportion to the squared distance from the set so far."""

    name = "k_means_plus_plus"

    def choose(self, candidates: CandidatesView, choices: int, limits: Limits, rng: np.random.Generator) -> np.ndarray:
        """See `Batch.choose`."""
        return k_means_plus_plus(*self.points(candidates), choices, limits, rng)


@dataclass(frozen=True, kw_only=True)
class Badge(Batch):
    """BADGE (Ash et al., 2020): D^2 sampling of gradient embeddings, the largest one first."""

    name = "badge"

    reducers = (GRADIENT,)

    def choose(self, candidates: CandidatesView, choices: int, limits: Limits, rng: np.random.Generator) -> np.ndarray:
        """See `Batch.choose`."""
        points = candidates.reduced(GRADIENT.name)
        norm = np.where(limits.open, np.einsum("ij,ij->i", points, points), -1)
        return k_means_plus_plus(points, points[:0], choices, limits, rng, first=int(norm.argmax()))


@dataclass(frozen=True, kw_only=True)
class TypiClust(Embedded):
    """TypiClust (Hacohen et al., 2022): the most typical candidate of each cluster without a labelled unit.

    Attributes:
        neighbours: number of neighbours that the typicality of a candidate is measured with.
        clusters: the most clusters.
    """

    name, unit_length = "typiclust", True

    neighbours: Count = 20
    clusters: Count = 500

    def choose(self, candidates: CandidatesView, choices: int, limits: Limits, rng: np.random.Generator) -> np.ndarray:
        """See `Batch.choose`."""
        return typical(*self.points(candidates), choices, limits, rng, self.neighbours, self.clusters)


def _unit_length(points: np.ndarray) -> np.ndarray:
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
