"""Pascal-Context: whole photographs of PASCAL VOC with labels of 459 classes, of which 33 are used."""

from pathlib import Path

import numpy as np

from ralseg.foundation import RalsegError, expanded
from ralseg.segmentation.datasets.arrays import read_mat
from ralseg.segmentation.datasets.class_list import LARGEST_ID, short, whole
from ralseg.segmentation.datasets.files import FileDataset, label_table, paired
from ralseg.segmentation.datasets.listed import numbered_lines, voc_lists
from ralseg.segmentation.datasets.palettes import spread_colors

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "table", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor", "sky", "grass", "ground", "road",
    "building", "tree", "water", "mountain", "wall", "floor", "track", "keyboard", "ceiling",
)  # fmt: skip
"""The 20 classes of PASCAL VOC and 13 others, by their names in labels.txt."""

UNLABELLED = 0
"""The id of pixels that have none of the 459 classes."""


class PascalContext(FileDataset):
    """Pascal-Context (Mottaghi et al. 2014) with 33 of its 459 classes, as in two-stage eDALD (Kim et al. 2025).

    The subsets are train and val. The other classes are void. An image's group is its year in VOC, the first part of
    its name. EXIF orientations are not applied, because the labels belong to the stored images.

    Args:
        root: the folder that holds VOC2012/JPEGImages/ID.jpg, trainval/ID.mat, labels.txt with a line "ID: NAME" for
            each of the 459 classes, and pascal_train.txt and pascal_val.txt with one image per line.

    Raises:
        RalsegError: if a file is missing, labels.txt lacks one of the 33 classes or has a class or an id twice, or a
            list is empty, has a line that is no image of VOC, or has an image that was listed before.
    """

    name = "pascal_context"
    classes = CLASSES
    colors = spread_colors(len(CLASSES))
    unit_size = (96, 96)
    turn = False

    def __init__(self, root: str | Path) -> None:
        root = expanded(root)
        self.identity = str(root.resolve())
        ids = _ids_of_classes(root / "labels.txt")
        # One longer than the largest id, so that an id beyond the table is unknown.
        self.label_ids = label_table([ids[name] for name in CLASSES], (UNLABELLED, *ids.values()), size=LARGEST_ID + 2)
        self.subsets = read_lists(root)
        self.names = tuple(sorted(name for names in self.subsets.values() for name in names))
        images = root / "VOC2012" / "JPEGImages"
        self.files = {name: paired(images / f"{name}.jpg", root / "trainval" / f"{name}.mat") for name in self.names}
        self.groups = {name: name.split("_")[0] for name in self.names}

    def read_ids(self, path: Path) -> np.ndarray:
        """See `FileDataset.read_ids`; int64."""
        return read_mat(path, "LabelMap")


def _ids_of_classes(path: Path) -> dict[str, int]:
    """Class -> its id in label files, of all classes of labels.txt."""
    ids: dict[str, int] = {}
    for number, line in numbered_lines(path, "restore it from the release of Pascal-Context"):
        id_, _, name = (part.strip() for part in line.partition(":"))
        value = whole(path, f"the id in line {number}", id_, 1, LARGEST_ID, "a line 'ID: NAME' with a number")
        if not name or name in ids or value in ids.values():
            raise RalsegError(
                f"{path}, line {number}: {short(line)} has no name, or one or an id of a line before; use the file as "
                "it was downloaded"
            )
        ids[name] = value
    if missing := [name for name in CLASSES if name not in ids]:
        raise RalsegError(f"{path}: no line for the class {', '.join(missing)}; use the file as it was downloaded")
    return ids


def read_lists(root: Path) -> dict[str, tuple[str, ...]]:
    """The images of pascal_train.txt and pascal_val.txt, sorted, by subset.

    Raises:
        RalsegError: as `PascalContext`.
    """
    paths = {subset: root / f"pascal_{subset}.txt" for subset in ("train", "val")}
    return voc_lists(paths, "copy it there from the folder preprocess/ of two-stage eDALD")
