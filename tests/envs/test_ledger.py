import numpy as np
import pytest

from ralseg.envs import Ledger


def test_measures():
    ledger = Ledger(total=400, pool_images=12, units=3, pixels=100, clicks=7, images=2)
    assert ledger.share == ledger.units_per_image == 0.25
    assert [ledger.paid(measure) for measure in ("units", "units_per_image", "pixels", "share")] == [3, 0.25, 100, 0.25]
    assert ledger.to_dict() == {"units": 3, "pixels": 100, "clicks": 7, "images": 2, "share": 0.25}


def test_nothing_is_paid_at_first():
    assert set(Ledger(400).to_dict().values()) == {0}


@pytest.mark.parametrize(
    ("budget", "measure", "left"),
    [
        (5, "units", 2),
        (3, "units", 0),
        (2.9, "units", -1),
        (150, "pixels", 50),
        (100.5, "pixels", 0),
        (0.3, "share", 20),
        (1.3, "units_per_image", 10),
        (0.3, "units_per_image", 0),
        (12, "clicks", 5),
        (60, "polygon_clicks", -31),
    ],
)
def test_what_a_budget_still_pays(budget, measure, left):
    ledger = Ledger(total=400, pool_images=10, units=3, pixels=100, clicks=7, polygon_clicks=91)
    assert ledger.left(budget, measure) == left
    areas = np.array([10, 4])
    assert ledger.prices(areas, measure).tolist() == ([10, 4] if measure in ("pixels", "share") else [1, 1])


def test_a_share_of_many_pixels_is_exact_to_the_pixel():
    total = 17_280_000
    for pixels in (1, 7, 1_000_003, total - 1, total):
        assert Ledger(total).left(pixels / total, "share") == pixels
