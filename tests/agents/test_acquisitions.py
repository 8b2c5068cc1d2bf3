import numpy as np
import pytest
import torch

from ralseg.agents.acquisitions import best_per_slate, make, names
from ralseg.agents.acquisitions.base import Acquisition
from ralseg.envs import CandidatesView
from ralseg.features import UnitGrid
from ralseg.foundation import RalsegError
from ralseg.segmentation.networks import Prediction

CLASSES, DRAWS = 4, 3
GRID = UnitGrid(12, 16, 4, 4)


class Source:
    """Images of 12 units behind a view: logits drawn from a seed, true classes too."""

    def __init__(self, images=4, classes=CLASSES, damage=None):
        generator = torch.Generator().manual_seed(0)
        self.logits = 2 * torch.randn(images, classes, 6, 8, generator=generator)
        self.noisy = self.logits + torch.randn(DRAWS, *self.logits.shape, generator=generator)
        self.counts = np.random.default_rng(0).integers(0, 30, (images * len(GRID), classes))
        if damage is not None:
            self.logits[0, 0, 0, 0] = damage
            self.noisy[0, 0, 0, 0, 0] = damage

    def reduce_candidates(self, units, reducers, observed):
        prediction = Prediction(self.logits, None, (), self.noisy)
        rows = {}
        for reducer in reducers:
            for name, values in reducer(prediction, range(len(self.logits)), GRID).items():
                rows[name] = values.reshape(-1, *values.shape[2:])[units]
        return rows

    def true_counts(self, units):
        return self.counts[units]


UNITS = np.array([[5, 17, 40, 2], [7, 30, -1, 47], [11, 0, 22, 33], [-1, -1, -1, -1]])
MASK = (UNITS >= 0) & ~np.isin(UNITS, [17, 33])


def view_of(acquisition, units=UNITS, mask=MASK, labelled=(9, 0, 100, 4), source=None):
    return CandidatesView(source or Source(), units, mask, np.array(labelled), acquisition.needs, False)


