"""Your own data: a folder with images, labels and a list of classes."""

import math
import re
import zlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ralseg.foundation import RalsegError, expanded
from ralseg.segmentation.datasets.base import IGNORE
from ralseg.segmentation.datasets.class_list import ClassList, read_class_list, read_text, short
from ralseg.segmentation.datasets.color_table import UNKNOWN, ColorTable
from ralseg.segmentation.datasets.files import FileDataset, label_table
from ralseg.segmentation.datasets.folder_files import find_files, some
from ralseg.segmentation.datasets.images import SIDEWAYS, TURNS, header
from ralseg.segmentation.datasets.masks import palette_of, read_mask


class Folder(FileDataset):
    """Images in images/ (PNG or JPEG, any sizes), labels of the same names in labels/ (PNG), and classes.yaml.

    classes.yaml is a list of {name, id, color (optional)}, or a mapping of

    - classes: that list; the position of a class in it is its id inside ralseg. Where each class has a color, labels
      may hold colours, and a class needs no id;
    - ignore: the id of void in the label files, 255 by default unless a class has it; ignore_color: its colour;
    - palette: `colors` (default: where each class has a color, the colours of a palette decide) or `ids`;
    - depth: number of bits that are used in images of 16 bits per channel;
    - exif: `apply` (default) or `ignore` the orientation of images;
    - label_suffix: what the name of a label has behind the name of its image, e.g. _mask;
    - subsets: train, val, test -> a text file with one name per line, or a list of names;
    - groups: a regular expression, whose match at the start of a name is the image's group.

    Args:
        root: the folder.
        unit_size: (height, width) of a unit; None takes a quarter of the median height by a sixth of the median width.
        require_labels: whether a missing label is an error; otherwise the whole image counts as unlabelled.
        with_labels: whether labels/ is read; otherwise no image has a label, and people give them.

    Raises:
        RalsegError: if classes.yaml is missing or wrong, there are no images or labels, or a header is unreadable.
    """

    name = "folder"

    def __init__(
        self,
        root: str | Path,
        unit_size: tuple[int, int] | None = None,
        require_labels: bool = False,
        with_labels: bool = True,
    ) -> None:
        root = expanded(root)
        if not root.is_dir():
            raise RalsegError(f"{root}: no such folder; set dataset.root to the folder of images/ and labels/")
        self.identity = str(root.resolve())
        self._list = read_class_list(root)
        self._root = root
        self.classes, self.colors = self._list.names, self._list.colors
        self.depth, self.turn = self._list.depth, self._list.turn
        self.label_ids = _table(self._list)
        self.files, notes = find_files(root, self._list.label_suffix, require_labels, with_labels)
        self.names = tuple(sorted(self.files))
        self.groups = _groups(root / "classes.yaml", self._list.groups, self.names)
        self.subsets = _subsets(root, self._list.subsets, self.groups)
        heads = {name: header(image, self.turn) for name, (image, _) in self.files.items()}
        self.notes = (*notes, *self._note_on_turned(heads))
        self._check_palettes()
        height, width = unit_size or _usual_unit([size for size, _ in heads.values()])
        self.unit_size = height, width

    @property
    def title(self) -> str:
        """The folder's name."""
        return Path(self.identity).name or self.name

    def _note_on_turned(self, heads: Mapping[str, tuple[tuple[int, int], int]]) -> list[str]:
        """On images whose label would fit them turned or not, so that nothing else can tell."""
        if not self.turn:
            return []
        turned = [
            name
            for name, ((height, width), orientation) in heads.items()
            if orientation in TURNS and (orientation not in SIDEWAYS or height == width) and self.files[name][1]
        ]
        if not turned:
            return []
        return [
            f"{len(turned)} images are turned by an EXIF orientation, and their labels fit either way: {some(turned)}; "
            "if the labels belong to the images as they are stored, say `exif: ignore` in classes.yaml"
        ]

    def _check_palettes(self) -> None:
        """Where indices are ids, an index must have one colour in all label files, as far as their palettes go."""
        ids = [id_ for id_ in self._list.ids if id_ is not None]
        if self._list.by_color or self._list.palette_is_ids or not ids:
            return
        first: dict[int, tuple[list[int], Path]] = {}
        for _, label in self.files.values():
            if label is None or (palette := palette_of(label)) is None:
                continue
            for id_ in (id_ for id_ in ids if id_ < len(palette)):
                color, path = first.setdefault(id_, (palette[id_].tolist(), label))
                if palette[id_].tolist() != color:
                    raise RalsegError(
                        f"{label}: index {id_} of the palette is {palette[id_].tolist()}, in {path} it is {color}; "
                        "give each class its color in classes.yaml, or say `palette: ids` if the indices are ids anyway"
                    )

    def _load_label(self, path: Path) -> np.ndarray:
        mask = read_mask(path)
        if mask.values.ndim == 3 and all(self._list.given):
            mend = "add it to classes.yaml as a class, or as ignore_color if it is void"
            return self._color_table.label(mask.values, path, mend)
        if mask.palette is not None and self._list.by_color:
            return self._of_palette(path, mask.values, mask.palette)
        return super()._load_label(path)

    def _about_colors(self) -> str:
        return (
            "export ids in one channel, or give each class its color in classes.yaml (CVAT's labelmap.txt beside it "
            "does so, too)"
        )

    def _of_palette(self, path: Path, indices: np.ndarray, palette: np.ndarray) -> np.ndarray:
        """The label of palette indices, by the colours of the palette."""
        table = np.full(256, UNKNOWN, np.int16)
        table[: len(palette)] = self._color_table(palette)
        if (ignore := self._list.ignore) is not None and ignore < len(table) and table[ignore] == UNKNOWN:
            table[ignore] = IGNORE
        label = table[indices]
        if (unknown := label == UNKNOWN).any():
            y, x = np.unravel_index(unknown.argmax(), unknown.shape)
            index = int(indices[y, x])
            color = palette[index].tolist() if index < len(palette) else "none"
            raise RalsegError(
                f"{path}: the palette's colour of index {index} at y={y}, x={x} is {color}, that of no class; add it "
                "to classes.yaml as a class, or as ignore_color if it is void, or say there `palette: ids` if the "
                "indices are the ids"
            )
        return label.astype(np.uint8)

    @cached_property
    def _color_table(self) -> ColorTable:
        colors, ids = self.colors, [*range(len(self.classes))]
        if self._list.ignore_color is not None:
            colors, ids = np.vstack([colors, np.array(self._list.ignore_color, np.uint8)]), [*ids, IGNORE]
        return ColorTable(colors, ids, self._root / "classes.yaml")

    @cached_property
    def _meaning(self) -> str:
        how = (self._list.depth, self._list.turn, self._list.ignore_color, self._list.by_color)
        colors = self.colors.tolist() if all(self._list.given) else None
        return f"{zlib.crc32(self.label_ids.tobytes() + repr((how, colors)).encode()):08x}"


