"""Two data sets as one: a source domain whose labels are known, and the target domain that is labelled."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets.base import Dataset
from ralseg.segmentation.datasets.taxonomy import InTaxonomy

SOURCE_DOMAIN = "source_domain"
"""The subset that holds the source domain."""


class AcrossDomains(Dataset):
    """The images of a target domain, all roles of which are as without it, and those of a labelled source domain.

    Args:
        target: the data set that is labelled, judged and named after.
        source: its training images, or all if it has no subset train, are the source domain, each of them named
            `<data set>/<name>`.
        classes: class -> names of classes of either data set that are merged into it, in the order of the ids; what is
            not named is void. None: the classes of the target that the source has by the same name.

    Raises:
        RalsegError: if fewer than two classes have a common name, a name is taken twice, or the classes are no such
            mapping (see `InTaxonomy`).
    """

    def __init__(self, target: Dataset, source: Dataset, classes: Mapping[str, Any] | None = None) -> None:
        if classes is None:
            classes = {name: [name] for name in target.classes if name in source.classes}
            if len(classes) < 2:
                raise RalsegError(
                    f"dataset.classes: {target.name} ({', '.join(target.classes)}) and {source.name} "
                    f"({', '.join(source.classes)}) share fewer than two names of classes; map them"
                )
        self._target, self._source = (InTaxonomy(of, classes, "dataset.classes") for of in (target, source))
        chosen = source.subsets.get("train") or source.names
        self._own = {f"{source.name}/{name}": name for name in chosen}
        if twice := sorted(self._own.keys() & set(target.names)):
            raise RalsegError(f"dataset.source: {target.name} has an image {twice[0]!r} itself; rename one of them")
        self.name, self.classes, self.colors = target.name, self._target.classes, self._target.colors
        self.names = tuple(sorted([*target.names, *self._own]))
        self.subsets = {**target.subsets, SOURCE_DOMAIN: tuple(sorted(self._own))}
        groups = {name: f"{source.name}/{source.groups[own]}" for name, own in self._own.items()}
        self.groups = {**target.groups, **groups}
        self.unit_size, self.notes = target.unit_size, (*target.notes, *source.notes)
        self.identity = f"{self._target.identity} with {len(self._own)} of {source.name} {self._source.identity}"

    @property
    def title(self) -> str:
        """What a report calls it: both domains."""
        return f"{self._source.title} to {self._target.title}"

    def size(self, name: str) -> tuple[int, int]:
        """See `Dataset.size`."""
        dataset, own = self._of(name)
        return dataset.size(own)

    def load(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """See `Dataset.load`."""
        dataset, own = self._of(name)
        return dataset.load(own)

    def fingerprint(self, name: str) -> str:
        """See `Dataset.fingerprint`."""
        dataset, own = self._of(name)
        return dataset.fingerprint(own)

    def _of(self, name: str) -> tuple[Dataset, str]:
        self._check_name(name)
        return (self._source, self._own[name]) if name in self._own else (self._target, name)
