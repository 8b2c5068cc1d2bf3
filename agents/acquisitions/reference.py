"""References that see true labels; they are neither contenders nor bounds."""

from dataclasses import dataclass

import numpy as np

from ralseg.agents.acquisitions.base import Scored
from ralseg.features import square_root_gain
from ralseg.features.units import from_game
from ralseg.features.view import CandidatesView


@dataclass(frozen=True, kw_only=True)
class ClassTruth(Scored):
    """Greedily maximises the sum over classes of the square root of the labelled pixels, with true classes known."""

    name, sees_truth = "class_truth", True

    def score(self, candidates: CandidatesView) -> np.ndarray:
        """See `Scored.score`; the gain in that sum, 0 or more."""
        return square_root_gain(candidates.true_counts, candidates.labelled_counts)


@dataclass(frozen=True, kw_only=True)
class LookAhead(Scored):
    """The drop of the learner's loss on a unit in some steps on all labels of D_R and D_T; nats.

    It is negative if those steps make the learner worse on the unit.
    """

    name, sees_truth, lowest = "look_ahead", True, -np.inf

    reducers = (from_game("look_ahead"),)


@dataclass(frozen=True, kw_only=True)
class ReducibleLoss(Scored):
    """The learner's loss on a unit minus that of a network trained on all labels of the pool; nats.

    After the reducible holdout loss of Mindermann et al. (ICML 2022). It is negative where the learner knows a unit
    better than the informed network.
    """

    name, sees_truth, lowest = "reducible_loss", True, -np.inf

    reducers = (from_game("reducible_loss"),)
