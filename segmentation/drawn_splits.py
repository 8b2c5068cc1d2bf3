"""Splits that are drawn at random, in proportion to the groups of a data set."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ralseg.foundation import RalsegError, generator
from ralseg.segmentation.datasets import Dataset
from ralseg.segmentation.grouped_draw import apportion, draw_by_group
from ralseg.segmentation.splits import MAY_BE_EMPTY, POOLS, ROLES, Splits, check_keys, rows_of

CANDIDATES = 4096
"""Number of random draws of D_S, of which the one most similar to D_T is used."""

USUAL_SHARES = {"reward": 0.1, "test": 0.15}
"""Shares of the training images for roles that neither the fractions nor the official subsets give."""


@dataclass(frozen=True)
class Drawable:
    """The images that roles are drawn from.

    Attributes:
        names: the training images, each content once.
        labelled: (n,) bool, whether an image has a labelled pixel.
        val: the labelled images of the official val.
        test: the labelled images of the official test.
        notes: on what is left out.
    """

    names: tuple[str, ...]
    labelled: np.ndarray
    val: tuple[str, ...]
    test: tuple[str, ...]
    notes: tuple[str, ...]


def drawable(
    dataset: Dataset,
    class_counts: np.ndarray,
    contents: Mapping[str, str] | None = None,
    test_groups: Sequence[str] = (),
) -> Drawable:
    """The images that roles can be drawn from: those of train, or of no subset if there is no train.

    Args:
        dataset: the data set.
        class_counts: int (len(dataset.names), C), the pixels of each class in each label.
        contents: image name -> a digest of its pixels; of images that are the same, one is drawn from.
        test_groups: the groups (clips, cities) whose images are test, in the place of the official one.

    Raises:
        RalsegError: if no image has a labelled pixel, or a group is unknown.
    """
    subsets = _with_test(dataset, test_groups)
    elsewhere = {name for subset, names in subsets.items() if subset != "train" for name in names}
    training = subsets.get("train") or tuple(name for name in dataset.names if name not in elsewhere)
    has_label = {name: bool(count.any()) for name, count in zip(dataset.names, class_counts, strict=True)}
    notes: list[str] = []
    copies: dict[str, str] = {}
    if contents is not None:
        copies = _copies(sorted(training, key=lambda name: not has_label[name]), sorted(elsewhere), contents)
        training = tuple(name for name in training if name not in copies)
        if copies:
            first = ", ".join(f"{name} (of {other})" for name, other in sorted(copies.items())[:3])
            notes.append(f"{len(copies)} training images are copies of others and are left out: {first}")
    if not any(has_label[name] for name in training):
        apart = f", apart from {len(copies)} copies of others" if copies else ""
        raise RalsegError(f"splits: no training image of {dataset.name} has a labelled pixel{apart}; label some")
    official = {}
    for subset in ("val", "test"):
        names = subsets.get(subset, ())
        official[subset] = tuple(name for name in names if has_label[name])
        if left_out := len(names) - len(official[subset]):
            notes.append(f"{left_out} of {len(names)} images of {subset} have no label and are left out")
    labelled = np.array([has_label[name] for name in training])
    return Drawable(training, labelled, official["val"], official["test"], tuple(notes))


def _with_test(dataset: Dataset, groups: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The subsets of a data set, of which test has the images of some groups and the others have none of them."""
    if not groups:
        return dict(dataset.subsets)
    if unknown := sorted(set(groups) - set(dataset.groups.values())):
        raise RalsegError(
            f"protocol.test_groups: {dataset.name} has no group {unknown[0]!r}; choose from "
            f"{', '.join(sorted(set(dataset.groups.values())))}"
        )
    others = {
        subset: tuple(name for name in names if dataset.groups[name] not in groups)
        for subset, names in dataset.subsets.items()
        if subset != "test"
    }
    return others | {"test": tuple(name for name in dataset.names if dataset.groups[name] in groups)}


