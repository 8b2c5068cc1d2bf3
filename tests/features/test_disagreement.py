import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from ralseg.features import (
    balanced_entropy_map,
    edald_as_released_map,
    edald_map,
    entropy_map,
    mutual_information_map,
    released_entropy_map,
    symmetric_divergence_map,
)
from ralseg.features.disagreement import LEAST_BALANCE, LEAST_DEVIATION, _beta_entropy
from ralseg.foundation import RalsegError

RNG = np.random.default_rng(7)
LOGITS = RNG.normal(scale=3, size=(3, 5, 6, 7)).astype(np.float32)
NOISY = (LOGITS + RNG.normal(scale=1.5, size=(4, *LOGITS.shape))).astype(np.float32)
PAIRED = (symmetric_divergence_map, edald_map, edald_as_released_map)
ALONE = (mutual_information_map, balanced_entropy_map)


def probabilities(logits):
    return torch.softmax(torch.from_numpy(np.asarray(logits, np.float64)), dim=-3).numpy()


def entropy(p):
    return scipy.stats.entropy(p, axis=-3)


def each_pixel(formula, *logits):
    """(B, h, w) of `formula(probabilities of the pixel, ...)`, one pixel after the other."""
    p = [probabilities(part) for part in logits]
    found = np.empty((LOGITS.shape[0], *LOGITS.shape[2:]))
    for b, y, x in np.ndindex(found.shape):
        found[b, y, x] = formula(*(part[..., b, :, y, x] for part in p))
    return found


def information_and_more(draws):
    """H(mean p) and mean H of draws (M, C)."""
    return scipy.stats.entropy(draws.mean(0)), np.mean([scipy.stats.entropy(draw) for draw in draws])


def balance(draws):
    """Woo's BalEnt of draws (M, C), with textbook Beta entropies."""
    total = 0
    for i in range(draws.shape[1]):
        m, v = draws[:, i].mean(), draws[:, i].var()
        a = m**2 * (1 - m) / v - m
        b = (1 / m - 1) * a
        total += m * scipy.stats.beta(a + 1, b).entropy()
    h = scipy.stats.entropy(draws.mean(0))
    return (total + h) / (h + np.log(2))


def divergence(p, draws):
    kl = scipy.stats.entropy
    return np.mean([(kl(p, q) + kl(q, p)) / 2 for q in draws])


def released_second_term(draws):
    """f(mean exp p) - mean f(exp p) with f(q) = -sum q ln q."""
    f = lambda q: -sum(value * np.log(value) for value in q)  # noqa: E731
    return f(np.exp(draws).mean(0)) - np.mean([f(np.exp(draw)) for draw in draws])


def test_mutual_information_and_mean_entropy_are_the_entropy_of_the_mean(kind):
    found = kind.back(mutual_information_map(kind(NOISY)))
    own = np.mean([kind.back(entropy_map(kind(draw))) for draw in NOISY], axis=0, dtype=np.float64)
    np.testing.assert_allclose(found + own, entropy(probabilities(NOISY).mean(0)), atol=1e-6)
    of_mean, mean = (each_pixel(lambda d, part=part: information_and_more(d)[part], NOISY) for part in (0, 1))
    np.testing.assert_allclose(found, of_mean - mean, atol=1e-6)
    assert (found >= 0).all()


def test_mutual_information_of_one_belief_is_zero_and_of_two_certain_ones_is_ln_2(kind):
    np.testing.assert_allclose(mutual_information_map(kind(np.stack([LOGITS] * 4))), 0, atol=1e-6)
    certain = kind(np.array([[50, 0], [0, 50]], np.float32).reshape(2, 2, 1, 1))
    np.testing.assert_allclose(mutual_information_map(certain), np.log(2), rtol=1e-6)


def test_balanced_entropy_against_the_textbook(kind):
    found = kind.back(balanced_entropy_map(kind(NOISY)))
    expected = each_pixel(balance, NOISY)
    assert (expected < 0).any()
    assert (expected > 0).any()
    # 1 / x magnifies what rounding leaves near 0.
    clear = abs(expected) > 1e-2
    wanted = np.where(expected < 0, expected, 1 / expected)
    np.testing.assert_allclose(found[clear], wanted[clear], rtol=2e-3)
    assert clear.mean() > 0.9


