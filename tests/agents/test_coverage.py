import numpy as np
import pytest

from ralseg.agents.acquisitions import clouds as clouds_module
from ralseg.agents.acquisitions import coverage as module
from ralseg.agents.acquisitions import spread
from ralseg.agents.acquisitions.clouds import clouds, leading
from ralseg.agents.acquisitions.coverage import (
    Rbf,
    TopHat,
    k_center,
    max_herding,
    median_bandwidth,
    prob_cover,
    purity_radius,
)
from ralseg.agents.acquisitions.limits import Free
from ralseg.foundation import RalsegError

NOTHING = np.empty((0, 2))


class OneOfEach:
    """At most one pick of each group."""

    def __init__(self, groups):
        self.groups, self.open = np.asarray(groups), np.ones(len(groups), bool)

    def take(self, index):
        self.open[self.groups == self.groups[index]] = False


@pytest.fixture(params=["one front", "small fronts"])
def fronts(request, monkeypatch):
    """All candidates at once, or a few leading ones at a time, in blocks that do not divide their number."""
    if request.param == "small fronts":
        monkeypatch.setattr(spread, "FRONT", 7)
        monkeypatch.setattr(spread, "TILE", 37)
        monkeypatch.setattr(module, "LEAST_FRONT", 5)
        monkeypatch.setattr(module, "MEMORY", 6 * 8 * 300)
        monkeypatch.setattr(clouds_module, "TILE", 37)
        monkeypatch.setattr(module, "TILE", 37)


def gaussian(n, features=5, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=(n, features)).astype(dtype)


def clustered(n, features=5, seed=0):
    rng = np.random.default_rng(seed)
    return 4 * rng.normal(size=(6, features))[rng.integers(6, size=n)] + 0.5 * rng.normal(size=(n, features))


def apart(points, others):
    """(n, m) distances by their definition."""
    return np.sqrt(np.square(points[:, None].astype(float) - np.asarray(others, float)).sum(axis=2))


def slow_k_center(points, labelled, picks, limits):
    chosen = []
    while len(chosen) < picks and limits.open.any():
        centres = [*labelled, *points[chosen]]
        far = apart(points, centres).min(axis=1) if len(centres) else -apart(points, [points.mean(axis=0)])[:, 0]
        chosen.append(int(np.where(limits.open, far, -np.inf).argmax()))
        limits.take(chosen[-1])
    return chosen


def dense_herding(points, labelled, picks, limits, kernel, weights=None):
    """All gains are computed again for every pick; gains equal up to 1e-12 of the total weight tie."""
    similar = kernel(apart(points, points) ** 2)
    best = kernel(apart(points, labelled) ** 2).max(axis=1) if len(labelled) else np.zeros(len(points))
    weights = np.ones(len(points)) if weights is None else weights
    chosen, gains = [], []
    while len(chosen) < picks and limits.open.any():
        gain = weights @ np.maximum(similar - best[:, None], 0)
        gain = np.where(limits.open, np.rint(gain / (1e-12 * weights.sum())), -np.inf)
        chosen.append(int(gain.argmax()))
        gains.append(gain.max())
        limits.take(chosen[-1])
        best = np.maximum(best, similar[chosen[-1]])
    return chosen, gains


@pytest.mark.parametrize("make", [gaussian, clustered])
@pytest.mark.parametrize("labelled", [0, 1, 60])
def test_k_center_is_the_greedy_one(make, labelled, fronts):
    points = make(300)
    known = make(360, seed=3)[300 : 300 + labelled]
    assert k_center(points, known, 80, Free(300)).tolist() == slow_k_center(points, known, 80, Free(300))


def test_k_center_in_float32():
    points = gaussian(400, 32, dtype=np.float32) + np.float32(50)
    found = k_center(points, points[:3], 100, Free(400))
    assert found.tolist() == slow_k_center(points, points[:3], 100, Free(400)) and found.dtype == np.int64


def test_k_center_by_hand():
    """On a line: the middle one, the ends (the left one first), then what lies 3 from the next centre."""
    line = np.array([[0.0, 0], [3, 0], [5, 0], [6, 0], [10, 0]])
    assert k_center(line, NOTHING, 4, Free(5)).tolist() == [2, 0, 4, 1]
    assert k_center(line, line[[0]], 2, Free(5)).tolist() == [4, 2]


