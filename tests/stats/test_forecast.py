import importlib
from itertools import product

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from ralseg.foundation import RalsegError
from ralseg.stats.forecast import ROUNDS, Curve, forecast

# The name of the module is that of its function, too.
module = importlib.import_module("ralseg.stats.forecast")

LABELS = np.arange(1, 7) * 48.0


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def law(labels, offset, exponent):
    """The rise of the power law, 0 at the first of `LABELS` and 1 at the last."""
    low, high, at = (-((n + offset * LABELS[-1]) ** -exponent) for n in (LABELS[0], LABELS[-1], labels))
    return (at - low) / (high - low)


def test_a_smooth_curve_is_continued():
    at = np.array([480.0, 960.0])
    for offset, exponent in ((0.1, 0.6), (1.0, 1.2)):
        miou = 40 + 6 * law(LABELS, offset, exponent)
        for further, truth in zip(at - LABELS[-1], 6 * law(at, offset, exponent) - 6, strict=True):
            found = forecast(LABELS, miou, further).gain
            assert found.low < truth < found.high
            assert found.median == pytest.approx(truth, abs=0.6)


def test_a_flat_curve_stays_flat():
    found = forecast(LABELS, [50.0] * 6, 288, worth=1)
    assert found.gain.median == pytest.approx(0, abs=0.1)
    assert found.gain.high < 0.5 and found.gain.chance < 0.05


def test_the_chance_is_that_of_the_interval():
    miou = [40.1, 41.0, 41.4, 42.1, 42.0, 42.6]
    of = forecast(LABELS, miou, 200, level=0.9).gain
    for worth, chance in ((of.low, 0.95), (of.median, 0.5), (of.high, 0.05)):
        assert forecast(LABELS, miou, 200, worth=worth).gain.chance == pytest.approx(chance, abs=1e-3)


def test_more_labels_and_less_certain_points_widen_it():
    miou = [40.1, 41.0, 41.4, 42.1, 42.0, 42.6]
    widths = [(gain := forecast(LABELS, miou, further).gain).high - gain.low for further in (48, 200, 1000)]
    assert widths == sorted(widths)
    of = [forecast(LABELS, miou, 200, errors=[error] * 6).gain for error in (0, 0.5, 2)]
    widths = [gain.high - gain.low for gain in of]
    assert widths == sorted(widths)


def test_the_measure_of_labels_does_not_matter():
    miou = [40.1, 41.0, 41.4, 42.1, 42.0, 42.6]
    regions, pixels = forecast(LABELS, miou, 200).gain, forecast(LABELS * 7200, miou, 200 * 7200).gain
    assert regions[:3] == pytest.approx(pixels[:3])


def walk(times, smooth):
    """Covariance of a random walk, or of one whose slope walks; of variance 1 at time 1."""
    s, t = np.minimum(times[:, None], times), np.abs(times[:, None] - times)
    return 3 * (s**3 / 3 + t * s**2 / 2) if smooth else s


def slow_probability(labels, miou, errors, at, value):
    """Member by member, with a wide prior for the level, and sums over a grid of b."""
    total = under = 0
    rises, step = np.linspace(0, 25, 2001, retstep=True)
    every = np.append(labels, at)
    walked = (every - labels[0]) / (labels[-1] - labels[0])
    for wander, smooth in product(module.WANDERING, (False, True)):
        for noise in module.NOISE:
            sizes = np.log([wander / module.TYPICAL_WANDERING, noise / module.TYPICAL_NOISE]) / module.SPREAD
            own = np.append(errors**2, (errors**2).mean())
            whole = 1e6 + wander**2 * walk(walked, smooth) + np.diag(noise**2 + own)
            known, across = whole[:-1, :-1], np.linalg.solve(whole[:-1, :-1], whole[:-1, -1])
            deviation = np.sqrt(whole[-1, -1] - across @ whole[:-1, -1])
            for offset in module.OFFSETS:
                for exponent in module.EXPONENTS:
                    low, high, n = (-((x + offset * labels[-1]) ** -exponent) for x in (labels[0], labels[-1], every))
                    shape = (n - low) / (high - low)
                    residual = miou - 45 - rises[:, None] * shape[:-1]
                    weight = multivariate_normal(np.zeros(len(labels)), known).pdf(residual)
                    weight = weight * norm.pdf(rises / module.GAIN) * np.exp(-0.5 * sizes @ sizes) * step
                    mean = 45 + rises * shape[-1] + residual @ across
                    total += weight.sum()
                    under += weight @ norm.cdf((value - mean) / deviation)
    return under / total