def _copies(names: Sequence[str], before: Sequence[str], contents: Mapping[str, str]) -> dict[str, str]:
    """Name -> the earlier image, of `before` or of `names`, that has the same content."""
    first = {contents[name]: name for name in reversed(before)}
    copies = {}
    for name in names:
        other = first.setdefault(contents[name], name)
        if other != name:
            copies[name] = other
    return copies


def counts_of(fractions: Mapping[str, float], source: Drawable) -> tuple[dict[str, int], tuple[str, ...]]:
    """Numbers of images from shares, and a note if shares were added.

    What a role needs labels for is a share of the labelled images; images without a label join the two pools in
    proportion to their shares. A needed role gets one image or more. If there is no official val or test to take D_R
    or test from and no share for it, it gets its `USUAL_SHARES`, and where the shares exceed 1 by that, the others give
    way in proportion.

    Raises:
        RalsegError: if a share is no number from 0, they add up to more than 1, or there are too few labelled images.
    """
    shares = dict(fractions)
    numbers = all(isinstance(s, int | float) and not isinstance(s, bool) and s >= 0 for s in shares.values())
    if not numbers or not sum(shares.values()) <= 1 + 1e-9:
        raise RalsegError(f"protocol.fractions={shares} must be numbers of 0 or more that add up to at most 1")
    if nothing := [role for role, share in shares.items() if not share and role not in MAY_BE_EMPTY]:
        raise RalsegError(f"protocol.fractions.{nothing[0]} is 0; every role but dev and twin needs images")
    official = {"reward": source.val, "test": source.test or (source.val if "reward" in shares else ())}
    added = {role: share for role, share in USUAL_SHARES.items() if role not in shares and not official[role]}
    if added:
        rest = min(1.0, (1 - sum(added.values())) / max(sum(shares.values()), 1e-9))
        shares = {role: rest * share for role, share in shares.items()} | added
    images = int(source.labelled.sum())
    counts = {role: int(images * share + 1e-9) for role, share in shares.items()}
    needed = [role for role in shares if role not in MAY_BE_EMPTY]
    if len(needed) > images:
        raise RalsegError(
            f"splits: {images} images with a label are too few to draw from; at least {len(needed)} are needed, one "
            f"each for {', '.join(needed)}"
        )
    counts |= {role: max(1, counts[role]) for role in needed}
    while sum(counts.values()) > images:
        counts[max(counts, key=lambda role: counts[role])] -= 1
    if images < len(source.names) and all(shares.get(role) for role in POOLS):
        pools = np.array([shares[role] for role in POOLS]) * 1e6
        unlabelled = apportion(pools.astype(np.int64), len(source.names) - images)
        counts |= {role: counts[role] + int(n) for role, n in zip(POOLS, unlabelled, strict=True)}
    said = ", ".join(f"{role} {count}" for role, count in counts.items())
    lacking = " and ".join({"reward": "val for D_R", "test": "test"}[role] for role in added)
    return counts, (
        f"the data set has no {lacking}; all roles are drawn from the same images: {said}",
    ) if added else ()


def check_roles(value: Mapping[str, object], where: str, dataset: Dataset) -> None:
    """Check the roles of `protocol.counts` or `fractions`: D_V is drawn, unless the data set has a pool of its own.

    Raises:
        RalsegError: if a role is unknown or missing, or D_V is named although there is a pool.
    """
    pool = "pool" in dataset.subsets
    check_keys(value, where, ROLES, needed=("state", "train") if pool else ("state", *POOLS))
    if pool and "compare" in value:
        raise RalsegError(
            f"protocol.{where}.compare: D_V is the pool of {dataset.name}; set protocol=pool, or leave the pool out"
        )


