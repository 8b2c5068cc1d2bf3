"""The splits of a data set into D_S, D_T, D_V, dev, D_R, D_R's twin and test, and their checks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets import SOURCE_DOMAIN, Dataset
from ralseg.segmentation.store import ImageStore, count_classes

ROLES = ("state", "train", "compare", "dev", "reward", "twin", "test")
MAY_BE_EMPTY = ("dev", "twin", SOURCE_DOMAIN)
POOLS = ("train", "compare")
"""The roles whose images may be without a label."""


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
        source_domain: labelled images of another domain, see `AcrossDomains`; mostly empty.
    """

    state: tuple[str, ...]
    train: tuple[str, ...]
    compare: tuple[str, ...]
    dev: tuple[str, ...]
    reward: tuple[str, ...]
    twin: tuple[str, ...]
    test: tuple[str, ...]
    notes: tuple[str, ...] = ()
    source_domain: tuple[str, ...] = ()

    def check(self, dataset: Dataset, class_counts: np.ndarray) -> None:
        """Refuse splits that are not usable for a game.

        Args:
            dataset: the data set that the names belong to.
            class_counts: int (len(dataset.names), C), the pixels of each class in each label.

        Raises:
            RalsegError: if a required set is empty, a name is unknown or occurs twice, or a set has no labelled pixel.
        """
        owner: dict[str, str] = {}
        for role in (*ROLES, SOURCE_DOMAIN):
            names = getattr(self, role)
            if not names and role not in MAY_BE_EMPTY:
                raise RalsegError(
                    f"splits: {role} is empty; give it images of {dataset.name}, e.g. by protocol.fractions.{role}=0.1"
                )
            for name in names:
                if name not in dataset.groups:
                    raise RalsegError(
                        f"splits: {role} lists {name!r}, which {dataset.name} does not have; correct the list"
                    )
                if name in owner:
                    where = f"{owner[name]} and {role} overlap" if owner[name] != role else f"{role} repeats itself"
                    raise RalsegError(f"splits: {where}, e.g. in {name!r}; an image plays one role, once")
                owner[name] = role
            if names and not class_counts[rows_of(dataset, names)].any():
                use = "every answer would be void" if role in POOLS else "nothing can be learned or measured there"
                raise RalsegError(
                    f"splits: no image of {role} has a labelled pixel, so {use}; label some of them, or choose others"
                )

    def to_dict(self) -> dict[str, list[str]]:
        """Role -> names, for JSON; without a source domain, it is no role."""
        return {role: list(getattr(self, role)) for role in (*ROLES, *[SOURCE_DOMAIN] * bool(self.source_domain))}

    @classmethod
    def from_dict(cls, value: Mapping[str, Sequence[str]]) -> "Splits":
        """The inverse of `to_dict`, without the notes.

        Raises:
            RalsegError: if a role is missing or unknown.
        """
        if not isinstance(value, Mapping) or set(value) - {SOURCE_DOMAIN} != set(ROLES):
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


def rows_of(dataset: Dataset, names: Sequence[str]) -> np.ndarray:
    """The places of some images in `dataset.names`, int64 (len(names),)."""
    places = {name: i for i, name in enumerate(dataset.names)}
    return np.array([places[name] for name in names], np.int64)


def check_keys(value: Mapping, where: str, known: Sequence[str], needed: Sequence[str]) -> None:
    """Check the keys of a part of `protocol`.

    Args:
        value: the part.
        where: what it is, for messages.
        known: the keys that it may have.
        needed: those that it must have.

    Raises:
        RalsegError: if it is no mapping, a key is unknown, or one is missing.
    """
    if not isinstance(value, Mapping):
        raise RalsegError(f"protocol: {where} is {value!r}; it must be a group of {', '.join(known)}")
    for key in value:
        if key not in known:
            raise RalsegError(f"protocol: {where} has an unknown key {key!r}; the known ones are {', '.join(known)}")
    for key in needed:
        if key not in value:
            raise RalsegError(f"protocol: {where} lacks {key!r}; give {', '.join(needed)}")
