"""The protocol of the Best Practices study as a user plays it: experiment=best_practices."""

import csv
import json

import pytest

from ralseg.evaluate_policy import main as evaluate_policy
from ralseg.segmentation.datasets.a2d2 import VAL
from tests.segmentation.test_a2d2 import write_a2d2

STREETS = [
    "dataset=streets", "dataset.images=48", "dataset.size=[96,128]", "experiment=best_practices",
    "protocol.counts={state: 3, train: 3, compare: 20, dev: 4}",
]  # fmt: skip
TINY = [
    "network=small_fpn", "game.learn.steps=2", "game.learn.batch=2", "game.learn.crops.size=[32,48]",
    "learner.epochs=0.2", "processes=1",
]  # fmt: skip


@pytest.fixture
def play(tmp_path, monkeypatch):
    monkeypatch.setenv("RALSEG_CACHE", str(tmp_path / "cache"))

    def played(*overrides, run="run", of=STREETS):
        assert evaluate_policy([*of, *TINY, *overrides, f"run={tmp_path / run}"]) == 0
        return tmp_path / run

    return played


def rows_of(run):
    with open(run / "results.csv") as file:
        return list(csv.DictReader(file))


def bought(run, policy, seed):
    (path,) = (run / "bought").glob(f"{policy}-d{seed}-*.json")
    record = json.loads(path.read_text())
    return record["units"]


def test_ten_ten(play):
    run = play("draws=2")
    rows = rows_of(run)
    assert {row["policy"] for row in rows} == {"random", "then_entropy", "then_equal", "then_coreset"}
    # Two of 20 images at first, and two in each of four rounds; whole images.
    assert {(row["budget_units"], row["units"], row["images"]) for row in rows} == {
        (f"{share}", f"{2 * n}", f"{2 * n}") for n, share in enumerate((0.1, 0.2, 0.3, 0.4, 0.5), 1)
    }
    for seed in ("0", "1"):
        first = [row for row in rows if (row["seed"], row["budget_units"], row["split"]) == (seed, "0.1", "dev")]
        assert len(first) == 4 and len({row["miou"] for row in first}) == 1, "all methods begin with the same images"
    begins = [bought(run, policy, 0)[:2] for policy in ("random", "then_entropy", "then_coreset")]
    assert begins[0] == begins[1] == begins[2] != bought(run, "random", 1)[:2]


def test_two_two_and_another_learner(play):
    more = ["game.slates_per_image=0.05", "game.budget=0.15", "budgets=[0.05,0.1,0.15]", "draws=1", "only=[random]"]
    run = play(*more, "learner=mean_teacher", "learner.images=2", "splits=[dev]")
    assert [row["units"] for row in rows_of(run)] == ["1", "2", "3"]
    told = json.loads(next((run / "bought").glob("random-*.json")).read_text())["learner"]
    assert len(told) == 3 and all(0 <= figures["sure"] <= 1 for figures in told)


def test_dropout_and_bald_apart(play):
    run = play(
        "experiment=best_practices_mc_dropout", "draws=1", "splits=[dev]", "game.budget=0.2", "budgets=[0.1,0.2]"
    )
    assert {row["policy"] for row in rows_of(run)} == {"random", "then_bald"}


def test_a2d2_3k(play, tmp_path):
    root = write_a2d2(tmp_path / "camera_lidar_semantic", {"20180807_145028": 24, "20181008_095521": 20, VAL: 3})
    fractions = "protocol.fractions={state: 0.1, train: 0.1, compare: 0.6, dev: 0.1, reward: 0.1}"
    sizes = ["game.slates=2", "game.budget=6", "budgets=[2,4,6]", fractions]
    run = play("experiment=a2d2_3k", f"dataset.root={root}", *sizes, "draws=1", "splits=[dev]", of=())
    rows = rows_of(run)
    assert {row["units"] for row in rows} == {"2", "4", "6"} and len(rows) == 15
    evenly = bought(run, "fifth_then_entropy", 0)
    assert len(evenly) == 6
