"""Labels saved at equal mIoU."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ralseg.foundation import RalsegError
from ralseg.stats.arrays import runs
from ralseg.stats.curves import monotone_fit
from ralseg.stats.intervals import check_level
from ralseg.stats.resampling import Resamples, shared

_WHY = ("", "at most", "at least", "flat base")


@dataclass(frozen=True)
class LabelsSaved:
    """Share of the base's budget that a policy saves at equal mIoU.

    Attributes:
        saved: 0.3 is 30 %; negative where the policy needs more than the base.
        low: lower end of the interval; ends are of the bounds where resamples are censored.
        high: upper end.
        censored: "", or why `saved` is a bound: "at most" (the base's figure is not reached within the budgets),
            "at least" (reached at the first budget already) or "flat base" (the base does not rise, so that nothing
            can be saved; `saved` is 0).
        at_most: share of the resamples in which it is a bound from above.
        at_least: share of the resamples in which it was reached at the first budget already.
        flat_base: share of the resamples in which the base does not rise.
        n: independent things that it rests on: training seeds, or draws where there is one training seed.
        level: probability that the interval is built for.
        method: of the bootstrap.
    """

    saved: float
    low: float
    high: float
    censored: str
    at_most: float
    at_least: float
    flat_base: float
    n: int
    level: float
    method: str


def labels_saved(
    budgets: ArrayLike,
    policy: np.ndarray,
    base: np.ndarray,
    rng: np.random.Generator | Resamples | None = None,
    level: float = 0.95,
) -> LabelsSaved:
    """How much less than the base a policy pays for the figure that the base has at its largest budget.

    Both mean curves are made non-decreasing (isotonic regression), and 1 - b / b' is returned, where b and b' are the
    budgets at which the policy's and the base's curve first reach that figure, linearly interpolated. b' is the largest
    budget unless the base's curve ends flat: then the base, too, could have stopped before. Whole runs are resampled,
    all their budgets together, and the same draws of both.

    Args:
        budgets: (n,) ascending, 0 or more, two or more, in any measure.
        policy: (training_seeds, draws, n) mIoU.
        base: the same runs; one training seed stands for all of them.
        rng: draws the resamples, or has them.
        level: probability of the interval, between 0 and 1.

    Raises:
        RalsegError: on shapes that do not match, budgets that do not ascend, NaN or infinities, a single run, a bad
            level, or no rng.
    """
    check_level(level)
    policy, base = runs("labels saved", policy, 3), runs("labels saved", base, 3)
    saved, why = saving(budgets, policy.mean(axis=(0, 1)), base.mean(axis=(0, 1)))
    try:
        policy, base = np.broadcast_arrays(policy, base)
    except ValueError as error:
        raise RalsegError(
            f"labels saved: runs of shapes {policy.shape} and {base.shape} do not match; give the same"
        ) from error
    rng = shared(rng)
    resampled, reasons = saving(budgets, rng.means(policy), rng.means(base))
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    at_most, at_least, flat = (float((reasons == number).mean()) for number in (1, 2, 3))
    n, method = rng.basis(*policy.shape[:2])
    return LabelsSaved(float(saved), float(low), float(high), _WHY[int(why)], at_most, at_least, flat, n, level, method)


def saving(budgets: ArrayLike, policy: np.ndarray, base: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of the base's budget saved, of many pairs of curves at once; see `labels_saved`.

    Args:
        budgets: (n,) ascending.
        policy: (..., n) mIoU.
        base: (..., n).

    Returns:
        The share, or its bound, (...) float64; and whether it is one: 0 no, 1 at most, 2 at least, 3 flat base.

    Raises:
        RalsegError: on shapes that do not match, or budgets that do not ascend.
    """
    budgets = np.asarray(budgets, dtype=np.float64)
    if budgets.ndim != 1 or len(budgets) < 2 or not policy.shape[-1] == base.shape[-1] == len(budgets):
        raise RalsegError(
            f"labels saved: budgets {budgets.shape}, policy {policy.shape}, base {base.shape}; "
            "give two budgets or more and a figure for each"
        )
    if not budgets[0] >= 0 or not (np.diff(budgets) > 0).all():
        raise RalsegError(f"labels saved: budgets {budgets.tolist()}; give them ascending, 0 or more")
    policy, base = monotone_fit(policy), monotone_fit(base)
    target = base[..., -1:]
    paid, below = _first_reached(budgets, policy, target)
    base_paid, base_below = _first_reached(budgets, base, target)
    why = np.select([base_below == 0, below == len(budgets), below == 0], [3, 1, 2], 0)
    return np.where(why == 3, 0.0, 1 - paid / np.where(base_paid > 0, base_paid, 1)), why


def _first_reached(budgets: np.ndarray, fit: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Budget at which monotone curves reach the target, or the nearest measured; how many points lie below it."""
    # Points that were pooled into one level may differ in the last bit.
    below = (fit < target - 1e-12 * np.abs(target)).sum(axis=-1, keepdims=True)
    right = below.clip(1, len(budgets) - 1)
    left_fit, right_fit = (np.take_along_axis(fit, right - i, axis=-1) for i in (1, 0))
    rise = np.where(right_fit > left_fit, right_fit - left_fit, 1)
    part = ((target - left_fit) / rise).clip(0, 1)
    paid = (1 - part) * budgets[right - 1] + part * budgets[right]
    paid = np.where(below == 0, budgets[0], np.where(below == len(budgets), budgets[-1], paid))
    return paid[..., 0], below[..., 0]
