"""PASCAL VOC 2012, with the training labels of SBD."""

from pathlib import Path
from typing import Literal

import numpy as np

from ralseg.foundation import RalsegError, checked, expanded
from ralseg.segmentation.datasets.arrays import read_mat
from ralseg.segmentation.datasets.base import IGNORE
from ralseg.segmentation.datasets.files import FileDataset, label_table, paired
from ralseg.segmentation.datasets.listed import voc_lists
from ralseg.segmentation.datasets.palettes import VOC, colors_of


class Voc(FileDataset):
    """PASCAL VOC 2012 (Everingham et al. 2010) with the labels of SBD (Hariharan et al. 2011), 21 classes.

    The subsets are train and val. Labels hold the ids 0 (background) to 20, and 255 for void. That of an image is the
    first that is there of SegmentationClass/ID.png, SegmentationClassAug/ID.png and cls/ID.mat, which are VOC's own,
    SBD's as PNG and SBD's as released. VOC has no groups. EXIF orientations are not applied, because the labels belong
    to the stored images.

    Args:
        root: the folder of JPEGImages/, ImageSets/Segmentation/ and the labels, i.e. VOC2012, or one or two above it.
        train: the training images, `trainaug` (10,582 with SBD) or `train` (1,464 of VOC's own).

    Raises:
        RalsegError: if a file is missing, a list is wrong (see `voc_lists`), or the argument is unknown.
    """

    name = "voc"
    classes = tuple(VOC)
    colors = colors_of(VOC)
    unit_size = (96, 96)
    # One longer than the largest id, so that an id beyond the table is unknown, not void.
    label_ids = label_table(range(len(VOC)), (IGNORE,), size=IGNORE + 2)
    turn = False

    def __init__(self, root: str | Path, train: Literal["trainaug", "train"] = "trainaug") -> None:
        checked(Literal["trainaug", "train"], train, "dataset.train")
        root = expanded(root)
        places = [root / place for place in ("", "VOC2012", "VOCdevkit/VOC2012")]
        if not (there := [place for place in places if (place / "JPEGImages").is_dir()]):
            raise RalsegError(f"{root}: no JPEGImages/; set dataset.root to the folder VOC2012 of VOCdevkit")
        root = there[0]
        self.identity = str(root.resolve())
        lists = {"train": train, "val": "val"}
        self.subsets = voc_lists(
            {subset: root / "ImageSets" / "Segmentation" / f"{name}.txt" for subset, name in lists.items()},
            "restore it; trainaug.txt lists the 10,582 images of train_aug, and dataset.train=train does without it",
        )
        self.names = tuple(sorted(name for names in self.subsets.values() for name in names))
        self.files = {name: paired(root / "JPEGImages" / f"{name}.jpg", _label(root, name)) for name in self.names}
        self.groups = dict.fromkeys(self.names, "all")

    def read_ids(self, path: Path) -> np.ndarray:
        """See `FileDataset.read_ids`; of a .mat file int64."""
        return read_mat(path, "GTcls", "Segmentation") if path.suffix == ".mat" else super().read_ids(path)

    def _about_colors(self) -> str:
        return "use the PNG with a palette as it was downloaded, or ids in one channel"


def _label(root: Path, name: str) -> Path:
    own, sbd, released = (root / f"{place}/{name}" for place in ("SegmentationClass", "SegmentationClassAug", "cls"))
    places = [Path(f"{own}.png"), Path(f"{sbd}.png"), Path(f"{released}.mat")]
    # Of an image without any label, SBD's is the one that is missing.
    return next((path for path in places if path.is_file()), places[1])
