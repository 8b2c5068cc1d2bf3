import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ralseg.foundation import RalsegError, generator, write_json
from ralseg.segmentation.datasets import CamVid, Streets
from ralseg.segmentation.drawn_splits import make_splits
from ralseg.segmentation.grouped_draw import apportion, draw_by_group
from ralseg.segmentation.protocols import ralis_splits, read_splits, splits_from_config
from ralseg.segmentation.splits import ROLES, Splits, class_counts, rows_of
from ralseg.segmentation.store import ImageStore

CONFIGS = Path(__file__).parents[2] / "configs"
COUNTS = {"state": 3, "train": 7, "compare": 10, "dev": 4}


@pytest.fixture
def dataset(camvid_tree):
    return CamVid(camvid_tree)


@pytest.fixture
def counts(dataset):
    return class_counts(dataset)


class Fake:
    """A data set of names only, with the clips and subset sizes of CamVid."""

    name = "fake"
    classes = tuple("abcdefghijk")

    def __init__(self):
        train = [f"{clip}_{i:03d}" for clip, n in (("A", 62), ("B", 101), ("C", 204)) for i in range(n)]
        subsets = {
            "train": train,
            "val": [f"V_{i:03d}" for i in range(101)],
            "test": [f"T_{i:03d}" for i in range(233)],
        }
        self.subsets = {subset: tuple(names) for subset, names in subsets.items()}
        self.names = tuple(sorted(name for names in subsets.values() for name in names))
        self.groups = {name: name[0] for name in self.names}


@pytest.fixture(scope="module")
def fake():
    return Fake()


@pytest.fixture(scope="module")
def fake_counts(fake):
    """Long-tailed counts in which the rarest class is in a tenth of the images."""
    rng = np.random.default_rng(0)
    counts = rng.gamma(0.5, 1000.0 / np.arange(1, 12) ** 2, (len(fake.names), 11)).astype(np.int64)
    counts[rng.random(len(fake.names)) < 0.9, 10] = 0
    return counts


def shares(dataset, counts, names):
    total = counts[[dataset.names.index(name) for name in names]].sum(0)
    return total / total.sum()


PROTOCOL = {
    "kind": "generated",
    "counts": {"state": 10, "train": 100, "compare": 197, "dev": 60},
    "seed": 0,
    "exact": True,
}


def test_the_protocol_of_camvid(fake, fake_counts):
    splits = splits_from_config(PROTOCOL, fake, fake_counts)
    sizes = {role: len(names) for role, names in splits.to_dict().items()}
    assert sizes == {"state": 10, "train": 100, "compare": 197, "dev": 60, "reward": 51, "twin": 50, "test": 233}
    everything = [name for names in splits.to_dict().values() for name in names]
    assert sorted(everything) == list(fake.names)
    assert splits.reward == tuple(f"V_{i:03d}" for i in range(0, 101, 2))
    assert splits.twin == tuple(f"V_{i:03d}" for i in range(1, 101, 2))
    assert splits.test == fake.subsets["test"]
    for role in ("state", "train", "compare", "dev"):
        names = getattr(splits, role)
        assert list(names) == sorted(names)
        for clip, images in (("A", 62), ("B", 101), ("C", 204)):
            assert abs(sum(name[0] == clip for name in names) - len(names) * images / 367) < 1.5


def test_d_s_is_like_d_t(fake, fake_counts):
    splits = splits_from_config(PROTOCOL, fake, fake_counts)
    target = shares(fake, fake_counts, splits.train)
    own = shares(fake, fake_counts, splits.state)
    assert own.min() > 0
    free = [name for name in fake.subsets["train"] if name not in splits.train]
    rng = np.random.default_rng(5)
    others = [np.abs(shares(fake, fake_counts, rng.choice(free, 10, False)) - target).sum() for _ in range(300)]
    assert np.abs(own - target).sum() < np.quantile(others, 0.02)


