import numpy as np
import pytest
import scipy.stats

from ralseg.foundation import RalsegError
from ralseg.stats import paired_interval, two_set_mean


def test_one_training_seed_by_hand():
    """1, 2, 3: mean 2, standard error 1 / sqrt 3, t quantile of 2 degrees of freedom 4.3027."""
    found = paired_interval([[1, 2, 3]])
    assert found.method == "t over draws, one training seed"
    assert (found.mean, found.n, found.level) == (2, 3, 0.95)
    np.testing.assert_allclose(found.standard_error, 3**-0.5)
    np.testing.assert_allclose([found.low, found.high], 2 + np.array([-1, 1]) * 4.30265 * 3**-0.5, rtol=1e-5)


@pytest.mark.parametrize("seeds", [2, 3, 4])
def test_few_training_seeds_rest_on_their_means(seeds):
    differences = np.random.default_rng(0).normal(size=(seeds, 7))
    found = paired_interval(differences, level=0.9)
    means = differences.mean(axis=1)
    low, high = scipy.stats.t.interval(0.9, seeds - 1, loc=means.mean(), scale=scipy.stats.sem(means))
    assert (found.method, found.n) == ("t over training seeds", seeds)
    np.testing.assert_allclose([found.low, found.high], [low, high])


def test_the_bootstrap_resamples_seeds_and_then_draws():
    """The variance of a nested resample is known: that of seed means / S, and the mean variance within / (S D)."""
    differences = np.random.default_rng(1).normal(size=(6, 1)) + np.random.default_rng(2).normal(size=(6, 10))
    found = paired_interval(differences, rng=np.random.default_rng(3))
    variance = differences.mean(axis=1).var() / 6 + differences.var(axis=1).mean() / 60
    assert (found.method, found.n) == ("nested bootstrap", 6)
    np.testing.assert_allclose(found.mean, differences.mean())
    np.testing.assert_allclose(found.standard_error, variance**0.5, rtol=0.03)
    np.testing.assert_allclose([found.low, found.high], found.mean + np.array([-1.96, 1.96]) * variance**0.5, atol=0.1)
    again = paired_interval(differences, rng=np.random.default_rng(3))
    assert again == found


def test_no_spread_no_width():
    found = paired_interval(np.full((5, 4), 0.5), rng=np.random.default_rng(0), resamples=100)
    assert (found.low, found.high, found.standard_error) == (0.5, 0.5, 0)


@pytest.mark.parametrize(("seeds", "draws", "least"), [(1, 12, 0.93), (3, 6, 0.93), (10, 6, 0.9)])
def test_coverage(seeds, draws, least):
    """How often the interval holds the truth; one training seed is held to its own seed's truth."""
    rng = np.random.default_rng(4)
    hits = 0
    trials = 400
    for _ in range(trials):
        effect = rng.normal(size=(seeds, 1)) if seeds > 1 else 0
        found = paired_interval(effect + rng.normal(size=(seeds, draws)) + 0.3, rng=rng, resamples=400)
        hits += found.low <= 0.3 <= found.high
    assert least <= hits / trials <= 0.99


def test_pairing_takes_out_what_both_share():
    rng = np.random.default_rng(5)
    draw = 10 * rng.normal(size=(1, 12))
    ours, theirs = draw + 1 + 0.1 * rng.normal(size=(1, 12)), draw + 0.1 * rng.normal(size=(1, 12))
    paired = paired_interval(ours - theirs)
    unpaired = paired_interval(ours - theirs[:, rng.permutation(12)])
    assert paired.low > 0.8
    assert unpaired.low < 0 < unpaired.high


def test_two_set_mean():
    np.testing.assert_array_equal(two_set_mean([[1, 2]], [[3, 6]]), [[2, 4]])


def test_bad_input_is_refused():
    with pytest.raises(RalsegError, match="holds NaN"):
        paired_interval([[1, np.nan]])
    with pytest.raises(RalsegError, match="training seeds, draws"):
        paired_interval([1, 2, 3])
    with pytest.raises(RalsegError, match="2 runs or more"):
        paired_interval([[1]])
    with pytest.raises(RalsegError, match="level 1"):
        paired_interval([[1, 2]], level=1)
    with pytest.raises(RalsegError, match="random generator"):
        paired_interval(np.zeros((5, 2)))
    with pytest.raises(RalsegError, match="differ"):
        two_set_mean([1, 2], [1])
    with pytest.raises(RalsegError, match="test: holds NaN"):
        two_set_mean([1], [np.nan])
