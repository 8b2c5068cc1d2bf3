import json

import pytest

from ralseg.agents.query_network import CompactQueryNetwork
from ralseg.agents.query_policy import save_policy
from ralseg.envs import World
from ralseg.evaluation.policies import label_cost, make_policies, make_policy, sees_truth
from ralseg.evaluation.runs import compare
from ralseg.foundation import RalsegError


@pytest.fixture
def trained(tiny, tmp_path):
    """Makes a run folder as a training leaves it, with an untrained network of the right widths."""

    def make(name, seed=0, config=None, **changes):
        config = (config or tiny()) | {"training": {"seed": seed, "episodes": 1}, "run": name, "agent": {}} | changes
        game = World(config).game("train")
        game.reset(0)
        observation = game.view().observation
        network = CompactQueryNetwork(observation["state"].shape[-1], observation["candidates"].shape[-1], hidden=4)
        save_policy(tmp_path / name, network, observation={}, options={})
        (tmp_path / name / "config.json").write_text(json.dumps({"config": config, "overrides": []}))
        return tmp_path / name

    return make


def test_acquisitions_by_name():
    found = make_policy("entropy")
    assert (found.name, found.training_seed, found.draws, label_cost(found)) == ("entropy", None, 0, 0)
    assert make_policy("bald").draws == 20
    assert sees_truth("class_truth") and not sees_truth("random") and not sees_truth("run:x")


def test_a_run_folder_is_played_and_its_labels_are_counted(trained, tiny, tmp_path):
    folder = trained("first", seed=7)
    found = make_policy(f"run:{folder}")
    assert (found.name, found.training_seed) == ("run:first", 7)
    world = World(tiny())
    units = 16 * (len(world.splits.train) + len(world.splits.reward))
    assert label_cost(found) == units
    results = compare(tiny(), [f"run:{folder}"], tmp_path / "out", draws=1, budgets=[2], splits=["dev"])
    (row,) = results.rows
    assert (row["policy"], row["training_seed"], row["label_cost_of_policy"]) == ("run:first", 7, units)


def test_a_pattern_names_training_seeds(trained, tmp_path):
    for seed in (0, 1):
        trained(f"a-{seed}", seed)
    found = make_policies(["random", f"run:{tmp_path}/a-*"])
    assert [(entry.name, entry.training_seed) for entry in found] == [("random", None), ("run:a-*", 0), ("run:a-*", 1)]
    trained("a-2", 1)
    with pytest.raises(RalsegError, match="trained with the same seed"):
        make_policies([f"run:{tmp_path}/a-*"])
    trained("a-2", 2, loss="balanced")
    with pytest.raises(RalsegError, match=r"differ in loss"):
        make_policies([f"run:{tmp_path}/a-*"])


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["nonsense"], r"policy 'nonsense' is unknown; choose from random, .*class_truth, or run:PATH"),
        (["zoo:best"], "zoo:best: this version brings no trained policies"),
        (["run:nowhere"], "nowhere/policy.json: no such file"),
        (["run:nowhere-*"], "no folder fits the pattern"),
        (["random", "random"], "random is there twice"),
        ([], "is not a list of names"),
        ("random", "is not a list of names"),
    ],
)
def test_what_is_no_policy_is_refused(texts, message):
    with pytest.raises(RalsegError, match=message):
        make_policies(texts)


def test_a_run_folder_without_its_configuration_is_refused(trained):
    folder = trained("first")
    (folder / "config.json").write_text("{}")
    with pytest.raises(RalsegError, match=r"not the configuration of a training"):
        make_policy(f"run:{folder}")
    (folder / "config.json").unlink()
    with pytest.raises(RalsegError, match=r"config.json: no such file"):
        make_policy(f"run:{folder}")


def test_a_policy_plays_with_the_features_that_it_learned_with(trained, tiny, tmp_path):
    folder = trained("first")
    apart = [
        compare(tiny(features), [f"run:{folder}"], tmp_path / features, draws=1, splits=["dev"]).rows[0]["miou"]
        for features in ("features=compact", "features=published")
    ]
    assert apart[0] == apart[1]


def test_a_policy_is_not_judged_on_images_that_it_learned_on(trained, tiny, tmp_path):
    folder = trained("first", config=tiny("protocol.seed=5"))
    with pytest.raises(RalsegError, match=r"run:first learned on [0-9]+ images that it would be judged on"):
        compare(tiny(), [f"run:{folder}"], tmp_path / "out", draws=1)
    assert not (tmp_path / "out").exists()
