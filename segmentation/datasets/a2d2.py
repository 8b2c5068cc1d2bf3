"""A2D2: images of six cameras in 23 drives, with labels in colour."""

import re
import zlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from ralseg.foundation import RalsegError, checked, expanded, read_json
from ralseg.segmentation.datasets.a2d2_classes import CATEGORIES, COLORS, TABLES
from ralseg.segmentation.datasets.base import IGNORE
from ralseg.segmentation.datasets.class_list import short
from ralseg.segmentation.datasets.color_table import UNKNOWN, ColorTable
from ralseg.segmentation.datasets.files import FileDataset, Unknown, paired, spread
from ralseg.segmentation.datasets.listed import numbered_lines
from ralseg.segmentation.datasets.masks import read_mask

VAL = "20180925_112730"
"""The sequence on which Best Practices (GCPR 2023) measures: 1142 images, with the best balance of classes."""


class A2D2(FileDataset):
    """A2D2's semantic segmentation in its own layout (Geyer et al. 2020): SEQUENCE/camera/CAMERA/ and SEQUENCE/label/.

    The subsets are train, val (the sequence `VAL`) and pool. An image's group is its sequence; its name is that of its
    file, so that the names of a camera in a sequence are in the order of time.

    Args:
        root: the folder of the sequences (camera_lidar_semantic), or one above it, as where they lie in train/ and
            val/. A class_list.json beside sequences or in the root must give the known colours.
        table: the classes: the 38 categories of `a2d2`, or 19 `as_released` by Best Practices.
        unknown: whether a colour that A2D2 does not have is an error (`refuse`) or `void`.
        images: number of training images besides the pool, spread evenly over all others; None: all.
        pool: a text file with one image per line, SEQUENCE/camera/CAMERA/NAME.png, which make up the subset pool; None:
            there is no such subset.
        repeats: a line that repeats an image is `keep`, the same files under another name (NAME#2), or `drop`.

    Raises:
        RalsegError: if a file or the sequence `VAL` is missing, a sequence is there twice, class_list.json contradicts,
            a line of the pool is no training image, or an argument is out of range.
    """

    unit_size = (128, 128)

    def __init__(
        self,
        root: str | Path,
        table: Literal["a2d2", "as_released"] = "a2d2",
        unknown: Unknown = "refuse",
        images: int | None = None,
        pool: str | Path | None = None,
        repeats: Literal["keep", "drop"] = "keep",
    ) -> None:
        root = expanded(root)
        classes = TABLES[checked(Literal["a2d2", "as_released"], table, "dataset.table")]
        self.name = "a2d2" if table == "a2d2" else "a2d2_as_released"
        self.identity = str(root.resolve())
        self.classes = tuple(classes)
        self._unknown = checked(Unknown, unknown, "dataset.unknown")
        place = {category: id_ for id_, parts in enumerate(classes.values()) for category in parts}
        self._ids = [place[category] for category in CATEGORIES.values()]
        self._colors = np.array([tuple(bytes.fromhex(color[1:])) for color in COLORS], np.uint8)
        self.colors = self._colors[[self._ids.index(id_) for id_ in range(len(classes))]]
        sequences = _sequences(root)
        for folder in sorted({root, *(sequence.parent for sequence in sequences.values())}):
            _check_colors(folder / "class_list.json")
        found = {name: sorted(folder.glob("camera/cam_*/*_camera_*.png")) for name, folder in sequences.items()}
        if not found.get(VAL):
            raise RalsegError(f"{root}: no images of the sequence {VAL}, which is val; set dataset.root to its folder")
        training = {_line(image): image for name, paths in found.items() if name != VAL for image in paths}
        checked(Literal["keep", "drop"], repeats, "dataset.repeats")
        listed, self.notes = ({}, ()) if pool is None else _pool(expanded(pool), training, repeats)
        pooled = set(listed.values())
        others = [image for image in training.values() if image not in pooled]
        parts = {"train": _by_stem(spread(others, images)), "val": _by_stem(found[VAL])}
        parts |= {"pool": listed} if listed else {}
        self.subsets = {subset: tuple(sorted(part)) for subset, part in parts.items()}
        paths = {name: path for part in parts.values() for name, path in part.items()}
        self.names = tuple(sorted(paths))
        self.files = {name: paired(paths[name], _label(paths[name])) for name in self.names}
        self.groups = {name: _sequence(paths[name]) for name in self.names}

    def _load_label(self, path: Path) -> np.ndarray:
        colors = read_mask(path).values
        if colors.ndim != 3:
            raise RalsegError(f"{path}: no colours, which a label of A2D2 holds; use the file as it was downloaded")
        return self._color_table.label(colors, path, "restore the file, or set dataset.unknown=void")

    @cached_property
    def _color_table(self) -> ColorTable:
        rest = IGNORE if self._unknown == "void" else UNKNOWN
        return ColorTable(self._colors, self._ids, "class_list.json", rest)

    @cached_property
    def _meaning(self) -> str:
        return f"{zlib.crc32(repr((self._colors.tolist(), self._ids, self._unknown)).encode()):08x}"


