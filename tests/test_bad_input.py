"""Bad input at the two doors: one clear line, exit status 2, and nothing written into the run folder."""

import errno
import json
import os
import re

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import ralseg.evaluate_policy
import ralseg.train_agent
from ralseg.agents.query_network import CompactQueryNetwork
from ralseg.agents.query_policy import load_policy, save_policy
from ralseg.configs import composed
from ralseg.envs import RegionSelectionEnv, World
from ralseg.foundation import RalsegError
from ralseg.segmentation.networks import SmallFPN

pytestmark = pytest.mark.usefixtures("own_cache")

DOORS = ("train", "evaluate")
STREETS = [
    "dataset.images=40",
    "dataset.size=[96,128]",
    "network=small_fpn",
    "loss=plain",
    "protocol.counts={state: 5, train: 5, compare: 5, dev: 2}",
    "theta0.fit.steps=2",
    "theta0.fit.batch=2",
    "game.unit=[24,32]",
    "game.slates=2",
    "game.candidates=2",
    "game.budget=2",
]
COUNTS = "protocol.counts={state: 4, train: 8, compare: 10, dev: 2}"


def first(folder):
    return sorted(folder.glob("*.png"))[0]


def camvid(tree):
    return ["dataset=camvid", f"dataset.root={tree}", COUNTS]


def write_lists(folder, **changes):
    """Split lists for Streets, some of them changed."""
    config = composed("train_agent", STREETS[:5])
    lists = World(config).splits.to_dict()
    path = folder / "lists.json"
    path.write_text(
        json.dumps({role: changes.get(role, lambda names, lists=lists: names)(names) for role, names in lists.items()})
    )
    return [*STREETS[:2], "protocol=ralis_camvid", "protocol.kind=lists", f"protocol.path={path}"]


def spoil_label(tree, label):
    path = first(tree / "trainannot")
    cv2.imwrite(str(path), label(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))
    return camvid(tree)


def with_id(tree, value):
    def change(label):
        label[7, 9] = value
        return label

    return spoil_label(tree, change)


def damaged(path, tree):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return camvid(tree)


def without(path, tree):
    path.unlink()
    return camvid(tree)


def checkpoint(tmp_path, classes):
    tensors = {name: tensor.contiguous() for name, tensor in SmallFPN(classes).state_dict().items()}
    save_file(tensors, tmp_path / "weights.safetensors")
    return [*STREETS, f"theta0.file={tmp_path / 'weights.safetensors'}"]


def no_checkpoint(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"these are no weights")
    return [*STREETS, f"theta0.file={tmp_path / 'weights.safetensors'}"]


CASES = {
    "missing data folder": (
        lambda t, p: ["dataset=camvid", f"dataset.root={p / 'nowhere'}"],
        "nowhere: no such folder",
    ),
    "no data in the folder": (lambda t, p: ["dataset=folder", f"dataset.root={p}"], "classes.yaml: cannot be read"),
    "missing label": (lambda t, p: without(first(t / "trainannot"), t), r"trainannot/.*\.png: the label is missing"),
    "label id out of range": (
        lambda t, p: with_id(t, 77),
        r"trainannot/.*\.png: unknown class id 77 at y=7, x=9; the known ids",
    ),
    "label of another size": (lambda t, p: spoil_label(t, lambda x: x[:-1]), r"the label is 179 x 240 .* is 180 x 240"),
    "label in colour": (
        lambda t, p: spoil_label(t, lambda x: np.stack([x] * 3, -1)),
        "holds colours where class ids are expected",
    ),
    "damaged image": (lambda t, p: damaged(first(t / "train"), t), r"train/.*\.png: the image is damaged"),
    "damaged label": (lambda t, p: damaged(first(t / "trainannot"), t), r"trainannot/.*\.png: the image is damaged"),
    "more images than there are": (
        lambda t, p: [*camvid(t)[:2], "protocol.counts={state: 4, train: 80, compare: 8}"],
        "lower a count|use all of them",
    ),
    "overlapping lists": (
        lambda t, p: write_lists(p, train=lambda names: [*names, "street_00002"]),
        "overlap, e.g. in 'street_00002'",
    ),
    "unknown name in a list": (
        lambda t, p: write_lists(p, state=lambda names: [*names, "road_1"]),
        "state lists 'road_1', which streets does not have",
    ),
    "unknown key": (lambda t, p: ["game.slatez=3"], "game.slatez is not a setting; .*did you mean game.slates"),
    "unknown choice": (lambda t, p: ["game=partly"], "game=partly is unknown; choose from frozen, full, partial"),
    "value out of range": (
        lambda t, p: [*STREETS, "game.slates=0"],
        "game.slates=0 is out of range; it must be 1 or more",
    ),
    "value of another kind": (
        lambda t, p: [*STREETS, "theta0.fit.steps=many"],
        "theta0.fit.steps='many' must be a whole number",
    ),
    "seed below 0": (lambda t, p: [*STREETS, "seed=-1"], "seed=-1 is out of range"),
    "unknown device": (lambda t, p: [*STREETS, "device=gpu"], "device='gpu' cannot be used"),
    "value not given": (lambda t, p: ["dataset=camvid"], "dataset.root must be given"),
    "missing checkpoint": (
        lambda t, p: [*STREETS, f"theta0.file={p / 'no.safetensors'}"],
        "no.safetensors: no such checkpoint",
    ),
    "damaged checkpoint": (lambda t, p: no_checkpoint(p), "weights.safetensors: not a readable checkpoint"),
    "checkpoint of another network": (
        lambda t, p: checkpoint(p, 5),
        "it is not a checkpoint of this network",
    ),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("case", CASES)
def test_bad_input(refused, camvid_tree, tmp_path, door, case):
    overrides, message = CASES[case]
    line = refused(door, *overrides(camvid_tree, tmp_path))
    assert re.search(message, line), line


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("agent.gamma=3", "agent.gamma=3 is out of range; it must be 0 to 1"),
        ("features=published", "agent.prior=2 is a weight of a candidate's margin, which features=published do not"),
        ("training.episodes=0", "training.episodes=0 is out of range; it must be 1 or more"),
        ("training.processes=7", "training.processes=7 must be 1 or as many as training.streams"),
        ("comparison.policies=[entropie]", "'entropie' is unknown; choose from random"),
        ("comparison.fit.options.steps=0", "comparison.fit.options.steps=0 is out of range; it must be 1 or more"),
    ],
)
def test_bad_training(refused, override, message):
    assert message in refused("train", *STREETS, override)


