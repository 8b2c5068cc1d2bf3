import json

import pytest

from ralseg.envs import World
from ralseg.evaluation.training_record import read_record, write_record
from ralseg.foundation import RalsegError


@pytest.fixture
def folder(learning, tmp_path):
    """A run folder with a record of the tiny training."""
    write_record(tmp_path, World(learning() | {"training": {"seed": 3}}), ["training.seed=3"])
    return tmp_path


def test_what_is_written_is_read(folder, learning):
    record, splits = read_record(folder), World(learning()).splits
    assert record.config == learning() | {"training": {"seed": 3}}
    assert record.learned_on == {*splits.train, *splits.reward} and len(record.learned_on) == 9
    assert record.label_cost == 9 * 16  # units of 24 x 32 in images of 96 x 128
    assert json.loads((folder / "config.json").read_text())["overrides"] == ["training.seed=3"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "[]", "config.json: not the configuration of a training"),
        ("config.json", '{"config": {"training": {}}, "label_cost": 3}', "config.features must be a group of settings"),
        ("config.json", "{", "config.json: not JSON"),
        ("splits.json", "[]", r"splits: the keys must be state, .*; found \[\]"),
        ("splits.json", '{"train": []}', "splits: the keys must be state, .*; found train"),
    ],
)
def test_what_is_no_record(folder, name, content, message):
    (folder / name).write_text(content)
    with pytest.raises(RalsegError, match=message):
        read_record(folder)
    (folder / name).unlink()
    with pytest.raises(RalsegError, match=f"{name}: no such file"):
        read_record(folder)


def test_a_record_without_its_cost(folder):
    record = json.loads((folder / "config.json").read_text())
    del record["label_cost"]
    (folder / "config.json").write_text(json.dumps(record))
    with pytest.raises(RalsegError, match=r"config.json: label_cost=None must be a whole number"):
        read_record(folder)


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        ({"_target_": "A", "root": "/a"}, {"_target_": "A", "root": "/a"}, True),
        ({"_target_": "A", "root": "/a"}, {"_target_": "A", "root": "/a", "download": True}, True),
        ({"_target_": "A", "root": "/a"}, {"_target_": "A", "root": "/b"}, False),
        ({"_target_": "A", "root": None}, {"_target_": "A", "root": "/b"}, True),
        ({"_target_": "A", "root": None}, {"_target_": "B", "root": "/b"}, False),
        ({"_target_": "S", "seed": 0, "images": 3}, {"_target_": "S", "seed": 0, "images": 4}, True),
        ({"_target_": "S", "seed": 0, "images": 3}, {"_target_": "S", "seed": 1, "images": 3}, False),
    ],
)
def test_whether_names_mean_the_same_images(folder, ours, theirs, same):
    record = json.loads((folder / "config.json").read_text())
    record["config"]["dataset"] = ours
    (folder / "config.json").write_text(json.dumps(record))
    assert read_record(folder).shares_images_with({"dataset": theirs}) == same
