"""Bad policies at the two doors: folders, files and names of a stranger; one clear line, nothing written."""

import hashlib
import json
import os
import pickle

import pytest
from safetensors.torch import save

from ralseg.agents.query_network import CompactQueryNetwork
from ralseg.agents.query_policy import save_policy
from ralseg.configs import composed
from ralseg.envs import World
from ralseg.evaluation.training_record import write_record
from tests.test_bad_input import STREETS
from tests.test_bad_input_parts import HEADERS, by_turns, says

POLICY, CONFIG, SPLITS, TENSORS = "policy.json", "config.json", "splits.json", "policy.safetensors"
AGAIN = "train the policy again"


def with_value(file, *keys, value):
    """Sets a value in a JSON file of the policy's folder."""

    def change(folder):
        whole = part = json.loads((folder / file).read_text())
        for key in keys[:-1]:
            part = part[key]
        part[keys[-1]] = value
        (folder / file).write_text(json.dumps(whole))

    return change


def with_bytes(file, content):
    return lambda folder: (folder / file).write_bytes(content)


def cut(file):
    return lambda folder: (folder / file).write_bytes((folder / file).read_bytes()[:100])


def without(file):
    return lambda folder: (folder / file).unlink()


def endless(file):
    def change(folder):
        (folder / file).unlink()
        os.mkfifo(folder / file)

    return change


def sealed(content):
    """Other weights, with their SHA-256 in the description."""

    def change(folder):
        (folder / TENSORS).write_bytes(content)
        with_value(POLICY, "sha256", value=hashlib.sha256(content).hexdigest())(folder)

    return change


def of_whole_numbers():
    return {name: tensor.int() for name, tensor in CompactQueryNetwork(15, 35, hidden=4).state_dict().items()}