def test_duplicates_of_centres_come_last(fronts):
    points = gaussian(60, 8, dtype=np.float32)
    points[40:50], points[50:] = points[:10], gaussian(10, 8, seed=1)
    for labelled in (points[50:], points[:0]):
        for found in (
            k_center(points, labelled, 60, Free(60)),
            max_herding(points, labelled, 60, Free(60), Rbf(1.0)),
            prob_cover(points, labelled, 60, Free(60), 0.5),
        ):
            assert sorted(found) == list(range(60))
            known = {tuple(row) for row in labelled}
            seen = []
            for index in found:
                seen.append(tuple(points[index]) in known)
                known.add(tuple(points[index]))
            assert seen == sorted(seen) and sum(seen) == 10 + len(labelled)


def test_all_points_equal(fronts):
    points = np.full((20, 3), 0.1)
    for labelled in (points[:0], points[:2]):
        assert k_center(points, labelled, 5, Free(20)).tolist() == [0, 1, 2, 3, 4]
        assert max_herding(points, labelled, 5, Free(20), Rbf(1.0)).tolist() == [0, 1, 2, 3, 4]
        assert prob_cover(points, labelled, 5, Free(20), 0.0).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("make", [gaussian, clustered])
@pytest.mark.parametrize("labelled", [0, 40])
def test_max_herding_is_the_dense_one(make, labelled, fronts):
    points, known = make(300), make(340, seed=3)[300 : 300 + labelled]
    kernel = Rbf(median_bandwidth(points, np.random.default_rng(0)))
    dense, _ = dense_herding(points, known, 150, Free(300), kernel)
    assert max_herding(points, known, 150, Free(300), kernel).tolist() == dense


def test_max_herding_in_float32(fronts):
    points = clustered(300).astype(np.float32)
    kernel = Rbf(4.0)
    dense, _ = dense_herding(points, points[:5], 100, Free(300), kernel)
    found = max_herding(points, points[:5], 100, Free(300), kernel)
    assert found[:20].tolist() == dense[:20]
    covered = [kernel(apart(points, points[chosen]) ** 2).max(axis=1).mean() for chosen in (found, dense)]
    assert covered[0] == pytest.approx(covered[1], rel=1e-5)


def test_max_herding_by_hand():
    """Three on the left, two on the right, one alone; the labelled point covers the three."""
    points = np.array([[0.0, 0], [1, 0], [2, 0], [10, 0], [11, 0], [20, 0]])
    assert max_herding(points, NOTHING, 4, Free(6), Rbf(1.0)).tolist() == [1, 3, 5, 0]
    assert max_herding(points, points[[1]], 2, Free(6), Rbf(1.0)).tolist() == [3, 5]


def test_kernels_by_hand():
    squared = np.array([0.0, 9, 16])
    np.testing.assert_allclose(Rbf(5.0)(squared), [1, np.exp(-9 / 25), np.exp(-16 / 25)])
    assert TopHat(3.0)(squared).tolist() == [1, 1, 0]


@pytest.mark.parametrize("labelled", [0, 10])
def test_prob_cover_is_max_herding_with_a_top_hat(labelled, fronts):
    """As long as gains are positive; the points it goes on with are k-center's."""
    points, known = clustered(300), clustered(310, seed=3)[300 : 300 + labelled]
    dense, gains = dense_herding(points, known, 300, Free(300), TopHat(1.0))
    covering = int(np.count_nonzero(gains))
    assert 20 < covering < 200
    assert max_herding(points, known, covering, Free(300), TopHat(1.0)).tolist() == dense[:covering]
    found = prob_cover(points, known, covering + 30, Free(300), 1.0)
    assert found[:covering].tolist() == dense[:covering]
    limits = Free(300)
    limits.open[found[:covering]] = False
    centres = np.concatenate([known, points[found[:covering]]])
    assert found[covering:].tolist() == slow_k_center(points, centres, 30, limits)


@pytest.mark.parametrize("labelled", [0, 3])
def test_limits_are_kept(labelled, fronts):
    points = clustered(300)
    groups = np.arange(300) % 40
    known = gaussian(3)[:labelled]
    kernel = Rbf(3.0)
    expected = slow_k_center(points, known, 60, OneOfEach(groups))
    assert k_center(points, known, 60, OneOfEach(groups)).tolist() == expected and len(expected) == 40
    expected, _ = dense_herding(points, known, 60, OneOfEach(groups), kernel)
    assert max_herding(points, known, 60, OneOfEach(groups), kernel).tolist() == expected and len(expected) == 40
    found = prob_cover(points, known, 60, OneOfEach(groups), 1.0)
    assert sorted(groups[found]) == list(range(40))
    expected, gains = dense_herding(points, known, 60, OneOfEach(groups), TopHat(1.0))
    assert found[: np.count_nonzero(gains)].tolist() == expected[: np.count_nonzero(gains)]


