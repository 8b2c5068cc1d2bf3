"""Cityscapes, and two synthetic data sets with its classes: GTAV and SYNTHIA-RAND-CITYSCAPES."""

from pathlib import Path

import numpy as np

from ralseg.foundation import RalsegError, expanded
from ralseg.segmentation.datasets.base import IGNORE
from ralseg.segmentation.datasets.files import FileDataset, Unknown, label_table, paired, spread
from ralseg.segmentation.datasets.images import deep_pixels, opened, png_header, undamaged
from ralseg.segmentation.datasets.masks import palette_of
from ralseg.segmentation.datasets.palettes import CITYSCAPES, CITYSCAPES_IDS, CITYSCAPES_VOID, colors_of

IMAGE, LABEL = "_leftImg8bit.png", "_gtFine_labelIds.png"


class Cityscapes(FileDataset):
    """Cityscapes in its own layout (Cordts et al. 2016): leftImg8bit/ and gtFine/, by subset and city.

    The subsets are train and val; the official test images are not read, because their labels are not public. An
    image's group is its city.

    Args:
        root: the folder that holds leftImg8bit/ and gtFine/.
        unknown: whether an id that Cityscapes does not have is an error (`refuse`) or `void`.

    Raises:
        RalsegError: if a folder or a label is missing, or an argument unknown.
    """

    name = "cityscapes"
    classes = tuple(CITYSCAPES)
    colors = colors_of(CITYSCAPES)
    unit_size = (128, 128)

    def __init__(self, root: str | Path, unknown: Unknown = "refuse") -> None:
        root = expanded(root)
        self.identity = str(root.resolve())
        self.label_ids = label_table(CITYSCAPES_IDS, CITYSCAPES_VOID, unknown)
        self.files, self.groups, self.subsets = {}, {}, {}
        for subset in ("train", "val"):
            images = _images(root / "leftImg8bit" / subset, f"*/*{IMAGE}", "leftImg8bit/ and gtFine/ as downloaded")
            for image in images:
                name, city = image.name.removesuffix(IMAGE), image.parent.name
                self.files[name] = paired(image, cityscapes_files(root, subset, name, city)[1])
                self.groups[name] = city
            self.subsets[subset] = tuple(sorted(image.name.removesuffix(IMAGE) for image in images))
        self.names = tuple(sorted(self.files))

    def read_ids(self, path: Path) -> np.ndarray:
        """See `FileDataset.read_ids`; trainIds in the place of labelIds are refused."""
        return _label_ids(path, super().read_ids(path))


def cityscapes_files(root: str | Path, subset: str, name: str, city: str | None = None) -> tuple[Path, Path]:
    """The paths of an image and its label; without a city, it is taken from the first part of the name."""
    city = city or name.split("_")[0]
    image = Path(root) / "leftImg8bit" / subset / city / f"{name}{IMAGE}"
    return image, Path(root) / "gtFine" / subset / city / f"{name}{LABEL}"


class GTAV(FileDataset):
    """GTAV (Richter et al. 2016): images/ and labels/, labels as palette PNGs whose indices are Cityscapes' labelIds.

    Images whose label is of another size are left out; `notes` says how many.

    Args:
        root: the folder that holds images/ and labels/.
        images: number of images to use, spread evenly over all; None uses all.
        unknown: as in `Cityscapes`.

    Raises:
        RalsegError: if a folder or a label is missing, all labels are of another size, or an argument is out of range.
    """

    name = "gtav"
    classes = tuple(CITYSCAPES)
    colors = colors_of(CITYSCAPES)
    unit_size = (128, 128)

    def __init__(self, root: str | Path, images: int | None = None, unknown: Unknown = "refuse") -> None:
        root = expanded(root)
        self.identity = str(root.resolve())
        self.label_ids = label_table(CITYSCAPES_IDS, CITYSCAPES_VOID, unknown)
        found = spread(_images(root / "images", "*.png", "images/ and labels/"), images)
        files = {image.stem: paired(image, root / "labels" / image.name) for image in found}
        self.files = {name: pair for name, pair in files.items() if png_header(pair[0])[0] == png_header(pair[1])[0]}
        if not self.files:
            raise RalsegError(f"{root}: no label has its image's size; restore the labels")
        if left_out := sorted(files.keys() - self.files.keys()):
            self.notes = (
                f"{len(left_out)} images of GTAV are left out, whose labels are of another size: {_some(left_out)}",
            )
        _unsplit(self)

    def read_ids(self, path: Path) -> np.ndarray:
        """See `FileDataset.read_ids`; a palette in an order other than Cityscapes' is refused."""
        palette = palette_of(path)
        if palette is not None:
            _check_palette(path, palette)
        return _label_ids(path, super().read_ids(path))


