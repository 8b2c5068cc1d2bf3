import math
import subprocess
import sys

import pytest

from ralseg.evaluation.summary import TWO_SET_MEAN, summarise
from ralseg.evaluation.tables import of_summary
from ralseg.evaluation.text import cells, footnotes, markdown

# mIoU of two policies and a reference on two draws: dev, test.
MIOU = {
    ("random", None, 0, "dev"): 40.0, ("random", None, 0, "test"): 30.0,
    ("random", None, 1, "dev"): 44.0, ("random", None, 1, "test"): 32.0,
    ("margin", None, 0, "dev"): 41.0, ("margin", None, 0, "test"): 33.0,
    ("margin", None, 1, "dev"): 47.0, ("margin", None, 1, "test"): 33.0,
    ("class_truth", None, 0, "dev"): 50.0, ("class_truth", None, 0, "test"): 40.0,
    ("class_truth", None, 1, "dev"): 50.0, ("class_truth", None, 1, "test"): 40.0,
}  # fmt: skip


def entry(summary, policy, split):
    (found,) = [e for e in summary["entries"] if (e["policy"], e["split"]) == (policy, split)]
    return found


def test_means_and_paired_differences_by_hand(results_of):
    summary = summarise(results_of(MIOU))
    assert entry(summary, "random", "dev")["miou"] == 42
    assert entry(summary, "margin", TWO_SET_MEAN)["miou"] == (37 + 40) / 2
    found = entry(summary, "margin", TWO_SET_MEAN)["difference"]["random"]
    # Draw by draw 37 - 35 = 2 and 40 - 38 = 2: no spread at all, though either policy's own is 3.
    assert (found["mean"], found["low"], found["high"], found["n"]) == (2, 2, 2, 2)
    found = entry(summary, "margin", "dev")["difference"]["random"]
    # 1 and 3: standard error 1; t with one degree of freedom at 97.5 % is tan(0.475 pi).
    reach = math.tan(0.475 * math.pi)
    assert (found["mean"], found["standard_error"]) == (2, pytest.approx(1))
    assert (found["low"], found["high"]) == (pytest.approx(2 - reach), pytest.approx(2 + reach))
    assert set(entry(summary, "random", "dev")["difference"]) == {"margin"}
    assert entry(summary, "class_truth", "dev")["reference"] and not entry(summary, "margin", "dev")["reference"]
    iou = entry(summary, "random", TWO_SET_MEAN)["iou"]
    assert iou["a"] == pytest.approx(36.5) and iou["b"] is None


def test_training_seeds_are_the_unit_of_the_interval(results_of):
    learned = {("run:x", seed, draw, "dev"): 40.0 + seed + 2 * draw for seed in (0, 1, 2) for draw in (0, 1)}
    random = {("random", None, draw, "dev"): 40.0 + 2 * draw for draw in (0, 1)}
    summary = summarise(results_of(random | learned, splits=["dev"]))
    found = entry(summary, "run:x", "dev")
    assert (found["training_seeds"], found["draws"], found["label_cost_of_policy"]) == (3, 2, 100)
    difference = found["difference"]["random"]
    assert (difference["mean"], difference["n"], difference["method"]) == (1, 3, "t over training seeds")
    assert difference["standard_error"] == pytest.approx(1 / math.sqrt(3))


def test_only_draws_that_both_played_are_paired(results_of):
    rows = {key: value for key, value in MIOU.items() if key[:3] != ("margin", None, 1)}
    found = entry(summarise(results_of(rows)), "margin", "dev")["difference"]["random"]
    assert (found["mean"], found["low"], found["n"]) == (1, None, 1)


def test_share_of_full_supervision(results_of):
    summary = summarise(results_of(MIOU, game="partial+fit", supervised={"dev": 60.0, "test": 50.0}))
    assert summary["supervised"] == {"partial+fit": {"dev": 60, "test": 50, TWO_SET_MEAN: 55}}
    assert entry(summary, "random", "dev")["share_of_supervised"] == pytest.approx(42 / 60)
    assert entry(summary, "class_truth", TWO_SET_MEAN)["share_of_supervised"] == pytest.approx(45 / 55)
    assert not [e for e in summary["entries"] if e["policy"] == "supervised"]


def test_rows_of_several_versions_of_the_code_are_said(results_of):
    assert summarise(results_of(MIOU, commits=("c", "d")))["notes"] == [
        "the runs were played by 2 versions of the code"
    ]


def test_tables_show_the_figures_of_the_summary(results_of):
    summary = summarise(results_of(MIOU))
    (table,) = of_summary(summary)
    assert table.title == "partial, budget 4"
    header, *rows = cells(table.on("markdown"))
    assert header == [
        "policy", "dev", "test", "mean", "rank", "less random", "less margin", "entropy", "clicks", "its labels",
        "runs",
    ]  # fmt: skip
    assert rows[1] == ["margin", "44.00", "33.00", "38.50", "1.0", "+2.00 [+2.00, +2.00]", "", "0.50", "6", "0", "2"]
    assert (rows[2][0], rows[2][4]) == ("class_truth*", "")
    assert any("neither a contender nor a bound" in line for line in footnotes(summary))
    assert "| margin | 44.00 | 33.00 | 38.50 | 1.0 | +2.00 [+2.00, +2.00] |  |" in markdown(summary)


def test_reading_results_loads_neither_torch_nor_what_plays_games():
    code = "import sys, ralseg.evaluation.summary; print({'torch', 'hydra', 'cv2', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
