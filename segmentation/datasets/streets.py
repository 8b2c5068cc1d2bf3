"""Streets: drawn street scenes with CamVid's or Cityscapes' classes, a data set that needs no download."""

from typing import Annotated, Literal

import numpy as np

from ralseg.foundation import Count, Range, check_arguments, generator
from ralseg.segmentation.datasets.base import IGNORE, Dataset
from ralseg.segmentation.datasets.palettes import CAMVID, CITYSCAPES, colors_of
from ralseg.segmentation.datasets.street_looks import LOOKS
from ralseg.segmentation.datasets.street_scene import PARTS, draw_street

VERSION = 2
"""Part of the fingerprint; to be raised whenever a picture changes."""

CYCLE = (
    ("train", "brick"), ("train", "stone"), ("val", "brick"), ("train", "suburb"), ("test", "dusk"),
    ("train", "brick"), ("train", "stone"), ("train", "avenue"), ("val", "brick"), ("train", "brick"),
    ("train", "suburb"), ("train", "stone"), ("test", "avenue"), ("val", "brick"), ("train", "brick"),
    ("train", "stone"), ("train", "brick"), ("train", "suburb"), ("val", "brick"), ("test", "dusk"),
    ("train", "brick"), ("train", "stone"), ("train", "avenue"), ("val", "brick"), ("train", "suburb"),
    ("train", "brick"), ("train", "stone"), ("test", "dusk"), ("val", "brick"), ("train", "brick"),
)  # fmt: skip
"""Subset and clip of image i are entry i modulo 30. As in CamVid, val shares a clip with train, and most of test is a
clip that is not in train."""

PALETTES = {"camvid": CAMVID, "cityscapes": CITYSCAPES}
CLASS_OF_PART = {
    "camvid": {
        "wall": "building", "terrain": "tree", "light": "sign", "truck": "car", "bus": "car", "train": "car",
        "motorcycle": "car", "bicycle": "bicyclist", "rider": "bicyclist",
    },
    "cityscapes": {
        "pavement": "sidewalk", "tree": "vegetation", "sign": "traffic sign", "light": "traffic light",
        "pedestrian": "person",
    },
}  # fmt: skip
"""Variant -> part -> class, for parts that are named differently from their class."""


Side = Annotated[int, Range(60, 8192)]
"""The height or width of an image, in pixels."""


class Streets(Dataset):
    """Procedural street scenes with houses, trees, signs, vehicles and people, drawn from a seed.

    An image depends only on the seed, its number, the size and the variant. It is the same on every machine.

    Args:
        images: number of images, 9 or more, so that no subset is empty.
        size: (height, width) of each, 60 to 8192.
        seed: 0 or more.
        variant: "camvid" (11 classes) or "cityscapes" (19 classes, in trainId order).
        unit_size: (height, width) of a unit; None takes a quarter of the height by a sixth of the width, as for CamVid.

    Raises:
        RalsegError: if an argument is out of its range.
    """

    def __init__(
        self,
        images: Annotated[int, Range(9, 1_000_000)] = 400,
        size: tuple[Side, Side] = (360, 480),
        seed: Annotated[int, Range(0)] = 0,
        variant: Literal["camvid", "cityscapes"] = "camvid",
        unit_size: tuple[Count, Count] | None = None,
    ):
        given = {"images": images, "size": size, "seed": seed, "variant": variant, "unit_size": unit_size}
        check_arguments(Streets, given, "dataset")
        self.name = "streets" if variant == "camvid" else f"streets_{variant}"
        palette = PALETTES[variant]
        self.classes, self.colors = tuple(palette), colors_of(palette)
        self.seed, self.variant, self.image_size = int(seed), variant, (int(size[0]), int(size[1]))
        height, width = unit_size or (-(-size[0] // 4), -(-size[1] // 6))
        self.unit_size = height, width
        self.names = tuple(f"street_{i:05d}" for i in range(images))
        entries = [CYCLE[i % len(CYCLE)] for i in range(images)]
        self.groups = {name: clip for name, (_, clip) in zip(self.names, entries, strict=True)}
        self.subsets = {
            subset: tuple(name for name, (own, _) in zip(self.names, entries, strict=True) if own == subset)
            for subset in ("train", "val", "test")
        }
        self.identity = f"version {VERSION} seed {self.seed} size {self.image_size} variant {variant}"
        ids = {name: i for i, name in enumerate(self.classes)} | {"void": IGNORE}
        self._ids = {part: ids[CLASS_OF_PART[variant].get(part, part)] for part in PARTS}

    def size(self, name: str) -> tuple[int, int]:
        """See `Dataset.size`."""
        self._check_name(name)
        return self.image_size

    def load(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """See `Dataset.load`; the image is drawn on each call."""
        self._check_name(name)
        rng = generator(self.seed, "streets", int(name.removeprefix("street_")))
        return draw_street(LOOKS[self.groups[name]], self.image_size, self._ids, rng)

    def fingerprint(self, name: str) -> str:
        """See `Dataset.fingerprint`: the version of the drawing and the arguments."""
        self._check_name(name)
        return self.identity