class AcquisitionContract:
    """What every acquisition keeps; a subclass names one."""

    name = ""
    options = {}

    @pytest.fixture
    def acquisition(self):
        return make(self.name, **self.options)

    def select(self, acquisition, seed=0, **view):
        return acquisition.select(view_of(acquisition, **view), np.random.default_rng(seed))

    def test_its_attributes(self, acquisition):
        assert acquisition.name == self.name
        assert acquisition.needs_observation is False
        assert isinstance(acquisition.sees_truth, bool)

    def test_one_open_candidate_of_each_slate(self, acquisition):
        for seed in range(30):
            choice = self.select(acquisition, seed)
            assert (choice.shape, choice.dtype) == ((4,), np.int64)
            assert choice[3] == -1
            assert MASK[np.arange(3), choice[:3]].all()

    def test_nothing_is_open(self, acquisition):
        assert self.select(acquisition, mask=np.zeros_like(MASK)).tolist() == [-1] * 4
        assert self.select(acquisition, units=np.full((2, 3), -1), mask=np.zeros((2, 3), bool)).tolist() == [-1, -1]

    def test_one_candidate(self, acquisition):
        assert self.select(acquisition, units=np.array([[3]]), mask=np.array([[True]])).tolist() == [0]

    def test_it_follows_the_generator(self, acquisition):
        np.testing.assert_array_equal(self.select(acquisition, 3), self.select(acquisition, 3))

    def test_masked_candidates_decide_nothing(self, acquisition):
        """What a masked place holds makes no difference."""
        other = np.where(MASK, UNITS, 1)
        for seed in range(10):
            np.testing.assert_array_equal(self.select(acquisition, seed), self.select(acquisition, seed, units=other))

    def test_slates_do_not_see_each_other(self, acquisition):
        order = [2, 0, 1, 3]
        unit = np.take_along_axis(UNITS, np.maximum(self.select(acquisition), 0)[:, None], 1)[order, 0]
        choice = self.select(acquisition, units=UNITS[order], mask=MASK[order])
        if not self.by_chance:
            assert UNITS[order][np.arange(3), choice[:3]].tolist() == unit[:3].tolist()

    by_chance = False

    def test_the_order_of_the_candidates_decides_nothing(self, acquisition):
        order = np.array([3, 1, 0, 2])
        if not self.by_chance:
            own, other = self.select(acquisition), self.select(acquisition, units=UNITS[:, order], mask=MASK[:, order])
            assert own[:3].tolist() == order[other[:3]].tolist()
            return
        # By chance: the same units are chosen as often.
        counts = np.zeros((2, 4, 48))
        for seed in range(400):
            for i, columns in enumerate((np.arange(4), order)):
                units, mask = UNITS[:, columns], MASK[:, columns]
                choice = self.select(acquisition, seed, units=units, mask=mask)
                counts[i, np.arange(3), units[np.arange(3), choice[:3]]] += 1
        assert np.abs(counts[0] - counts[1]).max() < 5 * np.sqrt(400 * 2 / 4)

    def test_equal_candidates_are_chosen_alike(self, acquisition):
        units = np.full((1, 4), 6)
        counts = np.zeros(4)
        for seed in range(400):
            counts[self.select(acquisition, seed, units=units, mask=np.array([[True, True, False, True]]))[0]] += 1
        assert counts[2] == 0
        assert np.abs(counts[[0, 1, 3]] - 400 / 3).max() < 5 * np.sqrt(400 / 3)

    def test_scores_are_finite(self, acquisition):
        score = acquisition.score(view_of(acquisition), np.random.default_rng(0))
        assert score.shape == MASK.shape
        assert np.isfinite(score).all()

    @pytest.mark.parametrize("damage", [np.nan, np.inf])
    def test_a_damaged_prediction_is_refused(self, acquisition, damage):
        if not acquisition.needs:
            pytest.skip("reads no prediction")
        units = np.array([[0, 5], [7, 9]])
        with pytest.raises(RalsegError, match="NaN"):
            self.select(acquisition, units=units, mask=units >= 0, source=Source(damage=damage))


def slow_probabilities(logits):
    """(..., C) of each cell, in float64."""
    z = np.moveaxis(logits.numpy().astype(float), -3, -1)
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def slow_unit_means(maps):
    """(units of all images,) means over the 2 x 2 cells of each unit."""
    return maps.reshape(len(maps), 3, 2, 4, 2).mean((2, 4)).reshape(-1)


def slow_entropy(p):
    return -(p * np.log(p)).sum(-1)


class Scored(AcquisitionContract):
    """An acquisition with a formula."""

    def slow(self, source):
        """The score of every unit, written out."""
        raise NotImplementedError

    def test_the_formula(self, acquisition):
        score = acquisition.score(view_of(acquisition), np.random.default_rng(0))
        expected = self.slow(Source())
        np.testing.assert_allclose(score[MASK], expected[UNITS[MASK]], rtol=1e-4, atol=1e-6)
        choice = self.select(acquisition)
        best = np.where(MASK, expected[UNITS], -np.inf).argmax(1)
        assert choice[:3].tolist() == best[:3].tolist()


class TestEntropy(Scored):
    name = "entropy"

    def slow(self, source):
        return slow_unit_means(slow_entropy(slow_probabilities(source.logits)))


class TestMargin(Scored):
    name = "margin"

    def slow(self, source):
        ranked = np.sort(slow_probabilities(source.logits), -1)
        return -slow_unit_means(ranked[..., -1] - ranked[..., -2])


class TestLeastConfidence(Scored):
    name = "least_confidence"

    def slow(self, source):
        return -slow_unit_means(slow_probabilities(source.logits).max(-1))


