"""Which settings make two configurations the same run, training, run folder or gift."""

import hashlib
import importlib.resources
import json
from pathlib import Path

import pytest
import yaml

from ralseg.configs import composed
from ralseg.configs.identity import CAME_LATER, COUNTS, identity

ROOT = Path(__file__).parents[1]
RECORDED = json.loads((ROOT / "results" / "camvid_partial_480" / "comparison.json").read_text())
PURPOSES = ("run", "training", "folder", "gift")


def digest(*facts):
    """As runs are named; `results.csv` holds thousands of such names."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:10]


def test_recorded_runs_keep_their_names():
    facts = identity(RECORDED["config"], "run")
    names = {
        f"random-d0-{digest(facts, RECORDED['budgets'], 'random')}",
        f"random-d0-fit-{digest(facts, RECORDED['budgets'], 'random', RECORDED['fit'])}",
        f"supervised-fit-{digest(facts, RECORDED['fit'])}",
    }
    assert names == {"random-d0-71034ef469", "random-d0-fit-29e7d7b531", "supervised-fit-81be8cf192"}
    assert names < set(RECORDED["run_ids"])


@pytest.fixture
def later(monkeypatch):
    """The data set's choice `streets` as a group that records lack."""
    monkeypatch.setitem(CAME_LATER, "dataset", "streets")
    return yaml.safe_load((importlib.resources.files("ralseg.configs") / "dataset" / "streets.yaml").read_text())


@pytest.mark.parametrize("of", PURPOSES)
def test_a_record_without_a_later_group_agrees_with_its_default(later, of):
    config = composed("train_agent")
    without = {key: value for key, value in config.items() if key != "dataset"}
    assert identity({**config, "dataset": later}, of) == identity(without, of)
    assert identity({**config, "dataset": later | {"images": 7}}, of) != identity(without, of)


@pytest.mark.parametrize("group", CAME_LATER)
def test_groups_that_came_later_default_to_what_records_were_made_with(group):
    for door in ("train_agent", "evaluate_policy"):
        config = composed(door)
        # A group that this version does not have yet is in no configuration either.
        assert group not in identity(config, "run")
        assert group not in config or identity({**config, group: {"_target_": "x"}}, "run")[group] == {"_target_": "x"}


def changed(config, key, value):
    group, _, name = key.partition(".")
    return {**config, group: {**config[group], name: value} if name else value}


@pytest.mark.parametrize(
    ("key", "run", "training", "folder", "gift"),
    [
        ("dataset.images", 1, 1, 1, 1),
        ("protocol.seed", 1, 1, 1, 1),
        ("network", 1, 1, 1, 1),
        ("theta0.fit", 1, 1, 1, 1),
        ("game.slates", 1, 1, 1, 1),
        ("loss", 1, 1, 1, 1),
        ("input_scale", 1, 1, 1, 1),
        ("seed", 1, 1, 1, 1),
        ("taxonomy.classes", 1, 1, 1, 1),
        ("features", 0, 1, 1, 1),
        ("agent.gamma", 0, 1, 1, 1),
        ("training.episodes", 0, 1, 1, 1),
        ("training.seed", 0, 0, 1, 1),
        ("training.tensorboard", 0, 0, 1, 1),
        ("training.processes", 0, 0, 0, 1),
        ("precision", 1, 0, 1, 1),
        ("device", 1, 0, 0, 1),
        ("compile", 0, 0, 0, 1),
        ("run", 0, 0, 0, 0),
        ("resume", 0, 0, 0, 0),
        ("comparison.draws", 0, 0, 0, 0),
    ],
)
def test_what_each_setting_counts_for(key, run, training, folder, gift):
    config = composed("train_agent")
    other = changed(config, key, ["another"])
    counts = tuple(identity(config, of) != identity(other, of) for of in PURPOSES)
    assert counts == (run, training, folder, gift)


def test_how_a_comparison_goes_makes_no_other_run():
    config = composed("evaluate_policy")
    facts = identity(config, "run")
    groups = {"dataset", "taxonomy", "protocol", "network", "theta0", "game"}
    assert set(facts) == groups | {"loss", "input_scale", "seed", "device", "precision"}
    # The door of training compares under its own keys, too.
    both = {**composed("train_agent"), **composed("train_agent")["comparison"]}
    assert set(identity(both, "run")) == set(facts)


@pytest.mark.parametrize("of", PURPOSES)
def test_whether_labels_are_required_makes_no_other_run(of):
    config = composed("evaluate_policy", ["dataset=folder", "dataset.root=x"])
    assert config["dataset"]["require_labels"] is False
    recorded = changed(config, "dataset.require_labels", True)
    assert identity(config, of) == identity(recorded, of) == {**identity(recorded, of), "dataset": recorded["dataset"]}


def test_the_table_names_settings_that_there_are():
    diffusion = composed("train_agent", ["source=diffusion", "source.file=x"])
    configs = composed("train_agent"), composed("evaluate_policy"), diffusion
    for name in COUNTS:
        group, _, key = name.partition(".")
        assert any(group in config and (not key or key in config[group]) for config in configs), name


def test_values_are_compared_as_json():
    config = composed("train_agent")
    assert identity(changed(config, "game.unit", (24, 32)), "folder") == identity(
        json.loads(json.dumps(changed(config, "game.unit", (24, 32)))), "folder"
    )
