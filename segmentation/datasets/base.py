"""The interface of a data set: names, classes, official subsets, clips, and loading an image with its label."""

from abc import ABC, abstractmethod

import numpy as np

from ralseg.foundation import RalsegError

IGNORE = 255
"""The id of void in every label inside ralseg. It means "not labelled" and is never a class."""


class Dataset(ABC):
    """Images with dense labels.

    Attributes:
        name: the data set's short name, e.g. "camvid".
        classes: C class names; a class's id is its place here.
        colors: uint8 (C, 3), RGB colours for pictures.
        names: the names of all images, without a suffix: sorted, unique, and the same on every machine.
        subsets: official subset ("train", "val", "test", "pool", a published D_V, or "source_domain", see
            `AcrossDomains`) -> its names, sorted; subsets are disjoint.
        groups: image name -> its clip or city; images of the same group resemble each other.
        unit_size: (height, width) of the default unit, in pixels of the label.
        identity: what distinguishes this data set from others of the same name: its root folder or its parameters.
        notes: sentences that a user should read, e.g. about images that are left out; without a full stop.
    """

    name: str
    classes: tuple[str, ...]
    colors: np.ndarray
    names: tuple[str, ...]
    subsets: dict[str, tuple[str, ...]]
    groups: dict[str, str]
    unit_size: tuple[int, int]
    identity: str
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What a report calls it: its name, or that of the folder where the data are a user's own."""
        return self.name

    @abstractmethod
    def size(self, name: str) -> tuple[int, int]:
        """The (height, width) of an image and its label.

        Raises:
            RalsegError: if there is no image of that name.
        """

    @abstractmethod
    def load(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Load one image and its label.

        Returns:
            image uint8 (H, W, 3) in RGB, label uint8 (H, W) with ids 0..C-1 and `IGNORE`.

        Raises:
            RalsegError: if there is no image of that name, or its files are damaged or disagree.
        """

    @abstractmethod
    def fingerprint(self, name: str) -> str:
        """A short text that changes whenever `load` may return something else for that image."""

    def _check_name(self, name: str) -> None:
        if name not in self.groups:
            raise RalsegError(f"{self.name} has no image {name!r}; names have no suffix, e.g. {self.names[0]!r}")
