"""What a run was begun with: a digest of each image and label, by role, so that other data is not mixed into it."""

from collections.abc import Mapping
from pathlib import Path

from ralseg.envs import World
from ralseg.foundation import RalsegError, read_json, write_json

DATA = "data.json"
DIGITS = 16
"""Hexadecimal digits that are kept of the SHA-256 of an image and its label."""


def write_data(folder: Path, world: World) -> None:
    """Write `data.json`: role -> image name -> digest of the image and its label."""
    write_json(folder / DATA, _data(world))


def check_data(folder: Path, world: World) -> None:
    """Refuse to go on in a folder whose run was begun with other data.

    Args:
        folder: of the run; one without `data.json` is new, or older than the record.
        world: of the configuration.

    Raises:
        RalsegError: naming the first image that differs; or if the record is damaged.
    """
    path = folder / DATA
    if not path.exists():
        return
    before, now = read_json(path), _data(world)
    if not isinstance(before, dict) or not all(isinstance(held, dict) for held in before.values()):
        raise RalsegError(f"{path}: not a record of images; restore it, or choose another folder with run=<folder>")
    changes = [change for role, held in now.items() for change in _changes(role, before.get(role, {}), held)]
    if changes:
        more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
        raise RalsegError(
            f"{folder} holds a run on other images, labels or splits: {changes[0]}{more}; restore them, or choose "
            "another folder with run=<folder>"
        )


def _changes(role: str, before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    said = []
    for name in sorted(before.keys() | now.keys()):
        if name not in before:
            said.append(f"{name!r} is new in {role}")
        elif name not in now:
            said.append(f"{name!r} is no longer in {role}")
        elif before[name] != now[name]:
            said.append(f"image or label {name!r} ({role}) is another")
    return said


def _data(world: World) -> dict[str, dict[str, str]]:
    store = world.store
    return {
        role: {name: store.content(store.index(name))[:DIGITS] for name in names}
        for role, names in world.splits.to_dict().items()
    }
