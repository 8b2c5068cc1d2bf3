import numpy as np
import pytest
import scipy.stats

from ralseg.foundation import RalsegError
from ralseg.stats import holm, penalty_matrix
from ralseg.stats.penalty import better


def test_rows_win():
    """The first is far above the second at both settings, and the third only at the first of them."""
    luck = 0.01 * np.random.default_rng(0).normal(size=(3, 1, 10, 2))
    first, second, third = np.array([[50, 50], [40, 40], [45, 40]])[:, None, None] + luck
    found = penalty_matrix([first, second, third])
    np.testing.assert_array_equal(found.matrix, [[0, 1, 1], [0, 0, 0], [0, 0.5, 0]])
    np.testing.assert_array_equal(found.beaten, [0, 0.75, 0.5])


def test_the_test_is_scipys_over_draws_or_over_the_means_of_training_seeds():
    rng = np.random.default_rng(1)
    ours, theirs = rng.normal(size=(4, 6)) + 0.5, rng.normal(size=(1, 6))
    one = scipy.stats.ttest_rel(ours[0], theirs[0], alternative="greater").pvalue
    assert better(ours[:1] - theirs) == pytest.approx(one)
    many = scipy.stats.ttest_1samp((ours - theirs).mean(axis=1), 0, alternative="greater").pvalue
    assert better(ours - theirs) == pytest.approx(many)
    assert better(np.ones((1, 3))) == 0 and better(-np.ones((1, 3))) == better(np.zeros((1, 3))) == 1
    assert np.isnan(better(np.ones((1, 1)))) and np.isnan(better(np.ones((0, 0))))


def test_holm_by_hand():
    """Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, never less than the one before."""
    np.testing.assert_allclose(holm([0.03, 0.01, np.nan, 0.04, 0.02]), [0.06, 0.04, np.nan, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.5, 0.6]), [1, 1])


def test_all_ordered_pairs_of_a_setting_are_corrected_together():
    """p = 0.02 is a victory among two, but not among the six ordered pairs of three."""
    draws = np.array([0, 1.0, 2, 3, 4, 5])
    luck = draws - draws.mean()
    t = scipy.stats.t.isf(0.02, 5) * luck.std(ddof=1) / 6**0.5
    ours, theirs = (luck + t)[None, :, None], np.zeros((1, 6, 1))
    assert better((ours - theirs)[..., 0]) == pytest.approx(0.02)
    assert penalty_matrix([ours, theirs]).matrix[0, 1] == 1
    assert penalty_matrix([ours, theirs], alpha=0.03).matrix[0, 1] == 0
    assert penalty_matrix([ours, theirs, theirs]).matrix[0, 1] == 0


def test_only_runs_of_both_are_tested_and_no_pair_is_no_figure():
    rng = np.random.default_rng(2)
    first = 0.1 * rng.normal(size=(1, 10, 2)) + 10
    second = 0.1 * rng.normal(size=(1, 10, 2))
    second[0, 4:, 1] = np.nan
    # Where the second has no run, the first is below it.
    first[0, 4:, 1] = -10
    third = np.full((1, 10, 2), np.nan)
    found = penalty_matrix([first, second, third])
    assert found.matrix[0, 1] == 1 and found.matrix[1, 0] == 0
    assert np.isnan(found.matrix[0, 2]) and np.isnan(found.matrix[2, 0]) and found.matrix[2, 2] == 0
    np.testing.assert_array_equal(found.beaten, [0, 1, np.nan])


def test_training_seeds_weigh_more_than_draws():
    """Two of four training seeds are above and two below: no victory, however many draws each has."""
    policy = np.array([1.0, 1, -0.9, -0.9])[:, None, None] + 0.01 * np.random.default_rng(3).normal(size=(4, 50, 1))
    assert penalty_matrix([policy, np.zeros((1, 50, 1))]).matrix[0, 1] == 0
    assert better(policy.reshape(1, 200)) > 0.05
    assert penalty_matrix([np.abs(policy), np.zeros((1, 50, 1))]).matrix[0, 1] == 1


def test_false_victories_are_rare_in_all_pairs_together():
    rng = np.random.default_rng(4)
    false = [penalty_matrix(list(rng.normal(size=(5, 1, 12, 1)))).matrix.any() for _ in range(300)]
    assert np.mean(false) < 0.08


def test_bad_input_is_refused():
    one = np.zeros((1, 2, 3))
    with pytest.raises(RalsegError, match="two policies or more"):
        penalty_matrix([one])
    with pytest.raises(RalsegError, match="the same draws"):
        penalty_matrix([one, one[:, :1]])
    with pytest.raises(RalsegError, match="the same draws"):
        penalty_matrix([one[0], one[0]])
    with pytest.raises(RalsegError, match="alpha 1"):
        penalty_matrix([one, one], alpha=1)
