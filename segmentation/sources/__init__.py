"""Frozen feature sources, on whose maps networks are trained."""

from ralseg.segmentation.sources.base import MIRRORED, NOISE_KINDS, PLAIN, Source, Variant, check_noise
from ralseg.segmentation.sources.diffusion import DiffusionSource
from ralseg.segmentation.sources.kept import KeptMaps, Pictures, held_maps
from ralseg.segmentation.sources.pixels import KeptPixels
from ralseg.segmentation.sources.stages import StagesSource
from ralseg.segmentation.sources.timm_encoder import TimmSource

__all__ = [
    "MIRRORED",
    "NOISE_KINDS",
    "PLAIN",
    "DiffusionSource",
    "KeptMaps",
    "KeptPixels",
    "Pictures",
    "Source",
    "StagesSource",
    "TimmSource",
    "Variant",
    "check_noise",
    "held_maps",
]
