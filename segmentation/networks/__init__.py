"""Segmentation networks: `prediction = network(maps, cut)`."""

from ralseg.segmentation.networks.base import CUTS, Cut, SegmentationNetwork, normalised
from ralseg.segmentation.networks.deeplab_wrn38 import DeepLabWRN38
from ralseg.segmentation.networks.encoder_fpn import EncoderFPN
from ralseg.segmentation.networks.inference import InferenceTwin
from ralseg.segmentation.networks.pixel_mlp import PixelMLP
from ralseg.segmentation.networks.ralis_fpn import RalisFPN
from ralseg.segmentation.networks.small_fpn import SmallFPN
from ralseg.segmentation.networks.smp import SmpNetwork
from ralseg.segmentation.networks.weights import check_tensors, load_weights, read_tensors

__all__ = [
    "CUTS",
    "Cut",
    "DeepLabWRN38",
    "EncoderFPN",
    "InferenceTwin",
    "PixelMLP",
    "RalisFPN",
    "SegmentationNetwork",
    "SmallFPN",
    "SmpNetwork",
    "check_tensors",
    "normalised",
    "load_weights",
    "read_tensors",
]