def test_seeds_and_order(fake, fake_counts):
    first = make_splits(fake, PROTOCOL["counts"], 0, fake_counts)
    turned = dict(reversed(PROTOCOL["counts"].items()))
    assert make_splits(fake, turned, 0, fake_counts) == first
    assert len(set(make_splits(fake, PROTOCOL["counts"], 1, fake_counts).train) & set(first.train)) < 60


def test_roles_may_be_drawn_where_there_are_no_subsets(dataset, counts):
    dataset.subsets = {}
    splits = make_splits(dataset, COUNTS | {"reward": 5, "test": 6}, 0, counts)
    assert [len(getattr(splits, role)) for role in ROLES] == [3, 7, 10, 4, 5, 0, 6]
    with pytest.raises(RalsegError, match="reward is empty"):
        make_splits(dataset, COUNTS, 0, counts)


def test_images_of_no_subset_are_for_training(dataset, counts):
    del dataset.subsets["train"]
    splits = make_splits(dataset, COUNTS, 0, counts)
    assert len(splits.reward) == 4
    assert not set(splits.train) & {*dataset.subsets["val"], *dataset.subsets["test"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dev": 5}, "add up to 25 images, camvid has 24 to draw from; lower a count"),
        ({"state": 0}, r"protocol\.counts\.state=0 must be a number of images, 1 or more"),
        ({"dev": -1}, r"protocol\.counts\.dev=-1 must be a number of images, 0 or more"),
        ({"train": 2.5}, r"protocol\.counts\.train=2\.5"),
        ({"trees": 1}, "unknown key 'trees'; the known ones are state, train"),
    ],
)
def test_bad_counts(dataset, counts, change, message):
    with pytest.raises(RalsegError, match=message):
        make_splits(dataset, COUNTS | change, 0, counts)


def test_more_bad_counts(dataset, counts):
    with pytest.raises(RalsegError, match="lacks 'compare'"):
        make_splits(dataset, {"state": 1, "train": 1}, 0, counts)
    with pytest.raises(RalsegError, match=r"add up to 23 images, camvid has 24 .* must use all"):
        make_splits(dataset, COUNTS | {"dev": 3}, 0, counts, exact=True)


def test_classes_that_no_d_s_has(dataset, counts):
    without = counts.copy()
    without[:, 9] = 0
    protocol = {"kind": "generated", "seed": 0}
    splits = splits_from_config({**protocol, "counts": COUNTS}, dataset, without)
    assert splits.notes == ("no label has a pixel of pedestrian",)
    assert ((without[rows_of(dataset, splits.state)].sum(0) > 0) == (np.arange(11) != 9)).all()
    # Each class in an image of its own: three images never hold all eleven, but always three.
    single = np.eye(11, dtype=np.int64)[np.arange(len(dataset.names)) % 11]
    splits = splits_from_config({**protocol, "counts": {"state": 3, "train": 1, "compare": 1}}, dataset, single)
    assert (single[rows_of(dataset, splits.state)].sum(0) > 0).sum() == 3
    assert splits.notes[0].startswith("D_S has no pixel of ")
    assert splits.notes[0].count(",") == 7
    with pytest.raises(RalsegError, match="no training image of camvid has a labelled pixel; label some"):
        make_splits(dataset, COUNTS, 0, 0 * counts)


def test_class_counts_from_files_and_from_a_store(dataset, counts, tmp_path):
    store = ImageStore(dataset, dataset.names[:10], 0.5, tmp_path / "cache")
    np.testing.assert_array_equal(class_counts(dataset, store), counts)
    label = dataset.load(dataset.names[20])[1]
    assert counts[20].tolist() == [(label == i).sum() for i in range(11)]
    assert counts.shape == (37, 11)


