"""Learners: network + optimiser + the way it trains."""

from ralseg.segmentation.learners.options import FitOptions, LearnOptions
from ralseg.segmentation.learners.supervised import Reducer, SupervisedLearner

__all__ = ["FitOptions", "LearnOptions", "Reducer", "SupervisedLearner"]
