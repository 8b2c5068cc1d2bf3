"""Finding the images and labels of a folder."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ralseg.foundation import RalsegError

SUFFIXES = (".png", ".jpg", ".jpeg")
SYSTEM = ("thumbs.db", "desktop.ini", "__macosx", "@eadir")
"""What systems put into folders, besides hidden files."""


def find_files(
    root: Path, label_suffix: str, require_labels: bool, with_labels: bool = True
) -> tuple[dict[str, tuple[Path, Path | None]], list[str]]:
    """The files of images/ and labels/, also of their sub-folders.

    Args:
        root: the folder that holds both.
        label_suffix: what the name of a label has behind the name of its image.
        require_labels: whether a missing label is an error.
        with_labels: whether labels/ is read.

    Returns:
        Image name ("name", or "folder/name" in a sub-folder) -> (image, label or None), and remarks for the user.

    Raises:
        RalsegError: if there are no images, two have the same name, no image has a label, or a label seems to be meant
            for an image that has none.
    """
    images, others = walk(root / "images", SUFFIXES)
    found, other_labels = walk(root / "labels", (".png",)) if with_labels else ([], [])
    if not images:
        raise RalsegError(f"{root / 'images'}: no images; put PNG or JPEG files there")
    labels = by_name(root / "labels", found)
    files: dict[str, tuple[Path, Path | None]] = {}
    for name, image in by_name(root / "images", images).items():
        if not name.isprintable():
            raise RalsegError(f"{str(image)!r}: a name that cannot be printed; rename the file")
        files[name] = image, labels.pop(f"{name}{label_suffix}", None)
    missing = [name for name, (_, label) in files.items() if label is None] if with_labels else []
    expected = root / "labels"
    if missing:
        expected = root / "labels" / f"{missing[0]}{label_suffix}.png"
        _check_left_over(root, labels, missing, label_suffix)
    if files and len(missing) == len(files):
        raise RalsegError(f"{expected}: no image has a label, and this would be the first one's; label some of them")
    if missing and require_labels:
        raise RalsegError(
            f"{expected}: the label of {files[missing[0]][0].name} is missing; add it, or set "
            "dataset.require_labels=false, so that images without a label are pool alone"
        )
    notes = []
    if others:
        notes.append(f"left out of images/, as neither PNG nor JPEG: {some(others)} ({len(others)} in all)")
    if other_labels:
        notes.append(f"left out of labels/, as not PNG: {some(other_labels)} ({len(other_labels)} in all)")
    if labels:
        notes.append(f"labels that belong to no image are left out: {some(sorted(labels))} ({len(labels)} in all)")
    if missing:
        notes.append(
            f"{len(missing)} of {len(files)} images have no label: they are pool, and nothing is measured there"
        )
    return files, notes


def some(names: Iterable[object]) -> str:
    """The first three of some names."""
    names = [str(name) for name in names]
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")


def walk(folder: Path, suffixes: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The files of a folder with one of some suffixes, and the names of others; without hidden files and systems' own.

    A folder that does not exist has none.

    Raises:
        RalsegError: if a folder cannot be read.
    """
    found: list[Path] = []
    others: list[str] = []

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise RalsegError(f"{error.filename}: cannot be read ({error.strerror}); allow reading it") from error

    for where, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not _is_system(name))
        # Links to folders are not followed, since they may lead back.
        others += [name for name in folders if (Path(where) / name).is_symlink()]
        for name in sorted(name for name in names if not _is_system(name)):
            if Path(name).suffix.lower() in suffixes:
                found.append(Path(where) / name)
            else:
                others.append(name)
    return found, others


def _is_system(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM


def by_name(folder: Path, paths: Sequence[Path]) -> dict[str, Path]:
    """Name, which is the path below a folder without its suffix -> path, sorted.

    Raises:
        RalsegError: if two files have the same name.
    """
    named: dict[str, Path] = {}
    for path in sorted(paths):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in named:
            raise RalsegError(f"{path}: {named[name].name} has the same name; rename one of them")
        named[name] = path
    return named


def _check_left_over(root: Path, labels: dict[str, Path], missing: Sequence[str], label_suffix: str) -> None:
    """Refuse labels that belong to no image but begin with the name of one that has none."""
    waiting = {name.rpartition("/")[2]: name for name in missing}
    for path in labels.values():
        begins = [path.stem, *(path.stem[:place] for place, letter in enumerate(path.stem) if letter in "_-. ")]
        for stem in begins:
            if stem in waiting:
                name, rest = waiting[stem], path.stem.removeprefix(stem)
                raise RalsegError(
                    f"{path}: it belongs to no image, and {name} has no label; the label would be "
                    f"{root / 'labels' / f'{name}{label_suffix}.png'}: rename it, or if all labels are named like this "
                    f"say in classes.yaml `label_suffix: {rest or repr('')}`"
                )
