"""What a run was begun with: digests of images and labels, by role, and of weights, so that no others get into it."""

from collections.abc import Mapping
from pathlib import Path

from ralseg.envs import World
from ralseg.foundation import RalsegError, file_digests, read_json, write_json

DATA = "data.json"
DIGITS = 16
"""Hexadecimal digits that are kept of the SHA-256 of an image and its label, or of a file of weights."""
WEIGHTS = "weights"
HOLD_WEIGHTS = ("network", "source", "theta0")
"""Groups of the configuration in which a setting may name a file of weights."""


def write_data(folder: Path, world: World) -> None:
    """Write `data.json`: role -> image name -> digest of the image and its label; `weights` -> setting -> digest."""
    write_json(folder / DATA, _data(world))


def check_data(folder: Path, world: World) -> None:
    """Refuse to go on in a folder whose run was begun with other data.

    Args:
        folder: of the run; one without `data.json` is new, or older than the record.
        world: of the configuration.

    Raises:
        RalsegError: naming the first image or file of weights that differs; or if the record is damaged.
    """
    path = folder / DATA
    if not path.exists():
        return
    before, now = read_json(path), _data(world)
    if not isinstance(before, dict) or not all(isinstance(held, dict) for held in before.values()):
        raise RalsegError(f"{path}: not a record of images; restore it, or choose another folder with run=<folder>")
    # Older records do not hold weights.
    before.setdefault(WEIGHTS, now[WEIGHTS])
    changes = [change for role, held in now.items() for change in _changes(role, before.get(role, {}), held)]
    if changes:
        more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
        raise RalsegError(
            f"{folder} holds a run on other images, labels, splits or weights: {changes[0]}{more}; restore them, or "
            "choose another folder with run=<folder>"
        )


def _changes(role: str, before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    said = []
    what = "file of" if role == WEIGHTS else "image or label"
    for name in sorted(before.keys() | now.keys()):
        if name not in before:
            said.append(f"{name!r} is new in {role}")
        elif name not in now:
            said.append(f"{name!r} is no longer in {role}")
        elif before[name] != now[name]:
            said.append(f"{what} {name!r} ({role}) is another")
    return said


def _data(world: World) -> dict[str, dict[str, str]]:
    store = world.store
    digests = {
        role: {name: store.content(store.index(name)) for name in names}
        for role, names in world.splits.to_dict().items()
    }
    digests[WEIGHTS] = file_digests({group: world.config.get(group) for group in HOLD_WEIGHTS})
    return {role: {name: digest[:DIGITS] for name, digest in held.items()} for role, held in digests.items()}
