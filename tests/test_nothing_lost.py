"""What two commands at once, a kill, a full disk and changing data leave: everything, or one clear line."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

import ralseg.evaluation.commands.learning as learning
from ralseg import evaluate_policy, train_agent
from ralseg.agents import training
from ralseg.foundation import read_json

GAME = [
    "dataset.images=40", "dataset.size=[96,128]", "network=small_fpn", "loss=plain",
    "protocol.counts={state: 5, train: 5, compare: 6, dev: 2}",
    "network.widths=[8,8,8,8,8]", "network.pyramid=8", "theta0.fit.steps=3", "theta0.fit.batch=4", "game.unit=[24,32]",
    "game.slates=2", "game.candidates=3", "game.budget=4", "game.learn.batch=2",
]  # fmt: skip
LEARNING = [
    "features=compact", "training.episodes=2", "training.streams=1", "training.processes=1", "agent.warm_up=2",
    "agent.batch_size=2", "training.tensorboard=false",
]  # fmt: skip
COMPARING = ["policies=[random]", "draws=1", "processes=1", "splits=[dev]"]
TRAIN = ["train", *GAME, *LEARNING, *(f"comparison.{setting}" for setting in COMPARING)]
EVALUATE = ["evaluate", *GAME, *COMPARING]
DOORS = {"train": train_agent.main, "evaluate": evaluate_policy.main}
FITTED = ["fit.draws=1", "fit.options.steps=3", "fit.options.batch=2"]
CAMVID = [
    "dataset=camvid",
    "protocol.counts={state: 4, train: 8, compare: 10, dev: 2}",
    *(setting for setting in GAME if not setting.startswith(("dataset.", "protocol.", "game.unit"))),
    "game.unit=[60,80]",
]

PAIRS = {
    "other policies": (EVALUATE, [*EVALUATE, "policies=[margin]"]),
    "more policies": (EVALUATE, [*EVALUATE, "policies=[entropy,random]"]),
    "other draws": (EVALUATE, [*EVALUATE, "draws=2"]),
    "other splits": (EVALUATE, [*EVALUATE, "splits=[test]"]),
    "other budgets": (EVALUATE, [*EVALUATE, "budgets=[0,2]"]),
    "another seed": (EVALUATE, [*EVALUATE, "seed=1"]),
    "another loss": (EVALUATE, [*EVALUATE, "loss=balanced"]),
    "with trained networks": (EVALUATE, [*EVALUATE, *FITTED]),
    "with all labels": (EVALUATE, [*EVALUATE, *FITTED, "fit.draws=0", "fit.supervised=true"]),
    "more processes": (EVALUATE, [*EVALUATE, "processes=2", "draws=2"]),
    "the same comparison": (EVALUATE, EVALUATE),
    "the same training": (TRAIN, TRAIN),
    "a training of another seed": (TRAIN, [*TRAIN, "training.seed=1"]),
    "a training with other policies": (TRAIN, [*TRAIN, "comparison.policies=[margin]"]),
    "a comparison in that of a training": (TRAIN, [*EVALUATE, "policies=[margin]", "run=run/comparison"]),
    "the same comparison in that of a training": (TRAIN, [*EVALUATE, "run=run/comparison"]),
    "a comparison in the folder of a training": (TRAIN, EVALUATE),
    "two comparisons, one log": (
        [*EVALUATE, "splits=[test]", "readings=log.csv"],
        [*EVALUATE, "splits=[test]", "readings=log.csv", "run=other"],
    ),
    "a training and a comparison, one cache": (TRAIN, [*EVALUATE, "run=other"]),
    "two trainings, one log": (
        [*TRAIN, "comparison.splits=[test]", "comparison.readings=log.csv"],
        [*TRAIN, "comparison.splits=[test]", "comparison.readings=log.csv", "training.seed=1", "run=other"],
    ),
}
NEVER = ("a training of another seed", "a comparison in the folder of a training")
"""Pairs that cannot share a folder, not even one after the other."""


@pytest.fixture(scope="session")
def server():
    """The process that runs commands side by side; it imports everything once."""
    script = [sys.executable, str(Path(__file__).with_name("at_once.py"))]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(script, env=environment, **pipes) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def at_once(server, tmp_path):
    """Runs commands side by side in the folder of the test; gives the status of each and its lines on stderr."""

    def run(*commands):
        commands = [[door, "run=run", *overrides] for door, *overrides in commands]
        print(json.dumps([str(tmp_path), commands]), file=server.stdin, flush=True)
        return [(status, said.splitlines()) for status, said in json.loads(server.stdout.readline())]

    return run


def rows_of(folder):
    """(run, budget, split) -> mIoU of all rows in a folder of results."""
    with (folder / "results.csv").open() as file:
        return {(row["run_id"], row["budget_units"], row["split"]): row["miou"] for row in csv.DictReader(file)}


OFTEN = ("other policies", "a comparison in that of a training", "two trainings, one log")
"""Pairs that every run tries; the others are tried with `-m long`."""


@pytest.mark.parametrize(
    "pair", [pair if pair in OFTEN else pytest.param(pair, marks=pytest.mark.long) for pair in PAIRS]
)
def test_two_commands_at_once_lose_nothing(at_once, tmp_path, pair):
    both = at_once(*PAIRS[pair])
    shared = "run=other" not in PAIRS[pair][1]
    assert sorted(status for status, _ in both) == ([0, 2] if shared else [0, 0]), both
    folders = [path.parent for path in tmp_path.rglob("results.csv")]
    before = {folder: rows_of(folder) for folder in folders}
    assert len(folders) == 1 + (not shared) and all(before.values())
    for command, (status, said) in zip(PAIRS[pair], both, strict=True):
        if status == 2:
            assert len(said) == 1, said
            assert " is in use by " in said[0] or (pair in NEVER and " holds " in said[0])
            ((status, said),) = at_once(command)
            assert (status, len(said)) == ((2, 1) if pair in NEVER else (0, 0)), said
    for folder, rows in before.items():
        after = rows_of(folder)
        assert rows.items() <= after.items()
        assert set(read_json(folder / "comparison.json")["run_ids"]) <= {run for run, _, _ in after}
    if "one log" in pair:
        assert len((tmp_path / "log.csv").read_text().splitlines()) == 3
    assert not [path for path in tmp_path.rglob(".*") if "cache" not in path.parts]


def replace_an_image(tree):
    """Turn the first picture of each training clip round; sizes and names stay."""
    for path in sorted((tree / "train").glob("*.png"))[:9]:
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))


@pytest.fixture
def through(tmp_path, monkeypatch, capfd, own_cache):
    """Goes through a door in the folder of the test; gives the status and what was said on stderr."""
    monkeypatch.chdir(tmp_path)

    def go(command):
        status = DOORS[command[0]](["run=run", *command[1:]])
        return status, capfd.readouterr().err

    return go


def on_camvid(command, tree):
    kept = [override for override in command if override not in GAME]
    return [*kept, *CAMVID, f"dataset.root={tree}"]


def test_data_that_changes_after_the_training(through, camvid_tree, monkeypatch):
    learn = learning._learn

    def learn_and_change(*arguments):
        learn(*arguments)
        replace_an_image(camvid_tree)

    monkeypatch.setattr(learning, "_learn", learn_and_change)
    status, said = through(on_camvid(TRAIN, camvid_tree))
    assert status == 2 and said.count("\n") == 1
    assert (
        "run holds a run on other images, labels, splits or weights: image or label '0001TP_000" in said
        and "restore them" in said
    )
    assert not Path("run/comparison/results.csv").exists()


def test_data_that_changes_before_the_games_open_it(through, camvid_tree, monkeypatch):
    opened = training.open_streams

    def change_and_open(*arguments):
        replace_an_image(camvid_tree)
        return opened(*arguments)

    monkeypatch.setattr(training, "open_streams", change_and_open)
    two = ["training.streams=2", "training.processes=2"]
    status, said = through([*on_camvid(TRAIN, camvid_tree), *two])
    assert status == 2 and said.count("\n") == 1
    assert "game stream 0: camvid: images or labels changed while this run read them" in said


def test_data_that_changes_before_the_players_open_it(through, camvid_tree, monkeypatch):
    import ralseg.evaluation.runs as runs

    train_once = runs._train_once

    def train_and_change(*arguments):
        train_once(*arguments)
        replace_an_image(camvid_tree)

    monkeypatch.setattr(runs, "_train_once", train_and_change)
    status, said = through([*on_camvid(EVALUATE, camvid_tree), "draws=2", "processes=2"])
    assert status == 2 and said.count("\n") == 1
    assert "camvid: images or labels changed while this run read them" in said


@pytest.mark.parametrize("command", [TRAIN, EVALUATE], ids=["train", "evaluate"])
def test_a_run_is_not_continued_on_other_data(through, camvid_tree, command):
    command = on_camvid(command, camvid_tree)
    assert through(command)[0] == 0
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    replace_an_image(camvid_tree)
    status, said = through([*command, "comparison.draws=2" if command[0] == "train" else "draws=2"])
    assert status == 2 and said.count("\n") == 1
    assert (
        "run holds a run on other images, labels, splits or weights: image or label '0001TP_000" in said
        and "more; restore them" in said
    )
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before


def test_a_comparison_does_not_replace_the_log_of_a_training(through):
    assert through([*TRAIN, "training.tensorboard=true"])[0] == 0
    status, said = through(EVALUATE)
    assert status == 2 and "run holds a training, whose files a comparison would replace" in said
    assert list(Path("run/tensorboard").iterdir())


def test_a_folder_in_use_is_refused_and_stays_as_it_was(through, tmp_path):
    hold = "from ralseg.foundation import owned\nwith owned('run'):\n    print('held', flush=True)\n    input()"
    process = subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    for command in (TRAIN, EVALUATE, [*EVALUATE, "run=run/../run"]):
        status, said = through(command)
        assert status == 2 and said.count("\n") == 1
        assert f"is in use by process {process.pid} on " in said and "choose another folder with run=<folder>" in said
    assert not list((tmp_path / "run").glob("[!.]*"))
    process.communicate("\n")
    assert not (tmp_path / "run").exists()


def test_theta_0_alone_is_a_comparison(through):
    assert through([*EVALUATE, "budgets=[0]"])[0] == 0
    assert {budget for _, budget, _ in rows_of(Path("run"))} == {"0"}
    alone = rows_of(Path("run"))
    assert through([*EVALUATE, "budgets=[0,4]", "run=both"])[0] == 0
    both = {split: miou for (_, budget, split), miou in rows_of(Path("both")).items() if budget == "0"}
    assert {split: miou for (_, _, split), miou in alone.items()} == both


def test_a_number_names_a_folder(through):
    assert through([*EVALUATE, "run=2024"])[0] == 0
    assert Path("2024/results.csv").exists()
