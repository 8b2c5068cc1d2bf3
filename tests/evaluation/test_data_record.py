from hashlib import sha256
from types import SimpleNamespace

import cv2
import pytest

from ralseg.configs import composed
from ralseg.envs import World
from ralseg.evaluation.data_record import check_data, write_data
from ralseg.foundation import RalsegError, read_json, write_json
from ralseg.segmentation.splits import ROLES, Splits


def world(weights=None, **contents):
    """A world of these images, name -> (role, content), and with theta_0 from a file of weights."""
    names = list(contents)
    roles = {role: tuple(name for name in names if contents[name][0] == role) for role in ROLES}
    store = SimpleNamespace(index=names.index, content=lambda i: contents[names[i]][1])
    return SimpleNamespace(splits=Splits(**roles), store=store, config={"network": {}, "theta0": {"file": weights}})


BEGUN = {"a": ("state", "1" * 64), "b": ("train", "2" * 64), "c": ("train", "3" * 64), "d": ("test", "4" * 64)}


@pytest.mark.parametrize(
    ("now", "change"),
    [
        ({"b": ("train", "5" * 64)}, r"image or label 'b' \(train\) is another; restore"),
        ({"b": ("train", "5" * 64), "d": ("test", "5" * 64)}, r"image or label 'b' \(train\) is another and 1 more; "),
        ({"e": ("dev", "6" * 64)}, "'e' is new in dev; restore"),
        ({"b": ("compare", "2" * 64)}, "'b' is no longer in train and 1 more; restore"),
        ({"d": ("test", "5" * 64)}, r"image or label 'd' \(test\) is another; restore"),
    ],
)
def test_other_data_is_refused_and_the_first_change_named(tmp_path, now, change):
    check_data(tmp_path, world(**BEGUN))
    write_data(tmp_path, world(**BEGUN))
    check_data(tmp_path, world(**BEGUN))
    with pytest.raises(RalsegError, match=f"holds a run on other images, labels, splits or weights: {change}"):
        check_data(tmp_path, world(**{**BEGUN, **now}))


def test_other_weights_are_refused(tmp_path):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"before")
    write_data(tmp_path, world(str(weights), **BEGUN))
    check_data(tmp_path, world(str(weights), **BEGUN))
    weights.write_bytes(b"after")
    with pytest.raises(RalsegError, match=r"weights: file of 'theta0\.file' \(weights\) is another; restore"):
        check_data(tmp_path, world(str(weights), **BEGUN))
    # A record of before weights were part of it.
    held = read_json(tmp_path / "data.json")
    assert held.pop("weights") == {"theta0.file": sha256(b"before").hexdigest()[:16]}
    write_json(tmp_path / "data.json", held)
    check_data(tmp_path, world(str(weights), **BEGUN))


@pytest.mark.parametrize("damage", [[], {"state": ["a"]}, {"state": None}])
def test_a_damaged_record_is_refused(tmp_path, damage):
    write_json(tmp_path / "data.json", damage)
    with pytest.raises(RalsegError, match=r"data\.json: not a record of images; restore it"):
        check_data(tmp_path, world(**BEGUN))


def test_the_record_of_a_real_world(tmp_path, camvid_tree, own_cache):
    config = composed(
        "evaluate_policy",
        [
            "dataset=camvid",
            f"dataset.root={camvid_tree}",
            "protocol.counts={state: 4, train: 8, compare: 10, dev: 2}",
        ],
    )
    first = World(config)
    write_data(tmp_path, first)
    held = read_json(tmp_path / "data.json")
    assert held.pop("weights") == {}
    assert {role: list(names) for role, names in held.items()} == first.splits.to_dict()
    name = first.splits.compare[3]
    assert held["compare"][name] == first.store.content(first.store.index(name))[:16]
    path = first.dataset.files[name][1]
    label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    label[0, 0] = (label[0, 0] + 1) % 11
    cv2.imwrite(str(path), label)
    with pytest.raises(RalsegError, match=rf"image or label '{name}' \(compare\) is another; restore"):
        check_data(tmp_path, World(config))
    # A world that is told what it must find refuses other labels, and takes the same ones, whatever their dates.
    with pytest.raises(RalsegError, match="camvid: images or labels changed while this run read them"):
        _ = World(config, first.store.digest).store
    label[0, 0] = (label[0, 0] + 10) % 11
    cv2.imwrite(str(path), label)
    assert World(config, first.store.digest).store.digest == first.store.digest