class TestCheck:
    @pytest.fixture
    def value(self, dataset, counts):
        return make_splits(dataset, COUNTS, 0, counts).to_dict()

    def test_the_way_there_and_back(self, value, dataset, counts):
        splits = Splits.from_dict(json.loads(json.dumps(value)))
        splits.check(dataset, counts)
        assert splits == make_splits(dataset, COUNTS, 0, counts)

    def test_an_overlap_is_named(self, value, dataset, counts):
        value["compare"].append(value["train"][2])
        with pytest.raises(RalsegError, match=f"train and compare overlap, e.g. in '{value['train'][2]}'"):
            Splits.from_dict(value).check(dataset, counts)

    def test_a_repetition_is_named(self, value, dataset, counts):
        value["dev"].append(value["dev"][0])
        with pytest.raises(RalsegError, match=f"dev repeats itself, e.g. in '{value['dev'][0]}'"):
            Splits.from_dict(value).check(dataset, counts)

    def test_an_unknown_name(self, value, dataset, counts):
        value["test"][1] = "nobody"
        with pytest.raises(RalsegError, match="test lists 'nobody', which camvid does not have"):
            Splits.from_dict(value).check(dataset, counts)

    @pytest.mark.parametrize("role", ["state", "train", "compare", "reward", "test"])
    def test_an_empty_set(self, value, dataset, counts, role):
        with pytest.raises(RalsegError, match=f"{role} is empty"):
            Splits.from_dict(value | {role: []}).check(dataset, counts)

    def test_dev_and_twin_may_be_empty(self, value, dataset, counts):
        Splits.from_dict(value | {"dev": [], "twin": []}).check(dataset, counts)

    def test_a_class_that_d_s_lacks(self, value, dataset, counts, tmp_path):
        counts = counts.copy()
        counts[[dataset.names.index(name) for name in value["state"]], 6] = 0
        write_json(tmp_path / "lists.json", value)
        splits = splits_from_config({"kind": "lists", "path": tmp_path / "lists.json"}, dataset, counts)
        assert splits.notes == ("D_S has no pixel of sign",)

    @pytest.mark.parametrize(
        ("role", "use"),
        [
            ("state", "learned or measured"),
            ("compare", "answer would be void"),
            ("dev", "measured"),
            ("test", "measured"),
        ],
    )
    def test_a_set_without_labels(self, value, dataset, counts, role, use):
        counts = counts.copy()
        counts[rows_of(dataset, value[role])] = 0
        with pytest.raises(RalsegError, match=f"no image of {role} has a labelled pixel, so .*{use}"):
            Splits.from_dict(value).check(dataset, counts)

    def test_wrong_keys(self, value):
        with pytest.raises(RalsegError, match="the keys must be state, train"):
            Splits.from_dict(value | {"more": []})


class TestReading:
    def test_published_keys_and_suffixes(self, dataset, tmp_path):
        train = dataset.subsets["train"]
        lists = {"d_s": [f"{train[0]}.png"], "d_t": [train[1], f"{train[2]}.PNG"], "d_v": list(train[3:6])}
        write_json(tmp_path / "lists.json", lists)
        splits = read_splits(tmp_path / "lists.json", dataset)
        assert splits.state == train[:1]
        assert splits.train == train[1:3]
        assert splits.compare == train[3:6]
        assert splits.reward == dataset.subsets["val"]
        assert splits.test == dataset.subsets["test"]
        assert splits.dev == splits.twin == ()

    def test_own_keys(self, dataset, counts, tmp_path):
        splits = make_splits(dataset, COUNTS, 3, counts)
        write_json(tmp_path / "splits.json", splits.to_dict())
        assert splits_from_config({"kind": "lists", "path": tmp_path / "splits.json"}, dataset, counts) == splits

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ([1], "expected an object of lists"),
            ({"state": "x"}, "expected an object of lists"),
            ({"state": [], "d_s": []}, "key 'd_s' is unknown or there twice"),
            ({"pool": []}, "key 'pool' is unknown"),
            ({"state": [], "train": []}, "no list 'compare'"),
        ],
    )
    def test_bad_files(self, dataset, tmp_path, value, message):
        write_json(tmp_path / "lists.json", value)
        with pytest.raises(RalsegError, match=message):
            read_splits(tmp_path / "lists.json", dataset)

    def test_other_lists_are_not_the_original(self, dataset, counts, tmp_path):
        write_json(tmp_path / "splits.json", make_splits(dataset, COUNTS, 3, counts).to_dict())
        with pytest.raises(RalsegError, match=r"lists of \(3, 7, 10, 4\) images .*kind=lists"):
            ralis_splits(dataset, tmp_path / "splits.json")

    def test_the_original_lengths(self, fake, fake_counts, tmp_path):
        train = list(fake.subsets["train"])
        order = np.argsort(-fake_counts[[fake.names.index(name) for name in train], 10])
        train = [train[i] for i in order]
        write_json(tmp_path / "lists.json", {"d_s": train[:10], "d_t": train[10:110], "d_v": train[110:]})
        splits = splits_from_config({"kind": "ralis", "path": tmp_path / "lists.json"}, fake, fake_counts)
        assert [len(getattr(splits, role)) for role in ROLES] == [10, 100, 257, 0, 101, 0, 233]


