import numpy as np
import pytest

from ralseg.foundation import RalsegError
from ralseg.stats import Resamples, advantage_won, paired_interval


def resamples(count=4000, **options):
    return Resamples(np.random.default_rng(0), count, **options)


def test_a_resample_has_whole_seeds_and_draws_within_them():
    times = resamples().times(3, 4).reshape(-1, 3, 4)
    assert (times.sum(axis=(1, 2)) == 12).all() and (times == times.round()).all()
    per_seed = times.sum(axis=2)
    assert (per_seed % 4 == 0).all()
    # Each seed once on average, with the variance of a multinomial: 3 x 1/3 x 2/3.
    np.testing.assert_allclose(per_seed.mean(axis=0) / 4, 1, atol=0.05)
    np.testing.assert_allclose((per_seed / 4).var(axis=0), 2 / 3, atol=0.05)
    assert (times[:, 0] != times[:, 1]).any()


def test_crossed_resamples_have_the_same_draws_of_every_seed():
    times = resamples(crossed=True).times(3, 4).reshape(-1, 3, 4)
    per_seed = times.sum(axis=2, keepdims=True) / 4
    per_draw = times.sum(axis=1, keepdims=True) / 3
    np.testing.assert_allclose(times, per_seed * per_draw)


def test_means_are_those_of_the_resampled_runs():
    values = np.random.default_rng(1).normal(size=(3, 4, 2))
    drawn = resamples(50)
    slow = [
        np.mean([values[run // 4, run % 4] for run in np.repeat(np.arange(12), times.astype(int))], axis=0)
        for times in drawn.times(3, 4)
    ]
    np.testing.assert_allclose(drawn.means(values), slow)


def test_a_shape_has_the_same_resamples_whatever_was_asked_before():
    first, second = resamples(20), resamples(20)
    second.times(2, 5)
    np.testing.assert_array_equal(first.times(3, 4), second.times(3, 4))
    assert first.times(3, 4) is first.times(3, 4)
    assert (first.times(3, 4) != Resamples(np.random.default_rng(1), 20).times(3, 4)).any()


def test_shared_resamples_give_what_a_generator_gives():
    differences = np.random.default_rng(2).normal(size=(5, 4))
    alone = paired_interval(differences, rng=np.random.default_rng(0), resamples=300)
    assert paired_interval(differences, rng=resamples(300)) == alone
    assert paired_interval(differences, rng=resamples(300, crossed=True)).method == "crossed bootstrap"


@pytest.mark.parametrize(("crossed", "least", "most"), [(False, 0.7, 0.9), (True, 0.9, 0.98)])
def test_coverage_against_a_base_that_was_not_trained(crossed, least, most):
    """What the base owes to luck is the same for all training seeds; only crossed resamples know that."""
    rng = np.random.default_rng(3)
    hits = ratios = 0
    for _ in range(200):
        base = 0.35 * rng.normal(size=(1, 20))
        policy = 0.8 + 0.1 * rng.normal(size=(8, 1)) + 0.35 * rng.normal(size=(8, 20))
        drawn = Resamples(rng, 300, crossed)
        found = paired_interval(policy - base, rng=drawn)
        hits += found.low <= 0.8 <= found.high
        won = advantage_won(policy, base, 1.6 + 0.35 * rng.normal(size=(1, 20)), drawn).share
        ratios += won.low <= 0.5 <= won.high
    assert least <= hits / 200 <= most
    assert least <= ratios / 200 <= most


def test_bad_input_is_refused():
    with pytest.raises(RalsegError, match="0 resamples"):
        resamples(0)