class TestBald(Scored):
    name, options = "bald", {"draws": DRAWS}

    def slow(self, source):
        p = slow_probabilities(source.noisy)
        return slow_unit_means(slow_entropy(p.mean(0)) - slow_entropy(p).mean(0))

    def test_it_reads_no_more_draws_than_its_own(self):
        few = make("bald", draws=2)
        p = slow_probabilities(Source().noisy[:2])
        expected = slow_unit_means(slow_entropy(p.mean(0)) - slow_entropy(p).mean(0))
        score = few.score(view_of(few), np.random.default_rng(0))
        np.testing.assert_allclose(score[MASK], expected[UNITS[MASK]], rtol=1e-4, atol=1e-6)

    def test_few_draws(self):
        with pytest.raises(RalsegError, match=r"bald.draws=1 is out of range; it is 2 or more"):
            make("bald", draws=1)


class TestClassTruth(Scored):
    name = "class_truth"

    def slow(self, source):
        labelled = np.array([9, 0, 100, 4])
        return np.array(
            [sum(np.sqrt(n + c) - np.sqrt(n) for n, c in zip(labelled, row, strict=True)) for row in source.counts]
        )

    def test_it_sees_the_truth(self, acquisition):
        assert acquisition.sees_truth


class TestRandom(AcquisitionContract):
    name, by_chance = "random", True


class TestClassAwareRandom(AcquisitionContract):
    name, by_chance = "class_aware_random", True

    def test_its_chances(self):
        """A class is drawn, all present ones alike, then a candidate in proportion to its share of it."""
        source = Source()
        classes = source.logits.numpy().argmax(1)
        shares = np.stack([slow_unit_means((classes == c).astype(float)) for c in range(CLASSES)], axis=1)
        acquisition, slate = make(self.name), shares[UNITS[0]] * MASK[0][:, None]
        present = slate.sum(0) > 0
        expected = (slate[:, present] / slate[:, present].sum(0)).mean(1)
        counts = np.bincount([self.select(acquisition, seed)[0] for seed in range(4000)], minlength=4) / 4000
        np.testing.assert_allclose(counts, expected, atol=0.04)

    def test_one_class_everywhere(self):
        source = Source()
        source.logits[:, 1:] = -50
        acquisition = make(self.name)
        choices = {int(self.select(acquisition, seed, source=source)[0]) for seed in range(40)}
        assert choices == {0, 2, 3}


def test_every_acquisition_has_a_contract_test():
    tested = {cls.name for cls in (*AcquisitionContract.__subclasses__(), *Scored.__subclasses__())} - {""}
    assert tested == set(names())


def test_only_references_see_the_truth():
    assert [name for name in names() if make(name).sees_truth] == ["class_truth"]


def test_names():
    with pytest.raises(RalsegError, match=r"acquisition 'entropie' is unknown; choose from random, .*class_truth"):
        make("entropie")
    with pytest.raises(RalsegError, match=r"acquisition 'entropy' does not take draws"):
        make("entropy", draws=3)


def test_a_single_class_has_no_margin():
    with pytest.raises(RalsegError, match="two classes or more"):
        margin = make("margin")
        margin.select(view_of(margin, source=Source(classes=1)), np.random.default_rng(0))


def test_best_per_slate():
    score = np.array([[1.0, 5, 3], [np.nan, 2, 2], [0, 0, 0], [-np.inf, -np.inf, 7]])
    mask = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0], [1, 1, 0]], bool)
    found = [best_per_slate(score, mask, np.random.default_rng(seed)) for seed in range(40)]
    assert {tuple(choice) for choice in found} == {(2, a, -1, b) for a in (1, 2) for b in (0, 1)}
    assert found[0].dtype == np.int64
    with pytest.raises(RalsegError, match="the score of a candidate is NaN"):
        best_per_slate(score, np.ones_like(mask), np.random.default_rng(0))


def test_a_score_must_be_given():
    with pytest.raises(NotImplementedError):
        Acquisition().select(view_of(make("random")), np.random.default_rng(0))
