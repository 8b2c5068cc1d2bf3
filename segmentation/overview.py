"""What a data set holds, in a few lines: read at the start of a run, they show a shifted or wrong label map."""

from collections.abc import Sequence

import numpy as np

from ralseg.segmentation.datasets import SOURCE_DOMAIN
from ralseg.segmentation.splits import ROLES, Splits
from ralseg.segmentation.store import ImageStore

SIZES = 3
"""The most sizes of images that are listed."""
TITLES = {"state": "D_S", "train": "D_T", "compare": "D_V", "reward": "D_R", SOURCE_DOMAIN: "source domain"}


def overview(store: ImageStore, splits: Splits) -> list[str]:
    """Images and sizes, the images of each role, void, and the share of each class.

    Args:
        store: all images of the data set; only its counts are read.
        splits: the roles.

    Returns:
        Four lines, the last of which grows with the classes.
    """
    counts = store.class_counts()
    sizes = np.array([store.size(i) for i in range(len(store))])
    labelled = counts.sum(1) > 0
    total, pixels = counts[labelled].sum(0), sizes.prod(1)[labelled].sum()
    bare = "all with labels" if labelled.all() else f"{labelled.sum()} with labels"
    roles = {TITLES.get(role, role): getattr(splits, role) for role in (*ROLES, SOURCE_DOMAIN)}
    held = {name: bool(labelled[i]) for i, name in enumerate(store.names)}
    shares = ", ".join(
        f"{name} {_percent(count, total.sum())}" for name, count in zip(store.dataset.classes, total, strict=True)
    )
    return [
        f"{store.dataset.title}: {len(store)} images, {_sizes(sizes)}; {bare}",
        "images: " + ", ".join(_role(title, names, held) for title, names in roles.items() if names),
        f"void: {_percent(pixels - total.sum(), pixels)} % of the pixels of labelled images",
        f"classes in % of the labelled pixels: {shares}",
    ]


def _role(title: str, names: Sequence[str], labelled: dict[str, bool]) -> str:
    known = sum(labelled[name] for name in names)
    return f"{title} {len(names)}" + (f" ({known} labelled)" if known < len(names) else "")


def _sizes(sizes: np.ndarray) -> str:
    found, times = np.unique(sizes, axis=0, return_counts=True)
    if len(found) > SIZES:
        low, high = sizes.min(0), sizes.max(0)
        return f"{len(found)} sizes from {low[0]} x {low[1]} to {high[0]} x {high[1]} (height x width)"
    often = times.argsort()[::-1]
    return " and ".join(f"{found[i][0]} x {found[i][1]}" for i in often) + " (height x width)"


def _percent(part: float, whole: float) -> str:
    """A share in percent: two digits where it is small, 0 only if there is nothing."""
    share = 100 * part / max(whole, 1)
    return "0" if not part else f"{share:.1f}" if share >= 1 else f"{share:.2g}" if share >= 0.001 else "<0.001"
