"""ADE-Bedroom-30: bedrooms of ADE20K at 256x256 with 30 classes."""

from pathlib import Path

import numpy as np

from ralseg.foundation import RalsegError, expanded
from ralseg.segmentation.datasets.arrays import read_npy
from ralseg.segmentation.datasets.base import IGNORE
from ralseg.segmentation.datasets.files import FileDataset, label_table, paired
from ralseg.segmentation.datasets.folder_files import SUFFIXES, by_name, walk
from ralseg.segmentation.datasets.palettes import spread_colors

CLASSES = (
    "wall", "bed", "floor", "table", "lamp", "ceiling", "painting", "windowpane", "pillow", "curtain", "cushion",
    "door", "chair", "cabinet", "chest", "mirror", "rug", "armchair", "book", "sconce", "plant", "wardrobe", "clock",
    "light", "flower", "vase", "fan", "box", "shelf", "television",
)  # fmt: skip
"""The 30 classes in the order of their ids in the label files, 0 to 29."""


class AdeBedroom(FileDataset):
    """ADE-Bedroom-30 (Baranchuk et al. 2022): train/ and test/ with an image and a label NAME.npy beside it.

    Labels hold the ids 0 to 29 and 255 for void. An image is called train/NAME or test/NAME, since nothing says that
    the two folders share no name. EXIF orientations are not applied, as in the published code.

    Args:
        root: the folder that holds train/ and test/, as released ade_bedroom_30/real.

    Raises:
        RalsegError: if a folder has no images, an image or a label lacks its partner, or two images share a name.
    """

    name = "ade_bedroom"
    classes = CLASSES
    colors = spread_colors(len(CLASSES))
    unit_size = (64, 64)
    # One longer than the largest id, so that an id beyond the table is unknown, not void.
    label_ids = label_table(range(len(CLASSES)), (IGNORE,), size=IGNORE + 2)
    turn = False

    def __init__(self, root: str | Path) -> None:
        root = expanded(root)
        self.identity = str(root.resolve())
        self.files, self.subsets = {}, {}
        for subset in ("train", "test"):
            found, _ = walk(root / subset, (*SUFFIXES, ".npy"))
            labels = by_name(root, [path for path in found if path.suffix.lower() == ".npy"])
            images = by_name(root, [path for path in found if path.suffix.lower() != ".npy"])
            if not images:
                raise RalsegError(
                    f"{root / subset}: no images; set dataset.root to the folder of train/ and test/ (as released, "
                    "ade_bedroom_30/real)"
                )
            for name in {**images, **labels}:
                expected = root / name
                self.files[name] = paired(
                    images.get(name, expected.with_name(f"{expected.name}.jpg")),
                    labels.get(name, expected.with_name(f"{expected.name}.npy")),
                )
            self.subsets[subset] = tuple(sorted(images))
        self.names = tuple(sorted(self.files))
        self.groups = dict.fromkeys(self.names, "all")

    def read_ids(self, path: Path) -> np.ndarray:
        """See `FileDataset.read_ids`; int64."""
        return read_npy(path)
