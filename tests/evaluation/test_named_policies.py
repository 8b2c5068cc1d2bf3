import pickle

import pytest

from ralseg.agents.acquisitions import FixedPolicy, make, names
from ralseg.agents.query_network import CompactQueryNetwork
from ralseg.agents.query_policy import save_policy
from ralseg.envs import World
from ralseg.evaluation.policies import check_policies, make_policies, make_policy
from ralseg.evaluation.runs import compare
from ralseg.evaluation.training_record import write_record
from ralseg.foundation import RalsegError, write_json


@pytest.fixture
def trained(learning, tmp_path):
    """Makes a run folder as a training leaves it, with an untrained network of the right widths."""

    def make(name, seed=0, config=None, **changes):
        training = {"training": {"seed": seed, "episodes": 1}, "run": name, "agent": {}}
        config = (config or learning()) | training | changes
        world = World(config)
        game = world.game("train")
        game.reset(0)
        observation = game.view().observation
        network = CompactQueryNetwork(observation["state"].shape[-1], observation["candidates"].shape[-1], hidden=4)
        save_policy(tmp_path / name, network, observation={}, options={})
        write_record(tmp_path / name, world, [])
        return tmp_path / name

    return make


def test_acquisitions_by_name():
    found = make_policy("entropy")
    assert (found.name, found.training_seed, found.training, found.policy.dropout) == ("entropy", None, None, False)
    assert isinstance(found.policy, FixedPolicy) and found.policy.acquisition == make("entropy")
    assert {name for name in names() if make_policy(name).sees_truth} == {"class_truth", "reducible_loss", "look_ahead"}
    dropout = {"bald", "power_bald", "balanced_entropy"}
    assert {name for name in names() if make_policy(name).policy.dropout} == dropout


def test_all_are_all_there_are():
    assert [entry.name for entry in make_policies("all")] == list(names())


def test_an_acquisition_with_options():
    found = make_policy({"entropy": {"reduction": "max"}})
    assert found.name == "entropy(reduction=max)"
    assert found.policy.acquisition == make("entropy", reduction="max")
    assert make_policy({"entropy": {}}).name == make_policy({"entropy": None}).name == "entropy"
    both = make_policies(["entropy", {"entropy": {"reduction": "max"}}])
    assert [entry.name for entry in both] == ["entropy", "entropy(reduction=max)"]
    with pytest.raises(RalsegError, match=r"entropy\(reduction=max\) is there twice"):
        make_policies([{"entropy": {"reduction": "max"}}] * 2)


def test_some_of_them_are_chosen_by_their_names_in_tables():
    entries = ["random", {"as": "largest", "entropy": {"reduction": "max"}}, "margin"]
    assert [entry.name for entry in make_policies(entries, only=["margin", "largest"])] == ["largest", "margin"]
    assert len(make_policies(entries, only=None)) == 3


def test_labels_tell_apart_what_differs():
    entries = [
        "bald",
        {"bald": {"noise": {"kind": "dropout", "draws": 3}}},
        {"bald": {"noise": {"kind": "dropout", "draws": 4}}},
        {"bald": {"noise": {"kind": "features", "draws": 4}}},
        {"bald": {"selection": {"per_image": 2}}},
        {"bald": {"selection": {"per_image": 3}}},
        {"cost_aware": {"of": "bald"}},
        {"cost_aware": {"of": "edald"}},
        {"cost_aware": {"of": {"edald": {"as_released": True}}}},
        {"rank_sum": {"of": ["margin", "ripu"]}},
        {"rank_sum": {"of": ["margin", {"ripu": {"radius": 2}}]}},
        {"rank_sum": {"of": ["margin", "ripu"], "weights": [1, 2]}},
        {"stages": {"stages": [{"by": "margin", "share": 0.2}, {"by": "coreset"}]}},
        {"stages": {"stages": [{"by": "margin", "share": 0.3}, {"by": "coreset"}]}},
        {"stages": {"stages": [{"by": {"entropy": {"reduction": "max"}}, "per_image": 2}, {"by": "coreset"}]}},
    ]
    found = make_policies(entries)
    for facts in ([entry.name for entry in found], [entry.identity for entry in found]):
        assert len(set(facts)) == len(entries)
    assert "cost_aware(of=edald)" in [entry.name for entry in found]
    assert "rank_sum(of=[margin, ripu(radius=2)])" in [entry.name for entry in found]