SYNTHIA_IDS = {
    "road": 3, "sidewalk": 4, "building": 2, "wall": 21, "fence": 5, "pole": 7, "traffic light": 15, "traffic sign": 9,
    "vegetation": 6, "sky": 1, "person": 10, "rider": 17, "car": 8, "bus": 19, "motorcycle": 12, "bicycle": 11,
}  # fmt: skip
"""The 16 classes that SYNTHIA shares with Cityscapes, in Cityscapes' order -> ids in its label files."""

SYNTHIA_VOID = (0, 13, 14, 16, 18, 20, 22)
"""Void, parking slot, road work, terrain, truck, train, lane marking."""


class Synthia(FileDataset):
    """SYNTHIA-RAND-CITYSCAPES (Ros et al. 2016): RGB/ and GT/LABELS/, 16-bit PNGs whose first channel holds the ids.

    Args:
        root: the folder that holds RGB/ and GT/.
        images: see `GTAV`.
        classes: 16 or 13; with 13, wall, fence and pole are void.
        unknown: as in `Cityscapes`.

    Raises:
        RalsegError: if a folder or a label is missing, or an argument is out of range.
    """

    name = "synthia"
    unit_size = (128, 128)

    def __init__(
        self, root: str | Path, images: int | None = None, classes: int = 16, unknown: Unknown = "refuse"
    ) -> None:
        root = expanded(root)
        if classes not in (13, 16):
            raise RalsegError(f"dataset.classes={classes!r} must be 16 or 13 for SYNTHIA")
        left_out = () if classes == 16 else ("wall", "fence", "pole")
        ids = {name: id_ for name, id_ in SYNTHIA_IDS.items() if name not in left_out}
        self.name = "synthia" if classes == 16 else "synthia_13"
        self.identity = str(root.resolve())
        self.classes = tuple(ids)
        self.colors = colors_of({name: CITYSCAPES[name] for name in ids})
        void = (*SYNTHIA_VOID, *(SYNTHIA_IDS[name] for name in left_out))
        self.label_ids = label_table(tuple(ids.values()), void, unknown, size=2**16)
        found = spread(_images(root / "RGB", "*.png", "RGB/ and GT/LABELS/"), images)
        self.files = {image.stem: paired(image, root / "GT" / "LABELS" / image.name) for image in found}
        _unsplit(self)

    def read_ids(self, path: Path) -> np.ndarray:
        """See `FileDataset.read_ids`; uint16."""
        bits = png_header(path)[1]
        with opened(path) as file, undamaged(path):
            stored = deep_pixels(file, path) if bits == 16 else np.asarray(file)
        if bits != 16 or stored.ndim != 3:
            raise RalsegError(
                f"{path}: a label of SYNTHIA is a PNG with channels of 16 bits, this one has {bits} bits and "
                f"{1 if stored.ndim == 2 else stored.shape[2]} channels; use the file as it was downloaded"
            )
        return stored[..., 0]


def _images(folder: Path, pattern: str, layout: str) -> list[Path]:
    found = sorted(folder.glob(pattern))
    if not found:
        raise RalsegError(f"{folder}: no PNG images; the data set's root must hold {layout}")
    return found


def _unsplit(dataset: FileDataset) -> None:
    """Set names, groups and subsets of a data set that has neither clips nor an official split."""
    dataset.names = tuple(sorted(dataset.files))
    dataset.groups, dataset.subsets = dict.fromkeys(dataset.names, "all"), {}


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")


def _label_ids(path: Path, ids: np.ndarray) -> np.ndarray:
    """Refuse a label that can only hold trainIds: 255 is no labelId, and the trainIds of classes are 0 to 18."""
    present = np.flatnonzero(np.bincount(ids.ravel()))
    if present[-1] == IGNORE and (present[:-1] < len(CITYSCAPES)).all():
        raise RalsegError(
            f"{path}: the label holds trainIds (0 to 18 and 255) where labelIds belong; use the file as it was "
            "downloaded, or read trainIds with dataset=folder"
        )
    return ids


def _check_palette(path: Path, palette: np.ndarray) -> None:
    """Refuse a palette in which the place of one class holds the colour of another."""
    places = {color: (name, id_) for (name, color), id_ in zip(CITYSCAPES.items(), CITYSCAPES_IDS, strict=True)}
    for name, id_ in zip(CITYSCAPES, CITYSCAPES_IDS, strict=True):
        if id_ < len(palette):
            other, own = places.get(tuple(palette[id_].tolist()), (name, id_))
            if own != id_:
                raise RalsegError(
                    f"{path}: index {id_} of the palette, {name}, has the colour of {other}: a program has sorted the "
                    "palette; use the file as it was downloaded"
                )
