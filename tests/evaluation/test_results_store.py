import math

import numpy as np
import pytest

from ralseg.evaluation.results import ResultsStore, class_entropy
from ralseg.foundation import RalsegError

CLASSES = ["a", "traffic, sign"]


def row(**changes):
    values = {
        "run_id": "r", "policy": "random", "training_seed": None, "seed": 0, "game": "partial", "loss": "plain",
        "split": "dev", "budget_units": 4, "units": 4, "pixels": 40, "share": 0.25, "images": 2, "clicks": 6,
        "label_cost_of_policy": 0, "miou": 12.5, "iou_a": math.nan, "iou_traffic, sign": 0.125, "class_entropy": 0.5,
        "seconds_choosing": 0.25, "commit": "c",
    }  # fmt: skip
    return values | changes


def test_rows_come_back_as_they_were(tmp_path):
    store = ResultsStore(tmp_path, CLASSES)
    store.put(
        [row(), row(budget_units="all", training_seed=3, iou_a=1.0, miou=56.25), row(budget_units=0.5, split="test")]
    )
    again = ResultsStore(tmp_path, CLASSES).rows
    assert again.keys() == store.rows.keys() and len(again) == 3
    for key, values in store.rows.items():
        np.testing.assert_equal(again[key], values)
        assert [type(v) for v in again[key].values()] == [type(v) for v in values.values()]


def test_put_replaces_the_same_run_budget_and_split(tmp_path):
    store = ResultsStore(tmp_path, CLASSES)
    store.put([row()])
    store.put([row(miou=20.0, iou_a=0.275), row(split="test")])
    again = ResultsStore(tmp_path, CLASSES).rows
    assert again["r", 4, "dev"]["miou"] == 20.0 and len(again) == 2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-20] + "\n", "line 2: 1. values where 20 belong"),
        (lambda text: text[:-1], "line 2: cut off"),
        (lambda text: text.replace("12.5", "nan"), "line 2: miou is 'nan'"),
        (lambda text: text.replace("12.5", ""), "line 2: miou is ''"),
        (lambda text: text.replace("12.5,", "12.6,"), "results.csv line 2: miou is 12.6, but the mean of its iou "
         "columns is 12.5000; restore the file or delete the line"),
        (lambda text: text.replace("0.125", "0.225"), "line 2: miou is 12.5, but the mean of its iou columns is 22.5"),
        (lambda text: text.replace("random", ""), "line 2: policy is ''"),
        (lambda text: text.replace("iou_a", "iou_b"), "no results on this data set"),
        (lambda text: "", "no results on this data set"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused(tmp_path, damage, message):
    store = ResultsStore(tmp_path, CLASSES)
    store.put([row()])
    text = store.path.read_text()
    store.path.write_text(damage(text))
    assert store.path.read_text() != text
    with pytest.raises(RalsegError, match=message):
        ResultsStore(tmp_path, CLASSES)


def test_what_rounding_does_to_a_miou_is_no_contradiction(tmp_path):
    store = ResultsStore(tmp_path, CLASSES)
    # Four decimals of 25.00005 are 25.0000; no class at all is there in the second.
    store.put([row(miou=25.0, iou_a=0.250001, **{"iou_traffic, sign": 0.25}), row(seed=1, run_id="s", miou=0.0, **{
        "iou_a": math.nan, "iou_traffic, sign": math.nan})])  # fmt: skip
    assert len(ResultsStore(tmp_path, CLASSES).rows) == 2


def test_class_entropy():
    assert class_entropy(np.array([0, 0])) == class_entropy(np.array([7, 0])) == 0
    assert class_entropy(np.array([5, 5])) == pytest.approx(math.log(2))
    assert class_entropy(np.array([1, 3])) == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))