class TestConfig:
    def test_fractions(self, fake, fake_counts):
        fractions = {"state": 0.1, "train": 0.2, "compare": 0.3, "dev": 0.4}
        splits = splits_from_config({"kind": "generated", "fractions": fractions, "seed": 0}, fake, fake_counts)
        assert [len(getattr(splits, role)) for role in ROLES[:4]] == [36, 73, 110, 146]

    @pytest.mark.parametrize(
        ("protocol", "message"),
        [
            ({}, "protocol.kind=None is unknown; choose from generated, ralis, lists"),
            ({"kind": "random"}, "protocol.kind='random' is unknown"),
            ({"kind": "ralis"}, "kind ralis lacks 'path'"),
            ({"kind": "ralis", "path": "x", "seed": 0}, "unknown key 'seed'; the known ones are kind, name, path"),
            ({"kind": "generated", "counts": COUNTS}, "lacks 'seed'"),
            ({"kind": "generated", "seed": 0}, "either protocol.counts or protocol.fractions"),
            (
                {"kind": "generated", "seed": 0, "fractions": {"state": 0.6, "train": 0.6, "compare": 0}},
                "add up to at most 1",
            ),
            ({"kind": "generated", "seed": 0, "fractions": {"state": 0.6}}, "fractions lacks 'train'"),
        ],
    )
    def test_bad_protocols(self, fake, fake_counts, protocol, message):
        with pytest.raises(RalsegError, match=message):
            splits_from_config(protocol, fake, fake_counts)

    def test_the_files_of_streets_fit_together(self):
        dataset = instantiate(OmegaConf.load(CONFIGS / "dataset/streets.yaml"), size=[60, 80])
        assert isinstance(dataset, Streets)
        protocol = OmegaConf.load(CONFIGS / "protocol/streets.yaml")
        splits = splits_from_config(protocol, dataset, class_counts(dataset))
        assert [len(getattr(splits, role)) for role in ROLES] == [10, 60, 100, 30, 30, 30, 40]

    def test_the_file_of_camvid_is_the_protocol(self):
        assert yaml.safe_load((CONFIGS / "protocol/camvid.yaml").read_text()) == PROTOCOL

    def test_the_file_of_camvid_builds_it(self, camvid_tree, dataset):
        built = instantiate(OmegaConf.load(CONFIGS / "dataset/camvid.yaml"), root=str(camvid_tree))
        assert built.names == dataset.names


def test_an_unseen_group_is_for_comparing_alone(fake, fake_counts):
    protocol = {"kind": "generated", "counts": {"state": 10, "train": 80, "compare": 80, "dev": 21}, "seed": 0}
    splits = splits_from_config({**protocol, "unseen": "B"}, fake, fake_counts)
    assert {fake.groups[name] for name in (*splits.compare, *splits.dev)} == {"B"}
    assert {fake.groups[name] for name in (*splits.state, *splits.train)} == {"A", "C"}
    assert len(splits.compare) + len(splits.dev) == 101
    assert splits.test == fake.subsets["test"]
    with pytest.raises(RalsegError, match="no group 'D' to leave unseen; the training images have A, B, C"):
        splits_from_config({**protocol, "unseen": "D"}, fake, fake_counts)
    with pytest.raises(RalsegError, match=r"counts\.compare is 80, 62 images are left in group A; lower it"):
        splits_from_config({**protocol, "unseen": "A"}, fake, fake_counts)
    protocol["counts"]["train"] = 300
    with pytest.raises(RalsegError, match=r"protocol\.counts add up to 411 images"):
        splits_from_config({**protocol, "unseen": "A"}, fake, fake_counts)


