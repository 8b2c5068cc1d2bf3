"""The splits of a data set into D_S, D_T, D_V, dev, D_R, D_R's twin and test, and their checks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ralseg.foundation import RalsegError, generator, read_json
from ralseg.segmentation.datasets import Dataset
from ralseg.segmentation.grouped_draw import draw_by_group
from ralseg.segmentation.store import ImageStore, count_classes

CANDIDATES = 4096
"""Number of random draws of D_S, of which the one most similar to D_T is used."""

PUBLISHED_KEYS = {"d_s": "state", "d_t": "train", "d_v": "compare", "d_r": "reward"}
SUFFIXES = (".png", ".jpg", ".jpeg")

ROLES = ("state", "train", "compare", "dev", "reward", "twin", "test")
MAY_BE_EMPTY = ("dev", "twin")


@dataclass(frozen=True)
class Splits:
    """The names of the images of each role.

    Attributes:
        state: D_S, the state set.
        train: D_T, the pool while a policy is trained.
        compare: D_V, the pool while policies are compared.
        dev: images on which design choices are made; may be empty.
        reward: D_R, the reward set.
        twin: D_R's twin, the neighbouring frames of D_R; may be empty.
        test: images on which results are reported.
        notes: remarks that a user should read, without a full stop.
    """

    state: tuple[str, ...]
    train: tuple[str, ...]
    compare: tuple[str, ...]
    dev: tuple[str, ...]
    reward: tuple[str, ...]
    twin: tuple[str, ...]
    test: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def check(self, dataset: Dataset, class_counts: np.ndarray, complete: bool = True) -> None:
        """Refuse splits that are not usable for a game.

        Args:
            dataset: the data set that the names belong to.
            class_counts: int (len(dataset.names), C), the pixels of each class in each label.
            complete: whether every class must occur in D_S.

        Raises:
            RalsegError: if a required set is empty, a name is unknown or occurs twice, or D_S lacks a class.
        """
        owner: dict[str, str] = {}
        for role in ROLES:
            names = getattr(self, role)
            if not names and role not in MAY_BE_EMPTY:
                raise RalsegError(f"splits: {role} is empty; give it at least one image of {dataset.name}")
            for name in names:
                if name not in dataset.groups:
                    raise RalsegError(
                        f"splits: {role} lists {name!r}, which {dataset.name} does not have; correct the list"
                    )
                if name in owner:
                    where = f"{owner[name]} and {role} overlap" if owner[name] != role else f"{role} repeats itself"
                    raise RalsegError(f"splits: {where}, e.g. in {name!r}; an image plays one role, once")
                owner[name] = role
        if complete:
            _need_classes(dataset, class_counts[_rows(dataset, self.state)].sum(0), "D_S")

    def to_dict(self) -> dict[str, list[str]]:
        """Role -> names, for JSON."""
        return {role: list(getattr(self, role)) for role in ROLES}

    @classmethod
    def from_dict(cls, value: Mapping[str, Sequence[str]]) -> "Splits":
        """The inverse of `to_dict`, without the notes.

        Raises:
            RalsegError: if a role is missing or unknown.
        """
        if not isinstance(value, Mapping) or set(value) != set(ROLES):
            found = ", ".join(value) if isinstance(value, Mapping) else repr(value)
            raise RalsegError(f"splits: the keys must be {', '.join(ROLES)}; found {found}")
        return cls(**{role: tuple(names) for role, names in value.items()})


def class_counts(dataset: Dataset, store: ImageStore | None = None) -> np.ndarray:
    """The pixels of each class in each label of a data set, int64 (len(dataset.names), C); void is not counted.

    Args:
        dataset: the data set; labels that `store` does not hold are loaded from it.
        store: a store of the same data set, whose labels need not be decoded.
    """
    held = {name: i for i, name in enumerate(store.names)} if store is not None else {}

    def label(name: str) -> np.ndarray:
        return store.label(held[name]) if store is not None and name in held else dataset.load(name)[1]

    return np.stack([count_classes(label(name), len(dataset.classes)) for name in dataset.names])


def make_splits(
    dataset: Dataset,
    counts: Mapping[str, int],
    seed: int,
    class_counts: np.ndarray,
    exact: bool = False,
    unseen: str | None = None,
) -> Splits:
    """Draw splits from the training subset in proportion to its groups.

    D_T is drawn first. D_S is the one of `CANDIDATES` draws that has every class and the class shares nearest to those
    of D_T (L1). The other roles are drawn without further conditions. Roles that `counts` does not name come from the
    official subsets: D_R is every second image of val by name (the first, the third and so on), its twin is the rest
    of val, and test is test, or val if there is no test and D_R is drawn.

    Args:
        dataset: the data set; without an official train subset, the images of no subset are the training images.
        counts: role -> number of images to draw; state, train and compare are required.
        seed: seed of the draw.
        class_counts: int (len(dataset.names), C), the pixels of each class in each label.
        exact: whether the counts must use up the training subset.
        unseen: a group (clip, city) of the training subset that no policy may learn from: D_V and dev are drawn from it
            alone, all other roles from the other groups.

    Raises:
        RalsegError: if a count is unknown, missing, negative or too large, the group is unknown, or no draw of D_S
            has every class.
    """
    _check_keys(counts, "counts", ROLES, needed=("state", "train", "compare"))
    for role, count in counts.items():
        least = 0 if role in MAY_BE_EMPTY else 1
        if not isinstance(count, int) or count < least:
            raise RalsegError(f"splits: counts.{role} is {count!r}; give a number of images, {least} or more")
    pool = _training_images(dataset)
    total = sum(counts.values())
    if total > len(pool) or (exact and total < len(pool)):
        raise RalsegError(
            f"splits: the counts add up to {total} images, {dataset.name} has {len(pool)} to draw from; "
            f"{'they must use all of them' if exact else 'lower a count'}"
        )
    rng = generator(seed, "split")
    rows = _rows(dataset, pool)
    named, groups = np.unique([dataset.groups[name] for name in pool], return_inverse=True)
    if unseen is not None and unseen not in named:
        raise RalsegError(f"protocol: no group {unseen!r} to leave unseen; the training images have {', '.join(named)}")
    apart = groups == named.tolist().index(unseen) if unseen is not None else None
    chosen: dict[str, np.ndarray] = {}
    free = np.ones(len(pool), bool)
    later = [role for role in ROLES if role in counts and role not in ("train", "state")]
    for role in ("train", "state", *later):
        left = np.flatnonzero(free if apart is None else free & (apart == (role in ("compare", "dev"))))
        if counts[role] > len(left):
            where = f"in group {unseen}" if role in ("compare", "dev") else f"outside group {unseen}"
            raise RalsegError(f"splits: counts.{role} is {counts[role]}, {len(left)} images are left {where}; lower it")
        if role == "state":
            draws = draw_by_group(groups[left], counts[role], CANDIDATES, rng)
            target = class_counts[rows[chosen["train"]]].sum(0)
            picked = left[_nearest(dataset, class_counts[rows[left]], draws, target)]
        else:
            picked = left[draw_by_group(groups[left], counts[role], 1, rng)[0]]
        chosen[role] = picked
        free[picked] = False
    drawn = {role: tuple(pool[i] for i in sorted(picked)) for role, picked in chosen.items()}
    val = dataset.subsets.get("val", ())
    official = {"dev": (), "reward": val[::2], "twin": val[1::2], "test": dataset.subsets.get("test", ())}
    if "reward" in drawn:
        # A D_R that was drawn elsewhere has no twin frames, and val is free.
        official |= {"twin": (), "test": official["test"] or val}
    splits = Splits(**(official | drawn))
    if unseen is not None and unseen in {dataset.groups[name] for name in splits.reward}:
        raise RalsegError(
            f"splits: D_R has images of group {unseen}, which is to stay unseen; name reward in the counts, so that it "
            "is drawn from the other groups"
        )
    splits.check(dataset, class_counts)
    return splits


def _nearest(dataset: Dataset, counts: np.ndarray, draws: np.ndarray, target: np.ndarray) -> np.ndarray:
    if not target.sum():
        raise RalsegError(
            "splits: the images drawn for D_T have no labelled pixel; D_S is drawn to be like D_T: label some"
        )
    sums = counts[draws].sum(1)
    complete = (sums > 0).all(1)
    if not complete.any():
        _need_classes(dataset, counts.sum(0), "the training images left for D_S")
        raise RalsegError(
            f"splits: in {len(draws)} draws of {draws.shape[1]} images for D_S none has every class; raise counts.state"
        )
    sums = sums[complete]
    distance = np.abs(sums / sums.sum(1, keepdims=True) - target / target.sum()).sum(1)
    return draws[complete][distance.argmin()]


def _need_classes(dataset: Dataset, counts: np.ndarray, where: str) -> None:
    if missing := _missing(dataset, counts):
        raise RalsegError(f"splits: {where} has no pixel of {missing}; choose images in which every class occurs")


def _missing(dataset: Dataset, counts: np.ndarray) -> str:
    return ", ".join(name for name, count in zip(dataset.classes, counts, strict=True) if not count)


def _training_images(dataset: Dataset) -> tuple[str, ...]:
    elsewhere = {name for subset, names in dataset.subsets.items() if subset != "train" for name in names}
    return dataset.subsets.get("train") or tuple(name for name in dataset.names if name not in elsewhere)


def _rows(dataset: Dataset, names: Sequence[str]) -> np.ndarray:
    places = {name: i for i, name in enumerate(dataset.names)}
    return np.array([places[name] for name in names], np.int64)


def _check_keys(value: Mapping, where: str, known: Sequence[str], needed: Sequence[str]) -> None:
    if not isinstance(value, Mapping):
        raise RalsegError(f"protocol: {where} is {value!r}; it must be a group of {', '.join(known)}")
    for key in value:
        if key not in known:
            raise RalsegError(f"protocol: {where} has an unknown key {key!r}; the known ones are {', '.join(known)}")
    for key in needed:
        if key not in value:
            raise RalsegError(f"protocol: {where} lacks {key!r}; give {', '.join(needed)}")


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
        lists[role] = tuple(_without_suffix(str(name)) for name in names)
    for role in ("state", "train", "compare"):
        if role not in lists:
            raise RalsegError(f"{path}: no list {role!r}; it must hold state, train and compare (or d_s, d_t, d_v)")
    val, test = (dataset.subsets.get(subset, ()) for subset in ("val", "test"))
    official = {"dev": (), "reward": val, "twin": (), "test": test or (val if "reward" in lists else ())}
    return Splits(**(official | lists))


def _without_suffix(name: str) -> str:
    return name.rsplit(".", 1)[0] if name.lower().endswith(SUFFIXES) else name


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


KINDS = {"generated": ("counts", "fractions", "seed", "exact", "unseen"), "ralis": ("path",), "lists": ("path",)}


def splits_from_config(protocol: Mapping, dataset: Dataset, class_counts: np.ndarray) -> Splits:
    """Make and check the splits of a protocol.

    Args:
        protocol: a mapping with `kind`: "generated" with `counts` (role -> images) or `fractions` (role -> share of the
            images to draw from), `seed` and optionally `exact` and `unseen`; "ralis" or "lists" with `path`.
        dataset: the data set.
        class_counts: int (len(dataset.names), C), the pixels of each class in each label.

    Raises:
        RalsegError: if the kind or a key is unknown or missing, or the splits are not usable.
    """
    kind = protocol.get("kind")
    if kind not in KINDS:
        raise RalsegError(f"protocol: kind is {kind!r}; the known ones are {', '.join(KINDS)}")
    needed = ("seed",) if kind == "generated" else ("path",)
    _check_keys(protocol, f"kind {kind}", ("kind", "name", *KINDS[kind]), needed)
    if kind == "generated":
        if ("counts" in protocol) == ("fractions" in protocol):
            raise RalsegError("protocol: kind generated takes either counts or fractions; give one of them")
        counts = protocol.get("counts") or _counts_of(protocol["fractions"], dataset)
        chosen = protocol.get("exact", False), protocol.get("unseen")
        return make_splits(dataset, counts, protocol["seed"], class_counts, *chosen)
    if kind == "lists":
        splits = read_splits(protocol["path"], dataset)
        splits.check(dataset, class_counts)
        return splits
    splits = ralis_splits(dataset, protocol["path"])
    # The original D_S is given: a class that it lacks is noted, not refused.
    splits.check(dataset, class_counts, complete=False)
    missing = _missing(dataset, class_counts[_rows(dataset, splits.state)].sum(0))
    return replace(splits, notes=(*splits.notes, f"D_S has no pixel of {missing}")) if missing else splits


def _counts_of(fractions: Mapping[str, float], dataset: Dataset) -> dict[str, int]:
    _check_keys(fractions, "fractions", ROLES, needed=())
    shares = fractions.values()
    if not all(isinstance(share, int | float) and share >= 0 for share in shares) or sum(shares) > 1 + 1e-9:
        raise RalsegError(f"protocol: the fractions {dict(fractions)} must be 0 or more and add up to at most 1")
    images = len(_training_images(dataset))
    return {role: int(images * value + 1e-9) for role, value in fractions.items()}
