import numpy as np
import pytest

from ralseg.agents.acquisitions import make
from ralseg.features.units import Reducer
from ralseg.features.view import IMAGES_AT_ONCE, CandidatesView, Offer
from ralseg.foundation import RalsegError

UNITS, IMAGES = 6, 40
"""Images of so many units: unit u is of image u // UNITS."""


class Source:
    """A reader of made-up rows that keeps account of what it is asked."""

    observation_reducers = ()
    reads_pixels = False

    def __init__(self, bought=(), damaged=None):
        self.bought = np.array(bought, np.int64)
        self.rows = {"a": np.arange(UNITS * IMAGES) + 0.5, "b": np.arange(UNITS * IMAGES * 2.0).reshape(-1, 2)}
        if damaged is not None:
            self.rows["a"][damaged] = np.nan
        self.reduced, self.states = [], []

    def reduce(self, units, reducers):
        self.reduced.append(units.tolist())
        return {reducer.name: self.rows[reducer.name][units] for reducer in reducers} if len(units) else {}

    def reduce_state(self, reducers):
        self.states.append([reducer.name for reducer in reducers])
        return {reducer.name: -self.rows[reducer.name][:3] - 1 for reducer in reducers}

    def observe(self, units, mask, rows):
        return {"state": np.zeros((1, 1)), "candidates": rows["a"], "mask": mask.astype(np.int8)}

    def images_of(self, units):
        return units // UNITS

    def groups_of(self, units):
        return units // UNITS % 2

    def frames_of(self, units):
        return units // UNITS // 2

    def boxes_of(self, units):
        return np.stack([units, units, 0 * units + 2, units % 3 + 1], axis=1)

    def true_counts(self, units):
        return np.stack([units, 2 * units], axis=1)


def announced(name, labelled=False):
    return Reducer(name, lambda prediction, units: 1 / 0, labelled=labelled)


A, B, A_LABELLED, B_LABELLED = announced("a"), announced("b"), announced("a", True), announced("b", True)


def candidates_of(source, units, reducers=(A, B), slates=None):
    units = np.array(units, np.int64)
    offer = Offer(units[None], np.ones((1, len(units)), bool), 2)
    view = CandidatesView(source, offer, np.zeros(2, np.int64), reducers)
    view.slates = None if slates is None else np.array(slates)
    return view


def test_what_the_source_knows_without_a_prediction():
    source = Source()
    candidates = candidates_of(source, [13, 2, 7], slates=[0, 0, 1])
    assert len(candidates) == 3
    assert candidates.images.tolist() == [2, 0, 1] and candidates.groups.tolist() == [0, 0, 1]
    assert candidates.frames.tolist() == [1, 0, 0]
    assert candidates.boxes.tolist() == [[13, 13, 2, 2], [2, 2, 2, 3], [7, 7, 2, 2]]
    assert candidates.areas.tolist() == [4, 6, 4]
    assert candidates.true_counts.tolist() == [[13, 26], [2, 4], [7, 14]]
    taken = candidates.take(np.array([2, 0]))
    assert (taken.units.tolist(), taken.slates.tolist(), taken.places.tolist()) == ([7, 13], [1, 0], [2, 0])
    assert taken.choices == 2
    assert source.reduced == source.states == []


def test_rows_are_computed_once_whoever_asks():
    source = Source()
    candidates = candidates_of(source, [13, 2, 7])
    assert candidates.reduced("a").tolist() == [13.5, 2.5, 7.5]
    assert candidates.reduced("b").tolist() == [[26, 27], [4, 5], [14, 15]]
    taken = candidates.take(np.array([2, 0]))
    assert taken.reduced("a").tolist() == [7.5, 13.5]
    assert taken.take(np.array([1])).unslated().reduced("b").tolist() == [[26, 27]]
    candidates.compute()
    assert source.reduced == [[13, 2, 7]]


