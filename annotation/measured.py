"""How good the networks of a project are: all of them on the same held-out units, with intervals."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ralseg.annotation.learned import Networks, Training, class_map
from ralseg.envs.records import Unit
from ralseg.foundation import RalsegError, generator, read_json, write_json
from ralseg.segmentation.metrics import Confusion, confusion

RESAMPLES = 2000


@dataclass(frozen=True)
class Measured:
    """IoU on held-out units, percent, with 95 % intervals from a bootstrap of their images.

    The units of each round are drawn at random from all that nobody had asked for by then, so the figures stand for
    what is not labelled yet. That is a little easier than the whole pool, out of which an acquisition takes hard units.

    Attributes:
        images: number of images with a held-out unit.
        miou: mean over the classes that are true or predicted somewhere; `low` and `high` are its interval, NaN with
            fewer than two images.
        low: see above.
        high: see above.
        iou: (C,) of each class, NaN for one that is nowhere.
        iou_low: (C,) lower ends.
        iou_high: (C,) upper ends.
        pixels: (C,) int64 true pixels of each class.
    """

    images: int
    miou: float
    low: float
    high: float
    iou: np.ndarray
    iou_low: np.ndarray
    iou_high: np.ndarray
    pixels: np.ndarray


def measure(networks: Networks, trainings: Sequence[Training]) -> list[Measured]:
    """Measure trainings on all held-out units that have a label by now; what was counted before is read.

    Args:
        networks: the networks of the project; whoever calls this owns its folder.
        trainings: the trainings to measure.

    Returns:
        One for each training; none if no held-out unit has a label.
    """
    units = networks.held_out
    if not units:
        return []
    counts = [np.stack(list(_counted(networks, training, units).values())) for training in trainings]
    images = np.unique([unit[0] for unit in units], return_inverse=True)[1]
    rng = generator(networks.project.seed, "bootstrap")
    number = images.max() + 1
    drawn = rng.multinomial(number, np.full(number, 1 / number), size=RESAMPLES)
    return [_with_interval(each, images, drawn) for each in counts]


def _with_interval(counts: np.ndarray, images: np.ndarray, drawn: np.ndarray) -> Measured:
    """The figures of (n, C, C) counts of n units, whose images (n,) are resampled as often as `drawn` says."""
    number = drawn.shape[1]
    of_images = np.zeros((number, *counts.shape[1:]), np.int64)
    np.add.at(of_images, images, counts)
    whole = Confusion(of_images.sum(0))
    ends = np.full((2, 1 + counts.shape[1]), np.nan)
    if number > 1:
        resampled = (Confusion(one) for one in np.tensordot(drawn, of_images, 1))
        values = np.array([[one.miou, *100 * one.iou] for one in resampled])
        seen = ~np.isnan(values).all(0)
        ends[:, seen] = np.nanquantile(values[:, seen], [0.025, 0.975], axis=0)
    (low, *iou_low), (high, *iou_high) = ends
    pixels = whole.counts.sum(1)
    return Measured(
        number, whole.miou, low, high, 100 * whole.iou, np.array(iou_low), np.array(iou_high), pixels
    )  # fmt: skip


def _counted(networks: Networks, training: Training, units: dict[Unit, np.ndarray]) -> dict[Unit, np.ndarray]:
    """The (C, C) pixels of (true class, predicted class) of each unit, counted once for each of its labels."""
    path, classes = training.folder / "measured.json", len(networks.project.classes)
    known = _read(path, classes)
    keys = {unit: f"{zlib.crc32(label.tobytes()):08x}" for unit, label in units.items()}
    missing = [unit for unit in units if (unit, keys[unit]) not in known]
    if missing:
        learner, store = networks.learner(training), networks.project.world.store
        for name in dict.fromkeys(unit[0] for unit in missing):
            predicted = class_map(learner, store.index(name))
            for unit in missing:
                if unit[0] == name:
                    y, x, height, width = unit[1:]
                    own = predicted[y : y + height, x : x + width]
                    known[unit, keys[unit]] = confusion(own, units[unit], classes).counts
        rows = [[list(unit), key, counts.ravel().tolist()] for (unit, key), counts in known.items()]
        write_json(path, rows)
    return {unit: known[unit, keys[unit]] for unit in units}


def _read(path: Path, classes: int) -> dict[tuple[Unit, str], np.ndarray]:
    if not path.exists():
        return {}
    try:
        return {
            ((name, y, x, height, width), key): np.array(counts, np.int64).reshape(classes, classes)
            for (name, y, x, height, width), key, counts in read_json(path)
        }
    except (TypeError, ValueError) as error:
        raise RalsegError(f"{path} is damaged ({error}); delete it, and it is counted again") from error
