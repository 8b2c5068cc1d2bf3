"""Learners: network + optimiser + the way it trains."""

from ralseg.segmentation.learners.options import FitOptions, LearnOptions
from ralseg.segmentation.learners.predictor import Predictor, Reducer
from ralseg.segmentation.learners.supervised import SupervisedLearner

__all__ = ["FitOptions", "LearnOptions", "Predictor", "Reducer", "SupervisedLearner"]
