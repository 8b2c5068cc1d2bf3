"""Your own data: a folder with images, labels and a list of classes."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets.base import IGNORE
from ralseg.segmentation.datasets.files import FileDataset, label_table
from ralseg.segmentation.datasets.palettes import spread_colors

SUFFIXES = (".png", ".jpg", ".jpeg")
KEYS = ("classes", "ignore", "subsets", "groups")


class Folder(FileDataset):
    """Images in images/ (PNG or JPEG, any sizes), labels of the same names in labels/ (PNG of ids), and classes.yaml.

    classes.yaml is a list of {name, id, color (optional)}, or a mapping of

    - classes: that list; the position of a class in it is its id inside ralseg;
    - ignore: the id of void in the label files, 255 by default;
    - subsets: train, val, test -> a text file with one name per line, or a list of names;
    - groups: a regular expression, whose match at the start of a name is the image's group.

    Args:
        root: the folder.
        unit_size: (height, width) of a unit; None takes a quarter of the median height by a sixth of the median width.
        require_labels: whether a missing label is an error; otherwise the whole image counts as unlabelled.

    Raises:
        RalsegError: if classes.yaml is missing or wrong, there are no images, a label is missing or a size unreadable.
    """

    name = "folder"

    def __init__(self, root: str | Path, unit_size: tuple[int, int] | None = None, require_labels: bool = True):
        root = Path(root).expanduser()
        self.identity = str(root.resolve())
        settings = _settings(root / "classes.yaml")
        self._read_classes(root / "classes.yaml", settings)
        self.files = _files(root, require_labels)
        self.names = tuple(sorted(self.files))
        self.groups = _groups(root / "classes.yaml", settings.get("groups"), self.names)
        self.subsets = _subsets(root, settings.get("subsets") or {}, self.groups)
        height, width = unit_size or self._usual_unit()
        self.unit_size = height, width

    @property
    def title(self) -> str:
        """The folder's name."""
        return Path(self.identity).name or self.name

    def _read_classes(self, path: Path, settings: dict[str, Any]) -> None:
        entries = settings.get("classes")
        if not isinstance(entries, list) or not entries:
            raise RalsegError(f"{path}: no classes; list them as '- {{name: road, id: 0}}'")
        ignore = settings.get("ignore", IGNORE)
        if not _is_byte(ignore):
            raise RalsegError(f"{path}: ignore is {ignore!r}; give the id of void in the labels, 0 to 255")
        ids: list[int] = []
        names: list[str] = []
        colors = spread_colors(len(entries))
        for place, entry in enumerate(entries):
            if not isinstance(entry, dict) or "name" not in entry or not _is_byte(entry.get("id")):
                raise RalsegError(f"{path}, class {place + 1}: {entry!r}; give a name and an id from 0 to 255")
            name, id_ = str(entry["name"]), entry["id"]
            if name in names or id_ in ids or id_ == ignore:
                raise RalsegError(f"{path}, class {place + 1}: name {name!r} or id {id_} is taken; give each once")
            names.append(name)
            ids.append(id_)
            color = entry.get("color")
            if color is not None:
                if not isinstance(color, list) or len(color) != 3 or not all(map(_is_byte, color)):
                    raise RalsegError(f"{path}, class {name!r}: color is {color!r}; give [red, green, blue], 0 to 255")
                colors[place] = color
        if len(ids) > IGNORE:
            raise RalsegError(f"{path}: {len(ids)} classes; at most {IGNORE} are possible besides void")
        self.classes, self.colors, self.label_ids = tuple(names), colors, label_table(ids, (ignore,))

    def _usual_unit(self) -> tuple[int, int]:
        height, width = np.median([self.size(name) for name in self.names], axis=0)
        return max(1, math.ceil(height / 4)), max(1, math.ceil(width / 6))


def _is_byte(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 255


def _settings(path: Path) -> dict[str, Any]:
    try:
        value = yaml.safe_load(path.read_text())
    except OSError as error:
        raise RalsegError(f"{path}: cannot be read ({error.strerror}); list each class's name and id there") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RalsegError(f"{path}: not YAML ({error}); correct it") from error
    settings = {"classes": value} if isinstance(value, list) else value
    if not isinstance(settings, dict):
        raise RalsegError(f"{path}: no classes; list them as '- {{name: road, id: 0}}'")
    for key in settings:
        if key not in KEYS:
            raise RalsegError(f"{path}: unknown key {key!r}; the known ones are {', '.join(KEYS)}")
    return settings


def _files(root: Path, require_labels: bool) -> dict[str, tuple[Path, Path | None]]:
    folder = root / "images"
    images = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not images:
        raise RalsegError(f"{folder}: no images; put PNG or JPEG files there")
    files: dict[str, tuple[Path, Path | None]] = {}
    for image in images:
        if image.stem in files:
            raise RalsegError(f"{image}: {files[image.stem][0].name} has the same name; rename one of them")
        label = root / "labels" / f"{image.stem}.png"
        if label.is_file():
            files[image.stem] = (image, label)
        elif require_labels:
            raise RalsegError(f"{label}: the label of {image.name} is missing; add it, or set require_labels=false")
        else:
            files[image.stem] = (image, None)
    return files


def _groups(path: Path, pattern: str | None, names: tuple[str, ...]) -> dict[str, str]:
    if pattern is None:
        return dict.fromkeys(names, "all")
    try:
        matches = {name: re.match(pattern, name) for name in names}
    except (re.error, TypeError) as error:
        raise RalsegError(f"{path}: groups is {pattern!r}, no regular expression ({error}); correct it") from error
    groups = {}
    for name, match in matches.items():
        if match is None:
            raise RalsegError(f"{path}: groups {pattern!r} does not match {name!r}; widen it or rename the image")
        groups[name] = match.group()
    return groups


def _subsets(root: Path, lists: Any, known: dict[str, str]) -> dict[str, tuple[str, ...]]:
    path = root / "classes.yaml"
    if not isinstance(lists, dict):
        raise RalsegError(f"{path}: subsets is {lists!r}; map train, val and test to a text file or to a list of names")
    subsets: dict[str, tuple[str, ...]] = {}
    owner: dict[str, str] = {}
    for subset, listed in lists.items():
        if isinstance(listed, str):
            path = root / listed
            if not path.is_file():
                raise RalsegError(f"{path}: the list of subset {subset} is missing; write one name per line there")
            listed = [line.strip() for line in path.read_text().splitlines() if line.strip()]
        if not isinstance(listed, list):
            raise RalsegError(f"{path}: subset {subset} is {listed!r}; give a text file or a list of names")
        for name in listed:
            if name not in known:
                raise RalsegError(f"{path}: subset {subset} lists {name!r}, but there is no such image; correct it")
            if name in owner:
                raise RalsegError(f"{path}: {name!r} is in {owner[name]} and in {subset}; list it once")
            owner[name] = subset
        subsets[subset] = tuple(sorted(listed))
    return subsets
