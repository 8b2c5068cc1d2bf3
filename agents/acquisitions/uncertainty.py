"""Uncertainty of the network's prediction, averaged over the unit."""

import numpy as np

from ralseg.agents.acquisitions.base import Acquisition, MeanMap, View
from ralseg.features import confidence_map, entropy_map, margin_map, mutual_information_map
from ralseg.foundation import RalsegError


class Entropy(Acquisition):
    """Mean entropy of the predicted class distribution."""

    name = "entropy"
    needs = (MeanMap("entropy", entropy_map),)

    def score(self, view: View, rng: np.random.Generator) -> np.ndarray:
        """See `Acquisition.score`; nats, 0 to ln C."""
        return view.reduced("entropy")


class Margin(Acquisition):
    """Smallest mean margin between the two most probable classes (Scheffer et al., 2001)."""

    name = "margin"
    needs = (MeanMap("margin", margin_map),)

    def score(self, view: View, rng: np.random.Generator) -> np.ndarray:
        """See `Acquisition.score`; minus the margin, -1 to 0."""
        return -view.reduced("margin")


class LeastConfidence(Acquisition):
    """Smallest mean probability of the most probable class."""

    name = "least_confidence"
    needs = (MeanMap("confidence", confidence_map),)

    def score(self, view: View, rng: np.random.Generator) -> np.ndarray:
        """See `Acquisition.score`; minus the probability, -1 to -1/C."""
        return -view.reduced("confidence")


class Bald(Acquisition):
    """Mean mutual information between the class and the dropout mask (Houlsby et al., 2011; Gal et al., 2017).

    Args:
        draws: number M of noisy predictions, 2 or more; RALIS takes 20.

    Raises:
        RalsegError: for fewer than two draws; later, if the network has no dropout.
    """

    name = "bald"

    def __init__(self, draws: int = 20) -> None:
        if draws < 2:
            raise RalsegError(f"bald.draws={draws} is out of range; it is 2 or more")
        self.needs = (MeanMap("bald", mutual_information_map, draws),)

    def score(self, view: View, rng: np.random.Generator) -> np.ndarray:
        """See `Acquisition.score`; nats, 0 to ln C."""
        return view.reduced("bald")
