import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ralseg.configs import composed
from ralseg.envs import World
from ralseg.foundation import RalsegError, read_json, write_json
from ralseg.segmentation.datasets import GTAV, IGNORE, Cityscapes, Streets, Synthia
from ralseg.segmentation.datasets.palettes import CITYSCAPES, CITYSCAPES_IDS, CITYSCAPES_VOID
from ralseg.segmentation.datasets.streets_as_cityscapes import main as write_as_cityscapes
from ralseg.segmentation.datasets.streets_as_cityscapes import write_streets
from ralseg.segmentation.protocols import splits_from_config
from tests.segmentation.test_datasets import FileContract

ORIGINAL = Path(__file__).parents[3] / "shared/data/splits/ralis_cityscapes.json"
SIZE = (128, 160)


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array)


def write_cityscapes(root, names, subset="train"):
    """Names such as bremen_000000_000019 as they are shared; every label holds all ids from 0 to 33."""
    rng = np.random.default_rng(len(subset))
    for name in names:
        city = name.split("_")[0]
        label = np.sort(rng.integers(0, 34, SIZE, np.uint8), axis=0)
        label[0, :34] = np.arange(34)
        image = rng.integers(0, 255, (*SIZE, 3), np.uint8)
        write(root / f"leftImg8bit/{subset}/{city}/{name}_leftImg8bit.png", image)
        write(root / f"gtFine/{subset}/{city}/{name}_gtFine_labelIds.png", label)
    return root


class TestCityscapes(FileContract):
    @pytest.fixture
    def dataset(self, tmp_path):
        write_cityscapes(tmp_path, [f"{city}_00000{i}_000019" for city in ("bremen", "ulm") for i in range(3)])
        return Cityscapes(write_cityscapes(tmp_path, ["lindau_000000_000019"], "val"))

    def test_layout(self, dataset):
        assert dataset.names[0] == "bremen_000000_000019"
        assert dataset.subsets["val"] == ("lindau_000000_000019",)
        assert len(dataset.subsets["train"]) == 6
        assert {dataset.groups[name] for name in dataset.names} == {"bremen", "ulm", "lindau"}
        assert dataset.classes[:3] == ("road", "sidewalk", "building")
        assert dataset.unit_size == (128, 128)

    def test_label_ids_become_train_ids(self, dataset):
        stored = cv2.imread(str(dataset.files[dataset.names[0]][1]), cv2.IMREAD_UNCHANGED)
        expected = np.full(SIZE, IGNORE, np.uint8)
        for train_id, label_id in enumerate(CITYSCAPES_IDS):
            expected[stored == label_id] = train_id
        np.testing.assert_array_equal(dataset.load(dataset.names[0])[1], expected)

    def test_unknown_ids_may_be_void_but_never_a_class(self, dataset, tmp_path):
        name = dataset.names[0]
        before = dataset.load(name)[1]
        stored = cv2.imread(str(dataset.files[name][1]), cv2.IMREAD_UNCHANGED)
        stored[3:9, 5:50] = 77
        write(dataset.files[name][1], stored)
        lenient = Cityscapes(tmp_path, unknown="void")
        before[3:9, 5:50] = IGNORE
        np.testing.assert_array_equal(lenient.load(name)[1], before)
        assert lenient.fingerprint(name) != dataset.fingerprint(name)
        with pytest.raises(RalsegError, match=r"dataset\.unknown='road' is unknown; choose from refuse, void"):
            Cityscapes(tmp_path, unknown="road")

    def test_what_is_missing_is_named(self, dataset, tmp_path):
        label = dataset.files[dataset.names[1]][1]
        label.unlink()
        with pytest.raises(RalsegError, match=rf"{re.escape(str(label))}: the label is missing"):
            Cityscapes(tmp_path)
        with pytest.raises(RalsegError, match=r"leftImg8bit/train: no PNG images; .* leftImg8bit/ and gtFine/"):
            Cityscapes(tmp_path / "nowhere")