def test_what_is_taken_first_computes_its_own_rows_alone():
    source = Source()
    candidates = candidates_of(source, [13, 2, 7])
    assert candidates.take(np.array([1])).reduced("a").tolist() == [2.5]
    assert source.reduced == [[2]]


def test_unslated_are_the_same_candidates_in_one_slate():
    source = Source()
    candidates = candidates_of(source, [13, 2, 7], slates=[0, 0, 1])
    every = candidates.unslated()
    assert every.slates is None and candidates.slates.tolist() == [0, 0, 1]
    assert every.units.tolist() == [13, 2, 7]
    assert every.reduced("a").tolist() == candidates.reduced("a").tolist()
    assert source.reduced == [[13, 2, 7]]


def test_labelled_are_those_bought_in_their_order_and_then_those_of_the_state_set():
    source = Source(bought=[20, 3])
    candidates = candidates_of(source, [13, 2], (A_LABELLED, B))
    assert candidates.reduced("a").tolist() == [13.5, 2.5]
    assert source.reduced == [[13, 2, 20, 3]] and source.states == []
    assert candidates.labelled("a").tolist() == [20.5, 3.5, -1.5, -2.5, -3.5]
    assert candidates.take(np.array([1])).labelled("a").tolist() == candidates.labelled("a").tolist()
    # D_S is asked for what is wanted of it, once.
    assert source.states == [["a"]] and len(source.reduced) == 1


def test_nothing_bought_yet():
    source = Source()
    candidates = candidates_of(source, [13, 2], (A_LABELLED, B_LABELLED))
    assert candidates.labelled("b").tolist() == [[-1, -2], [-3, -4], [-5, -6]]
    assert source.reduced == [[13, 2]]


def test_where_no_reducer_wants_labelled_units_none_are_looked_at():
    source = Source(bought=[20, 3])
    candidates = candidates_of(source, [13, 2])
    assert candidates.labelled("b").shape == (0, 2)
    assert source.reduced == [[13, 2]] and source.states == [[]]


def test_what_was_not_announced_is_refused():
    candidates = candidates_of(Source(), [13, 2], [A])
    for look in (candidates.reduced, candidates.labelled):
        with pytest.raises(RalsegError, match="the view holds no 'b'; announce its reducer in the acquisition"):
            look("b")


def test_nan_is_refused():
    with pytest.raises(RalsegError, match="'a' of a candidate is NaN; the network's prediction is damaged"):
        candidates_of(Source(damaged=2), [13, 2]).reduced("a")
    # Those that are not damaged are there.
    assert candidates_of(Source(damaged=2), [13, 3]).reduced("a").tolist() == [13.5, 3.5]
    source = Source(bought=[20], damaged=20)
    candidates = candidates_of(source, [13], [A_LABELLED])
    assert candidates.reduced("a").tolist() == [13.5]
    with pytest.raises(RalsegError, match="'a' of a candidate is NaN"):
        candidates.labelled("a")


def highest(count):
    """Keeps the candidates of the highest `a` of each image; notes what it was shown."""
    shown = []

    def choose(image):
        shown.append((image.units.tolist(), image.labelled("a").tolist() if image._reducers[0].labelled else None))
        assert len(np.unique(image.images)) == 1
        assert image.reduced("a").tolist() == [unit + 0.5 for unit in image.units]
        return np.argsort(-image.reduced("a"))[:count]

    return choose, shown


@pytest.fixture
def shuffled():
    """Candidates of all images but the last two, in no order; bought are units of the first one, of two others, and of
    the last."""
    order = np.random.default_rng(0).permutation(UNITS * (IMAGES - 2))
    bought = [UNITS * IMAGES - 1, 3, 15, 1, 2]
    return [unit for unit in order.tolist() if unit not in bought], bought


