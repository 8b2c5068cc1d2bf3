import importlib.resources

import gymnasium
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.version import getbase, setbase

from ralseg.agents.options import agent_options
from ralseg.configs import composed
from ralseg.envs import EnvFactory, World
from ralseg.evaluation.policies import make_policies
from ralseg.foundation import RalsegError, settings
from ralseg.segmentation.learners import FitOptions

DOORS = ("train_agent", "evaluate_policy")
SMALL = [
    "dataset.images=40",
    "dataset.size=[96,128]",
    "protocol.counts={state: 5, train: 5, compare: 5, dev: 2}",
    "network=small_fpn",
]
NEEDS = {
    ("dataset", "camvid"): "dataset.root",
    ("dataset", "folder"): "dataset.root",
    ("dataset", "cityscapes"): "dataset.root",
    ("dataset", "gtav"): "dataset.root",
    ("dataset", "synthia"): "dataset.root",
    ("dataset", "a2d2"): "dataset.root",
    ("dataset", "ade_bedroom"): "dataset.root",
    ("dataset", "pascal_context"): "dataset.root",
    ("dataset", "voc"): "dataset.root",
    ("dataset", "streets_to_camvid"): "dataset.target.root",
    ("dataset", "gtav_to_cityscapes"): "dataset.source.root",
    ("dataset", "synthia_to_cityscapes"): "dataset.source.root",
    ("dataset", "camvid_to_roads"): "dataset.source.root",
    ("dataset", "folder_to_folder"): "dataset.source.root",
    ("source", "diffusion"): "source.file",
    ("protocol", "ralis_camvid"): "protocol.path",
    ("protocol", "ralis_cityscapes"): "protocol.path",
}
"""Choices that cannot be had without a value of the user's own."""


def groups():
    """group -> choices, as they lie in the package."""
    root = importlib.resources.files("ralseg.configs")
    folders = [entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("_")]
    return {f.name: sorted(p.name[:-5] for p in f.iterdir() if p.name.endswith(".yaml")) for f in folders}


CHOICES = [(group, choice) for group, choices in groups().items() for choice in choices]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RALSEG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def test_the_groups_are_all_there():
    assert {"dataset", "protocol", "network", "theta0", "game", "features", "agent", "comparison"} <= set(groups())
    assert all(groups().values())


@pytest.mark.parametrize("door", DOORS)
def test_the_defaults(door):
    config = composed(door, SMALL)
    assert type(config) is dict
    World(config).check(observed=door == "train_agent")
    assert composed(door, SMALL) == config


def test_a_comparison_has_nothing_to_observe():
    with pytest.raises(RalsegError, match="has no group `features`"):
        World(composed("evaluate_policy", SMALL)).check()


@pytest.mark.parametrize(
    ("group", "choice"),
    [
        pair
        for pair in CHOICES
        # A source domain takes a data set of two domains: tests/segmentation/test_across_domains.py.
        if pair[0] in ("network", "theta0", "game", "features") and pair[1] != "source_domain"
    ],
)
def test_choices_of_the_game(group, choice):
    with_it = {
        ("network", "deeplabv3plus_wrn38"): ["network.width=2"],
        ("network", "pixel_mlp"): ["source=timm", "source.pretrained=false", "game=frozen"],
        ("theta0", "encoder"): ["network=lite0"],
        ("features", "dropout"): ["network.dropout=0.1"],
        ("theta0", "lite0"): ["network=lite0"],
    }
    World(composed("train_agent", [*SMALL, *with_it.get((group, choice), ()), f"{group}={choice}"])).check()


@pytest.mark.parametrize("network", groups()["network"])
def test_every_network_has_its_theta_0(network):
    options = composed("train_agent", [f"network={network}"])["theta0"]
    assert options["fit"].get("encoder_rate") == (0 if network == "lite0" else None)


def test_an_encoder_from_nothing_is_not_kept_as_it_is():
    message = "theta0.fit.encoder_rate=0 keeps the encoder as it is, and that of this network starts from nothing"
    for network in ("small_fpn", "lite0"):
        given = ["network.weights=null"] if network == "lite0" else []
        with pytest.raises(RalsegError, match=message):
            World(composed("train_agent", [*SMALL, f"network={network}", "theta0=encoder", *given])).check()


@pytest.mark.parametrize("choice", groups()["agent"])
def test_agents(choice):
    agent_options(composed("train_agent", [f"agent={choice}"])["agent"])


@pytest.mark.parametrize("choice", groups()["comparison"])
def test_comparisons(choice):
    config = composed("train_agent", [f"comparison={choice}"])["comparison"]
    settings(FitOptions, config["fit"]["options"], "comparison.fit.options")
    other = composed("evaluate_policy", [f"comparison@_global_={choice}"])
    assert other["fit"]["options"] == config["fit"]["options"]


