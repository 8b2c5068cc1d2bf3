"""Which kind of acquisition suits a folder of images: how redundant it is, how much is labelled, what was measured."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch

from ralseg.foundation import RalsegError, generator
from ralseg.segmentation.datasets.folder_files import SUFFIXES, by_name, walk
from ralseg.segmentation.datasets.images import read_rgb
from ralseg.segmentation.drawn_splits import natural
from ralseg.segmentation.networks import EncoderFPN
from ralseg.stats.redundancy import FEWEST, Redundancy, redundancy

Pool = Literal["diverse", "redundant", "unsure"]
Budget = Literal["low", "high", "unsure"]
Kind = Literal["single", "batch", "random", "unsure"]

BORDER = 0.2
"""Of `Redundancy.in_sequence`, between diverse and redundant pools; how it was chosen: docs/best_practices.md."""
COPIES = (0.15, 0.3)
"""Shares of images with a near copy: below the first a pool is not redundant for it, above the second it is."""
LOW, HIGH = 0.1, 0.25
"""Shares of the images that are labelled in the end: at most LOW is a low budget (2-2), HIGH or more a high one."""
SIDE, BATCH = 256, 16
"""Longer side of the images that the encoder sees, in pixels, and how many it sees at once."""

PUBLISHED: dict[tuple[str, str], tuple[Kind, bool]] = {
    ("diverse", "low"): ("random", True),
    ("diverse", "high"): ("single", True),
    ("redundant", "low"): ("batch", False),
    ("redundant", "high"): ("batch", True),
}
"""Pool and budget -> the best kind, and whether unlabelled images help it: Best Practices (GCPR 2023), Table 7."""

EXAMPLES = {"single": "margin or entropy", "batch": "coreset or max_herding", "random": "random"}


@dataclass(frozen=True)
class Advice:
    """What the guide says.

    Attributes:
        pool: diverse, redundant or unsure.
        budget: low, high or unsure.
        kind: the kind of acquisition: single (the images with the highest scores), batch (a set that covers the pool),
            random, or unsure.
        semi_supervised: whether unlabelled images should teach, too; None for unsure.
        why: sentences for a person, the most important first.
    """

    pool: Pool
    budget: Budget
    kind: Kind
    semi_supervised: bool | None
    why: tuple[str, ...]


def pictures(folder: Path) -> dict[str, Path]:
    """Name -> file of the images of a folder, or of its images/, in sequence: by sub-folder and by numbers in names.

    Raises:
        RalsegError: if there are none.
    """
    root = folder / "images" if (folder / "images").is_dir() else folder
    found = by_name(root, walk(root, SUFFIXES)[0])
    if not found:
        raise RalsegError(f"{root}: no images; give a folder of PNG or JPEG files, or one with images/")
    return dict(sorted(found.items(), key=lambda item: (item[0].rpartition("/")[0], natural(item[0]))))


@torch.inference_mode()
def embedded(paths: Sequence[Path]) -> np.ndarray:
    """The mean of the deepest map of the default network's ImageNet encoder over each image, float32 (n, D)."""
    encoder = EncoderFPN(2, weights="imagenet").eval()
    points = np.empty((len(paths), encoder.widths[-1]), np.float32)
    waiting: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}

    def see(shape: tuple[int, ...]) -> None:
        rows, images = zip(*waiting.pop(shape), strict=True)
        maps = encoder.lower(encoder.normalise(torch.from_numpy(np.stack(images))), "partial")
        points[list(rows)] = maps[-1].mean((2, 3)).numpy()

    for row, path in enumerate(paths):
        image = read_rgb(path)
        scale = min(1.0, SIDE / max(image.shape[:2]))
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        waiting.setdefault(image.shape, []).append((row, image))
        if len(waiting[image.shape]) == BATCH:
            see(image.shape)
    for shape in list(waiting):
        see(shape)
    return points


def measured(images: dict[str, Path]) -> Redundancy:
    """The redundancy of images in sequence, see `pictures`.

    Raises:
        RalsegError: if there are too few to measure it.
    """
    if len(images) < FEWEST:
        raise RalsegError(f"{len(images)} images are too few to measure their redundancy; {FEWEST} or more are needed")
    groups = np.unique([name.rpartition("/")[0] for name in images], return_inverse=True)[1]
    return redundancy(embedded(list(images.values())), groups, generator(0, "redundancy"))


def kind_of_pool(found: Redundancy) -> Pool:
    """Diverse or redundant where the whole interval is on one side of the border, otherwise unsure."""
    if found.low > BORDER or found.copies >= COPIES[1]:
        return "redundant"
    return "diverse" if found.high < BORDER and found.copies < COPIES[0] else "unsure"


