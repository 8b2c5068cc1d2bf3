import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from ralseg.foundation import RalsegError
from ralseg.stats import Resamples, labels_saved
from ralseg.stats.labels_saved import saving

BUDGETS = [100, 200, 400]
BASE = [30.0, 34, 38]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("policy", "base", "share", "why"),
    [
        # 38 lies halfway from 36 to 40, so at 300 of 400.
        ([30, 36, 40], BASE, 1 - 300 / 400, 0),
        (BASE, BASE, 0, 0),
        # The fit of 34, 32 is 33 twice, and 38 lies 5/7 of the way to 40.
        ([34, 32, 40], BASE, 1 - (200 + 200 * 5 / 7) / 400, 0),
        # Reached in the first step, a fifth of the way.
        ([36, 46, 50], BASE, 1 - 120 / 400, 0),
        ([30, 34, 37], BASE, 0, 1),
        ([39, 40, 41], BASE, 1 - 100 / 400, 2),
        # The base ends flat at (36 + 34) / 2 = 35, which it has at 200 already.
        ([30, 36, 38], [30, 36, 34], 1 - (100 + 100 * 5 / 6) / 200, 0),
        ([30, 31, 32], [30, 36, 34], 1 - 400 / 200, 1),
        ([30, 36, 38], [34, 33, 32], 0, 3),
    ],
)  # fmt: skip
def test_by_hand(policy, base, share, why):
    found = saving(BUDGETS, np.array(policy, dtype=float), np.array(base, dtype=float))
    assert found == (pytest.approx(share), why)


def slow_saving(budgets, policy, base):
    """The same with scipy's isotonic regression and a search along the curve."""
    fits = [isotonic_regression(np.asarray(curve)).x for curve in (policy, base)]
    paid = []
    for fit in fits:
        fine = np.linspace(budgets[0], budgets[-1], 200_001)
        reached = np.flatnonzero(np.interp(fine, budgets, fit) >= fits[1][-1] - 1e-9)
        paid.append(fine[reached[0]] if len(reached) else budgets[-1])
    return 0 if paid[1] == budgets[0] else 1 - paid[0] / paid[1]


def test_many_curves_at_once_against_a_slow_reference(rng):
    budgets = np.array([0, 1, 2, 4, 5, 9.0])
    policy, base = (np.arange(6) + 4 * rng.normal(size=(200, 6)) for _ in range(2))
    shares, why = saving(budgets, policy, base)
    np.testing.assert_allclose(
        shares, [slow_saving(budgets, *pair) for pair in zip(policy, base, strict=True)], atol=1e-3
    )
    assert {0, 1, 2, 3} == set(why)


def test_whole_curves_of_the_same_draws_are_resampled(rng):
    """A luck that moves both curves of a draw alike changes nothing."""
    luck = 5 * rng.normal(size=(1, 10, 1))
    policy, base = np.array([30, 36, 40.0]) + luck, np.array(BASE) + luck
    found = labels_saved(BUDGETS, policy, base, rng)
    assert [found.low, found.high, found.saved] == pytest.approx([0.25] * 3)
    assert (found.n, found.method, found.censored) == (10, "bootstrap over draws, one training seed", "")


def test_the_interval_is_that_of_the_resampled_curves(rng):
    policy = np.array([30, 36, 40.0]) + rng.normal(size=(5, 4, 1)) + 0.3 * rng.normal(size=(5, 4, 3))
    base = np.array(BASE) + 0.5 * rng.normal(size=(1, 4, 3))
    drawn = Resamples(rng, 200)
    found = labels_saved(BUDGETS, policy, base, drawn, level=0.8)
    curves = [np.broadcast_to(of, (5, 4, 3)).reshape(20, 3) for of in (policy, base)]
    drawn_runs = (np.repeat(np.arange(20), times.astype(int)) for times in drawn.times(5, 4))
    slow = [slow_saving(BUDGETS, *(of[runs].mean(axis=0) for of in curves)) for runs in drawn_runs]
    np.testing.assert_allclose([found.low, found.high], np.quantile(slow, [0.1, 0.9]), atol=1e-4)
    assert (found.n, found.level, found.method) == (5, 0.8, "nested bootstrap")


def test_bounds_are_called_bounds(rng):
    base = np.array(BASE) + 0.1 * rng.normal(size=(1, 9, 1))
    never = labels_saved(BUDGETS, base - 5, base, rng)
    assert (never.censored, never.saved, never.low, never.high, never.at_most) == ("at most", 0, 0, 0, 1)
    soon = labels_saved(BUDGETS, base + 20, base, rng)
    assert (soon.censored, soon.saved, soon.low, soon.at_least) == ("at least", 0.75, 0.75, 1)
    flat = labels_saved(BUDGETS, base, base[..., ::-1], rng)
    assert (flat.censored, flat.saved, flat.flat_base) == ("flat base", 0, 1)
    # The mean curve ends where the base's does; half of the resamples end below.
    close = labels_saved(BUDGETS, base + 0.3 * rng.choice([-1, 1], size=(1, 9, 1)), base, rng)
    assert 0 < close.at_most < 1 and close.at_most + close.at_least + close.flat_base <= 1


def test_bad_input_is_refused(rng):
    curves = np.zeros((1, 2, 3))
    with pytest.raises(RalsegError, match="ascending"):
        labels_saved([3, 2, 1], curves, curves, rng)
    with pytest.raises(RalsegError, match="ascending"):
        labels_saved([-1, 2, 3], curves, curves, rng)
    with pytest.raises(RalsegError, match="two budgets"):
        labels_saved([1, 2], curves, curves, rng)
    with pytest.raises(RalsegError, match="training seeds, draws, budgets"):
        labels_saved(BUDGETS, curves[0], curves, rng)
    with pytest.raises(RalsegError, match="do not match"):
        labels_saved(BUDGETS, curves, np.zeros((1, 4, 3)), rng)
    with pytest.raises(RalsegError, match="NaN"):
        labels_saved(BUDGETS, curves + np.nan, curves, rng)
    with pytest.raises(RalsegError, match="random generator"):
        labels_saved(BUDGETS, curves, curves)
    with pytest.raises(RalsegError, match="level 0"):
        labels_saved(BUDGETS, curves, curves, rng, level=0)
