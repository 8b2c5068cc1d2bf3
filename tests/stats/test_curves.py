import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from ralseg.foundation import RalsegError
from ralseg.stats import area_under_budget_curve, monotone_fit


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


@pytest.mark.parametrize(
    ("miou", "share", "area"),
    [
        (68.42, np.linspace(0.1, 0.5, 5), 27.37),
        (56.87, np.linspace(0.1, 0.5, 5), 22.75),
        (53.25, np.linspace(0.1, 0.5, 5), 21.30),
        (77.00, np.linspace(0.1, 0.5, 5), 30.80),
        (77.00, np.linspace(0.05, 0.25, 5), 15.40),
        (77.00, np.linspace(0.02, 0.1, 5), 6.16),
        (48.85, np.linspace(0.02, 0.1, 5), 3.91),
    ],
)
def test_rows_at_full_supervision_of_mittal_et_al(miou, share, area):
    """Tables 2, 3 and 5 of "Best Practices in Active Learning for Semantic Segmentation": mIoU@B and AUC@B."""
    found = area_under_budget_curve(share, np.full(5, miou))
    assert found.raw == pytest.approx(area, abs=0.0051)
    assert found.normalised == pytest.approx(miou)


def test_the_area_begins_at_the_first_point_and_normalising_undoes_the_measure():
    """Uneven budgets 480, 720, 1200: 240 x 36 + 480 x 39 = 27360 over 720 is 38, in units as in shares."""
    units, miou = np.array([480, 720, 1200]), np.array([[35, 37, 41], [0, 0, 0]])
    np.testing.assert_allclose(area_under_budget_curve(units, miou).raw, [27360, 0])
    np.testing.assert_allclose(area_under_budget_curve(units, miou).normalised, [38, 0])
    np.testing.assert_allclose(area_under_budget_curve(units / 4728, miou).normalised, [38, 0])


def test_monotone_fit_by_hand_and_against_scipy():
    np.testing.assert_allclose(monotone_fit([1, 3, 2, 4]), [1, 2.5, 2.5, 4])
    np.testing.assert_allclose(monotone_fit([3, 2, 1]), [2, 2, 2])
    curves = np.random.default_rng(0).normal(size=(7, 30, 6)).cumsum(axis=-1)
    slow = [[isotonic_regression(curve).x for curve in of] for of in curves]
    np.testing.assert_allclose(monotone_fit(curves), slow)


def test_bad_input_is_refused():
    with pytest.raises(RalsegError, match="n >= 2"):
        area_under_budget_curve([1], [1])
    with pytest.raises(RalsegError, match="give"):
        area_under_budget_curve([1, 2], [1, 2, 3])
    with pytest.raises(RalsegError, match="ascend"):
        area_under_budget_curve([2, 1], [1, 2])
    with pytest.raises(RalsegError, match="NaN"):
        area_under_budget_curve([1, 2], [1, np.nan])
