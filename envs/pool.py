"""The pool: all units, labelled and not, with its append-only history."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from ralseg.features import UnitGrid
from ralseg.foundation import RalsegError
from ralseg.segmentation.drawn_splits import natural
from ralseg.segmentation.store import ImageStore


class Pool:
    """The units of a list of images, numbered image by image and row by row within an image.

    Args:
        store: the images.
        images: store indices of the images, each once.
        unit: (height, width) of a unit in pixels of the label, "image", or "pixel"; a unit larger than an image is cut
            to it.
        offer_void: whether units without a labelled pixel are on offer. `look` finds them image by image.

    Attributes:
        images: (n,) int64 store indices.
        offsets: (n + 1,) int64; image `p` of the pool holds the units offsets[p] to offsets[p + 1].
        pixels: number of pixels of all images together.
        asked: (units,) bool, True if the label was asked for; such units are not on offer.
        labelled: (units,) bool, True if the label is known.
        void: (units,) bool, True for void units found by `look`.
        free: (n,) int64, number of units of each image that are neither asked for nor known to be void.
        history: one int64 array per turn, the units bought in it.

    Raises:
        RalsegError: if there is no image, an image is repeated, or the unit is none of the above.
    """

    def __init__(
        self, store: ImageStore, images: Sequence[int], unit: Sequence[int] | str, offer_void: bool = True
    ) -> None:
        if not len(images) or len(set(images)) != len(images):
            raise RalsegError(
                f"a pool needs one or more images, each once; got {len(images)}, of which {len(set(images))} differ"
            )
        self.store = store
        self.unit = _checked_unit(unit)
        self.images = np.asarray(images, np.int64)
        self._grids: dict[tuple[int, int], UnitGrid] = {}
        grids = [self.grid(i) for i in images]
        self.offsets = np.concatenate([[0], np.cumsum([len(grid) for grid in grids])])
        self.pixels = sum(grid.height * grid.width for grid in grids)
        self._sides = np.array([(g.height, g.width, g.unit_height, g.unit_width) for g in grids])
        self.void = np.zeros(self.offsets[-1], bool)
        self._looked = np.full(len(images), offer_void)
        self._voids = np.zeros(len(images), np.int64)
        self.reset()

    def __len__(self) -> int:
        return len(self.labelled)

    @cached_property
    def groups(self) -> np.ndarray:
        """(n,) int64 number of the group (clip, city) of each image, and the names of all groups in order."""
        of_images = self.store.dataset.groups
        numbers = {group: number for number, group in enumerate(sorted(set(of_images.values())))}
        return np.array([numbers[of_images[self.store.names[image]]] for image in self.images], np.int64)

    @cached_property
    def frames(self) -> np.ndarray:
        """(n,) int64 place of each image among those of its group, by the numbers in their names."""
        names = [self.store.names[image] for image in self.images]
        order = np.array(sorted(range(len(names)), key=lambda i: (self.groups[i], natural(names[i]))))
        first = np.searchsorted(self.groups[order], self.groups[order])
        frames = np.empty(len(names), np.int64)
        frames[order] = np.arange(len(names)) - first
        return frames

    def grid(self, image: int) -> UnitGrid:
        """The grid of an image of the store, one object per size."""
        size = self.store.size(image)
        if size not in self._grids:
            self._grids[size] = unit_grid(size, self.unit)
        return self._grids[size]

    def reset(self) -> None:
        """Start again with nothing asked for or labelled, and an empty history."""
        # Fresh zeros take no memory where nothing is written, and of pixels only few are ever bought.
        self.asked, self.labelled = np.zeros(self.offsets[-1], bool), np.zeros(self.offsets[-1], bool)
        self._unlabelled = np.diff(self.offsets)
        self.free = np.diff(self.offsets) - self._voids
        self.history: list[np.ndarray] = []

    def look(self, places: np.ndarray) -> None:
        """Find the void units of some images, each of which is read once."""
        for place in np.unique(places[~self._looked[places]]).tolist():
            image, units = int(self.images[place]), slice(*self.offsets[place : place + 2])
            labelled = self.store.label(image) < len(self.store.dataset.classes)
            grid = self.grid(image)
            rows = np.logical_or.reduceat(labelled, grid.row_edges[:-1], axis=0)
            void = ~np.logical_or.reduceat(rows, grid.column_edges[:-1], axis=1).ravel()
            self.void[units] = void
            self._voids[place] = void.sum()
            self.free[place] -= (void & ~self.asked[units]).sum()
            self._looked[place] = True

    def open(self, units: np.ndarray | slice) -> np.ndarray:
        """(n,) bool: whether units are neither asked for nor known to be void."""
        return ~(self.asked[units] | self.void[units])

    def locate(self, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(places in `images`, unit numbers within the image) of flat unit numbers, int64.

        Raises:
            RalsegError: if a number is out of range.
        """
        units = np.asarray(units, np.int64)
        if units.size and (units.min() < 0 or units.max() >= len(self)):
            raise RalsegError(
                f"unit {units.min() if units.min() < 0 else units.max()} is not in the pool of {len(self)} units"
            )
        places = np.searchsorted(self.offsets, units, side="right") - 1
        return places, units - self.offsets[places]

    def by_image(self, units: np.ndarray) -> tuple[np.ndarray, list[int], list[np.ndarray]]:
        """Units sorted by image.

        Returns:
            The order that sorts them, the store indices of the images, and the numbers of each image's units within it.
        """
        places, local = self.locate(units)
        order = np.argsort(places, kind="stable")
        found, starts = np.unique(places[order], return_index=True)
        return order, self.images[found].tolist(), np.split(local[order], starts[1:])[: len(found)]

    def areas(self, units: np.ndarray) -> np.ndarray:
        """Pixels of each of n units, (n,) int64."""
        if self.unit == "pixel":
            return np.ones(len(units), np.int64)
        return self.boxes(units)[:, 2:].prod(axis=1)

    def boxes(self, units: np.ndarray) -> np.ndarray:
        """(n, 4) int64: y, x, height, width of each of n units within its image, pixels."""
        places, local = self.locate(units)
        height, width, unit_height, unit_width = self._sides[places].T
        row, column = np.divmod(local, -(-width // unit_width))
        y, x = row * unit_height, column * unit_width
        return np.stack([y, x, np.minimum(unit_height, height - y), np.minimum(unit_width, width - x)], axis=1)

    def records(self, units: np.ndarray) -> list[tuple[str, int, int, int, int]]:
        """Units as written in files: (image name, y, x, height, width), in pixels."""
        places, _ = self.locate(units)
        names = (self.store.names[i] for i in self.images[places])
        return [(name, *box) for name, box in zip(names, self.boxes(units).tolist(), strict=True)]

    def find(self, records: Sequence[Sequence]) -> np.ndarray:
        """The inverse of `records`: flat numbers (n,) int64.

        Raises:
            RalsegError: if a record is not a unit of this pool.
        """
        places = {self.store.names[image]: place for place, image in enumerate(self.images.tolist())}
        units = np.empty(len(records), np.int64)
        for row, (name, y, x, height, width) in enumerate(records):
            grid = self.grid(int(self.images[places[name]])) if name in places else None
            unit = -1 if grid is None else y // grid.unit_height * grid.columns + x // grid.unit_width
            if grid is None or not 0 <= unit < len(grid) or grid.boxes[unit].tolist() != [y, x, height, width]:
                raise RalsegError(
                    f"{[name, y, x, height, width]} is not a unit of this pool; its images or the unit size differ"
                )
            units[row] = self.offsets[places[name]] + unit
        return units

    def ask(self, units: np.ndarray) -> None:
        """Mark units as asked for.

        Raises:
            RalsegError: if a unit is out of range, repeated, or was asked for already.
        """
        units = np.asarray(units, np.int64)
        places, _ = self.locate(units)
        if self.asked[units].any() or len(np.unique(units)) != len(units):
            twice = units[self.asked[units]] if self.asked[units].any() else units
            raise RalsegError(f"unit {twice[0]} was asked for already; ask for each unit once")
        self.asked[units] = True
        np.subtract.at(self.free, places[~self.void[units]], 1)

    def withdraw(self, units: np.ndarray) -> None:
        """Reopen units that were asked for and not answered."""
        places, _ = self.locate(units)
        self.asked[units] = False
        np.add.at(self.free, places[~self.void[units]], 1)

    def exclude(self, units: np.ndarray) -> None:
        """Never offer units that nobody has asked for; those that are excluded already stay so."""
        units = np.asarray(units, np.int64)
        units = units[self.open(units)]
        places, _ = self.locate(units)
        self.void[units] = True
        np.subtract.at(self.free, places, 1)

    def buy(self, units: np.ndarray) -> None:
        """Mark units that were asked for as labelled and append them to the history.

        Raises:
            RalsegError: if a unit is out of range, repeated, labelled already, or was not asked for.
        """
        units = np.asarray(units, np.int64)
        places, _ = self.locate(units)
        if self.labelled[units].any() or len(np.unique(units)) != len(units) or not self.asked[units].all():
            raise RalsegError(f"units {units[:3].tolist()}... are labelled already or were never asked for")
        self.labelled[units] = True
        np.subtract.at(self._unlabelled, places, 1)
        self.history.append(units)

    @property
    def unlabelled_images(self) -> list[int]:
        """Store indices of the images that are not completely labelled."""
        return self.images[self._unlabelled > 0].tolist()

    @property
    def bought(self) -> np.ndarray:
        """All labelled units in the order of buying, int64."""
        return np.concatenate(self.history) if self.history else np.empty(0, np.int64)


def unit_grid(size: tuple[int, int], unit: tuple[int, int] | str) -> UnitGrid:
    """The grid of an image of size (height, width); `unit` is as in `Pool`."""
    if isinstance(unit, str):
        return UnitGrid.of_images(*size) if unit == "image" else UnitGrid.of_pixels(*size)
    return UnitGrid(*size, min(unit[0], size[0]), min(unit[1], size[1]))


def _checked_unit(unit: Sequence[int] | str) -> tuple[int, int] | str:
    if isinstance(unit, str) and unit in ("image", "pixel"):
        return unit
    sides = unit if isinstance(unit, Sequence) and not isinstance(unit, str) else ()
    if len(sides) != 2 or any(isinstance(s, bool) or not isinstance(s, int | np.integer) or s < 1 for s in sides):
        raise RalsegError(
            f"game.unit={unit!r} is unknown; give region, image, pixel, or a height and a width of 1 pixel or more"
        )
    return int(sides[0]), int(sides[1])