@pytest.mark.parametrize(("group", "choice"), NEEDS)
def test_what_only_the_user_knows_must_be_given(group, choice):
    key = NEEDS[group, choice]
    with pytest.raises(RalsegError, match=rf"^{key} must be given: {key}=<\.\.\.>$"):
        composed("train_agent", [f"{group}={choice}"])


def test_data_sets_of_files(camvid_tree, tmp_path):
    # The generated tree has fewer images than the real one: other counts.
    counts = "protocol.counts={state: 4, train: 8, compare: 10, dev: 2}"
    world = World(composed("train_agent", ["dataset=camvid", f"dataset.root={camvid_tree}", counts]))
    world.check()
    assert world.unit == (90, 80)
    images = sorted((camvid_tree / "train").iterdir())
    (tmp_path / "own").mkdir()
    (camvid_tree / "train").rename(tmp_path / "own" / "images")
    (camvid_tree / "trainannot").rename(tmp_path / "own" / "labels")
    entries = ", ".join(f"{{name: c{i}, id: {i}}}" for i in range(11))
    names = [path.stem for path in images]
    (tmp_path / "own" / "classes.yaml").write_text(
        f"classes: [{entries}]\nignore: 11\nsubsets: {{train: [{', '.join(names[:16])}], "
        f"val: [{', '.join(names[16:20])}], test: [{', '.join(names[20:])}]}}\n"
    )
    fractions = "protocol.fractions={state: 0.25, train: 0.25, compare: 0.5, dev: 0}"
    world = World(composed("train_agent", ["dataset=folder", f"dataset.root={tmp_path / 'own'}", fractions]))
    world.check()
    assert (len(world.splits.state), len(world.splits.compare), len(world.splits.test)) == (4, 8, 4)


def test_camvid_as_it_is(camvid_root):
    config = composed("train_agent", ["dataset=camvid", f"dataset.root={camvid_root}", "input_scale=0.25"])
    splits = World(config).splits
    sizes = [len(getattr(splits, role)) for role in ("state", "train", "compare", "dev", "reward", "twin", "test")]
    assert sizes == [10, 100, 197, 60, 51, 50, 233]


def test_the_protocol_follows_the_data_set(tmp_path):
    assert composed("train_agent")["protocol"]["counts"]["state"] == 10
    assert composed("train_agent", ["dataset=camvid", "dataset.root=x"])["protocol"]["exact"] is True
    assert "fractions" in composed("train_agent", ["dataset=folder", "dataset.root=x"])["protocol"]


def test_a_protocol_takes_sets_and_a_group_that_its_file_does_not_name(camvid_tree):
    ours = ["dataset=camvid", f"dataset.root={camvid_tree}", "protocol.exact=false", "protocol.unseen=0001TP"]
    counts = "protocol.counts={state: 4, train: 4, compare: 3, dev: 2, reward: 3}"
    splits = World(composed("train_agent", [*ours, counts])).splits
    assert [len(getattr(splits, role)) for role in ("state", "train", "compare", "dev", "reward")] == [4, 4, 3, 2, 3]
    assert {name.split("_")[0] for name in splits.compare + splits.dev} == {"0001TP"}
    assert "0001TP" not in {name.split("_")[0] for name in splits.state + splits.train + splits.reward}
    more = World(composed("train_agent", [*ours, counts, "protocol.counts.reward=4"])).splits
    assert len(more.reward) == 4
    with pytest.raises(RalsegError, match="counts has an unknown key 'rewards'; the known ones are state, train"):
        World(composed("train_agent", [*ours, counts, "protocol.counts.rewards=4"])).check()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("foo=3", "^foo is not a setting; the top level has dataset, taxonomy, protocol, network, "),
        ("game.slatez=3", r"^game.slatez is not a setting; game has slates, .*learn \(did you mean game.slates\?\)$"),
        (
            "game.learn.stepz=3",
            r"^game.learn.stepz is not a setting; game.learn has cut, .*did you mean game.learn.steps",
        ),
        ("game=partly", r"^game=partly is unknown; choose from frozen, full, partial, .*mean game=partial\?"),
        (
            "network=unet",
            "^network=unet is unknown; choose from deeplabv3plus, deeplabv3plus_wrn38, lite0, pixel_mlp, ralis_fpn",
        ),
        ("game", "^'game' is not a setting; write group=choice or group.key=value"),
    ],
)
def test_unknown_keys_and_choices_name_the_valid_ones(door, override, message):
    with pytest.raises(RalsegError, match=message) as caught:
        composed(door, [override])
    assert "\n" not in str(caught.value)


