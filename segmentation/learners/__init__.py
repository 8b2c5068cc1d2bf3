"""Learners: a network, its optimisers and the way it trains."""

from ralseg.segmentation.learners.batches import Batch
from ralseg.segmentation.learners.checkpoint import FitCheckpoint
from ralseg.segmentation.learners.from_scratch import FromScratchLearner
from ralseg.segmentation.learners.images import LearnerImages
from ralseg.segmentation.learners.mean_teacher import MeanTeacherLearner
from ralseg.segmentation.learners.options import FitOptions, LearnOptions
from ralseg.segmentation.learners.predictor import Predictor
from ralseg.segmentation.learners.protocol import (
    Learner,
    PredictsPixels,
    TellsFigures,
    TrainingSet,
)
from ralseg.segmentation.learners.ripu import RipuLearner
from ralseg.segmentation.learners.s4gan import S4GanLearner
from ralseg.segmentation.learners.semi_supervised import SemiSupervisedLearner
from ralseg.segmentation.learners.stal import StalLearner
from ralseg.segmentation.learners.supervised import SupervisedLearner
from ralseg.segmentation.learners.together import fitted, taught
from ralseg.segmentation.learners.u2pl import U2plLearner

__all__ = [
    "Batch",
    "FitCheckpoint",
    "FitOptions",
    "FromScratchLearner",
    "LearnOptions",
    "Learner",
    "LearnerImages",
    "MeanTeacherLearner",
    "PredictsPixels",
    "Predictor",
    "RipuLearner",
    "S4GanLearner",
    "SemiSupervisedLearner",
    "StalLearner",
    "SupervisedLearner",
    "TellsFigures",
    "TrainingSet",
    "U2plLearner",
    "fitted",
    "taught",
]