def test_streets_in_its_layout(tmp_path):
    streets = Streets(12, (90, 150), variant="cityscapes")
    assert write_as_cityscapes([str(tmp_path), "--images", "12", "--size", "90", "150"]) == 0
    dataset = Cityscapes(tmp_path)
    assert [len(dataset.subsets[subset]) for subset in ("train", "val")] == [9, 3]
    for name in streets.names:
        city = streets.groups[name]
        written = f"{city}_{name.removeprefix('street_')}_000019"
        assert dataset.groups[written] == city
        for own, found in zip(streets.load(name), dataset.load(written), strict=True):
            np.testing.assert_array_equal(own, found)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    assert write_as_cityscapes([str(tmp_path), "--images", "12", "--size", "90", "150"]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")} and len(before) == 24


def test_streets_that_have_no_label_ids(tmp_path, capsys):
    with pytest.raises(RalsegError, match="variant camvid have no labelIds; use variant=cityscapes"):
        write_streets(Streets(12, (90, 150)), tmp_path)
    assert write_as_cityscapes([str(tmp_path), "--images", "3"]) == 2
    assert "dataset.images=3 is out of range" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def write_gtav(root, count=6, palette=None):
    """Palette PNGs as they are shared: indices are labelIds, colours are Cityscapes'."""
    rng = np.random.default_rng(0)
    own = np.zeros((35, 3), np.uint8)
    own[list(CITYSCAPES_IDS)] = list(CITYSCAPES.values())
    own[34] = CITYSCAPES["car"]
    for i in range(1, count + 1):
        label = np.sort(rng.integers(0, 35, SIZE, np.uint8), axis=0)
        label[0, :35] = np.arange(35)
        write(root / f"images/{i:05d}.png", rng.integers(0, 255, (*SIZE, 3), np.uint8))
        image = Image.fromarray(label, "P")
        image.putpalette((own if palette is None else palette).ravel().tolist())
        (root / "labels").mkdir(exist_ok=True)
        image.save(root / f"labels/{i:05d}.png")
    return root


@pytest.mark.parametrize("unknown", ["refuse", "void"])
def test_train_ids_are_no_label_ids(tmp_path, unknown):
    write_cityscapes(tmp_path, ["ulm_000000_000019"])
    write_cityscapes(tmp_path, ["lindau_000000_000019"], "val")
    dataset = Cityscapes(tmp_path, unknown)
    path = dataset.files["ulm_000000_000019"][1]
    write(path, np.where(np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % 20 == 19, 255, 13).astype(np.uint8))
    with pytest.raises(RalsegError, match=rf"{path.name}: the label holds trainIds \(0 to 18 and 255\) where labelIds"):
        dataset.load("ulm_000000_000019")


class TestGTAV(FileContract):
    @pytest.fixture
    def dataset(self, tmp_path):
        return GTAV(write_gtav(tmp_path))

    def test_indices_are_label_ids(self, dataset):
        path = dataset.files["00002"][1]
        assert Image.open(path).mode == "P"
        stored, label = np.array(Image.open(path)), dataset.load("00002")[1]
        for train_id, label_id in enumerate(CITYSCAPES_IDS):
            assert (label[stored == label_id] == train_id).all()
        assert (label[np.isin(stored, CITYSCAPES_VOID)] == IGNORE).all()

    def test_labels_of_another_size_are_left_out_and_counted(self, tmp_path):
        root = write_gtav(tmp_path)
        for name in ("00002", "00005"):
            write(root / f"labels/{name}.png", np.zeros((9, 9), np.uint8))
        dataset = GTAV(root)
        assert dataset.names == ("00001", "00003", "00004", "00006")
        assert dataset.notes == ("2 images of GTAV are left out, whose labels are of another size: 00002, 00005",)
        for path in sorted((root / "labels").iterdir()):
            write(path, np.zeros((9, 9), np.uint8))
        with pytest.raises(RalsegError, match="no label has its image's size"):
            GTAV(root)

    def test_a_sorted_palette_is_refused(self, tmp_path):
        colors = np.zeros((35, 3), np.uint8)
        colors[list(CITYSCAPES_IDS)] = list(CITYSCAPES.values())
        colors[[7, 8]] = colors[[8, 7]]
        dataset = GTAV(write_gtav(tmp_path, palette=colors))
        with pytest.raises(RalsegError, match=r"00001\.png: index 7 of the palette, road, has the colour of sidewalk"):
            dataset.load("00001")

    def test_some_of_the_images(self, tmp_path):
        root = write_gtav(tmp_path)
        assert GTAV(root, images=3).names == ("00001", "00003", "00005")
        for wrong in (0, 7, 2.0):
            with pytest.raises(RalsegError, match=rf"dataset.images={wrong} is out of range; there are 6 images"):
                GTAV(root, images=wrong)

    def test_a_file_that_is_not_a_png(self, tmp_path):
        root = write_gtav(tmp_path)
        (root / "images/00004.png").write_bytes(b"GIF89a")
        with pytest.raises(RalsegError, match=r"00004\.png: not a PNG image; replace the file"):
            GTAV(root)


def write_synthia(root, count=4):
    """16-bit labels of three channels, the first of which (the last one in OpenCV's order) holds the ids."""
    rng = np.random.default_rng(0)
    for i in range(count):
        ids = np.sort(rng.integers(0, 23, SIZE), axis=0)
        ids[0, :23] = np.arange(23)
        instances = rng.integers(0, 60_000, SIZE)
        write(root / f"RGB/{i:07d}.png", rng.integers(0, 255, (*SIZE, 3), np.uint8))
        write(root / f"GT/LABELS/{i:07d}.png", np.stack([0 * ids, instances, ids], -1).astype(np.uint16))
    return root


class TestSynthia(FileContract):
    @pytest.fixture
    def dataset(self, tmp_path):
        return Synthia(write_synthia(tmp_path))

    def with_id(self, dataset, value):
        path = dataset.files[dataset.names[0]][1]
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        stored[3, 9, 2] = value
        cv2.imwrite(str(path), stored)
        return path

    @pytest.mark.parametrize("value", [77, 60_000])
    def test_an_unknown_id_is_named_with_its_place(self, dataset, value):
        path = self.with_id(dataset, value)
        with pytest.raises(RalsegError, match=rf"{re.escape(str(path))}: unknown class id {value} at y=3, x=9"):
            dataset.load(dataset.names[0])

    def test_sizes_that_differ_are_refused(self, dataset):
        image, label = dataset.files[dataset.names[0]]
        cv2.imwrite(str(label), np.zeros((5, 7, 3), np.uint16))
        with pytest.raises(RalsegError, match=rf"{re.escape(str(label))}: the label is 5 x 7 .*{image.name}"):
            dataset.load(dataset.names[0])

    def test_a_label_of_colours_is_refused(self, dataset):
        path = dataset.files[dataset.names[0]][1]
        for wrong, found in (
            (np.zeros((*SIZE, 3), np.uint8), "8 bits and 3"),
            (np.zeros(SIZE, np.uint16), "16 bits and 1"),
        ):
            cv2.imwrite(str(path), wrong)
            with pytest.raises(RalsegError, match=rf"channels of 16 bits, this one has {found} channels"):
                dataset.load(dataset.names[0])

    def test_ids_by_name(self, dataset):
        stored = cv2.imread(str(dataset.files[dataset.names[0]][1]), cv2.IMREAD_UNCHANGED)[..., 2]
        label = dataset.load(dataset.names[0])[1]
        # The data set's own table: 3 is road, 1 sky, 8 car, 21 wall, 17 rider; 22, lane marking, is no class.
        for id_, name in ((3, "road"), (1, "sky"), (8, "car"), (21, "wall"), (17, "rider")):
            assert (label[stored == id_] == dataset.classes.index(name)).all()
        assert (label[np.isin(stored, [0, 13, 14, 22])] == IGNORE).all()
        assert len(dataset.classes) == 16
        assert list(dataset.classes) == [name for name in CITYSCAPES if name not in ("terrain", "truck", "train")]

    def test_thirteen_classes(self, dataset, tmp_path):
        fewer = Synthia(tmp_path, classes=13)
        assert fewer.name != dataset.name
        assert set(dataset.classes) - set(fewer.classes) == {"wall", "fence", "pole"}
        all_, label = dataset.load(dataset.names[0])[1], fewer.load(dataset.names[0])[1]
        for place, name in enumerate(dataset.classes):
            expected = fewer.classes.index(name) if name in fewer.classes else IGNORE
            assert (label[all_ == place] == expected).all()
        with pytest.raises(RalsegError, match=r"dataset\.classes=12 must be 16 or 13"):
            Synthia(tmp_path, classes=12)


class Listed:
    """Names alone, of the cities and numbers of the original's lists."""

    name = "cityscapes"
    classes = tuple(CITYSCAPES)

    def __init__(self, names, val):
        self.names = tuple(sorted([*names, *val]))
        self.subsets = {"train": tuple(sorted(names)), "val": val}
        self.groups = {name: name.split("_")[0] for name in self.names}


class TestTheOriginalsLists:
    @pytest.fixture
    def listed(self):
        if not ORIGINAL.is_file():
            pytest.skip("the original's lists are not here")
        names = {name for names in read_json(ORIGINAL).values() for name in names}
        return Listed(names, ("lindau_000000_000019",))

    def test_d_s_leaves_d_v(self, listed):
        counts = np.ones((len(listed.names), 19), np.int64)
        splits = splits_from_config({"kind": "ralis", "path": ORIGINAL}, listed, counts)
        assert (len(splits.state), len(splits.train), len(splits.compare), len(splits.reward)) == (10, 150, 2605, 200)
        assert splits.test == ("lindau_000000_000019",)
        assert splits.dev == splits.twin == ()
        assert not set(splits.state) & set(splits.compare)
        assert splits.notes == ("10 images that the original has in D_S and in D_V are taken out of D_V",)

    def test_a_class_that_d_s_lacks_is_noted(self, listed):
        counts = np.ones((len(listed.names), 19), np.int64)
        counts[:, 16] = 0
        splits = splits_from_config({"kind": "ralis", "path": ORIGINAL}, listed, counts)
        assert splits.notes[1] == "no label has a pixel of train"

    def test_any_other_overlap_is_refused(self, listed, tmp_path):
        lists = read_json(ORIGINAL)
        lists["d_r"][0] = lists["d_t"][0]
        write_json(tmp_path / "lists.json", lists)
        counts = np.ones((len(listed.names), 19), np.int64)
        with pytest.raises(RalsegError, match="train and reward overlap"):
            splits_from_config({"kind": "ralis", "path": tmp_path / "lists.json"}, listed, counts)

    def test_other_lengths_are_refused(self, listed, tmp_path):
        lists = read_json(ORIGINAL)
        lists["d_t"].pop()
        write_json(tmp_path / "lists.json", lists)
        with pytest.raises(RalsegError, match=r"lists of \(10, 149, 2615, 200\) images .* has \(10, 150, 2615, 200\)"):
            splits_from_config({"kind": "ralis", "path": tmp_path / "lists.json"}, listed, np.ones((1, 19)))


@pytest.mark.parametrize(
    ("dataset", "writer"), [("cityscapes", write_cityscapes), ("gtav", write_gtav), ("synthia", write_synthia)]
)
def test_a_world_of_each(dataset, writer, tmp_path, monkeypatch):
    monkeypatch.setenv("RALSEG_CACHE", str(tmp_path / "cache"))
    counts = "protocol.counts={state: 2, train: 2, compare: 2, dev: 0, reward: 1}"
    options = ["protocol.exact=false"] if dataset == "cityscapes" else ["dataset.images=null"]
    if dataset == "cityscapes":
        write_cityscapes(tmp_path / "data", [f"ulm_00000{i}_000019" for i in range(8)])
        write_cityscapes(tmp_path / "data", ["lindau_000000_000019", "lindau_000001_000019"], "val")
    else:
        writer(tmp_path / "data", 10)
        counts = counts.replace("}", ", test: 1}")
    world = World(
        composed("train_agent", [f"dataset={dataset}", f"dataset.root={tmp_path / 'data'}", counts, *options])
    )
    world.check()
    assert world.unit == (128, 128)
    if dataset == "cityscapes":
        assert world.splits.test == world.dataset.subsets["val"]
        assert not set(world.splits.reward) & set(world.dataset.subsets["val"])