def test_a_key_of_another_choice_is_explained_with_the_choice_that_was_made():
    with pytest.raises(RalsegError, match=r"^dataset.images is not a setting; dataset has _target_, root, unit_size"):
        composed("train_agent", ["dataset=folder", "dataset.root=x", "dataset.images=3"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["seed=-1"], "seed=-1 is out of range"),
        (["seed=abc"], "seed='abc' must be a whole number"),
        (["input_scale=2"], "input_scale=2 is out of range"),
        (["input_scale=null"], "input_scale=None must be a number"),
        (["device=gpu"], "device='gpu' cannot be used"),
        (["precision=half"], "precision='half' is unknown; choose from auto, float32, bfloat16"),
        (["compile=maybe"], "compile='maybe' must be true or false"),
        (["loss=focal"], r"^loss='focal' is unknown; choose from plain, balanced"),
        (["game.learn=3"], "game.learn is 3; it must be a group of cut"),
        (["game.unit=regions"], "unit='regions' is unknown"),
        (["game.budget=nan"], "game.budget=nan is out of range"),
        (["game.slates=2.5"], "game.slates=2.5 must be a whole number"),
        (["network.dropout=2"], "network.dropout=2 is out of range"),
        (["network._target_=nowhere.Network"], r"network\._target_=.*nowhere"),
        (["dataset.size=[8,8]"], "must be 60 to 8192"),
        (["protocol.counts=3"], "protocol: counts is 3"),
        (["protocol.kind=lists"], "protocol: kind lists has an unknown key"),
        (["features.preset=ralis"], "no preset 'ralis'; choose from 1h, 3h, published, as_released, compact"),
        (["features.components=0"], "^features.components=0 is out of range; it must be 1 or more$"),
        (["features.extra=embedding"], "^features.extra='embedding' must be a list of values$"),
        (["theta0.fit.steps=0"], "^theta0.fit.steps=0 is out of range; it must be 1 or more$"),
        (["game.learn.clip=-1"], "^game.learn.clip=-1 is out of range; it must be 0 or more$"),
        (
            ["game.budget_measure=share"],
            "^game.budget=480.0 is out of range; as a share of the pool ",
        ),
        (["theta0.use_state=false"], "^the network would be trained on nothing; set theta0.use_state=true"),
        (["theta0.file=/nowhere/weights.safetensors"], "no such checkpoint"),
    ],
)
def test_bad_values_are_refused_before_anything_is_trained(overrides, message):
    with pytest.raises(RalsegError, match=message) as caught:
        World(composed("train_agent", [*SMALL, *overrides])).check()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("initialised", [False, True])
def test_composing_leaves_the_callers_hydra_alone(tmp_path, initialised):
    (tmp_path / "own.yaml").write_text("mine: 3\n")
    GlobalHydra.instance().clear()
    setbase("1.1")
    if initialised:
        with initialize_config_dir(str(tmp_path), version_base="1.2"):
            before = GlobalHydra.instance().hydra
            assert composed("train_agent")["seed"] == 0
            with pytest.raises(RalsegError, match=r"^game.slatez is not a setting"):
                composed("train_agent", ["game.slatez=3"])
            assert GlobalHydra.instance().hydra is before
            assert getbase().minor == 2
            assert compose("own")["mine"] == 3
    else:
        composed("train_agent")
        assert not GlobalHydra.instance().is_initialized()
        assert getbase().minor == 1


def test_making_an_env_leaves_the_process_alone(tmp_path):
    """Neither the threads of torch nor a Hydra that is in use change."""
    (tmp_path / "own.yaml").write_text("mine: 3\n")
    small = [*SMALL, "theta0.fit.steps=1", "theta0.fit.batch=2", "features=compact"]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with initialize_config_dir(str(tmp_path), version_base="1.3"):
            env = gymnasium.make("ralseg:ralseg/RegionSelection-v0", overrides=small)
            env.reset(seed=0)
            assert compose("own")["mine"] == 3
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_a_spawned_game_computes_in_one_thread(monkeypatch):
    small = [*SMALL, "theta0.fit.steps=1", "theta0.fit.batch=2", "features=compact"]
    threads, found = torch.get_num_threads(), []
    try:
        for parent in (None, object()):
            torch.set_num_threads(2)
            monkeypatch.setattr("ralseg.envs.build.parent_process", lambda parent=parent: parent)
            EnvFactory(composed("train_agent", small))()
            found.append(torch.get_num_threads())
    finally:
        torch.set_num_threads(threads)
    assert found == [2, 1]


@pytest.mark.parametrize("choice", groups()["experiment"])
def test_experiments_compose_and_name_policies(choice):
    """They belong to `evaluate_policy.py` and change several groups together; overrides come after them."""
    data = ["dataset.root=here"] if choice == "a2d2_3k" else []
    config = composed("evaluate_policy", [f"experiment={choice}", *data, "budgets=[1]", "network.dropout=0.3"])
    assert (config["budgets"], config["network"]["dropout"]) == ([1], 0.3)
    assert config["game"]["unit"] in ("pixel", "image", [3, 3])
    assert config["theta0"]["untrained"] or config["theta0"]["use_source_domain"]
    assert len(make_policies(config["policies"])) == len(config["policies"]) > 1
    with pytest.raises(RalsegError, match="experiment"):
        composed("train_agent", [f"experiment={choice}"])
