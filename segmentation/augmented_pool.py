"""Pool-Aug of Best Practices (GCPR 2023): a pool whose redundancy is that of altered copies.

python -m ralseg.segmentation.augmented_pool SOURCE FOLDER --dataset a2d2
"""

import argparse
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import yaml

from ralseg.foundation import Count, PositiveShare, RalsegError, Range, Share, checked, expanded, generator, unwritable
from ralseg.segmentation.augmentation import coloured
from ralseg.segmentation.datasets import A2D2, IGNORE, Cityscapes, Dataset, Folder, Voc

READERS: dict[str, Callable[[str], Dataset]] = {
    "folder": Folder,
    "a2d2": A2D2,
    "a2d2_as_released": partial(A2D2, table="as_released"),
    "cityscapes": Cityscapes,
    "voc": Voc,
}


def write_augmented_pool(
    dataset: Dataset,
    folder: str | Path,
    rng: np.random.Generator,
    originals: int = 440,
    copies: int = 5,
    others: int = 560,
    area: float = 0.85,
    colour: float = 0.25,
) -> None:
    """Write a folder of images for `dataset=folder protocol=pool`, whose D_V are images and altered copies of them.

    A copy is a random window of the image, with its height to width, in other colours (random brightness and contrast
    of each channel). It is not enlarged, so labels are those of the data set, pixel for pixel. The paper says neither
    whether 85 % are of the area or of a side, nor how strong the colours are.

    The folder has the subsets pool (originals x (1 + copies) images; an original and its copies are a group), train
    (`others`, from which all other roles are drawn) and the data set's val and test.

    Args:
        dataset: where images are taken from; those of the pool and of train are drawn from its train.
        folder: a new folder; it is there when all is written.
        rng: the generator of all draws.
        originals: number of images that are drawn for the pool.
        copies: number of copies of each.
        others: number of further images.
        area: share of an image's area that a copy shows.
        colour: strength of the colours, 0 to 1; see `coloured`.

    Raises:
        RalsegError: if the folder exists or cannot be written, there are too few images, a number is out of range, or a
            file of the data set is bad.
    """
    folder = expanded(folder)
    for value, kind, what in ((originals, Count, "originals"), (copies, Count, "copies"),
                              (others, Annotated[int, Range(0)], "others"), (area, PositiveShare, "area"),
                              (colour, Share, "colour")):  # fmt: skip
        checked(kind, value, what)
    elsewhere = {name for subset, names in dataset.subsets.items() if subset != "train" for name in names}
    train = dataset.subsets.get("train") or tuple(name for name in dataset.names if name not in elsewhere)
    if originals + others > len(train):
        raise RalsegError(
            f"{originals} originals and {others} other images are more than the {len(train)} training images of "
            f"{dataset.name}; lower a number"
        )
    drawn = rng.permutation(len(train))
    pool, rest = ([train[i] for i in sorted(part)] for part in (drawn[:originals], drawn[originals:][:others]))
    if folder.exists():
        raise RalsegError(f"{folder}: exists; name a new folder")
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}")
    try:
        subsets = {"pool": [], "train": [], **{subset: [] for subset in ("val", "test") if subset in dataset.subsets}}
        for name in pool:
            pair = dataset.load(name)
            for number, (image, label) in enumerate([pair, *_altered(*pair, copies, area, colour, rng)]):
                subsets["pool"].append(_written(temporary, f"pool/{name}/{number}", image, label))
        for subset, names in {**dataset.subsets, "train": rest}.items():
            for name in names if subset in subsets and subset != "pool" else ():
                group = re.sub(r"[^\w-]+", "_", dataset.groups[name])
                subsets[subset].append(_written(temporary, f"{subset}/{group}/{name}", *dataset.load(name)))
        for subset, names in subsets.items():
            (temporary / f"{subset}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
        classes = [
            {"name": name, "id": id_, "color": color}
            for id_, (name, color) in enumerate(zip(dataset.classes, dataset.colors.tolist(), strict=True))
        ]
        # A group is the folder of an image.
        content = {"classes": classes, "ignore": IGNORE, "groups": ".*/", "subsets": {s: f"{s}.txt" for s in subsets}}
        (temporary / "classes.yaml").write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), "utf-8")
        os.rename(temporary, folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _altered(
    image: np.ndarray, label: np.ndarray, copies: int, area: float, colour: float, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    height, width = (max(1, round(side * np.sqrt(area))) for side in label.shape)
    for _ in range(copies):
        top, left = rng.integers(label.shape[0] - height + 1), rng.integers(label.shape[1] - width + 1)
        window = slice(top, top + height), slice(left, left + width)
        yield coloured(image[window], colour, rng), label[window]


def _written(root: Path, name: str, image: np.ndarray, label: np.ndarray) -> str:
    for place, pixels in (("images", image[..., ::-1]), ("labels", label)):
        path = root / place / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return name


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser("augmented_pool", description="Write a pool of images and altered copies of them.")
    parser.add_argument("source", help="the root of a data set")
    parser.add_argument("folder", help="a new folder, for dataset=folder protocol=pool")
    parser.add_argument("--dataset", choices=READERS, default="folder", help="how the source is read")
    for name, default, kind in (("originals", 440, int), ("copies", 5, int), ("others", 560, int),
                                ("area", 0.85, float), ("colour", 0.25, float), ("seed", 0, int)):  # fmt: skip
        parser.add_argument(f"--{name}", type=kind, default=default, help=f"default {default}")
    given = vars(parser.parse_args(argv))
    try:
        seed = checked(Annotated[int, Range(0)], given.pop("seed"), "seed")
        dataset = READERS[given.pop("dataset")](given.pop("source"))
        write_augmented_pool(dataset, given.pop("folder"), generator(seed, "augmented pool"), **given)
    except RalsegError as error:
        print(f"augmented_pool: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
