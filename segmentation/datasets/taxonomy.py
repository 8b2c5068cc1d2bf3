"""A data set with other classes: its own classes are merged or left out by name."""

from collections.abc import Mapping, Sequence

import numpy as np

from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets.base import IGNORE, Dataset


class InTaxonomy(Dataset):
    """A data set whose labels are mapped to the classes of a taxonomy, so that different data sets share their classes.

    Args:
        dataset: the data set of the images and labels; everything but the classes stays the same.
        taxonomy: class -> names of the data set's classes that are merged into it, in the order of the new ids. Names
            that the data set does not have are ignored, and classes of the data set that are not named become void.
        setting: the setting that holds the taxonomy, for messages.

    Raises:
        RalsegError: if the taxonomy is not such a mapping, has a class that matches nothing in the data set, or names
            a class of the data set twice.
    """

    def __init__(
        self, dataset: Dataset, taxonomy: Mapping[str, Sequence[str]], setting: str = "taxonomy.classes"
    ) -> None:
        self._dataset = dataset
        self._table = _table(dataset, taxonomy, setting)
        self.name, self.classes = dataset.name, tuple(taxonomy)
        first = [next(name for name in names if name in dataset.classes) for names in taxonomy.values()]
        self.colors = dataset.colors[[dataset.classes.index(name) for name in first]]
        self.names, self.subsets, self.groups = dataset.names, dataset.subsets, dataset.groups
        self.unit_size, self.notes = dataset.unit_size, dataset.notes
        self.identity = f"{dataset.identity} in {self._table.tolist()}"

    @property
    def title(self) -> str:
        """That of the data set of the images."""
        return self._dataset.title

    def size(self, name: str) -> tuple[int, int]:
        """See `Dataset.size`."""
        return self._dataset.size(name)

    def load(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """See `Dataset.load`."""
        image, label = self._dataset.load(name)
        return image, self._table[label]

    def fingerprint(self, name: str) -> str:
        """See `Dataset.fingerprint`; the taxonomy is part of `identity`."""
        return self._dataset.fingerprint(name)


def _table(dataset: Dataset, taxonomy: Mapping[str, Sequence[str]], setting: str) -> np.ndarray:
    """(256,) uint8: the data set's ids -> the taxonomy's ids, `IGNORE` for classes that it leaves out."""
    table = np.full(256, IGNORE, np.uint8)
    if not isinstance(taxonomy, Mapping) or len(taxonomy) < 2:
        raise RalsegError(f"{setting} is {taxonomy!r}; map two classes or more, each to a list of names")
    for place, (name, parts) in enumerate(taxonomy.items()):
        if isinstance(parts, str) or not isinstance(parts, Sequence) or not all(isinstance(p, str) for p in parts):
            raise RalsegError(f"{setting}.{name} is {parts!r}; give a list of names of classes")
        own = [dataset.classes.index(part) for part in parts if part in dataset.classes]
        if not own:
            raise RalsegError(
                f"{setting}.{name}: {dataset.name} has none of {', '.join(parts) or 'no names'}; its classes are "
                f"{', '.join(dataset.classes)}"
            )
        if twice := [i for i in own if table[i] != IGNORE]:
            first = list(taxonomy)[table[twice[0]]]
            raise RalsegError(f"{setting}.{name}: {dataset.classes[twice[0]]} belongs to {first} already")
        table[own] = place
    return table
