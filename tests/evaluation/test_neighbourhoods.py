"""Single pixels that were bought, shown in the middle of what lies around them."""

import cv2
import numpy as np
import pytest

from ralseg.envs import World
from ralseg.evaluation.neighbourhoods import REACH, class_at, neighbourhood, strip
from ralseg.evaluation.pictures import bought_pixels
from ralseg.evaluation.report import write_report


def reflected(place, size):
    """With the edge itself: -1 is 0, and -2 is 1."""
    return -place - 1 if place < 0 else min(place, 2 * size - 1 - place)


@pytest.mark.parametrize(("y", "x"), [(0, 0), (59, 79), (30, 2)])
def test_the_pixel_is_in_the_middle_and_the_edge_is_reflected(y, x):
    photograph = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    around = neighbourhood(photograph, y, x)
    assert around.shape == (2 * REACH + 1, 2 * REACH + 1, 3)
    assert (around[REACH, REACH] == photograph[y, x]).all()
    for dy, dx in [(-3, 5), (4, -2)]:
        found = around[REACH + dy, REACH + dx]
        assert (found == photograph[reflected(y + dy, 60), reflected(x + dx, 80)]).all()


def test_a_cross_leaves_out_its_middle():
    grey = np.full((2 * REACH + 1, 2 * REACH + 1, 3), 90, np.uint8)
    shown = strip([grey, grey], (255, 0, 0), zoom=2)
    assert shown.shape == (2 * (2 * REACH + 1), 2 * (2 * (2 * REACH + 1) + 2), 3)
    middle = 2 * REACH
    assert (shown[middle - 4 : middle + 6, middle - 4 : middle + 6] == 90).all()
    assert (shown[middle, middle + 2 * 4] == (255, 0, 0)).all() and (shown[middle - 2 * 4, middle] == (255, 0, 0)).all()


def test_the_report_shows_the_last_pixels_with_their_true_classes(play, tiny):
    game = ["game.unit=pixel", "game.draw=pool", "game.pool_per_image=40", "game.slates=2", "game.budget=6"]
    results, _ = play(config=tiny(*game), policies=["random", "margin"], budgets=[6], fit_draws=0, supervised=False)
    dataset = World(results.comparison["config"]).dataset
    figure = bought_pixels(results, dataset, pixels=4)
    runs = {row["policy"]: row["run_id"] for row in results.rows}
    units = [results.bought(runs[policy])["units"] for policy in ("random", "margin")]
    titles = [axis.get_title() for axis in figure.axes]
    expected = [class_at(dataset, dataset.load(image)[1], y, x) for own in units for image, y, x, *_ in own[-4:]]
    assert titles == expected
    write_report(results, dataset)
    assert cv2.imread(str(results.folder / "bought.png")).std() > 5
    page = (results.folder / "report.html").read_text()
    assert "The last pixels" in page and page.count("Around the last pixels that") == 2