def test_balanced_entropy_is_finite_whatever_the_draws(kind):
    certain = 100 * np.eye(3, dtype=np.float32)
    agree = np.repeat(LOGITS[:1, :3, :1, :1], 4, axis=0)[:, None]
    worst = {
        "agree": agree,
        "agree and are certain": np.repeat(certain[:1], 4, axis=0)[:, None, :, None, None],
        "are certain of different classes": certain[:, None, :, None, None],
        "one draw": agree[:1],
        "one class": np.zeros((4, 1, 1, 1, 1), np.float32),
    }
    for name, draws in worst.items():
        found = kind.back(balanced_entropy_map(kind(draws.reshape(len(draws), -1, 1, 1))))
        assert np.isfinite(found).all(), name
        assert (found <= 1 / LEAST_BALANCE).all(), name


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("scale", [1, 10, 40])
def test_balanced_entropy_of_sharp_draws_ranks_as_scipy(kind, scale):
    """Also where a class is all but certain, of which float32 knows no difference from 1."""
    rng = np.random.default_rng(3)
    draws = (scale * (rng.normal(size=(5, 1, 20)) + rng.normal(scale=0.5, size=(4, 5, 1, 20)))).astype(np.float32)
    found = kind.back(balanced_entropy_map(kind(draws)))[0]
    balances = np.array(
        [balance(pixel.astype(np.float64)) for pixel in probabilities(draws)[:, :, 0].transpose(2, 0, 1)]
    )
    known = np.isfinite(balances)
    assert known.mean() > 0.9
    expected = np.where(balances < 0, balances, 1 / balances)
    assert scipy.stats.spearmanr(found[known], expected[known]).statistic > 0.999


def test_balanced_entropy_of_an_all_but_certain_pixel(kind):
    """Two draws, by 60-digit arithmetic from the formula in the docstring."""
    draws = np.array([[0, 40], [-3, 34]], np.float32).reshape(2, 2, 1, 1)
    assert kind.back(balanced_entropy_map(kind(draws))).item() == pytest.approx(-52.88384728157582, rel=1e-6)


def test_balanced_entropy_of_agreeing_draws_has_the_stated_floor(kind):
    """By hand: all variances are 0, so each Beta has the least variance."""
    draws = np.repeat(np.log(np.array([0.7, 0.3], np.float32)).reshape(1, 2, 1, 1), 5, axis=0)
    p = np.array([0.7, 0.3])
    h = -(p * np.log(p)).sum()
    # A narrow Beta is a Gaussian.
    expected = ((p * np.log(2 * np.pi * np.e * (LEAST_DEVIATION * p * (1 - p)) ** 2) / 2).sum() + h) / (h + np.log(2))
    assert kind.back(balanced_entropy_map(kind(draws))).item() == pytest.approx(expected, rel=1e-5)


def test_the_entropy_of_a_beta_against_scipy():
    rng = np.random.default_rng(0)
    a, b = 1 + 10 ** rng.uniform(-6, 6, 4000), 10 ** rng.uniform(-2, 6, 4000)
    np.testing.assert_allclose(_beta_entropy(a, b), scipy.stats.beta(a, b).entropy(), atol=1e-7)


def test_the_entropy_of_a_beta_at_the_ends():
    x = np.array([1e-8, 1e-4, 1e8])
    s = 1 + x
    digamma = scipy.special.digamma
    # Of Beta(1, x): density x (1 - t)^(x - 1).
    expected = -np.log(x) + (x - 1) / x
    general = scipy.special.betaln(1, x) - (x - 1) * digamma(x) + (s - 2) * digamma(s)
    np.testing.assert_allclose(general, expected, rtol=1e-6)
    np.testing.assert_allclose(_beta_entropy(np.ones(3), x), expected, rtol=1e-6)


def test_symmetric_divergence_against_scipy(kind):
    found = kind.back(symmetric_divergence_map(kind(LOGITS), kind(NOISY)))
    np.testing.assert_allclose(found, each_pixel(divergence, LOGITS, NOISY), rtol=1e-5, atol=1e-6)
    one = kind.back(symmetric_divergence_map(kind(LOGITS), kind(NOISY[:1])))
    other = kind.back(symmetric_divergence_map(kind(NOISY[0]), kind(LOGITS[None])))
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_symmetric_divergence_does_not_underflow(kind):
    """Probabilities of exp(-300) are 0 in float32; by hand, two certain predictions differ by the gap of the logits."""
    p = np.array([300, 0], np.float32).reshape(1, 2, 1, 1)
    assert kind.back(symmetric_divergence_map(kind(p), kind(-p[None]))).item() == pytest.approx(300)
    np.testing.assert_array_equal(kind.back(symmetric_divergence_map(kind(LOGITS), kind(LOGITS[None]))), 0)


def test_edald_is_the_entropy_and_the_mutual_information(kind):
    found = kind.back(edald_map(kind(LOGITS), kind(NOISY)))
    of_mean, mean = (each_pixel(lambda d, part=part: information_and_more(d)[part], NOISY) for part in (0, 1))
    np.testing.assert_allclose(found, entropy(probabilities(LOGITS)) + of_mean - mean, atol=3e-6)


