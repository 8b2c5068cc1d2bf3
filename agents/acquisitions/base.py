"""What an acquisition is: a score for each candidate, and the choice of the best of each slate."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from ralseg.features import UnitGrid
from ralseg.foundation import RalsegError
from ralseg.segmentation.networks import as_array


class View(Protocol):
    """The part of the candidates view that acquisitions look at; see `ralseg.envs.CandidatesView`."""

    mask: np.ndarray
    labelled_counts: np.ndarray
    true_counts: np.ndarray

    def reduced(self, name: str) -> np.ndarray:
        """(K, N, ...) of what a reducer of `needs` found."""


class Acquisition:
    """Scores candidates by a formula; no parameters to learn.

    Attributes:
        name: its name on the command line.
        needs: reducers that must be announced to the view.
        sees_truth: whether it is a reference that sees true labels, and so neither a contender nor a bound.
    """

    name: str
    needs: tuple["MeanMap", ...] = ()
    needs_observation = False
    sees_truth = False

    def score(self, view: View, rng: np.random.Generator) -> np.ndarray:
        """(K, N) float; the larger the better. Masked candidates may hold anything finite."""
        raise NotImplementedError

    def select(self, view: View, rng: np.random.Generator) -> np.ndarray:
        """The best candidate of each slate, ties broken at random.

        Returns:
            (K,) int64, -1 where a slate has no candidate.
        """
        return best_per_slate(self.score(view, rng), view.mask, rng)


def best_per_slate(score: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Index of the largest unmasked score in each row, ties broken at random.

    Args:
        score: (K, N) float.
        mask: (K, N) bool.
        rng: of the ties.

    Returns:
        (K,) int64, -1 where a row is masked throughout.

    Raises:
        RalsegError: if an unmasked score is NaN.
    """
    score = np.where(mask, score, -np.inf)
    if np.isnan(score).any():
        raise RalsegError("the score of a candidate is NaN; the network's prediction is damaged")
    best = score == score.max(axis=1, keepdims=True)
    tie = np.where(best & mask, rng.random(score.shape), -1)
    return np.where(mask.any(axis=1), tie.argmax(axis=1), -1)


class MeanMap:
    """A reducer: the mean over each unit of one map made of the logits.

    Args:
        name: under which the view holds it.
        make: logits (B, C, h, w), or (M, B, C, h, w) with draws, -> map (B, h, w).
        draws: number M of noisy predictions that are read in place of the logits; 0 for none.
    """

    def __init__(self, name: str, make: Callable[[np.ndarray], np.ndarray], draws: int = 0) -> None:
        self.name, self.make, self.draws = name, make, draws

    def __call__(self, prediction, images: Sequence[int], grid: UnitGrid) -> Mapping[str, np.ndarray]:
        """See `ralseg.envs.UnitReducer`."""
        logits = prediction.noisy[: self.draws] if self.draws else prediction.logits
        return {self.name: grid.pool(self.make(as_array(logits)))}