def test_a_reward_set_of_the_unseen_group_is_refused(dataset, counts):
    given = {"state": 3, "train": 6, "compare": 6, "dev": 0}
    with pytest.raises(RalsegError, match="D_R has images of group 0016E5, which is to stay unseen; give protocol"):
        make_splits(dataset, given, 0, counts, unseen="0016E5")
    splits = make_splits(dataset, given | {"reward": 4}, 0, counts, unseen="0016E5")
    assert "0016E5" not in {dataset.groups[name] for name in splits.reward}


def test_real_camvid(camvid_root, tmp_path):
    dataset = CamVid(camvid_root)
    store = ImageStore(dataset, dataset.subsets["train"], 0.1, tmp_path)
    rows = [dataset.names.index(name) for name in store.names]
    counts = np.ones((len(dataset.names), 11), np.int64)
    counts[rows] = store.class_counts()
    splits = splits_from_config(OmegaConf.load(CONFIGS / "protocol/camvid.yaml"), dataset, counts)
    assert np.abs(shares(dataset, counts, splits.state) - shares(dataset, counts, splits.train)).sum() < 0.05
    assert {dataset.groups[name] for name in splits.state} == {"0001TP", "0006R0", "0016E5"}
    lists = camvid_root.parent / "splits/ralis_camvid.json"
    original = splits_from_config({"kind": "ralis", "path": lists}, dataset, counts)
    assert [len(getattr(original, role)) for role in ROLES] == [10, 100, 257, 0, 101, 0, 233]


def test_draws_by_group():
    groups = np.array([2, 0, 0, 1, 2, 0, 2, 2, 0, 0])
    draws = draw_by_group(groups, 5, 2000, generator(0, "test"))
    assert draws.shape == (2000, 5)
    assert all(len(set(draw)) == 5 for draw in draws.tolist())
    # 5, 1 and 4 of ten: quotas 2.5, 0.5 and 2, so the first group gets the seat that is left.
    assert (np.sort(groups[draws], 1) == [0, 0, 0, 2, 2]).all()
    often = np.bincount(draws.ravel(), minlength=10) / 2000
    np.testing.assert_allclose(often[groups == 0], 0.6, atol=0.05)
    np.testing.assert_allclose(often[groups == 2], 0.5, atol=0.05)


def test_seats_by_hand():
    assert apportion([62, 101, 204], 10).tolist() == [2, 3, 5]
    assert apportion([3, 3, 3], 4).tolist() == [2, 1, 1]
    assert apportion([5, 0, 2], 7).tolist() == [5, 0, 2]
    assert apportion([4, 4], 0).tolist() == [0, 0]


def fractions_of(dataset, counts, **fractions):
    protocol = {"kind": "generated", "fractions": fractions, "seed": 0}
    return splits_from_config(protocol, dataset, counts)


USUAL = {"state": 0.03, "train": 0.27, "compare": 0.54, "dev": 0.16}


class Small(Fake):
    """A folder of some images without subsets."""

    name = "folder"
    classes = ("a", "b")

    def __init__(self, images):
        self.names = tuple(f"{i:04d}" for i in range(images))
        self.subsets, self.groups = {}, dict.fromkeys(self.names, "all")


@pytest.mark.parametrize(
    ("images", "sizes"),
    [
        (5, [1, 1, 1, 0, 1, 0, 1]),
        (8, [1, 1, 3, 0, 1, 0, 1]),
        (40, [1, 8, 16, 4, 4, 0, 6]),
        (100, [2, 20, 40, 12, 10, 0, 15]),
    ],
)
def test_the_usual_fractions_split_any_folder(images, sizes):
    dataset = Small(images)
    splits = fractions_of(dataset, np.ones((images, 2), np.int64), **USUAL)
    assert [len(getattr(splits, role)) for role in ROLES] == sizes
    assert splits.notes[0].startswith(
        "the data set has no val for D_R and test; all roles are drawn from the same images: state "
    )