@pytest.fixture
def policy(tmp_path):
    """A policy of other widths than any game here."""
    network = CompactQueryNetwork(state_features=5, candidate_features=6)
    save_policy(tmp_path / "policy", network, observation={}, options={})
    return tmp_path / "policy"


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        ("[entropie]", "policy 'entropie' is unknown; choose from random, "),
        ("[]", "is not a list of names"),
        ("[random,random]", "random is there twice"),
        ("[zoo:best]", "no such policy came with ralseg"),
        ("[run:nowhere]", "no such file"),
        ("[bald]", "dropout"),
    ],
)
def test_bad_policies(refused, policies, message):
    assert message in refused("evaluate", *STREETS, f"policies={policies}")


def test_files_of_a_policy(policy):
    load_policy(policy)
    weights = policy / "policy.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(RalsegError, match=r"policy.safetensors: damaged, or not the file that policy.json describes"):
        load_policy(policy)
    weights.unlink()
    with pytest.raises(RalsegError, match=r"policy.safetensors: no such file"):
        load_policy(policy)


def test_a_policy_of_another_shape(policy):
    game = World(composed("train_agent", [*STREETS, "features=compact"])).game("compare")
    game.reset(0)
    with pytest.raises(RalsegError, match="the policy was trained with state_features=5, this game has 15"):
        load_policy(policy).select(game.view(), np.random.default_rng(0))


def test_a_prediction_that_is_nan():
    env = RegionSelectionEnv(World(composed("train_agent", [*STREETS, "features=compact"])).game("train"))
    for network in (env.game.learner._averaged, env.game.learner._network):
        with torch.no_grad():
            network.head.weight.fill_(float("nan"))
    env.game.learner._theta0 = {
        name: tensor.clone() for name, tensor in env.game.learner._averaged.state_dict().items()
    }
    with pytest.raises(RalsegError, match="NaN"):
        env.reset(seed=0)


@pytest.mark.parametrize("door", DOORS)
def test_a_full_disk(refused, monkeypatch, door):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "no space left on the disk" in refused(door, *STREETS)


def test_a_run_folder_of_another_run(tmp_path, capfd):
    run = tmp_path / "run"
    run.mkdir()
    other = composed("train_agent", [*STREETS, "loss=balanced"])
    (run / "config.json").write_text(json.dumps({"config": other, "overrides": []}))
    assert ralseg.train_agent.main([*STREETS, f"run={run}"]) == 2
    assert "holds a run with another loss; choose another folder" in capfd.readouterr().err
    assert os.listdir(run) == ["config.json"]


def test_help_says_what_there_is(capsys):
    for main in (ralseg.train_agent.main, ralseg.evaluate_policy.main):
        assert main(["--help"]) == 0
        said = capsys.readouterr().out
        assert "game: frozen, full, partial, pixels, ralis_cityscapes" in said
        assert re.search(r"^loss: balanced +# balanced or plain", said, re.M)
        assert re.search(r"^game:\n  slates: 24\n", said, re.M)
        assert main(["game=full", "dataset=camvid", "--help"]) == 0
        said = capsys.readouterr().out
        assert re.search(r"^  learn:\n    cut: full\n", said, re.M)
        assert "root: '???'" in said
        assert main(["game=partly", "--help"]) == 2
        assert "game=partly is unknown" in capsys.readouterr().err
