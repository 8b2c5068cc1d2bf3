import cv2
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ralseg.envs import World
from ralseg.evaluation.pictures import class_shares, curves
from ralseg.evaluation.report import write_report
from ralseg.foundation import read_json


@pytest.fixture
def reported(play, tiny):
    """A comparison at two budgets, reported."""
    results, _ = play(policies=["random", "class_truth"], draws=2, splits=["dev", "test"], fit_draws=1, supervised=True)
    return results, write_report(results, World(tiny()).dataset)


def curve(summary, split, policy):
    wanted = ("partial", split, policy)
    return [e["miou"] for e in summary["entries"] if (e["game"], e["split"], e["policy"]) == wanted]


def test_everything_is_written_and_pictures_hold_the_figures(reported):
    results, summary = reported
    for name in ("curves", "curves_fit", "class_shares", "bought"):
        picture = cv2.imread(str(results.folder / f"{name}.png"))
        assert min(picture.shape[:2]) > 200 and picture.std() > 5
    assert read_json(results.folder / "summary.json") == summary
    assert (results.folder / "summary.md").read_text().startswith("**partial, budget 2**")

    figure = curves(summary, "partial")
    dev = next(axis for axis in figure.axes if axis.get_title() == "dev")
    (line,) = [line for line in dev.lines if line.get_label() == "class_truth (sees truth)"]
    np.testing.assert_allclose(line.get_ydata(), curve(summary, "dev", "class_truth"))
    fitted = curves(summary, "partial+fit")
    full = [line for line in fitted.axes[0].lines if line.get_label() == "fully supervised"]
    assert full[0].get_ydata()[0] == summary["supervised"]["partial+fit"]["dev"]

    axis = class_shares(results).axes[0]
    heights = np.array([bar.get_height() for bar in axis.containers[0]])
    assert axis.containers[0].get_label() == "random" and heights.sum() == pytest.approx(100)
    own = [row for row in results.rows if row["policy"] == "random" and row["game"] == "partial"]
    runs = [results.bought(run_id) for run_id in {row["run_id"] for row in own}]
    shares = np.mean([np.array(run["class_pixels"][-1]) / sum(run["class_pixels"][-1]) for run in runs], axis=0)
    np.testing.assert_allclose(np.sort(heights), np.sort(100 * shares), atol=1e-9)


def test_tensorboard_holds_curves_by_units_and_is_written_anew(reported, tiny):
    results, summary = reported
    write_report(results, World(tiny()).dataset)
    events = EventAccumulator(str(results.folder / "tensorboard/random"))
    events.Reload()
    points = events.Scalars("miou/partial/test")
    assert [point.step for point in points] == [2, 6]
    np.testing.assert_allclose([point.value for point in points], curve(summary, "test", "random"), rtol=1e-6)
    pictures = EventAccumulator(str(results.folder / "tensorboard/pictures"))
    pictures.Reload()
    assert {"curves", "bought", "class_shares"} <= set(pictures.Tags()["images"])


def test_with_one_budget_every_policy_is_a_row(play, tiny):
    results, _ = play(draws=2, budgets=[4])
    figure = curves(write_report(results, World(tiny()).dataset), "partial")
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["random", "margin"]
