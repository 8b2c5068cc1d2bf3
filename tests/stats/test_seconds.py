import numpy as np
import pytest

from ralseg.foundation import RalsegError
from ralseg.stats import Resamples
from ralseg.stats.seconds import PAIRS, fit_seconds


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_a_line_is_found_exactly_and_breaks_do_not_move_it(rng):
    clicks = np.arange(40.0)
    model = fit_seconds(clicks, 5 + 1.5 * clicks, rng)
    assert (model.base.mean, model.click.mean) == pytest.approx((5, 1.5))
    assert [model.base.low, model.base.high, model.click.low, model.click.high] == pytest.approx([5, 5, 1.5, 1.5])
    with_breaks = 5 + 1.5 * clicks
    with_breaks[[3, 30]] += 600
    model = fit_seconds(clicks, with_breaks, rng)
    assert (model.base.mean, model.click.mean) == pytest.approx((5, 1.5))
    assert model.expected([10, 20]).mean == pytest.approx(10 + 1.5 * 30)
    assert model.pairs == 40 == model.click.n


def test_the_fit_is_the_minimum_of_hubers_loss(rng):
    clicks = rng.gamma(2, 15, 60)
    seconds = np.maximum(0, 12 + clicks + 6 * rng.standard_t(2, 60))
    model = fit_seconds(clicks, seconds, rng)
    residual = seconds - model.base.mean - model.click.mean * clicks
    reach = 1.345 * 1.4826 * np.sort(np.abs(residual))[29]
    # At the minimum, the clipped residuals balance.
    clipped = np.clip(residual, -reach, reach)
    assert clipped.sum() == pytest.approx(0, abs=1e-2) and clipped @ clicks == pytest.approx(0, abs=1)


def test_intervals_hold_the_truth(rng):
    held = []
    for _ in range(30):
        clicks = rng.gamma(1.5, 20, 50)
        seconds = (6 + 1.2 * clicks) * rng.lognormal(0, 0.3, 50) / np.exp(0.045)
        model = fit_seconds(clicks, seconds, Resamples(rng, 100), level=0.9)
        held.append((model.click.low <= 1.2 <= model.click.high, model.base.low <= 6 <= model.base.high))
    assert (np.mean(held, axis=0) > 0.7).all()


def test_too_few_units_are_not_fitted(rng):
    model = fit_seconds(np.arange(PAIRS - 1), np.arange(PAIRS - 1), rng)
    assert model.base is None and model.expected([3]) is None
    assert model.sentence() == "Seconds per click are not fitted: 29 units are timed, 30 are needed."
    fitted = fit_seconds(np.arange(PAIRS), 2 + 0.5 * np.arange(PAIRS), rng)
    assert fitted.sentence() == (
        "A unit takes 2.0 s [2.0, 2.0] and 0.50 s [0.50, 0.50] a click (30 units, 95 % intervals)."
    )


def test_expected_seconds_are_never_negative(rng):
    clicks = np.linspace(20, 60, 40)
    model = fit_seconds(clicks, 2 * clicks - 30, rng)
    assert model.expected([1]).mean == 0 == model.expected([1]).low


@pytest.mark.parametrize(
    ("clicks", "seconds", "message"),
    [
        (np.arange(30), np.arange(31), "30 clicks and 31 seconds"),
        (np.arange(30) - 1, np.arange(30), "clicks must be .* 0 or more"),
        (np.arange(30), np.full(30, np.nan), "seconds must be .* finite"),
        (np.ones((5, 6)), np.arange(30), r"clicks must be \(n,\)"),
        (np.ones(30), np.arange(30), "all units have 1 clicks; time units of other clicks"),
    ],
)
def test_bad_input(rng, clicks, seconds, message):
    with pytest.raises(RalsegError, match=message):
        fit_seconds(clicks, seconds, rng)
    with pytest.raises(RalsegError, match="level 1"):
        fit_seconds(np.arange(30), np.arange(30), rng, level=1)
