"""The open candidates of a step, one after the other: what acquisitions look at."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from ralseg.envs.reducers import UnitReducer
from ralseg.foundation import RalsegError

IMAGES_AT_ONCE = 16
"""Images whose rows are at hand together while candidates are narrowed down image by image."""

Rows = dict[str, np.ndarray]


class CandidatesSource(Protocol):
    """The game behind the candidates."""

    @property
    def bought(self) -> np.ndarray:
        """(m,) int64 flat numbers of the units bought so far."""

    def reduce_candidates(self, units: np.ndarray, reducers: Sequence[UnitReducer], observed: bool = False) -> Rows:
        """Name -> (n, ...) for n units, one forward pass per image."""

    def reduce_state(self, reducers: Sequence[UnitReducer]) -> Rows:
        """Name -> (units of D_S, ...); of pixels, a sample."""

    def images_of(self, units: np.ndarray) -> np.ndarray:
        """(n,) int64 index in the store of the image of each unit."""

    def groups_of(self, units: np.ndarray) -> np.ndarray:
        """(n,) int64 number of the group (clip, city) of each unit's image."""

    def boxes_of(self, units: np.ndarray) -> np.ndarray:
        """(n, 4) int64: y, x, height, width of each unit, pixels."""

    def true_counts(self, units: np.ndarray) -> np.ndarray:
        """(n, C) int64 true pixels per class of n units."""


class Candidates:
    """n open candidates; predictions are computed when they are first looked at, once.

    Args:
        source: the game.
        units: (n,) int64 flat unit numbers of the pool.
        slates: (n,) int64, the slate of each, or None where the whole pool is one.
        places: (n,) int64, its place in the slate.
        choices: how many the step asks for.
        labelled_counts: (C,) int64 pixels per class bought so far.
        reducers: what will be asked for, so that one forward pass serves all of it.
    """

    def __init__(
        self,
        source: CandidatesSource,
        units: np.ndarray,
        slates: np.ndarray | None,
        places: np.ndarray,
        choices: int,
        labelled_counts: np.ndarray,
        reducers: Sequence[UnitReducer] = (),
    ) -> None:
        self.units, self.slates, self.places, self.choices = units, slates, places, choices
        self.labelled_counts = labelled_counts
        self._source, self._reducers = source, tuple(reducers)
        self._rows: Rows | None = None
        self._labelled: Rows = {}
        # The rows of D_S once they are known: one list for all that are taken of these candidates.
        self._state: list[Rows] = []

    def __len__(self) -> int:
        return len(self.units)

    @property
    def images(self) -> np.ndarray:
        """(n,) int64 index in the store of each candidate's image."""
        return self._source.images_of(self.units)

    @property
    def groups(self) -> np.ndarray:
        """(n,) int64 number of the group (clip, city) of each candidate's image."""
        return self._source.groups_of(self.units)

    @property
    def boxes(self) -> np.ndarray:
        """(n, 4) int64: y, x, height, width of each candidate within its image, pixels."""
        return self._source.boxes_of(self.units)

    @property
    def areas(self) -> np.ndarray:
        """(n,) int64 pixels of each candidate."""
        return self.boxes[:, 2:].prod(axis=1)

    @property
    def true_counts(self) -> np.ndarray:
        """(n, C) int64 true pixels per class: for references that see the truth, never for contenders."""
        return self._source.true_counts(self.units)

    def compute(self) -> None:
        """Look at the predictions of all candidates and of what is labelled now, if nobody has."""
        if self._rows is None:
            found = self._source.reduce_candidates(np.concatenate([self.units, self._bought]), self._reducers)
            self._rows = {name: rows[: len(self)] for name, rows in found.items()}
            self._labelled = {name: rows[len(self) :] for name, rows in found.items()}

    def reduced(self, name: str) -> np.ndarray:
        """What a reducer found for each candidate, (n, ...).

        Raises:
            RalsegError: if no reducer announced it, or it holds NaN.
        """
        self.compute()
        return checked_rows(self._rows, name)

    def labelled(self, name: str) -> np.ndarray:
        """What a reducer with `labelled` found for each labelled unit, (m, ...): those bought, then those of D_S."""
        self.compute()
        if not self._state:
            self._state.append(self._source.reduce_state([reducer for reducer in self._reducers if reducer.labelled]))
        rows = [part[name] for part in (self._labelled, *self._state) if name in part]
        if not rows:
            return self.reduced(name)[:0]
        return checked_rows({name: np.concatenate(rows)}, name)

    def unslated(self) -> "Candidates":
        """The same candidates as if the whole pool were one slate; what is asked of both is computed once, here."""
        self.compute()
        every = self.take(np.arange(len(self)))
        every.slates = None
        return every

    def take(self, index: np.ndarray) -> "Candidates":
        """Some of the candidates, in this order; what is computed already is not computed again."""
        slates = None if self.slates is None else self.slates[index]
        given = self.units[index], slates, self.places[index], self.choices, self.labelled_counts, self._reducers
        taken = Candidates(self._source, *given)
        taken._state = self._state
        if self._rows is not None:
            taken._rows, taken._labelled = _only(self._rows, index), self._labelled
        return taken

    def narrowed(self, choose: Callable[["Candidates"], np.ndarray]) -> "Candidates":
        """The candidates that `choose` keeps of each image, in the order that they have here.

        Memory holds the rows of a few images and of what is kept.

        Args:
            choose: gets the candidates of one image, whose labelled units are those bought in it, and gives indices.
        """
        every, size = np.concatenate([self.units, self._bought]), len(self)
        images = self._source.images_of(every)
        order = np.argsort(images, kind="stable")
        _, starts = np.unique(images[order], return_index=True)
        of_images = np.split(order, starts[1:])
        whole = self._rows and {name: np.concatenate([rows, self._labelled[name]]) for name, rows in self._rows.items()}
        kept, had, rows, labelled = [], [], [], []
        for begin in range(0, len(of_images), IMAGES_AT_ONCE):
            # Candidates and bought units of an image together, so that it passes once.
            chunk = of_images[begin : begin + IMAGES_AT_ONCE]
            among = np.concatenate(chunk)
            if whole is None:
                found = self._source.reduce_candidates(every[among], self._reducers)
            else:
                found = _only(whole, among)
            parts = np.split(np.arange(len(among)), np.cumsum([len(own) for own in chunk])[:-1])
            for own, part in zip(chunk, parts, strict=True):
                here = self.take(own[own < size])
                here._rows, here._labelled = _only(found, part[own < size]), _only(found, part[own >= size])
                here._state = [{}]
                chosen = np.sort(choose(here)) if len(here) else np.empty(0, np.int64)
                kept.append(own[own < size][chosen])
                had.append(own[own >= size])
                rows.append(_only(here._rows, chosen))
                labelled.append(here._labelled)
        # Image by image they would favour the first images wherever the first of equals wins.
        kept, had = (np.concatenate([np.empty(0, np.int64), *parts]) for parts in (kept, had))
        order, of_had = np.argsort(kept), np.argsort(had)
        narrowed = self.take(kept[order])
        narrowed._rows, narrowed._labelled = _only(_joined(rows), order), _only(_joined(labelled), of_had)
        return narrowed

    @property
    def _bought(self) -> np.ndarray:
        wanted = any(reducer.labelled for reducer in self._reducers)
        return self._source.bought if wanted else np.empty(0, np.int64)


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


def _only(rows: Rows, index: np.ndarray) -> Rows:
    return {name: part[index] for name, part in rows.items()}


def _joined(parts: Sequence[Rows]) -> Rows:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
