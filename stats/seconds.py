"""What clicks take: a time model fitted from the clicks and seconds of answered units."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ralseg.foundation import RalsegError
from ralseg.stats.intervals import Interval, check_level, percentile_interval
from ralseg.stats.resampling import Resamples, shared

PAIRS = 30
"""Fewer units say too little of a person's pace."""
RESAMPLES = 2000
TUNING = 1.345
"""Huber's constant: 95 % of the efficiency of least squares if the errors are normal."""
_STEPS = 50


@dataclass(frozen=True)
class SecondsModel:
    """seconds = base + click x clicks, of the units that one person or one group has labelled.

    Attributes:
        pairs: units that it was fitted on.
        base: seconds that a unit takes whatever is in it; None if the model is not fitted.
        click: seconds that each click takes; None if the model is not fitted.
    """

    pairs: int
    base: Interval | None = None
    click: Interval | None = None
    _resampled: np.ndarray | None = None

    def expected(self, clicks: ArrayLike) -> Interval | None:
        """Seconds that units are expected to take together.

        The interval is of what is expected. What these units will take varies around it, too.

        Args:
            clicks: (n,) clicks of each unit, 0 or more.

        Returns:
            None if the model is not fitted.

        Raises:
            RalsegError: on another shape, NaN, infinities or negative clicks.
        """
        clicks = _figures("clicks", clicks)
        if self.base is None or self.click is None or self._resampled is None:
            return None
        terms = np.array([len(clicks), clicks.sum()])
        # A line fitted on units of many clicks may start below 0; time does not.
        figure = max(0.0, float(terms @ [self.base.mean, self.click.mean]))
        return percentile_interval(
            figure, np.maximum(0, self._resampled @ terms), self.base.level, self.pairs, self.base.method
        )

    def sentence(self) -> str:
        """What it says, in words."""
        if self.base is None or self.click is None:
            return f"Seconds per click are not fitted: {self.pairs} units are timed, {PAIRS} are needed."
        base, click = self.base, self.click
        return (
            f"A unit takes {base.mean:.1f} s [{base.low:.1f}, {base.high:.1f}] and {click.mean:.2f} s "
            f"[{click.low:.2f}, {click.high:.2f}] a click ({self.pairs} units, {100 * base.level:g} % intervals)."
        )


def fit_seconds(
    clicks: ArrayLike, seconds: ArrayLike, rng: np.random.Generator | Resamples, level: float = 0.95
) -> SecondsModel:
    """Fit seconds = base + click x clicks so that units with a break in them do not decide it.

    Huber's M-estimator (Annals of Mathematical Statistics 35, 1964) by iteratively reweighted least squares, with the
    normalised median of the absolute residuals as its scale; its intervals are percentiles of a bootstrap of the units.

    Args:
        clicks: (n,) clicks of each unit, 0 or more.
        seconds: (n,) seconds of work on it, 0 or more.
        rng: draws the resamples, or has them.
        level: probability of the intervals, between 0 and 1.

    Returns:
        Not fitted with fewer than `PAIRS` units.

    Raises:
        RalsegError: on shapes that do not match, NaN, infinities, negative figures, a bad level, or if enough units are
            given and all have the same clicks.
    """
    clicks, seconds = _figures("clicks", clicks), _figures("seconds", seconds)
    check_level(level)
    if clicks.shape != seconds.shape:
        raise RalsegError(
            f"seconds per click: {len(clicks)} clicks and {len(seconds)} seconds; give one of each a unit"
        )
    if len(clicks) < PAIRS:
        return SecondsModel(len(clicks))
    if np.ptp(clicks) == 0:
        raise RalsegError(f"seconds per click: all units have {clicks[0]:g} clicks; time units of other clicks, too")
    times = shared(rng, RESAMPLES).times(1, len(clicks))
    # A resample of units that all have the same clicks fixes no line.
    drawn = np.where(times > 0, clicks, np.nan)
    times = times[np.nanmax(drawn, axis=1) > np.nanmin(drawn, axis=1)]
    fits = _huber(clicks, seconds, np.vstack([np.ones(len(clicks)), times]))
    base, click = (
        percentile_interval(figure[0], figure[1:], level, len(clicks), "bootstrap over units") for figure in fits.T
    )
    return SecondsModel(len(clicks), base, click, fits[1:])


def _huber(x: np.ndarray, y: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(r, 2) intercepts and slopes of r fits, in each of which point i counts times[:, i]."""
    order = np.arange(len(times))
    weights = times
    line = np.empty((len(times), 2))
    for _ in range(_STEPS):
        total = weights.sum(axis=1)
        mean_x, mean_y = weights @ x / total, weights @ y / total
        spread, common = weights @ (x * x) / total - mean_x**2, weights @ (x * y) / total - mean_x * mean_y
        slope = common / np.maximum(spread, np.finfo(float).tiny)
        line = np.stack([mean_y - slope * mean_x, slope], axis=1)
        residual = np.abs(y - line[:, :1] - line[:, 1:] * x)
        ascending = np.argsort(residual, axis=1)
        behind = np.take_along_axis(times, ascending, axis=1).cumsum(axis=1)
        middle = ascending[order, (behind >= behind[:, -1:] / 2).argmax(axis=1)]
        reach = TUNING * 1.4826 * residual[order, middle][:, None]
        weights = times * reach / np.maximum(np.maximum(residual, reach), np.finfo(float).tiny)
        # Where more than half of the points lie on the line, only these count.
        weights = np.where(reach > 0, weights, times * (residual <= 1e-9 * np.maximum(1, y)))
    return line


def _figures(name: str, values: ArrayLike) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not (np.isfinite(values) & (values >= 0)).all():
        raise RalsegError(f"seconds per click: {name} must be (n,), finite and 0 or more")
    return values
