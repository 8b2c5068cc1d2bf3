"""A comparison that takes a second: drawn streets of 96 x 128, slates of 2 x 3, budgets of a few units."""

import pytest

from ralseg.configs import composed
from ralseg.evaluation.results import Results
from ralseg.evaluation.runs import compare
from ralseg.segmentation.augmentation import Crops
from ralseg.segmentation.learners import FitOptions

TINY = [
    "dataset.images=40",
    "dataset.size=[96,128]",
    "network=small_fpn",
    "loss=plain",
    "protocol.counts={state: 5, train: 5, compare: 6, dev: 2}",
    "network.widths=[8,8,8,8,8]",
    "network.pyramid=8",
    "theta0.fit.steps=5",
    "theta0.fit.batch=4",
    "game.unit=[24,32]",
    "game.slates=2",
    "game.candidates=3",
    "game.budget=6",
    "game.learn.steps=2",
    "game.learn.batch=2",
]
FIT = FitOptions(steps=3, batch=2, evaluations=2, crops=Crops((48, 48)))


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Stores and theta_0 of these tests, made once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RALSEG_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def tiny():
    """Makes the configuration of the tiny comparison."""
    return lambda *overrides: composed("evaluate_policy", [*TINY, *overrides])


@pytest.fixture(scope="session")
def learning():
    """Makes the configuration of a training in the tiny comparison's game."""
    return lambda *overrides: composed("train_agent", [*TINY, "features=compact", *overrides])


@pytest.fixture
def play(tiny, tmp_path):
    """Plays the tiny comparison; returns its results and the runs that were played."""

    def run(folder="comparison", policies=("random", "margin"), config=None, **options):
        played = []
        options = {"draws": 1, "budgets": [2, 6], "splits": ["dev"], "fit": FIT, "on_run": played.append} | options
        options.setdefault("readings", tmp_path / "readings.csv")
        return compare(config or tiny(), policies, tmp_path / folder, **options), played

    return run


@pytest.fixture
def results_of(tmp_path):
    """Makes results from miou[(policy, training seed, draw, split)] at one budget, without a game."""

    def make(miou, splits=("dev", "test"), game="partial", supervised=None, commits=("c",)):
        rows = []
        for (policy, training_seed, draw, split), value in miou.items():
            rows.append(_row(policy, training_seed, draw, split, value, game, 4, commits[len(rows) % len(commits)]))
        for split, value in (supervised or {}).items():
            rows.append(_row("supervised", None, 0, split, value, game, "all", commits[0]))
        comparison = {
            "classes": ["a", "b"],
            "policies": list(dict.fromkeys(row["policy"] for row in rows)),
            "references": ["class_truth"],
            "splits": list(splits),
            "budgets": [4],
            "pool": {"units": 16, "class_pixels": [999, 1]},
            "notes": [],
        }
        return Results(tmp_path, comparison, rows)

    return make


def _row(policy, training_seed, draw, split, miou, game, budget, commit):
    return {
        "run_id": f"{policy}-{training_seed}-{draw}",
        "policy": policy,
        "training_seed": training_seed,
        "seed": draw,
        "game": game,
        "loss": "plain",
        "split": split,
        "budget_units": budget,
        "units": 4,
        "pixels": 40,
        "share": 0.25,
        "images": 2,
        "clicks": 6,
        "label_cost_of_policy": 0 if training_seed is None else 100,
        "miou": miou,
        "iou_a": miou / 100,
        "iou_b": float("nan"),
        "class_entropy": 0.5,
        "seconds_choosing": 0.1,
        "commit": commit,
    }
