import numpy as np
import pytest

from ralseg.agents.acquisitions import spread
from ralseg.agents.acquisitions.clouds import clouds
from ralseg.agents.acquisitions.limits import Free
from ralseg.agents.acquisitions.spread import k_means_plus_plus, typical
from ralseg.foundation import RalsegError

NOTHING = np.empty((0, 2))


class Quota:
    """At most one pick of each group."""

    def __init__(self, groups):
        self.groups, self.open = np.asarray(groups), np.ones(len(groups), bool)

    def take(self, index):
        self.open[self.groups == self.groups[index]] = False


def rng(seed=0):
    return np.random.default_rng(seed)


def gaussian(n, features=2, seed=0):
    return rng(seed).normal(size=(n, features))


def blobs(sizes, seed=0):
    """Round clusters, far from each other."""
    centres = 100.0 * np.arange(len(sizes))[:, None] * np.ones(2)
    return np.concatenate(
        [c + rng(seed + i).normal(size=(n, 2)) for i, (c, n) in enumerate(zip(centres, sizes, strict=True))]
    )


def test_draws_go_by_squared_distance():
    """From 0: the others lie 1, 2 and 3 away, chances 1 : 4 : 9."""
    line = np.array([[0.0, 0], [1, 0], [2, 0], [3, 0]])
    draws, stream = 4000, rng()
    found = [k_means_plus_plus(line, line[[0]], 1, Free(4), stream)[0] for _ in range(draws)]
    counts = np.bincount(found, minlength=4) / draws
    np.testing.assert_allclose(counts, np.array([0, 1, 4, 9]) / 14, atol=0.03)
    assert counts[0] == 0


def test_first_draw_without_centres_is_uniform():
    line = np.array([[0.0, 0], [1, 0], [2, 0], [30, 0]])
    stream, counts = rng(), np.zeros(4)
    for _ in range(3000):
        limits = Free(4)
        limits.open[1] = False
        counts[k_means_plus_plus(line, NOTHING, 1, limits, stream)[0]] += 1
    np.testing.assert_allclose(counts / 3000, [1 / 3, 0, 1 / 3, 1 / 3], atol=0.03)


def test_draws_are_those_of_the_definition():
    """The same random numbers against all distances, computed again for every pick."""
    points, labelled, groups = gaussian(80, 5), gaussian(6, 5, seed=1), np.arange(80) % 50
    for known in (labelled, labelled[:0]):
        found = k_means_plus_plus(points, known, 60, Quota(groups), rng(3))
        stream, limits, expected = rng(3), Quota(groups), []
        while limits.open.any():
            centres = np.concatenate([known, points[expected]])
            squared = np.square(points[:, None] - centres).sum(axis=2).min(axis=1, initial=np.inf)
            chances = np.where(limits.open, squared if len(centres) else 1, 0)
            edges = chances.cumsum()
            expected.append(int((edges <= stream.random() * edges[-1]).sum()))
            limits.take(expected[-1])
        assert found.tolist() == expected and len(expected) == 50


def test_first_is_kept():
    points = gaussian(20)
    for first in (0, 13):
        found = k_means_plus_plus(points, NOTHING, 5, Free(20), rng(), first)
        assert found[0] == first and len(set(found)) == 5
    assert k_means_plus_plus(points, NOTHING, 0, Free(20), rng(), 3).shape == (0,)
    limits = Free(20)
    limits.take(4)
    for first in (4, -1, 20):
        with pytest.raises(RalsegError, match=f"first pick {first} may not be picked; name an open one of the 20"):
            k_means_plus_plus(points, NOTHING, 5, limits, rng(), first)


def test_duplicates_come_last_and_are_drawn_alike():
    points = gaussian(30, 6).astype(np.float32)
    points[10:20], points[20:] = points[:10], gaussian(10, 6, seed=1)
    for seed in range(5):
        found = k_means_plus_plus(points, points[20:], 30, Free(30), rng(seed))
        assert sorted(found) == list(range(30))
        assert len({tuple(row) for row in points[found[:10]]}) == 10 and (found[:10] < 20).all()
    last = {k_means_plus_plus(points, points[20:], 30, Free(30), rng(seed))[-1] for seed in range(60)}
    assert len(last) > 12


