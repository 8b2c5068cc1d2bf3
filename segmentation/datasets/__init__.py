"""Data sets: images with dense labels, with their classes, official subsets and clips."""

from ralseg.segmentation.datasets.a2d2 import A2D2
from ralseg.segmentation.datasets.across_domains import SOURCE_DOMAIN, AcrossDomains
from ralseg.segmentation.datasets.ade_bedroom import AdeBedroom
from ralseg.segmentation.datasets.base import IGNORE, Dataset
from ralseg.segmentation.datasets.camvid import CamVid
from ralseg.segmentation.datasets.cityscapes import GTAV, Cityscapes, Synthia
from ralseg.segmentation.datasets.folder import Folder
from ralseg.segmentation.datasets.pascal_context import PascalContext
from ralseg.segmentation.datasets.streets import Streets
from ralseg.segmentation.datasets.taxonomy import InTaxonomy
from ralseg.segmentation.datasets.voc import Voc

__all__ = [
    "A2D2", "GTAV", "IGNORE", "SOURCE_DOMAIN", "AcrossDomains", "AdeBedroom", "CamVid", "Cityscapes", "Dataset",
    "Folder", "InTaxonomy", "PascalContext", "Streets", "Synthia", "Voc",
]  # fmt: skip
