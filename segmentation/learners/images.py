"""The images that a learner may read."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ralseg.foundation import RalsegError
from ralseg.segmentation.store import ImageStore


class LearnerImages:
    """The images of a store without their labels; while a learner trains, only those of its training set.

    Args:
        store: images and labels.
    """

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self._allowed: frozenset[int] | None = None

    def __len__(self) -> int:
        return len(self._store.names)

    @property
    def folder(self) -> Path:
        """A folder whose name identifies the images; kept maps are stored next to it."""
        return self._store.folder

    def image(self, i: int) -> np.ndarray:
        """Image i at the input size: uint8 (h, w, 3) RGB, a read-only view.

        Raises:
            RalsegError: see `check`.
        """
        self.check((i,))
        return self._store.image(i)

    def input_size(self, i: int) -> tuple[int, int]:
        """The (height, width) of image i as stored."""
        return self._store.input_size(i)

    def size(self, i: int) -> tuple[int, int]:
        """The (height, width) of image i in the data set, which is that of its label."""
        return self._store.size(i)

    def check(self, images: Iterable[int]) -> None:
        """Refuse images that may not be read now.

        Raises:
            RalsegError: for the first of them, which the message names.
        """
        if self._allowed is None:
            return
        for i in images:
            if i not in self._allowed:
                raise RalsegError(
                    f"the learner asked for image {i} ({self._store.names[i]}) while learning; it may read only "
                    "labelled images and the unlabelled images of the pool that it is given"
                )

    @contextmanager
    def only(self, allowed: Collection[int] | None) -> Iterator[None]:
        """Allow only these images until the block ends; None allows all."""
        before, self._allowed = self._allowed, None if allowed is None else frozenset(allowed)
        try:
            yield
        finally:
            self._allowed = before
