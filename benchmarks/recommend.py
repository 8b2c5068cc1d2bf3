"""Whether `ralseg-query recommend` tells diverse pools from redundant ones, on pools of known making."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ralseg.annotation.guide import BORDER, embedded, kind_of_pool, measured, pictures
from ralseg.benchmarks.measure import configured
from ralseg.envs import World
from ralseg.foundation import generator
from ralseg.segmentation.augmented_pool import write_augmented_pool
from ralseg.segmentation.datasets import Dataset, Streets
from ralseg.segmentation.drawn_splits import natural
from ralseg.stats.redundancy import FEWEST, redundancy

IMAGES = 132
"""Of each pool: whole runs of 6, 12 and 22."""
RUNS = (6, 12, 22)
COPIES = 5
DRAWN = (180, 240)
MANY = 8
"""With so many groups (clips), the border was chosen on every second one, and the others are for checking it."""


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """Make pools of a data set and of drawn streets, and ask the guide of each what it is.

    Args:
        overrides: of `train_agent.yaml`; the data set has groups of 22 images or more.
        share: share of the images of each pool, above 0 and at most 1; 60 at least.
    """
    dataset = World(configured((), overrides)).dataset
    count = max(FEWEST, round(share * IMAGES))
    groups = sorted(set(dataset.groups.values()))
    held_out = set(groups[1::2] if len(groups) >= MANY else groups)
    sequence = [name for name in in_sequence(dataset) if dataset.groups[name] in held_out]
    streets = Streets(count, DRAWN)
    pools: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for made, kind, names in [*taken(dataset, sequence, count), ("drawn, one scene an image", "diverse", None)]:
            own, chosen = (streets, list(streets.names)) if names is None else (dataset, names)
            pools.append(asked(made, kind, written(own, chosen, Path(folder) / f"{len(pools)}")))
        for source in (dataset, streets):
            copied = Path(folder) / f"{len(pools)}"
            rng = generator(0, "copies")
            write_augmented_pool(source, copied, rng, originals=count // (1 + COPIES), copies=COPIES, others=0)
            of = "drawn streets" if source is streets else dataset.name
            pools.append(asked(f"{COPIES} altered copies, {of}", "redundant", copied / "images" / "pool"))
    found: dict[str, Any] = {"border": BORDER, "pools": pools}
    if len(groups) >= MANY:
        found["chosen_on"] = chosen_on(dataset, set(groups[::2]), count)
    return found


def rows(found: dict[str, Any]) -> list[list[Any]]:
    """One line for each pool."""
    table: list[list[Any]] = [["pool", "images", "in sequence", "low", "high", "copies", "it is", "the guide says"]]
    for pool in found["pools"]:
        values = [pool[key] for key in ("images", "in_sequence", "low", "high", "copies", "made", "said")]
        table.append([pool["name"], *values])
    return table


def in_sequence(dataset: Dataset) -> list[str]:
    """All names, by group and by the numbers in them."""
    return sorted(dataset.names, key=lambda name: (dataset.groups[name], natural(name)))


def taken(dataset: Dataset, sequence: list[str], count: int) -> Iterator[tuple[str, str, list[str]]]:
    """Pools of images of a data set: spread evenly over the sequence, and in runs of neighbours."""
    places = np.linspace(0, len(sequence) - 1, count).round().astype(int)
    yield "spread evenly", "diverse", [sequence[i] for i in places]
    for length in RUNS:
        blocks: list[list[str]] = []
        for group in dict.fromkeys(dataset.groups[name] for name in sequence):
            own = [name for name in sequence if dataset.groups[name] == group]
            blocks += [own[i : i + length] for i in range(0, len(own) - length + 1, length)]
        chosen = sorted(
            generator(0, "runs", length).permutation(len(blocks))[: max(-(-FEWEST // length), count // length)]
        )
        yield f"runs of {length}", "redundant", [name for i in chosen for name in blocks[i]]


def written(dataset: Dataset, names: Sequence[str], folder: Path) -> Path:
    """A folder of the images alone, as a person has it."""
    folder.mkdir()
    for name in names:
        path = folder / f"{name.replace('/', '_')}.png"
        cv2.imwrite(str(path), cv2.cvtColor(dataset.load(name)[0], cv2.COLOR_RGB2BGR))
    return folder


def asked(name: str, kind: str, folder: Path) -> dict[str, Any]:
    """What the guide says of a folder."""
    images = pictures(folder)
    found = measured(images)
    return {"name": name, "images": len(images), **found._asdict(), "made": kind, "said": kind_of_pool(found)}


def chosen_on(dataset: Dataset, groups: set[str], count: int) -> dict[str, list[float]]:
    """What the border was chosen between: `in_sequence` of pools of the other groups, four draws of each.

    Random pools lie between those that are spread evenly and runs.
    """
    sequence = [name for name in in_sequence(dataset) if dataset.groups[name] in groups]
    with tempfile.TemporaryDirectory() as folder:
        points = embedded(list(pictures(written(dataset, sequence, Path(folder) / "all")).values()))
    clips = np.array([dataset.groups[name] for name in sequence])
    found: dict[str, list[float]] = {}

    def note(name: str, rows_: np.ndarray) -> None:
        value = redundancy(points[rows_], np.zeros(len(rows_)), generator(0, "redundancy"))
        found.setdefault(name, []).append(value.in_sequence)

    for draw in range(4):
        rng = generator(draw, "chosen on")
        spread = len(sequence) / count
        note("spread evenly", ((np.arange(count) + rng.random()) * spread).astype(int))
        note("random", np.sort(rng.choice(len(sequence), count, replace=False)))
        for length in RUNS:
            blocks = [
                np.arange(begin, begin + length)
                for begin in range(0, len(sequence) - length + 1, length)
                if len(set(clips[begin : begin + length])) == 1
            ]
            some = np.sort(rng.permutation(len(blocks))[: max(-(-FEWEST // length), count // length)])
            note(f"runs of {length}", np.concatenate([blocks[i] for i in some]))
    return found
