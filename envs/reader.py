"""What a view reads from a pool in one turn: predictions, places and, in training, true labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ralseg.envs.pool import Pool
from ralseg.envs.reading import read_units, reads_pixels, some_units
from ralseg.envs.true_counts import TrueCounts
from ralseg.features.reduction import noises_of
from ralseg.features.units import Reducer
from ralseg.features.view import Rows
from ralseg.foundation import integer
from ralseg.segmentation.learners import Learner

STATE_UNITS = 1000
"""The most units of an image of D_S that are used; of more (pixels), a sample of this size stands for all."""


class Observes(Protocol):
    """Makes observations: `Observer` in games, and whatever else knows a labelled set."""

    @property
    def reducers(self) -> Sequence[Reducer]:
        """The reducers applied to the predictions of candidates."""
        ...

    def observe(self, units: np.ndarray, mask: np.ndarray, rows: Rows) -> dict[str, np.ndarray]:
        """The observation of candidates (K, N), -1 for an empty place, from the rows of those that are there."""
        ...


@dataclass(frozen=True)
class PoolReader:
    """Reads the units of a pool for a `CandidatesView`.

    Attributes:
        learner: makes the predictions.
        pool: the units.
        state: store indices of D_S, whose units count as labelled; empty where the learner does not learn from them.
        counts: true pixels per class of the pool's units.
        seed: the seed of the episode.
        turn: the number of the step in the episode.
        observer: makes the observation; None if there is none.
        references: by name, the reducers of references that see true labels; each replaces the reducer of its name.
    """

    learner: Learner
    pool: Pool
    state: Sequence[int]
    counts: TrueCounts
    seed: int
    turn: int
    observer: Observes | None
    references: Mapping[str, Reducer]

    @property
    def reads_pixels(self) -> bool:
        """See `UnitReader.reads_pixels`."""
        return reads_pixels(self.learner, self.pool)

    @property
    def bought(self) -> np.ndarray:
        """See `UnitReader.bought`."""
        return self.pool.bought

    @property
    def observation_reducers(self) -> Sequence[Reducer]:
        """See `UnitReader.observation_reducers`."""
        return () if self.observer is None else self.observer.reducers

    def reduce(self, units: np.ndarray, reducers: Sequence[Reducer]) -> Rows:
        """See `UnitReader.reduce`; noise depends only on the seed, the turn and the first image."""
        if not len(units) or not reducers:
            return {}
        reducers = [self.references.get(reducer.name, reducer) for reducer in reducers]
        order, images, local = self.pool.by_image(units)
        noise = None
        if noises_of(reducers):
            noise = torch.Generator(self.learner.device)
            noise.manual_seed(integer(self.seed, "noise", self.turn, images[0]))
        rows = read_units(self.learner, self.pool, dict(zip(images, local, strict=True)), reducers, noise)
        return {name: found[np.argsort(order)] for name, found in rows.items()}

    def reduce_state(self, reducers: Sequence[Reducer]) -> Rows:
        """See `UnitReader.reduce_state`; nothing without a D_S, as when people begin with no label."""
        if not reducers or not self.state:
            return {}
        asked = {image: some_units(self.pool, image, STATE_UNITS, self.seed) for image in self.state}
        return read_units(self.learner, self.pool, asked, reducers, again=True)

    def observe(self, units: np.ndarray, mask: np.ndarray, rows: Rows) -> dict[str, np.ndarray]:
        """See `UnitReader.observe`."""
        assert self.observer is not None
        return self.observer.observe(units, mask, rows)

    def images_of(self, units: np.ndarray) -> np.ndarray:
        """See `UnitReader.images_of`."""
        return self.pool.images[self.pool.locate(units)[0]]

    def groups_of(self, units: np.ndarray) -> np.ndarray:
        """See `UnitReader.groups_of`."""
        return self.pool.groups[self.pool.locate(units)[0]]

    def frames_of(self, units: np.ndarray) -> np.ndarray:
        """See `UnitReader.frames_of`."""
        return self.pool.frames[self.pool.locate(units)[0]]

    def boxes_of(self, units: np.ndarray) -> np.ndarray:
        """See `UnitReader.boxes_of`."""
        return self.pool.boxes(units)

    def true_counts(self, units: np.ndarray) -> np.ndarray:
        """See `UnitReader.true_counts`."""
        return self.counts(units)
