"""What a policy is worth over a range of budgets."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ralseg.foundation import RalsegError


class BudgetArea(NamedTuple):
    """Area under a budget curve: `raw`, and `normalised` by the range of budgets, a mean mIoU."""

    raw: np.ndarray
    normalised: np.ndarray


def area_under_budget_curve(share: ArrayLike, miou: ArrayLike) -> BudgetArea:
    """Area under mIoU over the labelled share, by the trapezoid rule.

    Args:
        share: (n,) labelled share of the pool (or any other cost), ascending, two or more.
        miou: (..., n) in any unit.

    Returns:
        `raw` in the unit of share x miou, `normalised` in the unit of miou; both (...) float64.

    Raises:
        RalsegError: on shapes that do not match, shares that do not ascend, or NaN.
    """
    share, miou = _curve("budget curve", share, miou)
    raw = np.trapezoid(miou, share, axis=-1)
    return BudgetArea(raw, raw / (share[-1] - share[0]))


def monotone_fit(curves: np.ndarray) -> np.ndarray:
    """Isotonic regression, many curves at once: of each what `scipy.optimize.isotonic_regression` gives.

    By the min-max formula: the largest, over beginnings up to a point, of the smallest mean up to an end from it on.

    Args:
        curves: (..., n), all points of the same weight.

    Returns:
        (..., n) float64.
    """
    curves = np.asarray(curves, dtype=np.float64)
    n = curves.shape[-1]
    begin, end = np.arange(n)[:, None], np.arange(n)
    sums = np.concatenate([np.zeros_like(curves[..., :1]), curves.cumsum(axis=-1)], axis=-1)
    means = (sums[..., None, 1:] - sums[..., :-1, None]) / np.maximum(end - begin + 1, 1)
    smallest = np.minimum.accumulate(np.where(end >= begin, means, np.inf)[..., ::-1], axis=-1)[..., ::-1]
    return np.where(end >= begin, smallest, -np.inf).max(axis=-2)


def _curve(name: str, budgets: ArrayLike, miou: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    budgets, miou = np.asarray(budgets, dtype=np.float64), np.asarray(miou, dtype=np.float64)
    if budgets.ndim != 1 or len(budgets) < 2 or miou.shape[-1:] != budgets.shape:
        raise RalsegError(f"{name}: budgets {budgets.shape} and mIoU {miou.shape}; give (n,) and (..., n), n >= 2")
    if not (np.diff(budgets) > 0).all() or not (np.isfinite(miou).all() and np.isfinite(budgets).all()):
        raise RalsegError(f"{name}: the budgets must ascend, and neither they nor the mIoU hold NaN or infinities")
    return budgets, miou
