import json
from dataclasses import asdict
from pathlib import Path

import pytest

from ralseg.agents.networks import NETWORKS
from ralseg.agents.query_policy import save_policy
from ralseg.agents.zoo import ZOO, zoo_names
from ralseg.envs import World
from ralseg.evaluation.policies import make_policy
from ralseg.evaluation.runs import compare
from ralseg.evaluation.training_record import write_record
from ralseg.evaluation.zoo import LARGEST, main, pack
from ralseg.foundation import RalsegError, read_json

TRANSFERABLE = ("features=transferable", "features.components=4")


@pytest.fixture
def trained(learning, tmp_path):
    """Makes a run folder as a training leaves it, with an untrained network for any classes."""

    def make(*overrides, hidden=4, **changes):
        config = learning(*TRANSFERABLE, *overrides) | {"training": {"seed": 5}, "run": "x", "comparison": {}} | changes
        world = World(config)
        layout = world.spec.token_layout
        network = _network(layout, hidden)
        observation = {"features": config["features"], "dataset": config["dataset"]}
        save_policy(tmp_path / "run", network, observation=observation, options={})
        write_record(tmp_path / "run", world, [])
        return tmp_path / "run"

    return make


def _network(layout, hidden):
    if layout is None:
        return NETWORKS["compact"](9, 9, hidden=hidden)
    return NETWORKS["tokens"](**asdict(layout), hidden=hidden)


def rewrite(run, change):
    """Change the configuration of a run folder."""
    record = read_json(run / "config.json")
    change(record["config"])
    (run / "config.json").write_text(json.dumps(record))


def test_what_is_packed_plays_alike(trained, tiny, tmp_path):
    run = trained()
    assert main([str(run), str(tmp_path / "packed")]) == 0
    assert {path.name for path in (tmp_path / "packed").iterdir()} == {
        "policy.safetensors", "policy.json", "config.json", "splits.json",
    }  # fmt: skip
    apart = [
        compare(tiny(), [f"run:{folder}"], tmp_path / "out", draws=1, budgets=[2], splits=["dev"]).rows[-1]
        for folder in (run, tmp_path / "packed")
    ]
    assert apart[0]["miou"] == apart[1]["miou"] and apart[0]["label_cost_of_policy"] == 9 * 16
    assert [row["policy"] for row in apart] == ["run:run", "run:packed"]


def test_nothing_of_this_machine_is_packed(trained, tmp_path):
    run = trained()
    rewrite(run, lambda config: config["dataset"].update(root=str(tmp_path)))
    pack(run, tmp_path / "packed")
    packed = read_json(tmp_path / "packed/config.json")
    assert packed["config"]["dataset"]["root"] is None and packed.keys() == {"config", "label_cost"}
    for path in (tmp_path / "packed").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()
    rewrite(run, lambda config: config["theta0"].update(file="/somewhere/weights.safetensors"))
    with pytest.raises(RalsegError, match=r"config.json: theta0.file=/somewhere/weights.safetensors is a place"):
        pack(run, tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_policies_that_cannot_be_packed_are_refused(trained, tmp_path, capsys):
    target = tmp_path / "packed"
    with pytest.raises(RalsegError, match="reads embeddings of its own network"):
        pack(trained("features=embedding"), target)
    with pytest.raises(RalsegError, match=r"policy.safetensors: [0-9,]+ bytes, more than 2,000,000"):
        pack(trained(hidden=700), target)
    run = trained()
    (run / "policy.safetensors").write_bytes(b"x")
    assert main([str(run), str(target)]) == 2
    assert "damaged, or not the file" in capsys.readouterr().err
    with pytest.raises(RalsegError, match=r"nowhere/policy.json: no such file"):
        pack("nowhere", target)
    assert not target.exists()


def test_a_folder_that_holds_something_is_left_alone(trained, tmp_path):
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed/mine.txt").write_text("x")
    with pytest.raises(RalsegError, match="packed: not empty; give a new folder"):
        pack(trained(), tmp_path / "packed")
    assert [path.name for path in (tmp_path / "packed").iterdir()] == ["mine.txt"]


class TestWhatCameWithRalseg:
    @pytest.fixture(params=zoo_names())
    def name(self, request):
        return request.param

    def test_it_is_complete_and_small(self, name):
        names = {path.name for path in (ZOO / name).iterdir()}
        assert names == {"policy.safetensors", "policy.json", "config.json", "splits.json", "README.md"}
        assert (ZOO / name / "policy.safetensors").stat().st_size <= LARGEST
        record = read_json(ZOO / name / "config.json")
        assert record["config"]["dataset"].get("root") is None and record["label_cost"] > 0

    def test_its_card_says_what_one_must_know(self, name):
        card = Path(ZOO / name / "README.md").read_text()
        for heading in ("## Learned from", "## Measured", "## Not for"):
            assert heading in card
        assert read_json(ZOO / name / "policy.json")["sha256"] in card

    def test_it_plays_classes_units_and_networks_that_it_has_not_seen(self, name, tiny, tmp_path):
        config = tiny("dataset.variant=cityscapes", "dataset.images=300", "protocol.counts.state=40")
        rows = compare(config, [f"zoo:{name}"], tmp_path, draws=1, budgets=[2], splits=["dev"]).rows
        assert [row["policy"] for row in rows] == [f"zoo:{name}"] and make_policy(f"zoo:{name}").training is not None