def make_splits(
    dataset: Dataset,
    counts: Mapping[str, int],
    seed: int,
    class_counts: np.ndarray,
    exact: bool = False,
    unseen: str | None = None,
    source: Drawable | None = None,
    runs: int = 1,
) -> Splits:
    """Draw splits from the training subset in proportion to its groups.

    D_T is drawn first. D_S is, of those of `CANDIDATES` draws that have the most classes, the one with the class shares
    nearest to those of D_T (L1). The other roles are drawn without further conditions. Images without a label are drawn
    for D_T and D_V alone, where labelled images do not suffice. Roles that `counts` does not name come from the
    official subsets: D_R is every second image of val by name (the first, the third and so on), its twin is the rest of
    val, and test is test, or val if there is no test and D_R is drawn. Where the data set has a subset pool, that is
    D_V, which is not drawn then.

    Args:
        dataset: the data set.
        counts: role -> number of images to draw; state, train and compare are required, compare not with a pool.
        seed: seed of the draw.
        class_counts: int (len(dataset.names), C), the pixels of each class in each label.
        exact: whether the counts must use up the training subset.
        unseen: a group (clip, city) of the training subset that no policy may learn from: D_V and dev are drawn from it
            alone, all other roles from the other groups.
        source: the images to draw from; None: `drawable` of the data set.
        runs: D_V, which is then drawn first, consists of so many images that follow each other in their group, again
            and again: a redundant pool, as frames of a video are (Best Practices, GCPR 2023).

    Raises:
        RalsegError: if a count is missing, negative or too large, the group is unknown, or D_V cannot be drawn in runs.
    """
    source = source or drawable(dataset, class_counts)
    check_roles(counts, "counts", dataset)
    if "pool" in dataset.subsets and (unseen is not None or runs > 1):
        raise RalsegError("protocol.unseen and runs say how D_V is drawn, but the data set has a pool; leave them out")
    for role, count in counts.items():
        least = 0 if role in MAY_BE_EMPTY else 1
        if not isinstance(count, int) or isinstance(count, bool) or count < least:
            raise RalsegError(f"protocol.counts.{role}={count!r} must be a number of images, {least} or more")
    pool, total = source.names, sum(counts.values())
    if total > len(pool) or (exact and total < len(pool)):
        raise RalsegError(
            f"protocol.counts add up to {total} images, {dataset.name} has {len(pool)} to draw from; "
            f"{'they must use all of them' if exact else 'lower a count'}"
        )
    counts = {"compare": 0, **counts}
    drawn = _draw(dataset, source, counts, generator(seed, "split"), class_counts, unseen, runs)
    if "pool" in dataset.subsets:
        drawn["compare"] = dataset.subsets["pool"]
    official = {"dev": (), "reward": source.val[::2], "twin": source.val[1::2], "test": source.test}
    if "reward" in drawn:
        # A D_R that was drawn elsewhere has no twin frames, and val is free.
        official |= {"twin": (), "test": source.test or source.val}
    splits = Splits(**(official | drawn), notes=source.notes)
    if unseen is not None and unseen in {dataset.groups[name] for name in splits.reward}:
        raise RalsegError(
            f"splits: D_R has images of group {unseen}, which is to stay unseen; give protocol.counts.reward, so "
            "that it is drawn from the other groups"
        )
    splits.check(dataset, class_counts)
    return splits