def test_too_few_images():
    message = "3 images with a label are too few .* 5 are needed, one each for state, train, compare, reward, test"
    with pytest.raises(RalsegError, match=message):
        fractions_of(Small(3), np.ones((3, 2), np.int64), **USUAL)
    with pytest.raises(RalsegError, match=r"protocol\.fractions\.train is 0; every role but dev and twin needs images"):
        fractions_of(Small(9), np.ones((9, 2), np.int64), **USUAL | {"train": 0})


def test_fractions_leave_room_for_what_they_do_not_name():
    given = {"state": 0.1, "train": 0.2, "compare": 0.3}
    splits = fractions_of(Small(100), np.ones((100, 2), np.int64), **given)
    assert [len(getattr(splits, role)) for role in ROLES] == [10, 20, 30, 0, 10, 0, 15]
    whole = {"state": 0.05, "train": 0.25, "compare": 0.35, "dev": 0.1, "reward": 0.1, "test": 0.15}
    splits = fractions_of(Small(100), np.ones((100, 2), np.int64), **whole)
    assert splits.notes == ()
    assert [len(getattr(splits, role)) for role in ROLES] == [5, 25, 35, 10, 10, 0, 15]


@pytest.mark.parametrize("given", ["fractions", "counts"])
def test_images_without_a_label_are_pool(given):
    dataset, counts = Small(40), np.zeros((40, 2), np.int64)
    counts[::4] = 5
    value = {"state": 0.1, "train": 0.2, "compare": 0.3, "dev": 0.1, "reward": 0.1, "test": 0.2}
    if given == "counts":
        value = {"state": 1, "train": 14, "compare": 21, "dev": 1, "reward": 1, "test": 2}
    splits = splits_from_config({"kind": "generated", given: value, "seed": 0}, dataset, counts)
    labelled = {name for name, count in zip(dataset.names, counts, strict=True) if count.any()}
    assert [len(getattr(splits, role)) for role in ROLES] == [1, 14, 21, 1, 1, 0, 2]
    for role in ("state", "dev", "reward", "test"):
        assert set(getattr(splits, role)) <= labelled
    assert [len(labelled & {*getattr(splits, role)}) for role in ("train", "compare")] == [2, 3]
    everything = [name for names in splits.to_dict().values() for name in names]
    assert sorted(everything) == list(dataset.names)


def test_too_few_labels():
    counts = np.zeros((40, 2), np.int64)
    counts[:5] = 1
    value = {"state": 2, "train": 9, "compare": 9, "dev": 1, "reward": 1, "test": 1}
    with pytest.raises(RalsegError, match="5 images of folder have a label, 7 are needed"):
        splits_from_config({"kind": "generated", "counts": value, "seed": 0}, Small(40), counts)


def test_official_subsets_lose_what_has_no_label(dataset, counts):
    counts = counts.copy()
    val, test = dataset.subsets["val"], dataset.subsets["test"]
    counts[rows_of(dataset, [val[1], *test[:4]])] = 0
    splits = splits_from_config({"kind": "generated", "counts": COUNTS, "seed": 0}, dataset, counts)
    assert splits.reward == (val[0], val[3], val[5])
    assert splits.test == test[4:]
    assert splits.notes == (
        "1 of 7 images of val have no label and are left out",
        "4 of 6 images of test have no label and are left out",
    )