def mean_distances(members, neighbours):
    distances = np.sqrt(np.square(members[:, None] - members).sum(axis=2))
    return np.sort(distances, axis=1)[:, 1 : neighbours + 1].mean(axis=1)


@pytest.mark.parametrize("neighbours", [1, 3, 20])
def test_most_typical_of_every_cluster(neighbours):
    """Two labelled points: their clusters come last; of the others the largest first. Then a second round."""
    sizes = [8, 30, 12, 20]
    points = blobs(sizes)
    labelled = np.array([[0.0, 0.5], [100.0, 100.5]])
    starts = np.cumsum([0, *sizes])
    found = typical(points, labelled, 2, Free(70), rng(), neighbours)
    expected = []
    for cluster, known in ((3, labelled[:0]), (2, labelled[:0]), (1, labelled[1:]), (0, labelled[:1])):
        members = np.concatenate([points[starts[cluster] : starts[cluster + 1]], known])
        order = np.argsort(mean_distances(members, neighbours), kind="stable")
        expected.append([starts[cluster] + i for i in order if i < sizes[cluster]])
    assert found.tolist() == [expected[0][0], expected[1][0]]
    found = typical(points, labelled, 10, Free(70), rng(), neighbours, most_clusters=4)
    assert found.tolist() == [expected[i][depth] for depth in range(3) for i in range(4)][:10]


def test_small_clusters_wait():
    points = blobs([4, 9, 5])
    found = typical(points, NOTHING, 17, Free(18), rng(), most_clusters=3)
    assert (found[:14] >= 4).all() and (found[14:] < 4).all() and len(found) == 17


def test_typical_keeps_limits():
    """Groups that cross the clusters: a closed favourite is passed over for the next most typical one."""
    points = blobs([10, 10])
    free = typical(points, NOTHING, 4, Free(20), rng(), most_clusters=2)
    groups = np.arange(20)
    groups[free[1]] = groups[free[0]]
    found = typical(points, NOTHING, 40, Quota(groups), rng(), most_clusters=2)
    assert found[:2].tolist() == [free[0], free[3]]
    assert len(found) == 19 and len(set(groups[found])) == 19


def test_as_many_clusters_as_labelled_and_picks():
    points = blobs([10, 10, 10, 10, 10])
    found = typical(points, points[:2] + 0.01, 3, Free(50), rng(1))
    assert len(set(found // 10)) == 3


def test_mean_distances_in_blocks(monkeypatch):
    monkeypatch.setattr(spread, "TILE", 7)
    points = gaussian(40, 3)
    found = spread._mean_distances(clouds(points, points[:0])[0], 5)
    np.testing.assert_allclose(found, mean_distances(points, 5))
    assert spread._mean_distances(clouds(points[:1], points[:0])[0], 5).tolist() == [0]


METHODS = {"k_means_plus_plus": k_means_plus_plus, "typical": typical}


def closed():
    limits = Free(9)
    limits.open[:] = False
    return limits


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_few_or_no_candidates(method):
    points = gaussian(9)
    for labelled in (NOTHING, points[:2]):
        assert sorted(method(points, labelled, 20, Free(9), rng())) == list(range(9))
        assert sorted(method(np.ones((9, 2)), labelled, 20, Free(9), rng())) == list(range(9))
        for rows, picks, limits in ((points[:0], 4, Free(0)), (points, 0, Free(9)), (points, 4, closed())):
            found = method(rows, labelled, picks, limits, rng())
            assert found.shape == (0,) and found.dtype == np.int64


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_seed_decides(method):
    points = gaussian(60)
    first = method(points, NOTHING, 10, Free(60), rng(5))
    assert first.tolist() == method(points, NOTHING, 10, Free(60), rng(5)).tolist()
    assert any(first.tolist() != method(points, NOTHING, 10, Free(60), rng(seed)).tolist() for seed in range(3))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_bad_points_are_refused(method):
    bad = gaussian(9)
    bad[4, 1] = np.nan
    with pytest.raises(RalsegError, match="row 4 of the points is not finite"):
        method(bad, NOTHING, 3, Free(9), rng())
    with pytest.raises(RalsegError, match="row 4 of the labelled points is not finite"):
        method(gaussian(9), bad, 3, Free(9), rng())