@pytest.mark.parametrize("function", [edald_map, edald_as_released_map])
def test_edald_is_the_entropy_where_the_predictions_agree(function, kind):
    agree = kind(np.stack([LOGITS] * 5))
    expected = kind.back(entropy_map(kind(LOGITS)))
    np.testing.assert_allclose(kind.back(function(kind(LOGITS), agree)), expected, atol=2e-6)


def test_edald_as_released_exponentiates_probabilities(kind):
    found = kind.back(edald_as_released_map(kind(LOGITS), kind(NOISY)))
    expected = entropy(probabilities(LOGITS)) + each_pixel(released_second_term, NOISY)
    np.testing.assert_allclose(found, expected, atol=3e-6)
    assert abs(found - kind.back(edald_map(kind(LOGITS), kind(NOISY)))).max() > 0.1


def test_released_entropy_is_stretched_image_by_image(kind):
    logits = np.concatenate([LOGITS, np.ones_like(LOGITS[:1])])
    found = kind.back(released_entropy_map(kind(logits)))
    for image, p in enumerate(probabilities(LOGITS)):
        h = entropy(p)
        np.testing.assert_allclose(found[image], (h - h.min()) / (h.max() - h.min()), atol=1e-5)
    np.testing.assert_array_equal(found[3], 0)


@pytest.mark.parametrize("spread", [0.3, 0.01])
def test_released_entropy_stretches_an_image_that_is_nearly_even(spread, kind):
    # Spans far below 1 nat, and far above rounding.
    found = kind.back(released_entropy_map(kind(spread * LOGITS)))
    np.testing.assert_array_equal(found.min(axis=(-2, -1)), 0)
    np.testing.assert_array_equal(found.max(axis=(-2, -1)), 1)


@pytest.mark.parametrize("function", [*ALONE, *PAIRED])
def test_order_of_draws_layout_and_precision_do_not_matter(function, kind):
    logits = () if function in ALONE else (LOGITS,)
    found = kind.back(function(*map(kind, logits), kind(NOISY)))
    assert found.shape == (3, 6, 7)
    close = {"rtol": 1e-5, "atol": 2e-6}
    np.testing.assert_allclose(kind.back(function(*map(kind, logits), kind(NOISY[::-1].copy()))), found, **close)
    # Networks leave the classes of a pixel side by side.
    beside = np.ascontiguousarray(NOISY.transpose(0, 1, 3, 4, 2)).transpose(0, 1, 4, 2, 3)
    np.testing.assert_array_equal(kind.back(function(*map(kind, logits), kind(beside))), found)
    half = [torch.from_numpy(part).bfloat16() for part in (*logits, NOISY)]
    assert torch.equal(function(*half), function(*(part.float() for part in half)))


@pytest.mark.parametrize("function", [*ALONE, *PAIRED])
def test_tensors_give_what_arrays_give(function):
    logits = (NOISY,) if function in ALONE else (LOGITS, NOISY)
    # Balanced entropy is 1 / x where x may be near 0.
    close = {"rtol": 1e-4 if function is balanced_entropy_map else 1e-5, "atol": 2e-6}
    np.testing.assert_allclose(function(*map(torch.from_numpy, logits)).numpy(), function(*logits), **close)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("function", [*ALONE, *PAIRED])
def test_what_is_not_finite_is_refused_or_seen(function, kind, monkeypatch):
    noisy = NOISY.copy()
    noisy[2, 1, 3, 4, 5] = np.nan
    logits = () if function in ALONE else (kind(LOGITS),)
    with pytest.raises(RalsegError, match="NaN"):
        function(*logits, kind(noisy))
    # On a device nobody looks; the pixel must show it.
    monkeypatch.setattr("ralseg.features.softmax_maps.check_finite", lambda array, complaint: None)
    finite = np.isfinite(kind.back(function(*logits, kind(noisy))))
    assert not finite[1, 4, 5]
    assert finite.sum() == finite.size - 1


@pytest.mark.parametrize("function", ALONE)
def test_what_are_no_draws_is_refused(function, kind):
    for shape in ((3, 2, 2), (0, 1, 3, 2, 2)):
        with pytest.raises(RalsegError, match=r"noisy predictions: logits have shape .*; give \(M, \.\.\., C, h, w\)"):
            function(kind(np.zeros(shape, np.float32)))


@pytest.mark.parametrize("function", PAIRED)
def test_draws_of_other_logits_are_refused(function, kind):
    for noisy in (NOISY[:, :1], NOISY[0], NOISY[..., :3]):
        with pytest.raises(RalsegError, match=r"draws \(.*\) are none of logits .*; give \(M, \*logits\.shape\)"):
            function(kind(LOGITS), kind(noisy))
