import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ralseg.evaluate_policy import main
from ralseg.foundation import read_json, write_json
from ralseg.segmentation.datasets.cityscapes import cityscapes_files
from tests.segmentation.test_cityscapes import write_cityscapes

TINY = [
    "dataset.images=40", "dataset.size=[96,128]", "network=small_fpn", "loss=plain",
    "game.unit=[24,32]", "game.slates=2",
    "protocol.counts={state: 5, train: 5, compare: 6, dev: 2}", "network.widths=[8,8,8,8,8]", "network.pyramid=8",
    "theta0.fit.steps=5", "theta0.fit.batch=4", "game.candidates=3", "game.budget=4", "game.learn.batch=2",
    "processes=1", "draws=2", "policies=[random,class_truth]", "run=runs/x",
]  # fmt: skip


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Image stores and theta_0, which all tests here share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def elsewhere(cache, tmp_path, monkeypatch):
    """Everything else is written into an empty folder."""
    monkeypatch.setenv("RALSEG_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)


def test_a_comparison_from_the_command_line(capsys, tmp_path):
    assert main(TINY) == 0
    output = capsys.readouterr().out
    assert "4/4 class_truth, draw 1: mIoU dev" in output and "class_truth*" in output and "runs/x" in output
    files = {path.name for path in Path("runs/x").iterdir()}
    assert files == {
        "results.csv", "comparison.json", "summary.json", "summary.md", "report.html", "curves.png", "class_shares.png",
        "bought.png", "bought", "gallery", "tensorboard", "data.json", "test_readings.csv",
    }  # fmt: skip
    assert "evaluate_policy random class_truth" in Path("runs/x/test_readings.csv").read_text()
    before = read_json("runs/x/summary.json")
    assert main(TINY) == 0
    assert "draw 1:" not in capsys.readouterr().out and read_json("runs/x/summary.json") == before


def test_names_in_brackets_are_shown_whole(capsys):
    assert main([*TINY, "policies=[{rank_sum:{of:[margin,entropy]}}]", "draws=1"]) == 0
    assert "1/1 rank_sum(of=[margin, entropy]), draw 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("policies=[rnd]", "policy 'rnd' is unknown"),
        ("fit.draws=many", "fit.draws='many' must be a whole number"),
        ("fit.options.steps=0", "fit.options.steps=0 is out of range"),
        ("polices=[random]", "polices is not a setting"),
        ("features=compact", "features is not a setting"),
        ("dataset=nowhere", "nowhere"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, tmp_path, override, message):
    assert main([*TINY, override]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and not captured.out
    assert not (tmp_path / "runs").exists()


def test_a_damaged_table_is_refused_and_kept(capsys):
    assert main([*TINY, "draws=1", "splits=[dev]"]) == 0
    path = Path("runs/x/results.csv")
    path.write_text(path.read_text()[:-9])
    damaged = path.read_text()
    capsys.readouterr()
    assert main([*TINY, "draws=1", "splits=[dev]"]) == 2
    assert "results.csv line" in capsys.readouterr().err and path.read_text() == damaged


def test_help_needs_no_torch():
    code = (
        "import sys; from ralseg.evaluate_policy import main; assert main(['--help']) == 0; "
        "assert not {'torch', 'tianshou', 'matplotlib'} & set(sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    for text in ("run:runs/train", "network: ", "policies: [random, entropy, margin]"):
        assert text in found.stdout


def test_a_transferable_policy_plays_other_classes_units_and_networks(capsys):
    from ralseg.train_agent import main as train

    own = [option for option in TINY if not option.startswith(("features", "fit", "draws", "policies", "processes"))]
    learning = [
        "agent.warm_up=2", "agent.batch_size=2", "training.episodes=2", "training.processes=1", "comparison.draws=1",
        "comparison.policies=[]", "comparison.processes=1", "comparison.fit.draws=0",
        "comparison.fit.supervised=false", "run=runs/learned",
    ]  # fmt: skip
    transferable = ["features=transferable", "features.components=4", "agent=transferable"]
    assert train([*own, *learning, *transferable]) == 0
    other = [
        "policies=[run:runs/learned]", "dataset.variant=cityscapes", "dataset.size=[90,150]", "game.unit=[30,50]",
        "game.slates=3", "game.candidates=4", "game.budget=6", "network.widths=[8,8,8,8,16]", "draws=1",
        "dataset.images=120", "protocol.counts={state: 20, train: 5, compare: 6, dev: 2}",
    ]  # fmt: skip
    assert main([*TINY, *other]) == 0
    assert "1/1 run:learned, draw 0: mIoU dev" in capsys.readouterr().out
    # With features that depend on the classes the same is refused, not played anyhow.
    assert train([*own, *learning, "features=compact", "agent=ralseg", "run=runs/fixed"]) == 0
    assert main([*TINY, *other, "policies=[run:runs/fixed]"]) == 2
    assert "state_features=15, this game has 23" in capsys.readouterr().err


def test_a_policy_plays_cityscapes_by_the_protocol_of_the_original(tmp_path, capsys):
    names = [f"{('aachen', 'ulm')[i % 2]}_{i:06d}_000019" for i in range(2975)]
    root, different = tmp_path / "cityscapes", 8
    write_cityscapes(root, names[:different])
    write_cityscapes(root, ["lindau_000000_000019", "lindau_000001_000019"], "val")
    for i, name in enumerate(names[different:]):
        pairs = (cityscapes_files(root, "train", each) for each in (names[i % different], name))
        for first, path in zip(*pairs, strict=True):
            os.link(first, path)
    # As published: D_S lies in D_V, and ten training images are in no list.
    lists = {"d_s": names[:10], "d_v": names[:2615], "d_t": names[2615:2765], "d_r": names[2765:2965]}
    write_json("lists.json", lists)
    tiny = [option for option in TINY if not option.startswith(("dataset", "protocol", "policies"))]
    settings = ["dataset=cityscapes", f"dataset.root={root}", "protocol=ralis_cityscapes", "protocol.path=lists.json"]
    settings += ["game=ralis_cityscapes", "game.unit=[32,32]", "input_scale=0.25"]
    played = ["policies=[zoo:streets,random]", "budgets=[2,4]", "splits=[test]", "draws=1"]
    assert main([*tiny, *settings, *played]) == 0
    assert "10 images that the original has in D_S and in D_V are taken out of D_V" in capsys.readouterr().out
    with open("runs/x/results.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["policy"], row["units"], row["split"]) for row in rows] == [
        (policy, units, "test") for policy in ("random", "zoo:streets") for units in ("2", "4")
    ]
    bought = [unit[0] for path in Path("runs/x/bought").glob("*.json") for unit in read_json(path)["units"]]
    assert len(bought) == 8 and set(bought) <= set(names[10:2615])
