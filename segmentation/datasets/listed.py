"""Text files with one image per line."""

import re
from collections.abc import Mapping
from pathlib import Path

from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets.class_list import read_text, short


def numbered_lines(path: Path, mend: str) -> list[tuple[int, str]]:
    """The numbers and texts of lines that are not blank.

    Args:
        path: the file.
        mend: the end of the message if it cannot be read.

    Raises:
        RalsegError: as `read_text`.
    """
    lines = enumerate(read_text(path, mend).splitlines(), 1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def voc_lists(paths: Mapping[str, Path], mend: str) -> dict[str, tuple[str, ...]]:
    """Subset -> the images of PASCAL VOC in its list, sorted.

    Args:
        paths: subset -> a file with one image per line, as 2008_000002.
        mend: the end of the message if a file cannot be read.

    Raises:
        RalsegError: if a list is missing or empty, or has a line that is no image of VOC or was listed before.
    """
    subsets = {}
    places: dict[str, str] = {}
    for subset, path in paths.items():
        lines = numbered_lines(path, mend)
        if not lines:
            raise RalsegError(f"{path}: the list is empty; give one image per line, as 2008_000002")
        for number, name in lines:
            if not re.fullmatch(r"[0-9]{4}_[0-9]{6}", name):
                raise RalsegError(
                    f"{path}, line {number}: {short(name)} is no image of VOC, as 2008_000002; correct it"
                )
            if name in places:
                raise RalsegError(f"{path}, line {number}: {name} is in {places[name]}, too; list each image once")
            places[name] = f"line {number} of {path.name}"
        subsets[subset] = tuple(sorted(name for _, name in lines))
    return subsets
