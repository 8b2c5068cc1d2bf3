"""What a policy is worth over a range of budgets."""

from typing import NamedTuple

import numpy as np

from ralseg.foundation import RalsegError


class BudgetArea(NamedTuple):
    """Area under a budget curve: `raw`, and `normalised` by the range of budgets, a mean mIoU."""

    raw: np.ndarray
    normalised: np.ndarray


def area_under_budget_curve(share: np.ndarray, miou: np.ndarray) -> BudgetArea:
    """Area under mIoU over the labelled share, by the trapezoid rule.

    Args:
        share: (n,) labelled share of the pool (or any other cost), ascending, two or more.
        miou: (..., n) in any unit.

    Returns:
        `raw` in the unit of share x miou, `normalised` in the unit of miou; both (...) float64.

    Raises:
        RalsegError: on shapes that do not match, shares that do not ascend, or NaN.
    """
    share, miou = np.asarray(share, dtype=np.float64), np.asarray(miou, dtype=np.float64)
    if share.ndim != 1 or len(share) < 2 or miou.shape[-1:] != share.shape:
        raise RalsegError(f"budget curve: share {share.shape} and mIoU {miou.shape}; give (n,) and (..., n), n >= 2")
    if not (np.diff(share) > 0).all() or not (np.isfinite(miou).all() and np.isfinite(share).all()):
        raise RalsegError("budget curve: the shares must ascend, and neither they nor the mIoU hold NaN or infinities")
    raw = np.trapezoid(miou, share, axis=-1)
    return BudgetArea(raw, raw / (share[-1] - share[0]))
