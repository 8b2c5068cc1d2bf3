"""Segmentation networks: `logits, embedding = network(images)`."""

from ralseg.segmentation.networks.base import CUTS, Cut, Prediction, SegmentationNetwork, as_array, normalise
from ralseg.segmentation.networks.inference import InferenceTwin
from ralseg.segmentation.networks.noise import FEATURE_NOISE, Noise, NoiseKind
from ralseg.segmentation.networks.ralis_fpn import RalisFPN
from ralseg.segmentation.networks.small_fpn import SmallFPN
from ralseg.segmentation.networks.smp import SmpNetwork
from ralseg.segmentation.networks.weights import read_tensors

__all__ = [
    "CUTS",
    "FEATURE_NOISE",
    "Cut",
    "InferenceTwin",
    "Noise",
    "NoiseKind",
    "Prediction",
    "RalisFPN",
    "SegmentationNetwork",
    "SmallFPN",
    "SmpNetwork",
    "as_array",
    "normalise",
    "read_tensors",
]
