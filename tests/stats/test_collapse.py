import numpy as np
import pytest

from ralseg.foundation import RalsegError
from ralseg.stats import distances, effective_number, reach

LINE = np.array([[0.0], [1.0], [3.0], [10.0]])


def test_distances_are_euclidean_and_copies_have_none():
    rng = np.random.default_rng(0)
    points = 1e3 + rng.normal(size=(600, 7))
    points[599] = points[3]
    found = distances(points)
    slow = np.linalg.norm(points[:, None] - points, axis=-1)
    assert found.shape == (600, 600) and found.dtype == np.float32
    np.testing.assert_allclose(found, slow, rtol=1e-6, atol=1e-6)
    assert found[599, 3] == found[3, 599] == 0 and (np.diag(found) == 0).all()
    # Frames that hardly differ are apart all the same.
    assert distances(np.array([[1e3, 0], [1e3, 1e-4], [0, 0]]))[0, 1] == pytest.approx(1e-4, rel=1e-3)
    assert distances(np.zeros((0, 3))).shape == (0, 0)


def test_reach_on_a_line_by_hand():
    found = reach(distances(LINE), [0, 3, 2], [0, 1, 2, 3, 3])
    # 0 and 10 are 10 apart; with 3, the nearest of each are 3, 7 and 3 away.
    np.testing.assert_allclose(found.within, [np.nan, np.nan, 10, 13 / 3, 13 / 3])
    # From the chosen 0: 0, 1, 3, 10; with 10 as well 0, 1, 3, 0; with 3 as well 0, 1, 0, 0.
    np.testing.assert_allclose(found.to, [np.nan, 14 / 4, 1, 1 / 4, 1 / 4])


def test_reach_is_that_of_each_set_alone():
    rng = np.random.default_rng(1)
    apart = distances(rng.normal(size=(40, 3)))
    order, sizes = rng.permutation(40), [2, 7, 8, 25, 40]
    found = reach(apart, order[:40], sizes)
    for number, size in enumerate(sizes):
        own = order[:size]
        within = np.mean([min(apart[i, j] for j in own if j != i) for i in own])
        assert found.within[number] == pytest.approx(within, rel=1e-5)
        assert found.to[number] == pytest.approx(np.mean([apart[i, own].min() for i in range(40)]), rel=1e-5, abs=1e-9)
    assert found.to[-1] == 0


def test_a_cluster_is_closer_together_than_chance():
    rng = np.random.default_rng(2)
    points = rng.normal(size=(10, 4))[np.arange(100) % 10] * 5 + rng.normal(size=(100, 4)) * 0.1
    apart = distances(points)
    chance = [reach(apart, rng.permutation(100)[:10], [10]) for _ in range(50)]
    within, to = (np.mean([getattr(each, key) for each in chance]) for key in ("within", "to"))
    collapsed, spread = reach(apart, np.arange(0, 100, 10), [10]), reach(apart, np.arange(10), [10])
    assert collapsed.within[0] < 0.2 * within and collapsed.to[0] > 1.5 * to
    assert spread.within[0] > 1.5 * within and spread.to[0] < 0.5 * to


def test_bad_choices_are_refused():
    for order, sizes in (([0, 0], [2]), ([0, 1], [2, 1]), ([0, 1], [3]), ([0, 1], [-1])):
        with pytest.raises(RalsegError, match="each point once, ascending"):
            reach(distances(LINE), order, sizes)
    for points in (np.zeros(3), np.array([[np.nan]])):
        with pytest.raises(RalsegError, match="distances: points of shape"):
            distances(points)


def test_the_effective_number_of_groups_by_hand():
    assert effective_number([5, 5, 5, 5]) == pytest.approx(4)
    assert effective_number([7, 0, 0]) == 1 and effective_number([0, 0]) == 0 and effective_number([]) == 0
    # Entropy of 1/2, 1/4, 1/4: 1.5 ln 2.
    np.testing.assert_allclose(effective_number([[2, 1, 1], [3, 3, 0]]), [2**1.5, 2])