def _draw(
    dataset: Dataset,
    source: Drawable,
    counts: Mapping[str, int],
    rng: np.random.Generator,
    class_counts: np.ndarray,
    unseen: str | None,
    runs: int,
) -> dict[str, tuple[str, ...]]:
    pool, rows = source.names, rows_of(dataset, source.names)
    named, groups = np.unique([dataset.groups[name] for name in pool], return_inverse=True)
    if unseen is not None and unseen not in named:
        raise RalsegError(
            f"protocol.unseen: no group {unseen!r} to leave unseen; the training images have {', '.join(named)}"
        )
    apart = groups == named.tolist().index(unseen) if unseen is not None else None
    labelled = _with_labels(dataset, counts, int(source.labelled.sum()))
    free = np.ones(len(pool), bool)
    chosen: dict[str, np.ndarray] = {}

    def left(role: str, count: int, among: np.ndarray) -> np.ndarray:
        found = np.flatnonzero(
            free & among if apart is None else free & among & (apart == (role in ("compare", "dev")))
        )
        if count > len(found):
            where = f"in group {unseen}" if role in ("compare", "dev") else f"outside group {unseen}"
            raise RalsegError(
                f"splits: protocol.counts.{role} is {counts[role]}, {len(found)} images are left {where}; lower it"
            )
        return found

    order = ["train", "state", *(role for role in ROLES if role in counts and role not in ("train", "state"))]
    for role in sorted(order, key=lambda role: role != "compare") if runs > 1 else order:
        found = left(role, labelled[role], source.labelled)
        if role == "compare" and runs > 1:
            if labelled[role] < counts[role]:
                raise RalsegError("protocol.runs is for pools of labelled images; lower protocol.counts.compare")
            picked = found[_in_runs([pool[i] for i in found], groups[found], counts[role], runs, rng)]
        elif role == "state":
            draws = draw_by_group(groups[found], counts[role], CANDIDATES, rng)
            picked = found[_nearest(class_counts[rows[found]], draws, class_counts[rows[chosen["train"]]].sum(0))]
        else:
            picked = found[draw_by_group(groups[found], labelled[role], 1, rng)[0]]
        chosen[role] = picked
        free[picked] = False
    for role in POOLS:
        if more := counts[role] - labelled[role]:
            found = left(role, more, ~source.labelled)
            picked = found[draw_by_group(groups[found], more, 1, rng)[0]]
            chosen[role] = np.concatenate([chosen[role], picked])
            free[picked] = False
    return {role: tuple(pool[i] for i in sorted(picked)) for role, picked in chosen.items()}


def _in_runs(names: Sequence[str], groups: np.ndarray, count: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Positions of `count` images in runs of `length` that follow each other in their group, int64 (count,)."""
    if count % length:
        raise RalsegError(
            f"protocol.runs={length} does not divide the {count} images of D_V; set "
            f"protocol.counts.compare={count - count % length}"
        )
    order = sorted(range(len(names)), key=lambda i: (groups[i], natural(names[i])))
    begun = int(rng.integers(length))
    blocks, of_blocks = [], []
    for group in np.unique(groups):
        own = [i for i in order if groups[i] == group]
        # Runs begin at a random image, so that seeds differ in more than which runs they take.
        own = own[min(begun, len(own) % length) :]
        whole = len(own) // length
        blocks += [own[number * length : (number + 1) * length] for number in range(whole)]
        of_blocks += [group] * whole
    if len(blocks) * length < count:
        raise RalsegError(
            f"protocol.runs={length}: {len(blocks)} runs of so many images are there, and D_V needs {count // length}; "
            "lower protocol.runs or protocol.counts.compare"
        )
    _, numbers = np.unique(of_blocks, return_inverse=True)
    return np.concatenate([blocks[i] for i in draw_by_group(numbers, count // length, 1, rng)[0]])


def natural(name: str) -> list[tuple[int, str]]:
    """By which names sort as people count: `road_9` before `road_10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _with_labels(dataset: Dataset, counts: Mapping[str, int], images: int) -> dict[str, int]:
    """How many images of each role are to have a label: all, but in the pools those that are left."""
    pools = [counts[role] for role in POOLS]
    left = images - sum(counts.values()) + sum(pools)
    if left >= sum(pools):
        return dict(counts)
    if not counts["compare"] and left > 0:
        return {**counts, "train": left}
    if left < len(POOLS):
        raise RalsegError(
            f"splits: {images} images of {dataset.name} have a label, {images - left + len(POOLS)} are needed: one "
            "each for train and compare, and all of the other roles; label more, or lower protocol.counts or fractions"
        )
    train = min(max(1, int(apportion(np.array(pools), left)[0])), left - 1)
    return {**counts, "train": train, "compare": left - train}


def _nearest(counts: np.ndarray, draws: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Of the draws with the most classes, the one whose class shares are nearest to the target's."""
    sums = counts[draws].sum(1)
    present = (sums > 0).sum(1)
    complete = present == present.max()
    sums = sums[complete]
    distance = np.abs(sums / sums.sum(1, keepdims=True) - target / target.sum()).sum(1)
    return draws[complete][distance.argmin()]