def every_method(points, labelled, picks, limits):
    """The picks of each method, each with new limits."""
    yield lambda: k_center(points, labelled, picks, limits())
    yield lambda: max_herding(points, labelled, picks, limits(), Rbf(1.0))
    yield lambda: prob_cover(points, labelled, picks, limits(), 1.0)


def closed():
    limits = Free(9)
    limits.open[:] = False
    return limits


def test_few_or_no_candidates():
    points = gaussian(9)
    for method in every_method(points, points[:2], 20, lambda: Free(9)):
        assert sorted(method()) == list(range(9))
    nothing = [(points[:0], 4, lambda: Free(0)), (points, 0, lambda: Free(9)), (points, 4, closed)]
    for rows, picks, limits in nothing:
        for labelled in (points[:0], points[:2]):
            for method in every_method(rows, labelled, picks, limits):
                assert method().shape == (0,) and method().dtype == np.int64


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
def test_bad_points_are_refused(value):
    bad = gaussian(9)
    bad[4, 2] = value
    for method in every_method(bad, gaussian(2), 3, lambda: Free(9)):
        with pytest.raises(RalsegError, match="row 4 of the points is not finite"):
            method()
    for method in every_method(gaussian(9, seed=1), bad, 3, lambda: Free(9)):
        with pytest.raises(RalsegError, match="row 4 of the labelled points is not finite"):
            method()
    bad[:] = value
    for method in every_method(bad, gaussian(2), 3, lambda: Free(9)):
        with pytest.raises(RalsegError, match=r"of the (labelled )?points is not finite"):
            method()
    for method in every_method(gaussian(9), gaussian(2, 3), 3, lambda: Free(9)):
        with pytest.raises(RalsegError, match=r"shape \(2, 3\); the points have 5 coordinates"):
            method()
    for method in every_method(gaussian(9)[0], NOTHING, 3, lambda: Free(5)):
        with pytest.raises(RalsegError, match="one row each"):
            method()


def test_median_bandwidth():
    points = gaussian(9)
    points[8] = points[0]
    distances = apart(points, points)[np.triu_indices(9, 1)]
    expected = 2 * np.median(distances[distances > 0])
    assert median_bandwidth(points, np.random.default_rng(0)) == pytest.approx(expected)
    many = gaussian(1500)
    assert median_bandwidth(many, np.random.default_rng(0)) == pytest.approx(2 * np.median(apart(many, many)), rel=0.2)
    assert median_bandwidth(np.ones((30, 2)), np.random.default_rng(0)) == 1
    assert median_bandwidth(NOTHING, np.random.default_rng(0)) == 1


def test_purity_radius():
    """Two lines of five points 1 apart, 10 between them: a ball of just under 10 around any of the ends stays pure."""
    line = np.stack([np.arange(5.0), np.zeros(5)], axis=1)
    points = np.concatenate([line, line + np.array([14, 0])])
    rng = np.random.default_rng
    assert purity_radius(points, 2, rng(0), 1.0) == pytest.approx(10, abs=0.1)
    assert purity_radius(points, 2, rng(0), 1.0) < 10
    # Of the two ends that face each other one may be impure at 90 %, but they are equally far: four in five are pure.
    assert purity_radius(points, 2, rng(0), 0.9) < 10
    assert purity_radius(points, 2, rng(0), 0.8) == pytest.approx(11, abs=0.1)
    assert purity_radius(points, 1, rng(0)) == 18
    assert purity_radius(points, 50, rng(0), 1.0) < 1
    assert purity_radius(np.ones((30, 2)), 3, rng(0)) == 0


def test_leading_ones_and_what_follows():
    values, limits = np.array([3.0, 5, 1, 5, 5, 3]), np.array([True, True, True, False, True, True])
    front, rest = leading(values, limits, 3)
    assert front.tolist() == [0, 1, 4] and rest == (-3, 5)
    front, rest = leading(values, limits, 1)
    assert front.tolist() == [1] and rest == (-5, 4)
    front, rest = leading(values, limits, 9)
    assert front.tolist() == [0, 1, 2, 4, 5] and rest == (np.inf, 6)


def test_distances():
    points, others = gaussian(70, 4) + 100, gaussian(50, 4, seed=1) + 100
    cloud, known = clouds(points, others)
    np.testing.assert_allclose(cloud.squared_distances(known), apart(points, others) ** 2, rtol=1e-10)
    np.testing.assert_allclose(cloud.to_nearest(known), apart(points, others).min(axis=1) ** 2, rtol=1e-10)
    assert (cloud.to_nearest(cloud[::-1]) == 0).all() and np.isinf(cloud.to_nearest(cloud[:0])).all()
    assert clouds(points.astype(np.float16), others)[1].points.dtype == np.float32
