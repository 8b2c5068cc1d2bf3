import numpy as np
import pytest
import scipy.stats

from ralseg.foundation import RalsegError
from ralseg.stats import Resamples, advantage_won, interquartile_mean, share_of_paired_wins


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_interquartile_mean_by_hand(rng):
    """Of five runs a quarter is 1.25: of 1, 2, 3, 4, 100 there remain 3/4 of 2, 3, and 3/4 of 4."""
    assert interquartile_mean([[100, 2, 3, 1, 4]], rng).mean == pytest.approx((0.75 * 2 + 3 + 0.75 * 4) / 2.5)
    assert interquartile_mean([[1, 2], [9, 4]], rng).mean == pytest.approx(3)
    assert interquartile_mean([[1, 3]], rng).mean == pytest.approx(2)


def test_interquartile_mean_is_the_trimmed_mean_of_every_resample(rng):
    values = rng.normal(size=(3, 4)) ** 3
    drawn = Resamples(rng, 400)
    found = interquartile_mean(values, drawn)
    assert found.mean == pytest.approx(scipy.stats.trim_mean(values.ravel(), 0.25))
    slow = [scipy.stats.trim_mean(np.repeat(values.ravel(), times.astype(int)), 0.25) for times in drawn.times(3, 4)]
    np.testing.assert_allclose([found.low, found.high], np.quantile(slow, [0.025, 0.975]))
    assert found.standard_error == pytest.approx(np.std(slow))
    assert (found.n, found.method) == (3, "nested bootstrap of few training seeds")


def test_share_of_paired_wins_by_hand(rng):
    """Two wins, a tie and a loss."""
    found = share_of_paired_wins([[0.1, 3, 0, -5]], rng)
    assert found.mean == (1 + 1 + 0.5 + 0) / 4
    assert (found.n, found.method) == (4, "bootstrap over draws, one training seed")
    # Wins of 0, 1/2, 1: their variance over the draws is 3/16, less 1/64.
    assert found.standard_error == pytest.approx((((2 + 0.25) / 4 - 0.625**2) / 4) ** 0.5, rel=0.03)
    everything = share_of_paired_wins(np.ones((5, 2)), rng)
    assert (everything.low, everything.high, everything.method) == (1, 1, "nested bootstrap")


def test_share_of_an_advantage_is_a_ratio_of_means(rng):
    """1 of 2 and 3 of 4: half of each run's would be 5/8, the ratio of means is 4/6."""
    share, advantage = advantage_won([[11, 23]], [[10, 20]], [[12.0, 24.0]], rng, level=0.6)
    assert share.mean == pytest.approx(4 / 6)
    assert advantage.mean == 3
    # A quarter of the resamples has either run twice.
    assert (share.low, share.high) == (pytest.approx(1 / 2), pytest.approx(3 / 4))


def test_the_share_resamples_both_together(rng):
    """What always wins half of a wildly varying advantage has won half, without any doubt."""
    base, gain = rng.normal(size=(1, 12)), 1 + rng.random((1, 12)) * 9
    share, advantage = advantage_won(base + gain / 2, base, base + gain, rng)
    assert share.low == pytest.approx(0.5) and share.high == pytest.approx(0.5)
    assert advantage.high - advantage.low > 2
    drawn = Resamples(rng, 300)
    policy, reference = rng.normal(size=(6, 8)) + 1, rng.normal(size=(1, 8)) + 4
    found = advantage_won(policy, np.zeros((1, 8)), reference, drawn)
    runs = [np.repeat(np.arange(48), times.astype(int)) for times in drawn.times(6, 8)]
    slow = [policy.ravel()[run].mean() / np.tile(reference, (6, 1)).ravel()[run].mean() for run in runs]
    np.testing.assert_allclose([found.share.low, found.share.high], np.quantile(slow, [0.025, 0.975]))
    # The advantage itself rests on eight draws, not on 48.
    assert (found.advantage.n, found.advantage.method) == (8, "t over draws, one training seed")


@pytest.mark.parametrize("reference", [[[1.0, -1, 3, -2]], [[-1.0, -1.1, -1, -1]]])
def test_no_share_of_what_may_be_nothing(rng, reference):
    found = advantage_won([[1.0, 2, 3, 4]], np.zeros((1, 4)), reference, rng)
    assert found.share is None
    assert found.advantage.low <= 0


def test_bad_input_is_refused(rng):
    for statistic in (interquartile_mean, share_of_paired_wins):
        with pytest.raises(RalsegError, match="training seeds, draws"):
            statistic([1, 2], rng)
        with pytest.raises(RalsegError, match="2 runs or more"):
            statistic([[1]], rng)
        with pytest.raises(RalsegError, match="NaN"):
            statistic([[1, np.nan]], rng)
        with pytest.raises(RalsegError, match="random generator"):
            statistic([[1, 2]])
        with pytest.raises(RalsegError, match="level 2"):
            statistic([[1, 2]], rng, level=2)
    with pytest.raises(RalsegError, match="do not match"):
        advantage_won([[1, 2]], [[1, 2, 3]], [[1, 2, 3]], rng)
    with pytest.raises(RalsegError, match="random generator"):
        advantage_won([[1, 2]], [[1, 2]], [[1, 2]])
