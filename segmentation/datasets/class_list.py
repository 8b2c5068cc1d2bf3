"""classes.yaml: the classes of a folder, and how its files are to be read."""

import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets.base import IGNORE
from ralseg.segmentation.datasets.palettes import spread_colors

KEYS = ("classes", "ignore", "ignore_color", "palette", "depth", "exif", "label_suffix", "subsets", "groups")
NONE = ("", "null", "~")
LARGEST_ID = 2**16 - 1
LARGEST_TEXT = 1 << 24
"""The most bytes of a text file; a list of a million names has fewer."""


@dataclass(frozen=True)
class ClassList:
    """What classes.yaml says. Names are texts as they were typed: `no` and `0001` are neither false nor 1.

    Attributes:
        names: C names of classes.
        ids: the id of each class in label files; None for a class that has a colour only.
        colors: uint8 (C, 3), for pictures, given or chosen.
        given: for each class, whether its colour was given, so that label files may hold it.
        ignore: the id of void in label files; None if there is none.
        ignore_color: the colour of void in label files, if there is one.
        palette_is_ids: whether the indices of a palette are ids, whatever their colours.
        depth: number of bits that are used in images of 16 bits per channel.
        turn: whether the EXIF orientation of images is applied.
        label_suffix: what the name of a label has behind the name of its image.
        subsets: subset -> a path, or a list of names.
        groups: regular expression of groups, if there is one.
    """

    names: tuple[str, ...]
    ids: tuple[int | None, ...]
    colors: np.ndarray
    given: tuple[bool, ...]
    ignore: int | None
    ignore_color: tuple[int, int, int] | None
    palette_is_ids: bool = False
    depth: int | None = None
    turn: bool = True
    label_suffix: str = ""
    subsets: Mapping[str, Any] = field(default_factory=dict)
    groups: str | None = None

    @property
    def by_color(self) -> bool:
        """Whether colours decide in label files with a palette."""
        return all(self.given) and not self.palette_is_ids


def read_class_list(root: Path) -> ClassList:
    """Read classes.yaml, and CVAT's labelmap.txt where one lies beside it.

    labelmap.txt gives the colours of classes for which classes.yaml has none, and the classes if there is no
    classes.yaml: all but `background`, whose colour is that of void unless it is a class.

    Raises:
        RalsegError: if neither file is there, or one of them is wrong.
    """
    path, colors = root / "classes.yaml", _labelmap(root / "labelmap.txt")
    if colors and not path.exists():
        value: dict[str, Any] = {"classes": [{"name": name} for name in colors if name != "background"]}
        path = root / "labelmap.txt"
    else:
        value = _mapping(path)
    names, ids, own = _classes(path, value.get("classes"), colors)
    ignore = _ignore(path, value, ids)
    ignore_color = _color(path, "ignore_color", value.get("ignore_color", "null"))
    if ignore_color is None and "background" not in names:
        ignore_color = colors.get("background")
    spread = spread_colors(len(names))
    for place, color in enumerate(own):
        spread[place] = spread[place] if color is None else color
    given = tuple(color is not None for color in own)
    palette = _choice(path, value, "palette", ("colors", "ids"))
    if palette == "colors" and value.get("palette") and not all(given):
        raise RalsegError(f"{path}: palette is colors, but {names[given.index(False)]!r} has no color; give it one")
    suffix = value.get("label_suffix", "")
    if not isinstance(suffix, str) or "/" in suffix or "\\" in suffix:
        raise RalsegError(f"{path}: label_suffix is {suffix!r}; give a part of a file's name, e.g. _mask")
    depth = value.get("depth", "null")
    groups = value.get("groups", "null")
    return ClassList(
        names,
        ids,
        spread,
        given,
        ignore,
        ignore_color,
        palette_is_ids=palette == "ids",
        depth=None if depth in NONE else whole(path, "depth", depth, 9, 16, "the bits that are used of 16"),
        turn=_choice(path, value, "exif", ("apply", "ignore")) == "apply",
        label_suffix=suffix,
        subsets=_subsets(path, value.get("subsets", "null")),
        groups=None if groups in NONE else groups,
    )


def read_text(path: Path, mend: str) -> str:
    """A text file, with or without a byte order mark.

    Args:
        path: the file.
        mend: the end of the message if it cannot be read.

    Raises:
        RalsegError: if it cannot be read, is very large, or is not UTF-8.
    """
    try:
        if path.stat().st_size > LARGEST_TEXT:
            raise RalsegError(f"{path}: more than {LARGEST_TEXT >> 20} MiB of text; replace the file")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RalsegError(f"{path}: cannot be read ({error.strerror}); {mend}") from error
    except UnicodeDecodeError as error:
        raise RalsegError(f"{path}: not UTF-8 text ({error.reason}); save it as UTF-8") from error


def whole(path: Path, key: str, value: Any, low: int, high: int, what: str) -> int:
    """A whole number from its text.

    Raises:
        RalsegError: if it is none, or out of range.
    """
    text = value if isinstance(value, str) and len(value) < 9 and value.isascii() else ""
    if not text.isdigit() or not low <= int(text) <= high:
        raise RalsegError(f"{path}: {key} is {short(value)}; give {what}, {low} to {high}")
    return int(text)