def test_against_a_slow_reference(monkeypatch):
    monkeypatch.setattr(module, "WANDERING", (0.2, 1.0))
    monkeypatch.setattr(module, "NOISE", (0.1, 0.5))
    monkeypatch.setattr(module, "OFFSETS", (0.1, 1.0))
    monkeypatch.setattr(module, "EXPONENTS", (0.3, 1.2))
    labels, errors = np.array([0, 40, 100, 240, 300.0]), np.array([0.1, 0, 0.3, 0.2, 0])
    miou = np.array([42, 43.1, 43.0, 44.2, 44.5])
    curve = Curve(labels, miou, errors)
    for at in (350.0, 900.0):
        for value in (44.0, 45.0, 46.5):
            found = curve.probability(np.array([at]), np.array([value]))[0]
            assert found == pytest.approx(slow_probability(labels, miou, errors, at, value), abs=0.01)


def test_intervals_hold_as_often_as_they_say(rng):
    """Curves that are drawn as the model believes them to be."""
    held, at = [], np.array([480.0])
    walked = (np.append(LABELS, at) - LABELS[0]) / (LABELS[-1] - LABELS[0])
    for _ in range(200):
        wander = module.TYPICAL_WANDERING * np.exp(module.SPREAD * rng.normal())
        noise = module.TYPICAL_NOISE * np.exp(module.SPREAD * rng.normal())
        shape = law(np.append(LABELS, at), rng.choice(module.OFFSETS), rng.choice(module.EXPONENTS))
        wandered = rng.multivariate_normal(np.zeros(7), wander**2 * walk(walked, rng.integers(2)))
        miou = 50 + abs(rng.normal()) * module.GAIN * shape + wandered + noise * rng.normal(size=7)
        ends = Curve(LABELS, miou[:6], np.zeros(6)).quantiles(at, (0.025, 0.1, 0.9, 0.975))[:, 0]
        held.append((ends[1] <= miou[6] <= ends[2], ends[0] <= miou[6] <= ends[3]))
    # Three standard deviations of a share of 200.
    np.testing.assert_allclose(np.mean(held, axis=0), [0.8, 0.95], atol=0.085)


def test_the_sentence():
    early = forecast(LABELS[: ROUNDS - 1], [40, 41, 41.5], 200)
    assert early.gain is None
    assert early.sentence() == "Too early to forecast: 3 rounds are measured, 4 are needed."
    assert forecast([], [], 200).sentence().startswith("Too early to forecast: 0 rounds")
    found = forecast(LABELS, [40.1, 41.0, 41.4, 42.1, 42.0, 42.6], 1200)
    gain = found.gain
    start = (
        f"The next 1,200 regions are forecast to add {gain.median:.1f} mIoU [{gain.low:.1f}, {gain.high:.1f}] to 42.6 "
        "(80 % interval)"
    )
    assert found.sentence() == start + "."
    asked = forecast(LABELS, [40.1, 41.0, 41.4, 42.1, 42.0, 42.6], 1200, worth=0.5)
    chance = f"{100 * asked.gain.chance:.0f} %."
    assert (
        asked.sentence("images")
        == start.replace("regions", "images") + f"; the chance that they add 0.5 or more is {chance}"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": [1, 2, 3]}, r"labels \(3,\), mIoU \(4,\), errors \(4,\)"),
        ({"labels": [1, 2, 2, 4]}, "must ascend"),
        ({"labels": [-1, 2, 3, 4]}, "0 or more"),
        ({"miou": [1, np.nan, 2, 3]}, "NaN or infinities"),
        ({"miou": [1, 2, 3, 101]}, "in percent, 0 to 100"),
        ({"errors": [1, 2, 3, -1]}, "errors of 0 or more"),
        ({"errors": [1, 2]}, r"errors \(2,\)"),
        ({"further": 0}, "further=0 is out of range"),
        ({"further": np.inf}, "further=inf is out of range"),
        ({"level": 1.0}, "level 1.0"),
    ],
)
def test_bad_input(changes, message):
    given = {"labels": [1, 2, 3, 4], "miou": [40, 41, 42, 43], "further": 5} | changes
    with pytest.raises(RalsegError, match=message):
        forecast(**given)
