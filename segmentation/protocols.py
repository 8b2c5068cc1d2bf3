"""The splits that the group `protocol` of a configuration describes: drawn, or listed in a file."""

import reprlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np

from ralseg.foundation import RalsegError, Range, checked, read_json
from ralseg.segmentation.datasets import SOURCE_DOMAIN, Dataset
from ralseg.segmentation.drawn_splits import check_roles, counts_of, drawable, make_splits
from ralseg.segmentation.splits import ROLES, Splits, check_keys, rows_of

PUBLISHED_KEYS = {"d_s": "state", "d_t": "train", "d_v": "compare", "d_r": "reward"}
SUFFIXES = (".png", ".jpg", ".jpeg")
JUDGED = ("dev", "test")
"""The roles that nothing is learned from."""


def read_splits(path: str | Path, dataset: Dataset) -> Splits:
    """Read splits from lists of names in JSON.

    Args:
        path: a file {role: [names]}; the keys are the fields of `Splits` or the published d_s, d_t, d_v, d_r; names
            may end in .png or .jpg. state, train and compare are required. Without a reward list D_R is all of val.
            Without a test list test is the official test, or val if there is none and D_R is listed. dev and twin are
            empty if they are not listed.
        dataset: the data set that the names belong to.

    Raises:
        RalsegError: if the file is missing or is not such JSON. `Splits.check` checks whether the lists are usable.
    """
    value = read_json(path)
    if not isinstance(value, dict) or not all(isinstance(names, list) for names in value.values()):
        raise RalsegError(f"{path}: expected an object of lists of image names, {{role: [name, ...]}}")
    lists: dict[str, tuple[str, ...]] = {}
    for key, names in value.items():
        role = PUBLISHED_KEYS.get(key, key)
        if role not in ROLES or role in lists:
            raise RalsegError(f"{path}: key {key!r} is unknown or there twice; the keys are {', '.join(ROLES)}")
        lists[role] = tuple(_name(path, name, dataset) for name in names)
    for role in ("state", "train", "compare"):
        if role not in lists:
            raise RalsegError(f"{path}: no list {role!r}; it must hold state, train and compare (or d_s, d_t, d_v)")
    val, test = (dataset.subsets.get(subset, ()) for subset in ("val", "test"))
    official = {"dev": (), "reward": val, "twin": (), "test": test or (val if "reward" in lists else ())}
    return Splits(**(official | lists))


def _name(path: str | Path, name: object, dataset: Dataset) -> str:
    """A listed image; a list can only name images that the data set has, and may name them with a suffix."""
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise RalsegError(f"{path}: {reprlib.repr(name)} is no name of an image; list names as texts")
    text = str(name)
    return text.rsplit(".", 1)[0] if text not in dataset.groups and text.lower().endswith(SUFFIXES) else text


PUBLISHED_COUNTS = {"cityscapes": (10, 150, 2615, 200)}
"""Images of d_s, d_t, d_v and D_R in the original lists; for all other data sets the numbers of CamVid hold."""
CAMVID_COUNTS = (10, 100, 257, 101)


def ralis_splits(dataset: Dataset, path: str | Path) -> Splits:
    """The original lists (Casanova et al. 2020, as released), which have no dev.

    For CamVid, D_R is all of val. For Cityscapes, D_R is 200 training images and test is the official val. The lists of
    Cityscapes contain the images of D_S in D_V as well, where their labels would be bought a second time; they are
    removed from D_V, and a note says so.

    Args:
        dataset: CamVid or Cityscapes.
        path: the released lists as JSON, with the keys d_s, d_t, d_v, and for Cityscapes d_r.

    Raises:
        RalsegError: if the lengths of the lists are not the published ones.
    """
    splits = read_splits(path, dataset)
    lengths = tuple(len(getattr(splits, role)) for role in ("state", "train", "compare", "reward"))
    published = PUBLISHED_COUNTS.get(dataset.name, CAMVID_COUNTS)
    if lengths != published:
        raise RalsegError(
            f"{path}: lists of {lengths} images for d_s, d_t, d_v and D_R where the original has {published}; "
            "use protocol.kind=lists for lists of your own"
        )
    twice = set(splits.state) & set(splits.compare)
    if not twice:
        return splits
    note = f"{len(twice)} images that the original has in D_S and in D_V are taken out of D_V"
    return replace(splits, compare=tuple(n for n in splits.compare if n not in twice), notes=(note,))


KINDS = {
    "generated": ("counts", "fractions", "seed", "exact", "unseen", "runs", "test_groups"),
    "ralis": ("path",),
    "lists": ("path",),
}


