"""When to stop: what further labels are forecast to add to the mIoU, from the curve so far."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_ndtr, ndtr, ndtri

from ralseg.foundation import RalsegError
from ralseg.stats.intervals import check_level

ROUNDS = 4
"""Fewer measured points say nothing of how a curve bends."""
OFFSETS = (0.03, 0.3, 1.0, 10.0)
"""n0 over the labels paid last; the larger, the closer to a straight line."""
EXPONENTS = (0.3, 0.8, 2.4)
WANDERING = tuple(float(x) for x in np.geomspace(0.05, 6.4, 7))
"""Standard deviations, mIoU, of what the curve wanders over the labels paid so far."""
NOISE = tuple(float(x) for x in np.geomspace(0.02, 5.12, 7))
"""Standard deviations, mIoU, of a single point."""
TYPICAL_WANDERING, TYPICAL_NOISE, SPREAD = 0.4, 0.1, 1.0
"""Medians of the two before anything was measured, and the standard deviation of their logarithms."""
GAIN = 10.0
"""The most, mIoU, that the labels so far are thought to have gained, as a standard deviation."""
NEGLIGIBLE = 3e-3
"""Members with less than this share of the weight of the heaviest are left out."""
_NODES = (np.arange(5) + 0.5) / 5


class Gain(NamedTuple):
    """What further labels add to the mIoU that was measured last.

    Attributes:
        median: of the forecast, mIoU.
        low: lower end of its interval.
        high: upper end.
        chance: probability that it is at least what was asked for, 0 to 1; None if nothing was.
    """

    median: float
    low: float
    high: float
    chance: float | None


@dataclass(frozen=True)
class Forecast:
    """What a curve says of further labels.

    Attributes:
        rounds: measured points that it rests on.
        further: labels beyond those paid.
        miou: measured last.
        level: probability of the interval.
        worth: the gain whose chance was asked for; None for none.
        gain: None with fewer than `ROUNDS` points.
    """

    rounds: int
    further: float
    miou: float
    level: float
    worth: float | None
    gain: Gain | None

    def sentence(self, labels: str = "regions") -> str:
        """What it says, in words.

        Args:
            labels: what is labelled.
        """
        if self.gain is None:
            return f"Too early to forecast: {self.rounds} rounds are measured, {ROUNDS} are needed."
        gain = self.gain
        text = (
            f"The next {self.further:,g} {labels} are forecast to add {gain.median:.1f} mIoU "
            f"[{gain.low:.1f}, {gain.high:.1f}] to {self.miou:.1f} ({100 * self.level:g} % interval)"
        )
        if gain.chance is None:
            return text + "."
        return f"{text}; the chance that they add {self.worth:g} or more is {100 * gain.chance:.0f} %."


def forecast(
    labels: ArrayLike,
    miou: ArrayLike,
    further: float,
    errors: ArrayLike | None = None,
    level: float = 0.8,
    worth: float | None = None,
) -> Forecast:
    """Forecast the mIoU that will be measured after further labels; see `Curve` for the model.

    Args:
        labels: (n,) labels paid in any measure, ascending, 0 or more.
        miou: (n,) measured with them on the same held-out units, percent.
        further: labels beyond the last, above 0.
        errors: (n,) standard error of each measured mIoU, independent of each other; None if they are not known.
        level: probability of the interval, between 0 and 1.
        worth: a gain whose chance is asked for, mIoU.

    Raises:
        RalsegError: on shapes that do not match, labels that do not ascend, NaN or infinities, a mIoU outside 0 to 100,
            negative errors, `further` not above 0, or a bad level.
    """
    labels, miou, errors = _checked(labels, miou, errors)
    check_level(level)
    if not 0 < further < np.inf:
        raise RalsegError(f"forecast: further={further} is out of range; it must be above 0")
    gain, last = None, float(miou[-1]) if len(miou) else np.nan
    if len(labels) >= ROUNDS:
        curve = Curve(labels, miou, errors)
        at = labels[-1:] + further
        median, low, high = curve.quantiles(at, (0.5, (1 - level) / 2, (1 + level) / 2))[:, 0] - last
        chance = None if worth is None else 1 - float(curve.probability(at, np.array([last + worth]))[0])
        gain = Gain(float(median), float(low), float(high), chance)
    return Forecast(len(labels), float(further), last, level, worth, gain)


class Curve:
    """A learning curve with all that it could be.

    mIoU(n) = a - b (n + n0)^-c + w(n) + e: a saturating power law (Viering, Loog: The Shape of Learning Curves, IEEE
    TPAMI 2023), what the curve wanders, w, because a network that goes on learning carries its luck along, and the
    noise e of a single measurement. b is 0 or more: by the law, more labels never harm. w is a random walk, or a
    smooth one whose slope walks (Rasmussen, Williams: Gaussian Processes for Machine Learning, 2006, equation 6.28),
    since many curves rise slowly at first.

    A few points fix none of this, so nothing is fitted. n0, c, the kind of w and the sizes of w and e are each given a
    grid of values, a and b are integrated out (the same, section 2.7), and a forecast is the mixture over the grid,
    whose members are weighted by how well they explain the points. docs/statistics.md says how often its intervals held
    what recorded curves did next.

    Args:
        labels: (n,) ascending, 0 or more, `ROUNDS` or more of them; not all is checked, `forecast` does.
        miou: (n,) percent.
        errors: (n,) standard errors of the mIoU.
    """

    def __init__(self, labels: np.ndarray, miou: np.ndarray, errors: np.ndarray) -> None:
        self._first, self._last, self._miou = labels[0], labels[-1], miou
        # What will be measured is measured as well as before.
        self._error = (errors**2).mean()
        self._offset, self._exponent = (grid.reshape(-1) for grid in np.meshgrid(OFFSETS, EXPONENTS))
        wander, noise, smooth = (grid.reshape(-1) for grid in np.meshgrid(WANDERING, NOISE, (False, True)))
        self._wander, self._noise, self._smooth = wander**2, noise**2, smooth
        self._time = self._walked(labels)
        covariance = self._wandered(self._time)
        covariance = covariance + np.eye(len(labels)) * (self._noise[:, None, None] + errors**2)
        self._inverse = np.linalg.inv(covariance)
        self._shape = self._risen(labels)
        prior = sum(
            (np.log(size / typical) / SPREAD) ** 2
            for size, typical in ((wander, TYPICAL_WANDERING), (noise, TYPICAL_NOISE))
        )
        self._log_prior = -0.5 * prior - 0.5 * np.linalg.slogdet(covariance)[1]

    @cached_property
    def _members(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of each member of the mixture its noises, its shape, its weight, and (members, nodes) what its b may be."""
        inverse = self._inverse
        ones = inverse.sum(axis=2)
        total = ones.sum(axis=1)
        # What is left once the unknown level a is integrated out.
        projected = inverse - ones[:, :, None] * ones[:, None, :] / total[:, None, None]
        rise = np.einsum("jik,sk->jsi", projected, self._shape)
        precision = np.einsum("jsi,si->js", rise, self._shape) + GAIN**-2
        pull = rise @ self._miou
        rest = (projected @ self._miou @ self._miou)[:, None] - pull**2 / precision
        mean, deviation = pull / precision, precision**-0.5
        log_weight = (self._log_prior - 0.5 * np.log(total))[:, None] - 0.5 * (np.log(precision) + rest)
        # Only b of 0 or more counts.
        log_weight = log_weight + log_ndtr(mean / deviation)
        weight = np.exp(log_weight - log_weight.max())
        noises, shapes = np.nonzero(weight > NEGLIGIBLE)
        weight, mean, deviation = (values[noises, shapes] for values in (weight, mean, deviation))
        below = ndtr(-mean / deviation)[:, None]
        rises = mean[:, None] + deviation[:, None] * ndtri(below + (1 - below) * _NODES)
        return noises, shapes, weight / weight.sum(), np.maximum(rises, 0)

    def _mixture(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights (n,), means (m, n) and standard deviations (m, n) of the mIoU at m numbers of labels."""
        noises, shapes, weight, rises = self._members
        time = self._walked(at)
        near = self._wandered(time)
        ones = self._inverse.sum(axis=2)
        total = ones.sum(axis=1)[:, None]
        missing = 1 - np.einsum("jmi,ji->jm", near, ones)
        solved = near @ self._inverse
        # The weights with which the points make up the forecast (ordinary kriging).
        parts = solved + ones[:, None] * (missing / total)[..., None]
        own = np.where(self._smooth[:, None], time**3, time)
        variance = self._wander[:, None] * own + self._noise[:, None] + self._error
        variance = variance - (solved * near).sum(axis=2) + missing**2 / total
        beyond = self._risen(at) - np.einsum("jmi,si->jsm", parts, self._shape)
        means = (parts @ self._miou)[noises][..., None] + rises[:, None] * beyond[noises, shapes][..., None]
        deviations = np.broadcast_to(np.sqrt(variance)[noises][..., None], means.shape)
        weights = np.broadcast_to(weight[:, None] / rises.shape[1], rises.shape)
        means, deviations = (np.moveaxis(of, 1, 0).reshape(len(at), -1) for of in (means, deviations))
        return weights.reshape(-1), means, deviations

    def probability(self, at: np.ndarray, miou: np.ndarray) -> np.ndarray:
        """Probability that the mIoU measured at m numbers of labels is at most some value.

        Args:
            at: (m,) labels, no fewer than the last.
            miou: (..., m) percent.

        Returns:
            (..., m), 0 to 1.
        """
        weights, means, deviations = self._mixture(at)
        return ndtr((miou[..., None] - means) / deviations) @ weights

    def quantiles(self, at: np.ndarray, p: ArrayLike) -> np.ndarray:
        """The mIoU that is not exceeded with some probability at m numbers of labels.

        Args:
            at: (m,) labels, no fewer than the last.
            p: (q,) probabilities, between 0 and 1.

        Returns:
            (q, m) percent, 0 to 100.
        """
        weights, means, deviations = self._mixture(at)
        p = np.asarray(p, dtype=np.float64)[:, None]
        shape = len(p), len(at)
        low = np.broadcast_to(np.maximum(0, (means - 6 * deviations).min(axis=1)), shape)
        high = np.broadcast_to(np.minimum(100, (means + 6 * deviations).max(axis=1)), shape)
        # Halved this often, even 100 is below the last digit of a mIoU.
        for _ in range(16):
            middle = (low + high) / 2
            under = ndtr((middle[..., None] - means) / deviations) @ weights < p
            low, high = np.where(under, middle, low), np.where(under, high, middle)
        return (low + high) / 2

    def _walked(self, labels: np.ndarray) -> np.ndarray:
        """Labels since the first point, over those between the first and the last."""
        return (labels - self._first) / (self._last - self._first)

    def _wandered(self, time: np.ndarray) -> np.ndarray:
        """(noises, m, n) covariances of the walk at m times with that at the n points."""
        later, earlier = np.maximum(time[:, None], self._time), np.minimum(time[:, None], self._time)
        walks = np.stack([earlier, earlier**2 * (3 * later - earlier) / 2])
        return self._wander[:, None, None] * walks[self._smooth.astype(int)]

    def _risen(self, labels: np.ndarray) -> np.ndarray:
        """(shapes, m) the power law, 0 at the first point and 1 at the last."""
        start = self._offset[:, None] * self._last
        law = [-((n + start) ** -self._exponent[:, None]) for n in (labels, self._first, self._last)]
        return (law[0] - law[1]) / (law[2] - law[1])


def _checked(labels: ArrayLike, miou: ArrayLike, errors: ArrayLike | None) -> tuple[np.ndarray, ...]:
    labels, miou = np.asarray(labels, dtype=np.float64), np.asarray(miou, dtype=np.float64)
    errors = np.zeros_like(miou) if errors is None else np.asarray(errors, dtype=np.float64)
    if labels.ndim != 1 or labels.shape != miou.shape or labels.shape != errors.shape:
        raise RalsegError(
            f"forecast: labels {labels.shape}, mIoU {miou.shape}, errors {errors.shape}; give (n,) of each"
        )
    if not all(np.isfinite(values).all() for values in (labels, miou, errors)):
        raise RalsegError("forecast: labels, mIoU or errors hold NaN or infinities; leave out rounds without a mIoU")
    if (np.diff(labels) <= 0).any() or (labels < 0).any():
        raise RalsegError("forecast: the labels paid must ascend and be 0 or more; give one point for each round")
    if (miou < 0).any() or (miou > 100).any() or (errors < 0).any():
        raise RalsegError("forecast: give the mIoU in percent, 0 to 100, and errors of 0 or more")
    return labels, miou, errors