def _table(classes: ClassList) -> np.ndarray:
    """Id in a label file -> id inside ralseg; a class without an id is only found by its colour."""
    table = label_table((), () if classes.ignore is None else (classes.ignore,), size=2**16)
    for place, id_ in enumerate(classes.ids):
        if id_ is not None:
            table[id_] = place
    return table


def _usual_unit(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    height, width = np.median(sizes, axis=0)
    return max(1, math.ceil(height / 4)), max(1, math.ceil(width / 6))


def _groups(path: Path, pattern: Any, names: tuple[str, ...]) -> dict[str, str]:
    if pattern is None:
        return dict.fromkeys(names, "all")
    try:
        matches = {name: re.match(pattern, name) for name in names}
    except (re.error, TypeError, RecursionError, OverflowError) as error:
        raise RalsegError(f"{path}: groups is {short(pattern)}, no regular expression ({error}); correct it") from error
    groups = {}
    for name, match in matches.items():
        if match is None:
            raise RalsegError(f"{path}: groups {short(pattern)} does not match {name!r}; widen it or rename the image")
        groups[name] = match.group()
    return groups


def _subsets(root: Path, lists: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    subsets: dict[str, tuple[str, ...]] = {}
    owner: dict[str, str] = {}
    for subset, listed in lists.items():
        path = root / "classes.yaml"
        if isinstance(listed, str):
            path = root / listed
            if not path.resolve().is_relative_to(root.resolve()):
                raise RalsegError(f"{path}: the list of subset {subset} is outside of {root}; move it into the folder")
            if not path.is_file():
                raise RalsegError(f"{path}: the list of subset {subset} is missing; write one name per line there")
            listed = [line.strip() for line in read_text(path, "write one name per line there").splitlines()]
            listed = [line for line in listed if line]
        if not isinstance(listed, list):
            raise RalsegError(f"{path}: subset {subset} is {short(listed)}; give a text file or a list of names")
        for name in listed:
            if not isinstance(name, str) or name not in known:
                raise RalsegError(
                    f"{path}: subset {subset} lists {short(name)}, but there is no such image; names have no suffix"
                )
            if name in owner:
                raise RalsegError(f"{path}: {name!r} is in {owner[name]} and in {subset}; list it once")
            owner[name] = subset
        subsets[subset] = tuple(sorted(listed))
    return subsets