class TestCopies:
    @pytest.fixture
    def contents(self, dataset):
        return {name: name for name in dataset.names}

    def test_one_of_each_is_drawn(self, dataset, counts, contents):
        train, val = dataset.subsets["train"], dataset.subsets["val"]
        contents[train[7]] = contents[train[3]]
        contents[train[9]] = contents[val[2]]
        protocol = {"kind": "generated", "counts": COUNTS | {"dev": 2}, "seed": 0}
        splits = splits_from_config(protocol, dataset, counts, contents)
        assert splits.notes == (
            f"2 training images are copies of others and are left out: {train[7]} (of {train[3]}), {train[9]} (of "
            f"{val[2]})",
        )
        used = {*splits.state, *splits.train, *splits.compare, *splits.dev}
        assert used == {*train} - {train[7], train[9]}

    def test_the_copy_with_a_label_is_kept(self, dataset, counts, contents):
        train = dataset.subsets["train"]
        counts = counts.copy()
        counts[rows_of(dataset, [train[3]])] = 0
        contents[train[7]] = contents[train[3]]
        protocol = {"kind": "generated", "counts": COUNTS | {"dev": 2}, "seed": 0}
        assert f"{train[3]} (of {train[7]})" in splits_from_config(protocol, dataset, counts, contents).notes[0]

    @pytest.mark.parametrize("role", ["dev", "test"])
    def test_none_may_judge_what_was_learned(self, dataset, counts, contents, tmp_path, role):
        lists = make_splits(dataset, COUNTS, 0, counts).to_dict()
        write_json(tmp_path / "lists.json", lists)
        contents[lists[role][0]] = contents[lists["compare"][1]]
        with pytest.raises(
            RalsegError, match=f"{lists[role][0]}' of {role} is the same picture as '{lists['compare'][1]}"
        ):
            splits_from_config({"kind": "lists", "path": tmp_path / "lists.json"}, dataset, counts, contents)

    def test_others_are_noted(self, dataset, counts, contents, tmp_path):
        lists = make_splits(dataset, COUNTS, 0, counts).to_dict()
        write_json(tmp_path / "lists.json", lists)
        contents[lists["test"][0]] = contents[lists["test"][1]]
        splits = splits_from_config({"kind": "lists", "path": tmp_path / "lists.json"}, dataset, counts, contents)
        assert splits.notes == (
            f"1 images have the content of another one, e.g. {lists['test'][1]} that of {lists['test'][0]}",
        )


def follow_each_other(names, length):
    """How many runs of so many neighbours the images of D_V make."""
    numbers = {clip: sorted(int(name[2:]) for name in names if name[0] == clip) for clip in "ABC"}
    return sum(
        own[i : i + length] == list(range(own[i], own[i] + length))
        for own in numbers.values()
        for i in range(0, len(own), length)
    )


def test_a_redundant_pool_is_drawn_in_runs(fake, fake_counts):
    counts = {"state": 10, "train": 80, "compare": 120, "dev": 40}
    protocol = {"kind": "generated", "counts": counts, "seed": 0, "runs": 12}
    splits = splits_from_config(protocol, fake, fake_counts)
    assert len(splits.compare) == 120 and follow_each_other(splits.compare, 12) == 10
    assert (len(splits.state), len(splits.train), len(splits.dev)) == (10, 80, 40)
    # Clips have their share of the runs: 62, 101 and 204 of 367 images.
    assert [sum(name[0] == clip for name in splits.compare) for clip in "ABC"] == [24, 36, 60]
    other = splits_from_config({**protocol, "seed": 1}, fake, fake_counts)
    assert other.compare != splits.compare and follow_each_other(other.compare, 12) == 10
    single = splits_from_config({**protocol, "runs": 1}, fake, fake_counts)
    assert single == splits_from_config({key: protocol[key] for key in protocol if key != "runs"}, fake, fake_counts)
    assert follow_each_other(single.compare, 12) == 0


def test_runs_that_do_not_fit(fake, fake_counts):
    counts = {"state": 10, "train": 80, "compare": 120, "dev": 40}
    protocol = {"kind": "generated", "counts": counts, "seed": 0}
    with pytest.raises(RalsegError, match=r"runs=7 does not divide the 120 images of D_V; set .*compare=119"):
        splits_from_config({**protocol, "runs": 7}, fake, fake_counts)
    with pytest.raises(RalsegError, match=r"protocol\.runs=0 is out of range"):
        splits_from_config({**protocol, "runs": 0}, fake, fake_counts)
    counts["compare"] = 240
    counts["train"] = 20
    with pytest.raises(RalsegError, match=r"protocol\.runs=120: 1 runs .* and D_V needs 2; lower protocol\.runs"):
        splits_from_config({**protocol, "runs": 120}, fake, fake_counts)