def kind_of_budget(share: float) -> Budget:
    """Low or high, for the share of the images that is labelled in the end, 0 to 1; unsure in between."""
    return "low" if share <= LOW else "high" if share >= HIGH else "unsure"


@cache
def evidence() -> tuple[dict[str, Any], ...]:
    """What was measured: `pool`, `budget`, `data`, `results`, `draws`, and `differences`: name -> [mean, low, high]."""
    return tuple(json.loads((files("ralseg.annotation") / "evidence.json").read_text()))


def advise(found: Redundancy, images: int, budget: int) -> Advice:
    """Advice for a pool and a budget.

    What our own experiments show decides; where they show no difference, the published guide does, and the advice says
    so. Where pool or budget lie between the kinds, the advice is unsure unless both neighbours agree.

    Args:
        found: the redundancy of the pool.
        images: their number.
        budget: how many of them will be labelled in the end, 1 or more.
    """
    pool, paid = kind_of_pool(found), kind_of_budget(budget / images)
    pools = ("diverse", "redundant") if pool == "unsure" else (pool,)
    budgets = ("low", "high") if paid == "unsure" else (paid,)
    told = [_told(p, b) for p in pools for b in budgets]
    kinds: set[Kind] = {kind for kind, _, _ in told}
    helps = {help_ for _, help_, _ in told}
    kind: Kind = kinds.pop() if len(kinds) == 1 else "unsure"
    semi_supervised = helps.pop() if len(helps) == 1 else None
    why = (
        f"The pool is {pool}: the nearest image in sequence is {np.exp(found.in_sequence):.2f} times nearer "
        f"[{np.exp(found.low):.2f}, {np.exp(found.high):.2f}] than the nearest other one, beyond chance; the border is "
        f"{np.exp(BORDER):.2f}. {found.copies:.0%} of the images have a near copy.",
        f"The budget is {paid}: {budget} of {images} images, {budget / images:.1%}.",
        *(sentence for _, _, sentences in told for sentence in sentences),
    )
    return Advice(pool, paid, kind, semi_supervised, why)


def _told(pool: str, budget: str) -> tuple[Kind, bool | None, list[str]]:
    """The kind for one cell of the guide, whether unlabelled images help, and what both rest on."""
    published, helps = PUBLISHED[pool, budget]
    entries = [entry for entry in evidence() if (entry["pool"], entry["budget"]) == (pool, budget)]
    where = f"{pool} pools, {budget} budgets"
    shown: list[Kind] = [kind for kind in ("single", "batch") if _above(entries, f"{kind} - random")]
    if len(shown) == 2:
        shown = [k for k in shown if _above(entries, f"{k} - {'batch' if k == 'single' else 'single'}")] or shown
    contradicted = [kind for kind in ("single", "batch") if _above(entries, f"random - {kind}")]
    sentences = [f"{where}: published as best (GCPR 2023, Table 7): {published}."]
    sentences += [_in_words(entry) for entry in entries]
    kind: Kind = published
    if shown and published not in shown:
        kind = shown[0] if len(shown) == 1 else "unsure"
        sentences.append(f"{where}: our experiments show that {' and '.join(shown)} is better than random.")
    elif published in contradicted:
        kind = "random"
        sentences.append(f"{where}: our experiments show random to be better than {published}.")
    elif published not in shown and published != "random":
        sentences.append(f"{where}: our experiments do not show that {published} is better than random.")
    gains = [_above(entries, "semi-supervised - supervised"), _above(entries, "supervised - semi-supervised")]
    if gains[0] != gains[1]:
        helps = gains[0]
    return kind, helps, sentences


def _above(entries: Sequence[dict[str, Any]], name: str) -> bool:
    """Whether a difference is above 0 in one data set at least, and below 0 in none."""
    first, _, second = name.partition(" - ")
    bounds = []
    for entry in entries:
        if name in entry["differences"]:
            bounds.append(entry["differences"][name][1:])
        elif (other := f"{second} - {first}") in entry["differences"]:
            low, high = entry["differences"][other][1:]
            bounds.append([-high, -low])
    return any(low > 0 for low, _ in bounds) and not any(high < 0 for _, high in bounds)


def _in_words(entry: dict[str, Any]) -> str:
    parts = ", ".join(
        f"{name} {mean:+.2f} [{low:+.2f}, {high:+.2f}]" for name, (mean, low, high) in entry["differences"].items()
    )
    return f"Measured on {entry['data']} ({entry['draws']} draws, results/{entry['results']}): {parts} mIoU."
