"""The candidates view: all that a policy may look at in one step, computed when it is first looked at, once."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from ralseg.features.units import Reducer
from ralseg.foundation import RalsegError, give_back_memory

IMAGES_AT_ONCE = 16
"""Images whose rows are held together while candidates are narrowed down image by image."""

Rows = dict[str, np.ndarray]


class UnitReader(Protocol):
    """Where a view reads from: the predictions of a pool's units, and what is known of them without a prediction."""

    @property
    def reads_pixels(self) -> bool:
        """Whether units are pixels that are predicted by themselves, so that reading some twice costs little."""
        ...

    @property
    def bought(self) -> np.ndarray:
        """(m,) int64 flat numbers of the units whose labels are known."""
        ...

    @property
    def observation_reducers(self) -> Sequence[Reducer]:
        """What `observe` reads of the predictions of candidates."""
        ...

    def reduce(self, units: np.ndarray, reducers: Sequence[Reducer]) -> Rows:
        """Name -> (n, ...) for n units, one forward pass per image."""
        ...

    def reduce_state(self, reducers: Sequence[Reducer]) -> Rows:
        """Name -> (units of D_S, ...); of pixels, a sample."""
        ...

    def observe(self, units: np.ndarray, mask: np.ndarray, rows: Rows) -> dict[str, np.ndarray]:
        """The observation of (K, N) units, -1 where there is none, from the rows of those that are there."""
        ...

    def images_of(self, units: np.ndarray) -> np.ndarray:
        """(n,) int64 index in the store of the image of each unit."""
        ...

    def groups_of(self, units: np.ndarray) -> np.ndarray:
        """(n,) int64 number of the group (clip, city) of each unit's image."""
        ...

    def frames_of(self, units: np.ndarray) -> np.ndarray:
        """(n,) int64 place of each unit's image in its group, by the numbers in the names of the pool's images."""
        ...

    def boxes_of(self, units: np.ndarray) -> np.ndarray:
        """(n, 4) int64: y, x, height, width of each unit, pixels."""
        ...

    def true_counts(self, units: np.ndarray) -> np.ndarray:
        """(n, C) int64 true pixels per class of n units."""
        ...


@dataclass(frozen=True)
class Offer:
    """What a step offers.

    Attributes:
        units: (K, N) int64 flat unit numbers of the pool, -1 where there is none; (1, units) where the whole pool is on
            offer.
        mask: as large, bool, True where a unit may be chosen.
        most: how many units are asked for where the whole pool is on offer, as one slate; None: one of each slate.
    """

    units: np.ndarray
    mask: np.ndarray
    most: int | None = None

    @property
    def choices(self) -> int:
        """How many units the step asks for."""
        return len(self.units) if self.most is None else self.most