def test_fractions_are_rounded_to_whole_runs(fake, fake_counts):
    fractions = {"state": 0.03, "train": 0.27, "compare": 0.54, "dev": 0.16}
    protocol = {"kind": "generated", "fractions": fractions, "seed": 0}
    splits = splits_from_config({**protocol, "runs": 6}, fake, fake_counts)
    assert len(splits.compare) == 198 and "D_V has 198 images, so that runs of 6 fit" in splits.notes
    assert follow_each_other(splits.compare, 6) == 33
    with pytest.raises(RalsegError, match=r"protocol\.runs=199 is more than the 198 images of D_V"):
        splits_from_config({**protocol, "runs": 199}, fake, fake_counts)


def test_whole_groups_are_test(fake, fake_counts):
    counts = {"state": 10, "train": 80, "compare": 120, "dev": 40}
    protocol = {"kind": "generated", "counts": counts, "seed": 0, "test_groups": ["A"]}
    splits = splits_from_config(protocol, fake, fake_counts)
    assert set(splits.test) == {name for name in fake.names if fake.groups[name] == "A"}
    others = [name for role in ROLES if role != "test" for name in getattr(splits, role)]
    assert len(others) > 250 and not any(fake.groups[name] == "A" for name in others)
    with pytest.raises(RalsegError, match=r"protocol\.test_groups: fake has no group 'Z'; choose from A, B, C"):
        splits_from_config({**protocol, "test_groups": ["A", "Z"]}, fake, fake_counts)
    with pytest.raises(RalsegError, match=r"protocol\.test_groups='A' must be a list"):
        splits_from_config({**protocol, "test_groups": "A"}, fake, fake_counts)


class WithPool(Small):
    """Forty images, of which ten are a pool and five are val."""

    def __init__(self):
        super().__init__(40)
        self.subsets = {"pool": self.names[:10], "val": self.names[10:15]}


@pytest.mark.parametrize("given", ["fractions", "counts"])
def test_a_pool_is_d_v(given):
    dataset = WithPool()
    value = {"fractions": {"state": 0.2, "train": 0.4, "reward": 0.2}, "counts": {"state": 5, "train": 10, "reward": 5}}
    protocol = {"kind": "generated", given: value[given], "seed": 0}
    splits = splits_from_config(protocol, dataset, np.ones((40, 2), np.int64))
    assert splits.compare == dataset.subsets["pool"] and splits.test == dataset.subsets["val"]
    assert [len(part) for part in (splits.state, splits.train, splits.dev, splits.reward)] == [5, 10, 0, 5]
    assert set(splits.state) | set(splits.train) | set(splits.reward) <= set(dataset.names[15:])
    for more, message in (
        (
            {given: value[given] | {"compare": 0.1 if given == "fractions" else 1}},
            f"{given}.compare: D_V is the pool of",
        ),
        ({"runs": 2}, "say how D_V is drawn, but the data set has a pool"),
        ({"unseen": "a"}, "say how D_V is drawn, but the data set has a pool"),
        ({given: {"state": 0.1 if given == "fractions" else 1}}, f"{given} lacks 'train'"),
    ):
        with pytest.raises(RalsegError, match=message):
            splits_from_config(protocol | more, dataset, np.ones((40, 2), np.int64))


def test_a_pool_and_images_without_a_label():
    dataset, counts = WithPool(), np.ones((40, 2), np.int64)
    counts[:5] = counts[28:] = 0
    given = {"state": 3, "train": 12, "reward": 5}
    splits = splits_from_config({"kind": "generated", "counts": given, "seed": 0}, dataset, counts)
    assert splits.compare == dataset.subsets["pool"]
    labelled = {*dataset.names[15:28]}
    assert {*splits.state} | {*splits.reward} <= labelled and len(splits.train) == 12
    assert len(set(splits.train) & labelled) == 5
