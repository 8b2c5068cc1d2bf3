"""A source domain whose labels are known, beside the target domain that is labelled."""

import numpy as np
import pytest

from ralseg.configs import composed
from ralseg.envs import World
from ralseg.envs.parts import made
from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets import IGNORE, SOURCE_DOMAIN, AcrossDomains, Streets
from ralseg.segmentation.overview import overview
from ralseg.segmentation.splits import Splits
from tests.segmentation.test_cityscapes import write_cityscapes, write_gtav, write_synthia

SIZE = (64, 96)
SMALL = [
    "protocol.counts={state: 3, train: 3, compare: 6, dev: 2}", "network=small_fpn", "network.widths=[8,8,8,8,8]",
    "network.pyramid=8", "loss=plain", "theta0.fit.steps=4", "theta0.fit.batch=2", "game.learn.steps=2",
    "game.learn.batch=4",
]  # fmt: skip


def across(*overrides):
    """The configuration of a small game from Streets to Streets of another seed and size."""
    source = ["dataset.source.images=20", "dataset.source.size=[60,80]", "dataset.target.root=nowhere"]
    given = ["dataset=streets_to_camvid", "protocol=streets", *source, *SMALL, *overrides]
    config = composed("evaluate_policy", given)
    target = {"_target_": "ralseg.segmentation.datasets.Streets", "images": 40, "size": [96, 128], "seed": 7}
    return config | {"dataset": config["dataset"] | {"target": target}}


@pytest.fixture
def two():
    """Streets of two seeds and sizes; those of the source have Cityscapes' classes."""
    target, source = Streets(12, SIZE, seed=1), Streets(10, (60, 100), seed=2, variant="cityscapes")
    return target, source, AcrossDomains(target, source)


def test_images_of_both_domains(two):
    target, source, both = two
    chosen = source.subsets["train"]
    assert both.names == tuple(sorted([*target.names, *(f"{source.name}/{name}" for name in chosen)]))
    assert both.subsets == {**target.subsets, SOURCE_DOMAIN: tuple(f"{source.name}/{name}" for name in chosen)}
    assert (both.unit_size, both.title) == (target.unit_size, "streets_cityscapes to streets")
    name = chosen[0]
    assert both.size(f"{source.name}/{name}") == (60, 100) and both.size(target.names[0]) == SIZE
    assert both.groups[f"{source.name}/{name}"] == f"{source.name}/{source.groups[name]}"
    assert {both.groups[name] for name in target.names} == set(target.groups.values())


def test_classes_have_the_same_ids_in_both(two):
    """What has no class of that name in both is void."""
    target, source, both = two
    assert both.classes == tuple(name for name in target.classes if name in source.classes) != target.classes
    for dataset, names, prefix in ((target, target.names, ""), (source, source.subsets["train"], f"{source.name}/")):
        image, label = dataset.load(names[0])
        expected = np.full(label.shape, IGNORE)
        for number, name in enumerate(both.classes):
            expected[label == dataset.classes.index(name)] = number
        found = both.load(prefix + names[0])
        np.testing.assert_array_equal(found[0], image)
        np.testing.assert_array_equal(found[1], expected)


def test_classes_may_be_merged(two):
    target, source, _ = two
    both = AcrossDomains(target, source, {"ground": ["road", "pavement", "sidewalk"], "sky": ["sky"]})
    for dataset, name in ((target, target.names[0]), (source, f"{source.name}/{source.names[0]}")):
        label = dataset.load(name.rpartition("/")[2])[1]
        ground = [dataset.classes.index(part) for part in ("road", "pavement", "sidewalk") if part in dataset.classes]
        assert ((both.load(name)[1] == 0) == np.isin(label, ground)).all()


def test_what_cannot_be_joined_is_refused(two):
    target, source, _ = two
    with pytest.raises(RalsegError, match=r"dataset\.classes: .* share fewer than two names of classes; map them"):
        AcrossDomains(AcrossDomains(target, source, {"a": ["road"], "b": ["sky"]}), source)
    named = AcrossDomains(target, source)
    with pytest.raises(RalsegError, match="streets has an image 'streets_cityscapes/street_00000' itself"):
        AcrossDomains(named, source)
    with pytest.raises(RalsegError, match="streets has no image 'street_99999'"):
        named.load("street_99999")