class CandidatesView:
    """The n open candidates of a step, one after the other.

    Args:
        reader: where predictions and facts are read from.
        offer: what the step offers.
        labelled_counts: (C,) int64 pixels per class bought so far.
        reducers: what will be asked for, so that one forward pass serves all of it.

    Attributes:
        offer: see above.
        units: (n,) int64 flat unit numbers of the open candidates.
        slates: (n,) int64, the slate of each, or None where the whole pool is one.
        places: (n,) int64, its place in the slate.
        choices: how many the step asks for.
        labelled_counts: see above.
    """

    def __init__(
        self, reader: UnitReader, offer: Offer, labelled_counts: np.ndarray, reducers: Sequence[Reducer] = ()
    ) -> None:
        self.offer, self.choices, self.labelled_counts = offer, offer.choices, labelled_counts
        self.units = offer.units[offer.mask]
        slates, self.places = np.nonzero(offer.mask)
        self.slates: np.ndarray | None = slates if offer.most is None else None
        self._reader, self._reducers = reader, tuple(reducers)
        self._shared = _Shared(reader, offer, self._reducers)
        self._rows: Rows | None = None
        self._labelled: Rows = {}
        self._everybody = True

    def __len__(self) -> int:
        return len(self.units)

    @property
    def images(self) -> np.ndarray:
        """(n,) int64 index in the store of each candidate's image."""
        return self._reader.images_of(self.units)

    @property
    def groups(self) -> np.ndarray:
        """(n,) int64 number of the group (clip, city) of each candidate's image."""
        return self._reader.groups_of(self.units)

    @property
    def frames(self) -> np.ndarray:
        """(n,) int64 place of each candidate's image in its group, from 0, by the numbers in names: a clip's time.

        All images of the pool count, so that a place does not change when others are bought.
        """
        return self._reader.frames_of(self.units)

    @property
    def boxes(self) -> np.ndarray:
        """(n, 4) int64: y, x, height, width of each candidate within its image, pixels."""
        return self._reader.boxes_of(self.units)

    @property
    def areas(self) -> np.ndarray:
        """(n,) int64 pixels of each candidate."""
        return self.boxes[:, 2:].prod(axis=1)

    @property
    def true_counts(self) -> np.ndarray:
        """(n, C) int64 true pixels per class: for references that see the truth, never for contenders."""
        return self._reader.true_counts(self.units)

    @property
    def observation(self) -> dict[str, np.ndarray]:
        """`state` (S, F) float32, `candidates` (K, N, F') float32, `mask` (K, N) int8, of the whole step."""
        return self._shared.observation

    @property
    def reads_pixels(self) -> bool:
        """See `UnitReader.reads_pixels`."""
        return self._reader.reads_pixels

    def only_for(self, reducers: Sequence[Reducer]) -> "CandidatesView":
        """The same candidates, of which nothing more is computed than what these reducers find."""
        narrow = copy.copy(self)
        narrow._reducers, narrow._everybody = tuple(reducers), False
        if self._rows is not None and not {reducer.name for reducer in reducers} <= set(self._rows):
            narrow._rows, narrow._labelled = None, {}
        return narrow

    def compute(self) -> None:
        """Compute the rows of all candidates and of the labelled units now, unless they are there already."""
        if self._rows is None and self._everybody:
            open_, labelled = self._shared.open_and_labelled
            self._rows, self._labelled = open_, labelled
        elif self._rows is None:
            found = self._reader.reduce(np.concatenate([self.units, self._bought]), self._reducers)
            self._rows, self._labelled = _split(found, len(self))

    def reduced(self, name: str) -> np.ndarray:
        """What a reducer found for each candidate, (n, ...).

        Raises:
            RalsegError: if no reducer announced it, or it holds NaN.
        """
        return checked_rows(self._computed, name)

    def labelled(self, name: str) -> np.ndarray:
        """What a reducer with `labelled` found for each labelled unit, (m, ...): those bought, then those of D_S."""
        own = self._computed
        rows = [part[name] for part in (self._labelled, self._shared.state) if name in part]
        if not rows:
            return checked_rows(own, name)[:0]
        return checked_rows({name: np.concatenate(rows)}, name)

    def in_slates(self, values: np.ndarray) -> np.ndarray:
        """Values (n, ...) of the candidates laid out as they are offered, (K, N, ...); 0 everywhere else."""
        slates = np.zeros(len(self), np.int64) if self.slates is None else self.slates
        spread = np.zeros((*self.offer.units.shape, *values.shape[1:]), values.dtype)
        spread[slates, self.places] = values
        return spread

    def unslated(self) -> "CandidatesView":
        """The same candidates as if the whole pool were one slate; what is asked of both is computed once, here."""
        self.compute()
        every = copy.copy(self)
        every.slates = None
        return every

    def take(self, index: np.ndarray) -> "CandidatesView":
        """Some of the candidates, in this order; what is computed already is not computed again."""
        taken = copy.copy(self)
        taken.units, taken.places = self.units[index], self.places[index]
        taken.slates = None if self.slates is None else self.slates[index]
        taken._rows = None if self._rows is None else _only(self._rows, index)
        taken._everybody = False
        return taken

    def narrowed(self, choose: Callable[["CandidatesView"], np.ndarray]) -> "CandidatesView":
        """The candidates that `choose` keeps of each image, in the order that they have here.

        Memory holds the rows of a few images and of what is kept.

        Args:
            choose: gets the candidates of one image, whose labelled units are those bought in it, and gives indices.
        """
        every, size = np.concatenate([self.units, self._bought]), len(self)
        images = self._reader.images_of(every)
        order = np.argsort(images, kind="stable")
        _, starts = np.unique(images[order], return_index=True)
        of_images = np.split(order, starts[1:])
        whole = self._rows and {name: np.concatenate([rows, self._labelled[name]]) for name, rows in self._rows.items()}
        kept, had, rows, labelled = [], [], [], []
        for begin in range(0, len(of_images), IMAGES_AT_ONCE):
            # Candidates and bought units of an image together, so that it passes once.
            chunk = of_images[begin : begin + IMAGES_AT_ONCE]
            among = np.concatenate(chunk)
            found = _only(whole, among) if whole else self._reader.reduce(every[among], self._reducers)
            parts = np.split(np.arange(len(among)), np.cumsum([len(own) for own in chunk])[:-1])
            for own, part in zip(chunk, parts, strict=True):
                here = self.take(own[own < size])
                here._rows, here._labelled = _only(found, part[own < size]), _only(found, part[own >= size])
                here._shared = _ONE_IMAGE
                chosen = np.sort(choose(here)) if len(here) else np.empty(0, np.int64)
                kept.append(own[own < size][chosen])
                had.append(own[own >= size])
                rows.append(_only(here._rows, chosen))
                labelled.append(here._labelled)
            # Between what is kept of one chunk and the next the allocator would hold on to the rest.
            give_back_memory()
        # Image by image they would favour the first images wherever the first of equals wins.
        kept, had = (np.concatenate([np.empty(0, np.int64), *parts]) for parts in (kept, had))
        order, of_had = np.argsort(kept), np.argsort(had)
        narrowed = self.take(kept[order])
        narrowed._rows, narrowed._labelled = _only(_joined(rows), order), _only(_joined(labelled), of_had)
        return narrowed

    @property
    def _computed(self) -> Rows:
        self.compute()
        assert self._rows is not None
        return self._rows

    @property
    def _bought(self) -> np.ndarray:
        return bought_if_wanted(self._reader, self._reducers)


