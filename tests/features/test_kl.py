import numpy as np
import pytest
import scipy.stats

from ralseg.features import kl_histogram, linear_edges, log_edges, released_histogram
from ralseg.features.histograms import largest_kl
from ralseg.foundation import RalsegError

RNG = np.random.default_rng(0)
P, Q = RNG.dirichlet(np.full(5, 0.3), 13), RNG.dirichlet(np.full(5, 0.3), 300)
P[0], Q[0] = [1, 0, 0, 0, 0], [0, 1, 0, 0, 0]


def slow_kl(p, q, smoothing):
    def smooth(x):
        return (x / x.sum() + smoothing) / (1 + len(x) * smoothing)

    return np.array([[scipy.stats.entropy(smooth(a), smooth(b)) for b in q] for a in p])


@pytest.mark.parametrize("smoothing", [1e-7, 1e-4, 1e-2])
def test_no_divergence_is_above_the_largest(smoothing):
    assert slow_kl(P, Q, smoothing).max() < largest_kl(smoothing)


def test_by_hand():
    """KL of (1, 0) and of (1/2, 1/2) from (3/4, 1/4), without smoothing: ln 4/3 = 0.288 and half of it, 0.144."""
    found = kl_histogram([[1, 0], [1, 1]], [[3, 1]], [0, 0.143, 0.145, 0.287, 0.289], 0)
    np.testing.assert_array_equal(found, [[0, 0, 0, 1], [0, 1, 0, 0]])


def test_counts_and_shares_are_the_same():
    np.testing.assert_array_equal(kl_histogram(P * 7200, Q * 3, log_edges()), kl_histogram(P, Q, log_edges()))


def test_a_row_of_zeros_is_uniform():
    found = kl_histogram(np.zeros((1, 4)), np.ones((1, 4)), [0, 1e-6, 1], 1e-4)
    np.testing.assert_array_equal(found, [[1, 0]])


@pytest.mark.parametrize("edges", [linear_edges(), log_edges(), np.array([0.1, 0.5, 2.0, 3.0])])
@pytest.mark.parametrize("smoothing", [1e-7, 1e-4, 1e-2])
@pytest.mark.parametrize("chunk", [4, 2048])
def test_histogram_against_numpy(edges, smoothing, chunk):
    """300 references make two blocks; the ends of the range take what lies outside."""
    found = kl_histogram(P, Q, edges, smoothing, chunk)
    kl = np.clip(slow_kl(P, Q, smoothing), edges[0], edges[-1])
    expected = np.stack([np.histogram(row, bins=edges)[0] for row in kl]) / len(Q)
    assert found.shape == (13, len(edges) - 1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-7)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)


def test_histogram_of_itself_holds_zero_in_the_first_bin():
    assert (kl_histogram(P, P, linear_edges())[:, 0] >= np.float32(1 / 13)).all()


def test_permutations():
    order, shuffled = RNG.permutation(13), RNG.permutation(300)
    edges = log_edges()
    np.testing.assert_allclose(kl_histogram(P[order], Q[shuffled], edges), kl_histogram(P, Q, edges)[order], atol=1e-7)
    released = released_histogram(P + 1e-7, Q + 1e-7)
    np.testing.assert_allclose(released_histogram(P[order] + 1e-7, Q[shuffled] + 1e-7), released[order], atol=1e-7)


def test_no_reference_and_no_candidate():
    edges = linear_edges()
    np.testing.assert_array_equal(kl_histogram(P, np.zeros((0, 5)), edges), np.zeros((13, 32)))
    np.testing.assert_array_equal(released_histogram(P + 1e-7, np.zeros((0, 5))), np.zeros((13, 32)))
    assert kl_histogram(np.zeros((0, 5)), Q, edges).shape == (0, 32)
    assert released_histogram(np.zeros((0, 5)), Q + 1e-7).shape == (0, 32)


@pytest.mark.parametrize("floor", [1e-7, 1e-11])
def test_released_histogram_against_numpy(floor):
    p, q = np.maximum(P, floor), np.maximum(Q, floor)
    kl = [[scipy.stats.entropy(a, b) for b in q] for a in p]
    expected = np.stack([np.histogram(row, bins=32)[0] for row in kl]) / len(q)
    np.testing.assert_allclose(released_histogram(p, q), expected, atol=1e-7)


def test_released_bins_of_values_on_edges_are_numpys():
    from ralseg.features.histograms import _private_histogram

    values = np.stack([np.linspace(a, b, 33) for a, b in [(0, 1), (0.1, 0.7), (3, 3.3), (0, 25), (-1e-3, 1e-3)]])
    expected = np.stack([np.histogram(row, bins=32)[0] for row in values])
    np.testing.assert_array_equal(_private_histogram(values), expected)


def test_equal_released_values_fall_into_bin_16():
    same = np.tile(RNG.dirichlet(np.ones(5)), (24, 1))
    found = released_histogram(RNG.dirichlet(np.ones(5), 2000), same)
    np.testing.assert_array_equal(found[:, 16], 1)
    np.testing.assert_array_equal(np.delete(found, 16, axis=1), 0)


def test_edges():
    np.testing.assert_allclose(linear_edges(1e-3, 4), np.linspace(0, np.log(1001), 5), rtol=1e-6)
    edges = log_edges()
    assert len(edges) == 11
    np.testing.assert_allclose(edges[[0, -1]], [0.02, 8.0], rtol=1e-6)
    np.testing.assert_allclose(edges[1:] / edges[:-1], 400**0.1, rtol=1e-5)


def test_one_bin_and_one_class_are_enough():
    np.testing.assert_array_equal(kl_histogram(P, Q, [0, 1]), np.ones((13, 1)))
    np.testing.assert_array_equal(kl_histogram([[3], [1]], [[2]], [0, 1, 2], 0), [[1, 0], [1, 0]])


def test_bad_shares_are_refused():
    with pytest.raises(RalsegError, match="do not match"):
        kl_histogram(P, Q[:, :4], linear_edges())
    for bad in (np.nan, -1, np.inf):
        with pytest.raises(RalsegError, match="NaN, infinite or negative"):
            kl_histogram(P, np.full((1, 5), bad), linear_edges())
    with pytest.raises(RalsegError, match="infinite"):
        kl_histogram(P, Q, linear_edges(), 0)
    with pytest.raises(RalsegError, match="all zeros"):
        released_histogram(np.zeros((1, 5)), Q + 1e-7)
    with pytest.raises(RalsegError, match="infinite"):
        kl_histogram([[0.5, 0.5, 0]], [[0.5, 0.5, 0]], linear_edges(), 0)
    for edges in ([1, 0], [0, 1, 0.5], [0]):
        with pytest.raises(RalsegError, match="ascend"):
            kl_histogram(P, Q, edges)
    with pytest.raises(RalsegError, match="smoothing -1"):
        kl_histogram(P, Q, linear_edges(), -1)