def short(value: Any) -> str:
    """A value of a file of strangers in a message."""
    return reprlib.repr(value)


def _mapping(path: Path) -> dict[str, Any]:
    text = read_text(path, "list each class's name and id there")
    try:
        # Every scalar as the text that was typed: the plain loader makes `no` False and `0001` 1.
        value = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise RalsegError(f"{path}: not YAML ({' '.join(str(error).split())}); correct it") from error
    except RecursionError as error:
        raise RalsegError(f"{path}: lists within lists without an end; correct it") from error
    value = {"classes": value} if isinstance(value, list) else value
    if not isinstance(value, dict):
        raise RalsegError(f"{path}: no classes; list them as '- {{name: road, id: 0}}'")
    for key in value:
        if key not in KEYS:
            raise RalsegError(f"{path}: unknown key {short(key)}; the known ones are {', '.join(KEYS)}")
    return value


Color = tuple[int, int, int]


def _classes(
    path: Path, entries: Any, colors: Mapping[str, Color]
) -> tuple[tuple[str, ...], tuple[int | None, ...], list[Color | None]]:
    if not isinstance(entries, list) or not entries:
        raise RalsegError(f"{path}: no classes; list them as '- {{name: road, id: 0}}'")
    if len(entries) > IGNORE:
        raise RalsegError(f"{path}: {len(entries)} classes; at most {IGNORE} are possible besides void")
    names: list[str] = []
    ids: list[int | None] = []
    own: list[Color | None] = []
    for place, entry in enumerate(entries, 1):
        where = f"class {place}"
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise RalsegError(f"{path}, {where}: {short(entry)}; give a name and an id from 0 to {LARGEST_ID}")
        assert isinstance(entry, dict)
        if unknown := [key for key in entry if key not in ("name", "id", "color")]:
            raise RalsegError(f"{path}, {where}: unknown key {short(unknown[0])}; a class has name, id and color")
        color = _color(path, f"the color of {name!r}", entry.get("color", "null")) or colors.get(name)
        if "id" not in entry and color is None:
            raise RalsegError(f"{path}, {where}: {short(entry)}; give a name and an id from 0 to {LARGEST_ID}")
        id_ = whole(path, f"the id of {name!r}", entry["id"], 0, LARGEST_ID, "a number") if "id" in entry else None
        if name in names or (id_ is not None and id_ in ids):
            raise RalsegError(f"{path}, {where}: name {name!r} or id {id_} is taken; give each once")
        names.append(name)
        ids.append(id_)
        own.append(color)
    return tuple(names), tuple(ids), own


def _ignore(path: Path, value: Mapping[str, Any], ids: Sequence[int | None]) -> int | None:
    """The id of void: 255 unless that is the id of a class, as in masks of 0 and 255."""
    given = value.get("ignore")
    if given is None:
        return None if IGNORE in ids else IGNORE
    if given in NONE:
        return None
    ignore = whole(path, "ignore", given, 0, LARGEST_ID, "the id of void in the labels")
    if ignore in ids:
        raise RalsegError(f"{path}: ignore is {ignore}, which is the id of a class, too; give void an id of its own")
    return ignore


def _color(path: Path, what: str, value: Any) -> Color | None:
    if isinstance(value, str) and value in NONE:
        return None
    if not isinstance(value, list) or len(value) != 3:
        raise RalsegError(f"{path}: {what} is {short(value)}; give [red, green, blue], 0 to 255")
    red, green, blue = (whole(path, what, part, 0, 255, "[red, green, blue]") for part in value)
    return red, green, blue


def _choice(path: Path, value: Mapping[str, Any], key: str, choices: tuple[str, ...]) -> str:
    """One of some words; the first one if the key is not there."""
    chosen = value.get(key, choices[0])
    if chosen not in choices:
        raise RalsegError(f"{path}: {key} is {short(chosen)}; choose from {', '.join(choices)}")
    return chosen


def _subsets(path: Path, value: Any) -> Mapping[str, Any]:
    if isinstance(value, str) and value in NONE:
        return {}
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise RalsegError(
            f"{path}: subsets is {short(value)}; map train, val and test to a text file or to a list of names"
        )
    return value


def _labelmap(path: Path) -> dict[str, Color]:
    """CVAT's labelmap.txt: a line `name:red,green,blue:parts:actions` per label; empty if there is no such file."""
    if not path.exists():
        return {}
    colors: dict[str, Color] = {}
    for number, line in enumerate(read_text(path, "restore it").splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            found = re.match(r"([^:]+):(\d{1,3}),(\d{1,3}),(\d{1,3})(:|$)", line.strip())
            if not found or max(map(int, found.groups()[1:4])) > 255 or found[1] in colors:
                raise RalsegError(f"{path}, line {number}: {short(line)}; give each label once, as 'road:128,64,128::'")
            colors[found[1]] = int(found[2]), int(found[3]), int(found[4])
    return colors