@pytest.mark.parametrize("computed", [False, True])
def test_narrowed_image_by_image(shuffled, computed):
    units, bought = shuffled
    source = Source(bought)
    candidates = candidates_of(source, units, (A_LABELLED, B), slates=np.array(units) % 4)
    if computed:
        candidates.compute()
        source.reduced.clear()
    choose, shown = highest(2)
    narrowed = candidates.narrowed(choose)

    # Every image that has candidates is shown, with what was bought in it.
    own = {i: [u for u in units if u // UNITS == i] for i in range(IMAGES)}
    expected = [(own[i], [u + 0.5 for u in bought if u // UNITS == i]) for i in own if own[i]]
    assert shown == expected
    kept = {u for found in own.values() for u in sorted(found)[-2:]}
    assert narrowed.units.tolist() == [u for u in units if u in kept]
    assert narrowed.slates.tolist() == [u % 4 for u in narrowed.units]
    assert narrowed.places.tolist() == [units.index(u) for u in narrowed.units]

    # Each image passes once, a few together; nothing passes again for what is asked of those that are kept.
    if computed:
        assert source.reduced == []
    else:
        passed = [sorted({u // UNITS for u in chunk}) for chunk in source.reduced]
        images = [i for chunk in passed for i in chunk]
        assert images == sorted({u // UNITS for u in [*units, *bought]})
        assert [len(chunk) for chunk in passed] == [IMAGES_AT_ONCE, IMAGES_AT_ONCE, len(images) - 2 * IMAGES_AT_ONCE]
        assert sorted(u for chunk in source.reduced for u in chunk) == sorted([*units, *bought])
    passes = len(source.reduced)
    assert narrowed.reduced("a").tolist() == [u + 0.5 for u in narrowed.units]
    assert narrowed.reduced("b")[:, 1].tolist() == [2 * u + 1 for u in narrowed.units]
    assert narrowed.labelled("a").tolist() == [*(u + 0.5 for u in bought), -1.5, -2.5, -3.5]
    assert (len(source.reduced), source.states) == (passes, [["a"]])
    # The candidates themselves are as they were.
    assert candidates.units.tolist() == units


def test_what_was_narrowed_can_be_narrowed_again(shuffled):
    units, bought = shuffled
    source = Source(bought)
    once = candidates_of(source, units, (A_LABELLED, B)).narrowed(highest(3)[0])
    passes = len(source.reduced)
    choose, shown = highest(1)
    twice = once.narrowed(choose)
    assert {unit // UNITS: labelled for (unit, *_), labelled in shown} == {
        i: [u + 0.5 for u in bought if u // UNITS == i] for i in range(IMAGES - 2)
    }
    largest = {max(u for u in units if u // UNITS == i) for i in range(IMAGES - 2)}
    assert twice.units.tolist() == [u for u in units if u in largest]
    assert twice.reduced("a").tolist() == [u + 0.5 for u in twice.units]
    assert twice.labelled("a").tolist() == [*(u + 0.5 for u in bought), -1.5, -2.5, -3.5]
    assert len(source.reduced) == passes


def test_narrowed_without_labelled_units(shuffled):
    units, bought = shuffled
    source = Source(bought)
    narrowed = candidates_of(source, units).narrowed(highest(2)[0])
    assert sorted(u for chunk in source.reduced for u in chunk) == sorted(units)
    assert narrowed.labelled("b").shape == (0, 2) and len(narrowed) == 2 * (IMAGES - 2)


def test_narrowed_to_nothing_and_of_nothing():
    none = candidates_of(Source([3]), [], (A_LABELLED,)).narrowed(lambda image: 1 / 0)
    assert len(none) == 0 and none.labelled("a").tolist() == [3.5, -1.5, -2.5, -3.5]
    assert len(candidates_of(Source(), []).narrowed(lambda image: 1 / 0)) == 0
    left = candidates_of(Source(), [13, 2], (A,)).narrowed(lambda image: np.empty(0, np.int64))
    assert (len(left), left.reduced("a").tolist()) == (0, [])


def test_equals_of_all_images_have_the_same_chance_after_a_stage_image_by_image():
    """The first of equals wins: in the order of images those of the first ones would."""
    stages = [{"by": "random", "per_image": 3}, {"by": "random"}]
    counts = np.zeros(IMAGES)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        candidates = candidates_of(Source(), rng.permutation(UNITS * IMAGES), ())
        np.add.at(counts, candidates.images[make("stages", stages=stages).select(candidates, 4, rng)], 1)
    # 800 choices of 40 images: 20 each, with a standard deviation of 4.4.
    assert counts.sum() == 800 and np.abs(counts - 20).max() < 4.5 * 4.4


def test_the_state_passes_once_for_all_that_are_taken():
    """As two set methods in a row ask for it: each of candidates of its own."""
    source = Source(bought=[3])
    candidates = candidates_of(source, [13, 2, 20], [A_LABELLED])
    found = [
        part.labelled("a").tolist() for part in (candidates.unslated(), candidates.take(np.array([1])), candidates)
    ]
    assert found == [[3.5, -1.5, -2.5, -3.5]] * 3
    narrowed = candidates_of(source, [13, 2, 20], [A_LABELLED]).narrowed(lambda image: np.arange(len(image)))
    assert [part.labelled("a").tolist() for part in (narrowed.unslated(), narrowed.take(np.array([0])))] == found[:2]
    assert source.states == [["a"], ["a"]]


OFFERED = np.array([[3, 0, -1], [5, -1, -1]])


def view_of(source, reducers=(A, B), mask=OFFERED >= 0):
    return CandidatesView(source, Offer(OFFERED, mask), np.array([4, 5]), reducers)


def test_a_slated_view_lays_its_open_candidates_side_by_side():
    source = Source()
    view = view_of(source, mask=np.array([[True, False, False], [True, False, False]]))
    assert (view.units.tolist(), view.slates.tolist(), view.places.tolist()) == ([3, 5], [0, 1], [0, 0])
    assert (view.choices, view.labelled_counts.tolist(), len(view)) == (2, [4, 5], 2)
    assert source.reduced == []
    assert view.reduced("a").tolist() == [3.5, 5.5]
    # What the budget masks is looked at, too: an observation describes all that is on offer.
    assert source.reduced == [[3, 0, 5]]


def test_values_are_laid_out_over_the_slates():
    source = Source()
    view = view_of(source)
    assert view.in_slates(view.reduced("a")).tolist() == [[3.5, 0.5, 0], [5.5, 0, 0]]
    assert view.in_slates(view.reduced("b")).tolist() == [[[6, 7], [0, 1], [0, 0]], [[10, 11], [0, 0], [0, 0]]]
    assert view.in_slates(view.true_counts).tolist() == [[[3, 6], [0, 0], [0, 0]], [[5, 10], [0, 0], [0, 0]]]
    masked = view_of(source, mask=np.array([[False, True, False], [True, False, False]]))
    assert masked.in_slates(masked.reduced("a")).tolist() == [[0, 0.5, 0], [5.5, 0, 0]]


def test_a_whole_pool_is_one_slate_of_which_several_are_chosen():
    units = np.array([[3, 0, 5, 4]])
    view = CandidatesView(Source(), Offer(units, units != 5, 2), np.zeros(2, np.int64), (A,))
    assert (view.units.tolist(), view.slates, view.places.tolist()) == ([3, 0, 4], None, [0, 1, 3])
    assert view.choices == 2
    assert view.in_slates(view.reduced("a")).tolist() == [[3.5, 0.5, 0, 4.5]]


@pytest.mark.parametrize("announced_first", [True, False])
def test_an_observation_is_made_once_of_what_was_announced_and_what_was_not(announced_first):
    source = Source()
    source.observation_reducers = (A,)
    view = view_of(source, (A, B) if announced_first else (B,))
    assert view.reduced("b").shape == (3, 2)
    assert view.observation is view.take(np.array([1])).observation
    assert view.observation["candidates"].tolist() == [3.5, 0.5, 5.5]
    assert view.observation["mask"].tolist() == [[1, 1, 0], [1, 0, 0]]
    assert source.reduced == ([[3, 0, 5]] if announced_first else [[3, 0, 5], [3, 0, 5]])