def test_the_source_domain_has_a_role_of_its_own(two, tmp_path, monkeypatch):
    monkeypatch.setenv("RALSEG_CACHE", str(tmp_path))
    world = World(across())
    splits = world.splits
    assert splits.source_domain == world.dataset.subsets[SOURCE_DOMAIN] and len(splits.source_domain) == 13
    roles = splits.to_dict()
    assert Splits.from_dict(roles).source_domain == splits.source_domain
    assert not set(roles.pop(SOURCE_DOMAIN)) & {name for names in roles.values() for name in names}
    assert "source domain 13" in overview(world.store, splits)[1]
    assert not any(name.startswith("streets/") for role in roles.values() for name in role)


def test_theta_0_of_the_source_domain(tmp_path, monkeypatch):
    """It depends on the source's labels alone, and is refused where there is no source domain."""
    monkeypatch.setenv("RALSEG_CACHE", str(tmp_path))
    of_source = ["theta0.use_source_domain=true", "theta0.use_state=false"]
    first, other, state = (
        World(across(*overrides)).theta0().state_dict()
        for overrides in (of_source, [*of_source, "dataset.source.seed=5"], [])
    )
    name = next(key for key in first if key.endswith("weight"))
    assert (first[name] != other[name]).any() and (first[name] != state[name]).any()
    small = ["dataset.images=40", "dataset.size=[96,128]", *SMALL, "theta0.use_source_domain=true"]
    with pytest.raises(RalsegError, match=r"theta0\.use_source_domain: this data set has no source domain"):
        World(composed("evaluate_policy", small)).theta0()


@pytest.mark.parametrize(
    ("choice", "write", "classes"),
    [("gtav", write_gtav, 19), ("synthia", write_synthia, 16), ("synthia", write_synthia, 13)],
)
def test_to_cityscapes(choice, write, classes, tmp_path, monkeypatch):
    monkeypatch.setenv("RALSEG_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "source")
    write_cityscapes(tmp_path / "target", [f"{city}_00000{i}_000019" for city in ("bremen", "ulm") for i in range(9)])
    write_cityscapes(tmp_path / "target", ["lindau_000000_000019"], "val")
    own = ["dataset.source.images=null", *[f"dataset.source.classes={classes}"] * (choice == "synthia")]
    world = World(composed("evaluate_policy", [
        f"dataset={choice}_to_cityscapes", f"dataset.source.root={tmp_path / 'source'}",
        f"dataset.target.root={tmp_path / 'target'}", *own, "protocol.exact=false",
        "protocol.counts={state: 3, train: 3, compare: 6, dev: 2, reward: 2}",
    ]))  # fmt: skip
    assert len(world.dataset.classes) == classes
    assert world.splits.source_domain and world.splits.test == ("lindau_000000_000019",)
    counts = world.store.class_counts()
    assert (counts[world.images(SOURCE_DOMAIN)].sum(0) > 0).sum() == (counts[world.images("compare")].sum(0) > 0).sum()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dataset.source.size=[8,8]"], r"^dataset\.source\.size\[0\]=8 is out of range"),
        (
            ["+dataset.source.foo=1"],
            r"^dataset\.source\.foo is no option of .*Streets, .* choose another dataset=<choice>$",
        ),
        (["dataset.source._target_=nowhere.X"], r"^dataset\.source\._target_=nowhere\.X cannot be found"),
        (["dataset.target.root=/nowhere"], r"^/nowhere: no such folder; set dataset\.target\.root to CamVid"),
    ],
)
def test_an_error_names_the_setting_of_the_domain(overrides, message):
    given = ["dataset=streets_to_camvid", "dataset.target.root=/nowhere/else", *overrides]
    with pytest.raises(RalsegError, match=message):
        _ = World(composed("evaluate_policy", given)).dataset


def test_a_domain_is_a_data_set():
    config = across()["dataset"] | {"source": {"_target_": "collections.OrderedDict"}}
    message = r"^dataset\.source\._target_=collections\.OrderedDict does not derive from ralseg\..*\.Dataset"
    with pytest.raises(RalsegError, match=message):
        made(config, "dataset")


def test_an_error_of_the_classes_names_the_class(two):
    target, source, _ = two
    with pytest.raises(RalsegError, match=r"^dataset\.classes\.ground: streets has none of sidewalk"):
        AcrossDomains(target, source, {"ground": ["sidewalk"], "sky": ["sky"]})