def test_an_identity_is_what_is_chosen_by_and_not_how_it_is_called(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("entropy: {reduction: max}")
    same = [make_policy(str(path)), make_policy({"entropy": {"reduction": "max"}})]
    assert [entry.name for entry in same] == ["mine", "entropy(reduction=max)"]
    assert same[0].identity == same[1].identity != make_policy("entropy").identity
    # Defaults written out change nothing; a part's option does.
    assert make_policy({"entropy": {"reduction": "mean"}}).identity == make_policy("entropy").identity
    parts = [{"rank_sum": {"of": ["margin", {"entropy": {"reduction": how}}]}} for how in ("mean", "max", "mean")]
    identities = [make_policy(entry).identity for entry in parts]
    assert identities[0] == identities[2] != identities[1]


def test_composition_files(tmp_path):
    path = tmp_path / "two_steps.yaml"
    path.write_text("# Comment.\nstages:\n  stages:\n    - {by: margin, share: 0.5}\n    - {by: coreset}\n")
    found = make_policy(str(path))
    stages = [{"by": "margin", "share": 0.5}, {"by": "coreset"}]
    assert (found.name, found.policy.acquisition) == ("two_steps", make("stages", stages=stages))
    path.write_text("bald:")
    assert make_policy(str(path)).policy.dropout and make_policy(str(path)).policy.acquisition == make("bald")
    path.write_text("class_truth: {}")
    assert make_policy(str(path)).sees_truth
    path.write_text("cost_aware: {of: class_truth}")
    assert make_policy(str(path)).sees_truth


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [b", r"own.yaml: cannot be read as YAML \(.*\); give a file of one acquisition"),
        (b"\xff\xfe\x00", r"own.yaml: cannot be read as YAML"),
        (b"- margin\n- ripu\n", r"own.yaml: holds no acquisition; write \{name: \{option: value\}\}"),
        (b"", r"own.yaml: holds no acquisition"),
        (b"entropy: {}\nmargin: {}\n", r"write a name, or \{name: \{option: value\}\}"),
        (b"entropy: max", r"write a name, or \{name: \{option: value\}\}"),
        (b"entropi: {}", r"acquisition 'entropi' is unknown; choose from random"),
        (b"entropy: {reduce: max}", r"entropy.reduce is unknown; entropy has "),
        (b"entropy: {reduction: min}", r"entropy.reduction='min'"),
    ],
)
def test_files_that_hold_no_acquisition(tmp_path, content, message):
    path = tmp_path / "own.yaml"
    path.write_bytes(content)
    with pytest.raises(RalsegError, match=message) as refused:
        make_policy(str(path))
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there():
    with pytest.raises(RalsegError, match=r"nowhere.yaml: no such file; give a YAML file of one acquisition"):
        make_policies(["nowhere.yaml"])


def test_what_needs_dropout_and_what_does_not(tiny):
    entries = ["bald", "dald", "edald", "equal", {"bald": {"noise": {"kind": "features", "draws": 3}}}]
    entries += [{"dald": {"noise": {"kind": "dropout", "draws": 3}}}, {"cost_aware": {"of": "bald"}}]
    named = make_policies(entries)
    assert [entry.policy.dropout for entry in named] == [True, False, False, False, False, True, True]
    check_policies(named, tiny("network.dropout=0.1"))
    for entry in named:
        if entry.policy.dropout:
            with pytest.raises(RalsegError, match=r" needs a network with dropout; set e.g. network.dropout=0.1"):
                check_policies([entry], tiny())
        else:
            check_policies([entry], tiny())


