import numpy as np
import pytest

from ralseg.foundation import RalsegError
from ralseg.stats import area_under_budget_curve


def test_by_hand():
    """Budgets 0, 1, 3: (10 + 20) / 2 x 1 + (20 + 40) / 2 x 2 = 75 over a range of 3."""
    area = area_under_budget_curve([0, 1, 3], [10, 20, 40])
    assert area.raw == 75
    assert area.normalised == 25


def test_runs_lead_and_a_flat_curve_is_its_level():
    area = area_under_budget_curve([0.1, 0.2, 0.4], np.full((4, 5, 3), 33.0))
    assert area.raw.shape == (4, 5)
    np.testing.assert_allclose(area.normalised, 33)
    np.testing.assert_allclose(area.raw, 33 * 0.3)


def test_bad_input_is_refused():
    with pytest.raises(RalsegError, match="n >= 2"):
        area_under_budget_curve([1], [1])
    with pytest.raises(RalsegError, match="give"):
        area_under_budget_curve([1, 2], [1, 2, 3])
    with pytest.raises(RalsegError, match="ascend"):
        area_under_budget_curve([2, 1], [1, 2])
    with pytest.raises(RalsegError, match="NaN"):
        area_under_budget_curve([1, 2], [1, np.nan])
