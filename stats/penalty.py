"""Which policy beats which over many settings: the pairwise penalty matrix."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr

from ralseg.foundation import RalsegError
from ralseg.stats.arrays import complete


class PenaltyMatrix(NamedTuple):
    """Which policy beats which.

    Attributes:
        matrix: (policies, policies) share of the settings in which the row beats the column, 0 to 1; 0 on the diagonal,
            NaN where no setting has a pair that can be tested.
        beaten: (policies,) mean of each column over the other policies: the lower, the better.
    """

    matrix: np.ndarray
    beaten: np.ndarray


def penalty_matrix(policies: Sequence[np.ndarray], alpha: float = 0.05) -> PenaltyMatrix:
    """Pairwise penalty matrix (Ash et al., ICLR 2020), rows win.

    In each setting every ordered pair is tested for whether the first is better (`better`), and the p values of all
    ordered pairs are corrected together (`holm`): the chance of any false victory in a setting is at most alpha.

    Args:
        policies: of each (training_seeds, draws, settings), NaN where a run is missing; the same runs in the same
            places, one training seed stands for all.
        alpha: chance of any false victory, above 0, below 1.

    Raises:
        RalsegError: on fewer than two policies, arrays that do not match, or an alpha out of range.
    """
    policies = [np.asarray(policy, dtype=np.float64) for policy in policies]
    shapes = {policy.shape[1:] for policy in policies}
    if len(policies) < 2 or len(shapes) != 1 or any(policy.ndim != 3 for policy in policies):
        raise RalsegError(
            f"penalty matrix: {[policy.shape for policy in policies]}; give two policies or more, "
            "each (training seeds, draws, settings), the same draws and settings"
        )
    if not 0 < alpha < 1:
        raise RalsegError(f"penalty matrix: alpha {alpha}; give 0 < alpha < 1")
    settings, n = policies[0].shape[2], len(policies)
    p = np.full((settings, n, n), np.nan)
    for i, j in zip(*np.nonzero(~np.eye(n, dtype=bool)), strict=True):
        differences = policies[i] - policies[j]
        p[:, i, j] = [better(complete(differences[..., setting])) for setting in range(settings)]
    tested = np.isfinite(p)
    won = np.stack([holm(of.ravel()).reshape(n, n) <= alpha for of in p])
    with np.errstate(invalid="ignore"):
        matrix = won.sum(axis=0) / tested.sum(axis=0)
    np.fill_diagonal(matrix, np.nan)
    filled, known = np.nan_to_num(matrix), np.isfinite(matrix).sum(axis=0)
    beaten = np.where(known > 0, filled.sum(axis=0) / np.maximum(known, 1), np.nan)
    np.fill_diagonal(matrix, 0)
    return PenaltyMatrix(matrix, beaten)


def better(differences: np.ndarray) -> float:
    """P value of a one-sided paired t test of whether the mean difference is above 0.

    Args:
        differences: (training_seeds, draws). The test is over the means of the training seeds, which know how much
            training varies; with one training seed over its draws.

    Returns:
        NaN with fewer than two of them. Differences without any spread decide by their sign.
    """
    values = differences.mean(axis=1) if len(differences) > 1 else differences.ravel()
    if len(values) < 2:
        return float("nan")
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    if error == 0:
        return 0.0 if mean > 0 else 1.0
    return float(stdtr(len(values) - 1, -mean / error))


def holm(p: np.ndarray) -> np.ndarray:
    """P values corrected for being many (Holm 1979).

    Where all that are at most alpha count as found, the chance of any false one is at most alpha.

    Args:
        p: (n,); NaN stands for no test and counts for none.

    Returns:
        (n,) at most 1, NaN where p is.
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p)[: np.isfinite(p).sum()]
    corrected = np.full(len(p), np.nan)
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)).clip(max=1)
    return corrected