def test_a_trained_policy_needs_slates(trained, tiny, tmp_path):
    folder = trained("first")
    for draw in ("clustered", "uniform"):
        check_policies([make_policy(f"run:{folder}")], tiny(f"game.draw={draw}"))
    with pytest.raises(RalsegError, match=r"run:first chooses one unit of each slate; set game.draw=clustered"):
        compare(tiny("game.draw=pool"), ["random", f"run:{folder}"], tmp_path / "out", draws=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", names())
def test_policies_can_be_sent_to_a_process(name):
    policy = make_policy(name).policy
    _ = policy.needs
    again = pickle.loads(pickle.dumps(policy))
    assert again.acquisition == policy.acquisition
    assert [reducer.name for reducer in again.needs] == [reducer.name for reducer in policy.needs]


def test_a_run_folder_is_played_and_its_labels_are_counted(trained, tiny, tmp_path):
    folder = trained("first", seed=7)
    found = make_policy(f"run:{folder}")
    assert (found.name, found.training_seed) == ("run:first", 7)
    world = World(tiny())
    units = 16 * (len(world.splits.train) + len(world.splits.reward))
    assert found.training.label_cost == units
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
        (["nonsense"], r"policy 'nonsense' is unknown; choose from random, .*class_truth, .*, or zoo:NAME"),
        (["zoo:best"], "zoo:best: no such policy came with ralseg; choose from "),
        (["zoo:"], "zoo:: no such policy"),
        (["zoo:../agents"], "zoo:../agents: no such policy"),
        (["run:nowhere"], "nowhere/policy.json: no such file"),
        (["run:nowhere-*"], "no folder fits the pattern"),
        (["random", "random"], "random is there twice"),
        ([], "is not a list of names"),
        ("random", "is not a list of names"),
        ([["random"]], "is not a list of names"),
        ({"entropy": {"reduction": "max"}}, r"policies=\{'entropy': .* is not a list of names"),
        ([{"entropy": {"reduction": "min"}}], r"entropy.reduction='min'"),
        ([{"entropy": {}, "margin": {}}], r"write a name, or \{name: \{option: value\}\}"),
        ([{"two_stage_edald": {"share": 0.1}}], "two_stage_edald' is a composition and takes no share; write out"),
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


def test_a_policy_plays_with_the_features_that_it_learned_with(trained, tiny, learning, tmp_path):
    names = ("compact", "published")
    runs = [f"run:{trained(name, config=learning(f'features={name}'))}" for name in names]
    rows = compare(tiny(), runs, tmp_path / "out", draws=1, budgets=[2], splits=["dev"]).rows
    assert [row["policy"] for row in rows] == ["run:compact", "run:published"]


def test_a_policy_is_not_judged_on_images_that_it_learned_on(trained, tiny, learning, tmp_path):
    folder = trained("first", config=learning("protocol.seed=5"))
    with pytest.raises(RalsegError, match=r"run:first learned on [0-9]+ images that it would be judged on"):
        compare(tiny(), [f"run:{folder}"], tmp_path / "out", draws=1)
    assert not (tmp_path / "out").exists()


def test_a_policy_that_learned_on_test_images_is_judged_on_dev_alone(trained, tiny, learning, tmp_path):
    roles = World(tiny()).splits.to_dict()
    roles |= {"train": roles["test"][:3], "test": roles["test"][3:]}
    write_json(tmp_path / "lists.json", roles)
    lists = {"protocol": {"kind": "lists", "path": str(tmp_path / "lists.json")}}
    run = f"run:{trained('first', config=learning() | lists)}"
    with pytest.raises(RalsegError, match=r"run:first learned on 3 images that it would be judged on"):
        compare(tiny(), [run], tmp_path / "out", draws=1, splits=["dev", "test"])
    rows = compare(tiny(), [run], tmp_path / "out", draws=1, splits=["dev"]).rows
    assert {row["split"] for row in rows} == {"dev"}


@pytest.mark.parametrize("stem", ["random", "two_stage_edald", "supervised"])
def test_a_yaml_file_has_a_name_of_its_own(stem, tmp_path):
    path = tmp_path / f"{stem}.yaml"
    path.write_text("entropy: {reduction: max}")
    with pytest.raises(RalsegError, match=f"tables would call it {stem}, which is another one; rename the file"):
        make_policy(str(path))
