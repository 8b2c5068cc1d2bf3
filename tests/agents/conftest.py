"""Candidates without a network: games of random predictions, and games of which every row is given."""

import zlib

import numpy as np
import pytest
import torch

from ralseg.agents.acquisitions.reducers import map_reducer
from ralseg.features import UnitGrid
from ralseg.features.prediction import Prediction
from ralseg.features.softmax_maps import Softmax
from ralseg.features.view import CandidatesView, Offer

UNITS = 12
"""Of an image."""
GRID = UnitGrid(11, 14, 4, 4)
"""3 x 4 units, those at the far borders smaller."""
CELLS = (6, 7)
"""Of a map: none of the rows ends where a unit does."""
FIRST_IMAGE = 20
"""Index in the store of the pool's first image."""
LABELLED = np.array([9, 0, 100, 4])


def true_loss(logits):
    """(B, h, w): in a fake game all is of the first class, and the informed network knows it."""
    return -Softmax(logits).log_probabilities[..., 0, :, :]


class FakeGame:
    """Random predictions of the images of a pool, followed by those of two images of D_S.

    Args:
        images: of the pool, two of them in each group.
        classes: C.
        grid: of all images, 12 units.
        cells: (h, w) of the logits' map.
        coarse: (h', w') of the map of features.
        bought: flat numbers of the units bought so far.
        seed: of the predictions.
    """

    reads_pixels = False

    def __init__(self, images=4, classes=4, grid=GRID, cells=CELLS, coarse=(3, 4), bought=(), seed=0):
        assert len(grid) == UNITS
        self.images, self.grid, self.bought = images, grid, np.array(bought, np.int64)
        self.generator = torch.Generator().manual_seed(seed)
        self.logits = 2 * torch.randn(images + 2, classes, *cells, generator=self.generator)
        self.features = torch.randn(images + 2, 5, *coarse, generator=self.generator)
        self.counts = np.random.default_rng(seed).integers(0, 30, (images * UNITS, classes))
        self.truth_was_read = False
        self.noisy = {}

    @property
    def open(self):
        """Flat numbers of the units that are not bought."""
        return np.setdiff1d(np.arange(self.images * UNITS), self.bought)

    def disturbed(self, noise):
        """(M, B, C, h, w), drawn when first asked for."""
        if noise not in self.noisy:
            generator = torch.Generator().manual_seed(zlib.crc32(repr(noise).encode()))
            self.noisy[noise] = self.logits + torch.randn(noise.draws, *self.logits.shape, generator=generator)
        return self.noisy[noise]

    def damage(self, value):
        """The first image's prediction is spoilt, noisy ones drawn from now on with it."""
        self.logits[0, 0, 0, 0] = self.features[0, 0, 0, 0] = value

    def rows(self, reducers):
        noisy = {reducer.noise: self.disturbed(reducer.noise) for reducer in reducers if reducer.noise}
        prediction, found = Prediction(self.logits, self.features, (), noisy), {}
        for reducer in reducers:
            if reducer.name in ("reducible_loss", "look_ahead"):
                self.truth_was_read = True
                reducer = map_reducer(reducer.name, true_loss)
            found[reducer.name] = reducer.find(prediction, self.grid)
        return {name: rows.reshape(-1, *rows.shape[2:]) for name, rows in found.items()}

    def reduce(self, units, reducers):
        if not len(units) or not reducers:
            return {}
        return {name: rows[units] for name, rows in self.rows(reducers).items()}

    def reduce_state(self, reducers):
        return {name: rows[self.images * UNITS :] for name, rows in self.rows(reducers).items()}

    def images_of(self, units):
        return FIRST_IMAGE + units // UNITS

    def groups_of(self, units):
        return units // UNITS // 2

    def frames_of(self, units):
        return units // UNITS % 2

    def boxes_of(self, units):
        return self.grid.boxes[units % UNITS]

    def true_counts(self, units):
        self.truth_was_read = True
        return self.counts[units]


class HandMade:
    """Units of which everything is given.

    Args:
        rows: reducer's name -> (units, ...).
        images: (units,) of each unit; None: one of all. Groups and frames likewise, and boxes, (units, 4).
        bought: flat numbers of the units bought so far; D_S has none.
    """

    reads_pixels = False

    def __init__(self, rows, images=None, groups=None, frames=None, boxes=None, bought=()):
        self.rows = {name: np.asarray(part) for name, part in rows.items()}
        self.size = len(next(iter(self.rows.values())))
        self.images, self.groups, self.frames = (
            np.zeros(self.size, int) if a is None else np.array(a) for a in (images, groups, frames)
        )
        self.boxes = np.tile([0, 0, 1, 1], (self.size, 1)) if boxes is None else np.array(boxes)
        self.bought = np.array(bought, np.int64)

    @property
    def open(self):
        return np.setdiff1d(np.arange(self.size), self.bought)

    def reduce(self, units, reducers):
        return {reducer.name: self.rows[reducer.name][units] for reducer in reducers} if len(units) else {}

    def reduce_state(self, reducers):
        return {reducer.name: self.rows[reducer.name][:0] for reducer in reducers}

    def images_of(self, units):
        return self.images[units]

    def groups_of(self, units):
        return self.groups[units]

    def frames_of(self, units):
        return self.frames[units]

    def boxes_of(self, units):
        return self.boxes[units]


def candidates_of(source, acquisition, units=None, slates=None, choices=5):
    """Candidates of a game for an acquisition: all open units, or some in the order that they are given."""
    units = source.open if units is None else np.asarray(units, np.int64)
    offer = Offer(units[None], np.ones((1, len(units)), bool), len(units))
    view = CandidatesView(source, offer, LABELLED, acquisition.needs)
    view.choices, view.slates = choices, None if slates is None else np.asarray(slates, np.int64)
    return view


def view_of(source, acquisition, units, mask=None, choices=None):
    """A view of (K, N) units, -1 where there is none; all of them are open unless a mask is given."""
    units = np.asarray(units, np.int64)
    mask = units >= 0 if mask is None else np.asarray(mask)
    return CandidatesView(source, Offer(units, mask, choices), LABELLED, acquisition.needs)


# Test modules are no package and cannot import from each other.
@pytest.fixture(scope="session")
def fake_game():
    """`FakeGame`."""
    return FakeGame


@pytest.fixture(scope="session")
def hand_made():
    """`HandMade`."""
    return HandMade


@pytest.fixture(scope="session")
def offered():
    """`candidates_of`."""
    return candidates_of


@pytest.fixture(scope="session")
def viewed():
    """`view_of`."""
    return view_of
