"""Hand-crafted acquisitions, which choose by a formula."""

from ralseg.agents.acquisitions.base import Acquisition, Batch, Scored
from ralseg.agents.acquisitions.policy import FixedPolicy
from ralseg.agents.acquisitions.reducers import Reducer, map_reducer, noisy_reducer
from ralseg.agents.acquisitions.registry import make, names, parse
from ralseg.agents.acquisitions.selection import Selection

__all__ = [
    "Acquisition",
    "Batch",
    "FixedPolicy",
    "Reducer",
    "Scored",
    "Selection",
    "make",
    "map_reducer",
    "names",
    "noisy_reducer",
    "parse",
]