class _Shared:
    """What is computed once for a view and all that is taken of it."""

    def __init__(self, reader: UnitReader, offer: Offer, reducers: Sequence[Reducer]) -> None:
        self._reader, self._offer, self._reducers = reader, offer, reducers
        self._there = offer.units >= 0
        self._open = np.flatnonzero(offer.mask[self._there])

    @cached_property
    def _offered_and_labelled(self) -> tuple[Rows, Rows]:
        """Rows of every unit on offer, those that the budget masks included, and of the units bought."""
        units = self._offer.units[self._there]
        bought = bought_if_wanted(self._reader, self._reducers)
        return _split(self._reader.reduce(np.concatenate([units, bought]), self._reducers), len(units))

    @property
    def open_and_labelled(self) -> tuple[Rows, Rows]:
        """Rows of the open candidates, and of the units bought where a reducer wants them."""
        offered, labelled = self._offered_and_labelled
        return _only(offered, self._open), labelled

    @cached_property
    def state(self) -> Rows:
        """Rows of D_S of the reducers that want them."""
        return self._reader.reduce_state([reducer for reducer in self._reducers if reducer.labelled])

    @cached_property
    def observation(self) -> dict[str, np.ndarray]:
        rows = dict(self._offered_and_labelled[0])
        if missing := [reducer for reducer in self._reader.observation_reducers if reducer.name not in rows]:
            rows |= self._reader.reduce(self._offer.units[self._there], missing)
        return self._reader.observe(self._offer.units, self._offer.mask, rows)


class _OneImage:
    """What the candidates of one image share while candidates are narrowed down: of D_S they see nothing."""

    state: Rows = {}


_ONE_IMAGE = _OneImage()


def checked_rows(rows: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """The rows of a name.

    Raises:
        RalsegError: if there are none, or they hold NaN.
    """
    if name not in rows:
        raise RalsegError(f"the view holds no {name!r}; announce its reducer in the acquisition's `needs`")
    if np.isnan(rows[name]).any():
        raise RalsegError(f"{name!r} of a candidate is NaN; the network's prediction is damaged")
    return rows[name]


def bought_if_wanted(reader: UnitReader, reducers: Sequence[Reducer]) -> np.ndarray:
    """(m,) flat numbers of the labelled units if a reducer wants to see them, else none."""
    return reader.bought if any(reducer.labelled for reducer in reducers) else np.empty(0, np.int64)


def _split(rows: Rows, count: int) -> tuple[Rows, Rows]:
    return {name: part[:count] for name, part in rows.items()}, {name: part[count:] for name, part in rows.items()}


def _only(rows: Rows, index: np.ndarray) -> Rows:
    return {name: part[index] for name, part in rows.items()}


def _joined(parts: Sequence[Rows]) -> Rows:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