POLICIES = {
    # kind -> (what is done to the folder of a policy, what the line says)
    "network that is null": (
        with_value(POLICY, "network", value=None),
        f"policy.json: network=None must be a group of name and arguments; {AGAIN}",
    ),
    "network of another version": (
        with_value(POLICY, "network", "name", value="../../x"),
        "policy.json: the network '../../x' is unknown; this version has compact",
    ),
    "network without arguments": (
        with_value(POLICY, "network", "arguments", value=None),
        "policy.json: the network's arguments None must be a group",
    ),
    "network of a billion": (
        with_value(POLICY, "network", "arguments", "hidden", value=10**9),
        "policy.json: network.arguments.hidden=1000000000 is out of range",
    ),
    "network larger than its weights": (
        with_value(POLICY, "network", "arguments", "hidden", value=10**5),
        "policy.safetensors: the weights do not fit the network that policy.json names; fetch both files again",
    ),
    "argument that is none": (
        with_value(POLICY, "network", "arguments", "depth", value=3),
        "policy.json: network.arguments.depth is unknown; compact takes state_features",
    ),
    "description cut in two": (cut(POLICY), "policy.json: not JSON (.*); restore or delete it"),
    "description too deep": (with_bytes(POLICY, b"[" * 100_000), "policy.json: nested too deeply to be read; restore"),
    "description in UTF-16": (with_bytes(POLICY, "{}".encode("utf-16")), "policy.json: not JSON ('utf-8' codec"),
    "number of 5000 digits": (with_bytes(POLICY, b"1" * 5000), "policy.json: not JSON (Exceeds the limit"),
    "number that is none": (with_bytes(POLICY, b'{"format": NaN}'), "policy.json: not JSON (NaN is no number)"),
    "description without end": (endless(POLICY), "policy.json: a pipe or a device, which may never end; a policy is"),
    "weights without end": (endless(TENSORS), "policy.safetensors: a pipe or a device"),
    "no description": (
        without(POLICY),
        "policy.json: no such file; a policy is policy.json and policy.safetensors in the run folder of a training",
    ),
    "no weights": (without(TENSORS), "policy.safetensors: no such file; a policy is policy.json and"),
    "weights cut in two": (cut(TENSORS), "policy.safetensors: damaged, or not the file that policy.json describes"),
    "pickle in place of weights": (sealed(pickle.dumps([1])), "policy.safetensors: not a safetensors file (.*header"),
    "header of weights without end": (sealed(HEADERS["huge"]), "policy.safetensors: not a safetensors file (.*large"),
    "weights of nothing": (sealed(save({})), "policy.safetensors: the weights do not fit the network"),
    "weights of whole numbers": (sealed(save(of_whole_numbers())), "policy.safetensors: the weights do not fit the"),
    "features of another training": (
        with_value(CONFIG, "config", "features", value=composed("train_agent", ["features=published"])["features"]),
        "run:policy: the policy was trained with state_features=15, this game has 203; play it with the",
    ),
    "features that are null": (
        with_value(CONFIG, "config", "features", value=None),
        f"config.json: config.features must be a group of settings; {AGAIN}, or fetch it again",
    ),
    "features that do not exist": (
        with_value(CONFIG, "config", "features", "width", value=3),
        f"config.json: features.width is unknown; features has preset, extra, components, noise; {AGAIN}",
    ),
    "configuration of nothing": (
        with_bytes(CONFIG, b"[]"),
        "config.json: not the configuration of a training; train",
    ),
    "cost below 0": (
        with_value(CONFIG, "label_cost", value=-3),
        f"config.json: label_cost=-3 is out of range; it must be 0 or more; {AGAIN}",
    ),
    "seed that is a word": (
        with_value(CONFIG, "config", "training", "seed", value="x"),
        "config.json: config.training.seed='x' must be a whole number",
    ),
    "splits of numbers": (
        with_value(SPLITS, "train", value=[1]),
        f"splits.json: train must be a list of names of images; {AGAIN}",
    ),
    "splits of an unknown role": (
        with_value(SPLITS, "validation", value=[]),
        "splits.json: splits: the keys must be state, train, compare, dev, reward, twin, test; found",
    ),
    "splits that are not there": (without(SPLITS), "splits.json: no such file"),
}
NAMES = {
    "zoo of another name": ("zoo:nothing", "zoo:nothing: no such policy came with ralseg; choose from camvid, streets"),
    "zoo that leads outside": ("zoo:../agents", "zoo:../agents: no such policy came with ralseg"),
    "training that is not there": ("run:nowhere", "nowhere/policy.json: no such file; a policy is policy.json and"),
    "training that is a device": ("run:/dev/null", "/dev/null/policy.json: cannot be read (Not a directory)"),
    "pattern of nothing": ("run:nowhere-*", "run:nowhere-*: no folder fits the pattern; give the run folders"),
    "folder without its prefix": ("runs/train", "policy 'runs/train' is unknown; .*run:PATH of a training"),
    "YAML that is not there": ("nowhere.yaml", "nowhere.yaml: no such file; give a YAML file of one acquisition"),
}
AT_DOORS = {"train": "comparison.policies", "evaluate": "policies"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The files of a policy as a training leaves them, of an untrained network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RALSEG_CACHE", str(tmp_path_factory.mktemp("cache")))
        folder = tmp_path_factory.mktemp("trained")
        config = composed("train_agent", [*STREETS, "features=compact"])
        world = World(config)
        widths = world.spec.state_width, world.spec.candidate_width
        save_policy(folder, CompactQueryNetwork(*widths, hidden=4), observation={}, options={})
        write_record(folder, world, [])
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("door", "kind"), by_turns(POLICIES))
def test_bad_folders_of_policies(refused, trained, tmp_path, door, kind):
    folder = tmp_path / "policy"
    folder.mkdir()
    for name, content in trained.items():
        (folder / name).write_bytes(content)
    change, message = POLICIES[kind]
    change(folder)
    line = refused(door, *STREETS, f"{AT_DOORS[door]}=[run:{folder}]")
    assert says(line, message), line


@pytest.mark.parametrize(("door", "kind"), by_turns(NAMES))
def test_bad_names_of_policies(refused, door, kind):
    name, message = NAMES[kind]
    line = refused(door, *STREETS, f"{AT_DOORS[door]}=[{name}]")
    assert says(line, message), line