def _sequences(root: Path) -> dict[str, Path]:
    """The folders of the sequences in the root or in a folder of it, by name, sorted."""
    sequences: dict[str, Path] = {}
    for folder in sorted([*root.glob("*/camera"), *root.glob("*/*/camera")]):
        name = folder.parent.name
        if re.fullmatch(r"[0-9]{8}_[0-9]{6}", name):
            if name in sequences:
                raise RalsegError(f"{folder.parent}: the sequence is in {sequences[name]}, too; remove one of them")
            sequences[name] = folder.parent
    return dict(sorted(sequences.items()))


def _check_colors(path: Path) -> None:
    """Refuse a class_list.json that differs from the one of the release; that there is none is no error."""
    if not path.exists():
        return
    found = read_json(path, "restore it from the release, or remove it")
    if not isinstance(found, dict):
        raise RalsegError(f"{path}: no object of colours and names; restore it from the release, or remove it")
    found = {color.lower(): name for color, name in found.items()}
    for color in {**COLORS, **found}:
        if found.get(color) != COLORS.get(color):
            raise RalsegError(
                f"{path}: {short(color)} is {short(found.get(color))}, which the release calls "
                f"{short(COLORS.get(color))}; restore it from the release, or remove it"
            )


def _pool(path: Path, training: dict[str, Path], repeats: str) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Name -> image of the lines of a pool, and a note if lines repeat an image."""
    lines = numbered_lines(path, "set dataset.pool to a text file with one image per line")
    if not lines:
        raise RalsegError(f"{path}: the list is empty; give one image per line, as SEQUENCE/camera/CAMERA/NAME.png")
    times: dict[Path, int] = {}
    listed: dict[str, Path] = {}
    for number, line in lines:
        image = training.get("/".join(line.split("/")[-4:]))
        if image is None:
            raise RalsegError(
                f"{path}, line {number}: {short(line)} is no training image of A2D2; give one that is there, as "
                "SEQUENCE/camera/CAMERA/NAME.png"
            )
        times[image] = times.get(image, 0) + 1
        if times[image] == 1 or repeats == "keep":
            listed[image.stem if times[image] == 1 else f"{image.stem}#{times[image]}"] = image
    again = len(lines) - len(times)
    what = "are images of their own in the pool, as NAME#2" if repeats == "keep" else "are left out"
    return listed, (f"{again} of {len(lines)} lines of {path.name} repeat an image and {what}",) if again else ()


def _line(image: Path) -> str:
    """An image as pools list it: SEQUENCE/camera/CAMERA/NAME.png."""
    return "/".join(image.parts[-4:])


def _by_stem(images: Iterable[Path]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for image in images:
        if (other := named.setdefault(image.stem, image)) != image:
            raise RalsegError(f"{image}: {other} has the same name; use the files as they were downloaded")
    return named


def _sequence(image: Path) -> str:
    return image.parts[-4]


def _label(image: Path) -> Path:
    name = image.name.replace("_camera_", "_label_")
    return image.parents[2] / "label" / image.parent.name / name