def splits_from_config(
    protocol: Mapping, dataset: Dataset, class_counts: np.ndarray, contents: Mapping[str, str] | None = None
) -> Splits:
    """Make and check the splits of a protocol.

    Args:
        protocol: a mapping with `kind`: "generated" with `counts` (role -> images) or `fractions` (role -> share of the
            images to draw from), `seed` and optionally `exact`, `unseen`, `runs` and `test_groups`; "ralis" or "lists"
            with `path`.
        dataset: the data set.
        class_counts: int (len(dataset.names), C), the pixels of each class in each label.
        contents: image name -> a digest of its pixels, by which the same image in two roles is found.

    Returns:
        The splits; their notes say what was left out and which class D_S or all labels lack.

    Raises:
        RalsegError: if the kind or a key is unknown or missing, or the splits are not usable.
    """
    kind = protocol.get("kind")
    if kind not in KINDS:
        raise RalsegError(f"protocol.kind={kind!r} is unknown; choose from {', '.join(KINDS)}")
    needed = ("seed",) if kind == "generated" else ("path",)
    check_keys(protocol, f"kind {kind}", ("kind", "name", *KINDS[kind]), needed)
    if kind == "generated":
        splits = _generated(protocol, dataset, class_counts, contents)
    else:
        path = protocol["path"]
        splits = read_splits(path, dataset) if kind == "lists" else ralis_splits(dataset, path)
    splits = replace(splits, source_domain=dataset.subsets.get(SOURCE_DOMAIN, ()))
    splits.check(dataset, class_counts)
    notes = [*splits.notes, *_lacking(splits, dataset, class_counts)]
    if contents is not None:
        notes += _repeated(splits, contents)
    return replace(splits, notes=tuple(notes))


def _generated(
    protocol: Mapping, dataset: Dataset, class_counts: np.ndarray, contents: Mapping[str, str] | None
) -> Splits:
    if (protocol.get("counts") is None) == (protocol.get("fractions") is None):
        raise RalsegError("protocol: kind generated takes either protocol.counts or protocol.fractions; give one")
    given = "fractions" if protocol.get("counts") is None else "counts"
    if given == "fractions":
        check_roles(protocol[given], given, dataset)
    test_groups = checked(tuple[str, ...], protocol.get("test_groups", ()), "protocol.test_groups")
    source = drawable(dataset, class_counts, contents, test_groups)
    counts, notes = (protocol["counts"], ()) if given == "counts" else counts_of(protocol["fractions"], source)
    chosen = protocol.get("exact", False), protocol.get("unseen")
    seed = checked(Annotated[int, Range(0)], protocol["seed"], "protocol.seed")
    runs = checked(Annotated[int, Range(1)], protocol.get("runs", 1), "protocol.runs")
    if runs > 1 and given == "fractions" and "compare" in counts:
        if runs > counts["compare"]:
            raise RalsegError(f"protocol.runs={runs} is more than the {counts['compare']} images of D_V; lower it")
        notes += (f"D_V has {counts['compare'] - counts['compare'] % runs} images, so that runs of {runs} fit",)
        counts = {**counts, "compare": counts["compare"] - counts["compare"] % runs}
    splits = make_splits(dataset, counts, seed, class_counts, *chosen, source, runs)
    return replace(splits, notes=(*splits.notes, *notes))


def _lacking(splits: Splits, dataset: Dataset, class_counts: np.ndarray) -> list[str]:
    """Notes on classes without a pixel: a network cannot predict what it has never seen."""
    notes, everywhere = [], class_counts.sum(0)
    state = class_counts[rows_of(dataset, splits.state)].sum(0)
    never = [name for name, count in zip(dataset.classes, everywhere, strict=True) if not count]
    if never:
        notes.append(f"no label has a pixel of {', '.join(never)}")
    missing = [name for name, count in zip(dataset.classes, state, strict=True) if not count and name not in never]
    if missing:
        notes.append(f"D_S has no pixel of {', '.join(missing)}")
    return notes


def _repeated(splits: Splits, contents: Mapping[str, str]) -> list[str]:
    """A note on images with the same content.

    Raises:
        RalsegError: if dev or test has an image that is learned from elsewhere.
    """
    first: dict[str, tuple[str, str]] = {}
    repeated: list[tuple[str, str]] = []
    for role in (SOURCE_DOMAIN, *(role for role in ROLES if role not in JUDGED), *JUDGED):
        for name in getattr(splits, role):
            other, where = first.setdefault(contents[name], (name, role))
            if other == name:
                continue
            if role in JUDGED and where not in JUDGED:
                raise RalsegError(
                    f"splits: {name!r} of {role} is the same picture as {other!r} of {where}, so that {role} would "
                    "judge what was learned by heart; remove one of the two, or list both in one role"
                )
            repeated.append((name, other))
    if not repeated:
        return []
    name, other = repeated[0]
    return [f"{len(repeated)} images have the content of another one, e.g. {name} that of {other}"]
