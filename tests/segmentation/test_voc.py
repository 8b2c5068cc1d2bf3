import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from ralseg import evaluate_policy
from ralseg.configs import composed
from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets import IGNORE, Voc
from ralseg.segmentation.datasets.listed import voc_lists
from ralseg.segmentation.datasets.palettes import VOC
from ralseg.segmentation.protocols import splits_from_config
from tests.segmentation.test_ade_bedroom import TINY
from tests.segmentation.test_datasets import FileContract

LISTS = Path(__file__).parents[3] / "shared/data/lists/voc"
SIZES = ((100, 120), (120, 100))
NAMES = {"own": [f"2007_{i:06d}" for i in range(4)], "sbd": [f"2008_{i:06d}" for i in range(8)],
         "val": [f"2009_{i:06d}" for i in range(3)]}  # fmt: skip


def write_label(path, label):
    """With VOC's palette in SegmentationClass, in gray otherwise, as the two are shared."""
    image = Image.fromarray(label, "P" if path.parent.name == "SegmentationClass" else "L")
    if image.mode == "P":
        colors = np.zeros((256, 3), np.uint8)
        colors[:21], colors[255] = list(VOC.values()), (224, 224, 192)
        image.putpalette(colors.ravel().tolist())
    path.parent.mkdir(exist_ok=True)
    image.save(path)


def write_voc(root, names=NAMES):
    rng = np.random.default_rng(0)
    for folder in ("JPEGImages", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for part, listed in names.items():
        for i, name in enumerate(listed):
            height, width = SIZES[i % 2]
            label = rng.permutation(np.resize([*range(21), IGNORE], height * width // 16)).astype(np.uint8)
            label = label.reshape(height // 4, -1).repeat(4, 0).repeat(4, 1)
            image = 10 * (label[..., None] % 22) + rng.integers(0, 40, (height, width, 3))
            assert cv2.imwrite(str(root / f"JPEGImages/{name}.jpg"), image.astype(np.uint8))
            folder = "SegmentationClassAug" if part == "sbd" else "SegmentationClass"
            write_label(root / folder / f"{name}.png", label)
    for subset, listed in (
        ("train", names["own"]),
        ("trainaug", [*names["own"], *names["sbd"]]),
        ("val", names["val"]),
    ):
        (root / f"ImageSets/Segmentation/{subset}.txt").write_text("\n".join(listed) + "\n")
    return root


class TestVoc(FileContract):
    def store(self, path, array):
        assert cv2.imwrite(str(path), array)

    @pytest.fixture
    def root(self, tmp_path):
        return write_voc(tmp_path / "VOCdevkit/VOC2012")

    @pytest.fixture
    def dataset(self, root):
        return Voc(root)

    def test_layout(self, dataset, root):
        assert {subset: len(names) for subset, names in dataset.subsets.items()} == {"train": 12, "val": 3}
        assert (dataset.classes[0], dataset.classes[1], dataset.classes[20]) == ("background", "aeroplane", "tvmonitor")
        assert set(dataset.groups.values()) == {"all"}
        # VOC's palette: 15, person, is (192, 128, 128).
        assert dataset.colors[15].tolist() == [192, 128, 128] and dataset.colors[20].tolist() == [0, 64, 128]
        for place in (root.parent, root.parent.parent):
            assert Voc(place).files == dataset.files
        assert Voc(root, train="train").subsets == {"train": tuple(NAMES["own"]), "val": tuple(NAMES["val"])}

    @pytest.mark.parametrize("name", ["2007_000001", "2008_000001"])
    def test_values_are_the_files(self, dataset, name):
        stored = np.array(Image.open(dataset.files[name][1]))
        image, label = dataset.load(name)
        np.testing.assert_array_equal(label, stored)
        assert label.max() == IGNORE and label.min() == 0
        np.testing.assert_array_equal(image, cv2.imread(str(dataset.files[name][0]))[..., ::-1])

    def test_vocs_own_label_comes_first_and_sbds_mat_last(self, dataset, root):
        own, sbd = "2007_000000", "2008_000000"
        before = dataset.load(own)[1], dataset.load(sbd)[1]
        write_label(root / f"SegmentationClassAug/{own}.png", 0 * before[0])
        path = root / f"cls/{sbd}.mat"
        path.parent.mkdir()
        boundaries = np.zeros((20, 1), object)
        content = {"GTcls": {"Boundaries": boundaries, "Segmentation": before[1], "CategoriesPresent": [[1, 2]]}}
        savemat(path, content, do_compression=True)
        (root / f"SegmentationClassAug/{sbd}.png").unlink()
        found = Voc(root)
        assert found.files[sbd][1] == path
        for name, label in zip((own, sbd), before, strict=True):
            np.testing.assert_array_equal(found.load(name)[1], label)
        for damaged in ({"GTcls": {"Boundaries": boundaries}}, {"GTcls": 3}, {"GTinst": 3}, {"GTcls": [[1, 2]]}):
            savemat(path, damaged)
            with pytest.raises(
                RalsegError, match=rf"{path.name}: no array GTcls\.Segmentation in it; replace the file"
            ):
                found.load(sbd)
        savemat(path, {"GTcls": {"Segmentation": np.full(before[1].shape, 256, np.uint16)}})
        with pytest.raises(RalsegError, match=r"unknown class id 256 at y=0, x=0; the known ids are 0 to 20, 255"):
            found.load(sbd)

    @pytest.mark.parametrize(
        ("lost", "message"),
        [
            (
                "ImageSets/Segmentation/trainaug.txt",
                "cannot be read .*; restore it; trainaug.txt lists the 10,582 .* tr",
            ),
            ("ImageSets/Segmentation/val.txt", "cannot be read .*; restore it"),
            ("SegmentationClassAug/2008_000003.png", "the label is missing; restore it"),
            ("JPEGImages/2008_000003.jpg", "the image is missing"),
        ],
    )
    def test_what_is_missing_is_named(self, root, lost, message):
        (root / lost).unlink()
        with pytest.raises(RalsegError, match=rf"{re.escape(str(root / lost))}: {message}"):
            Voc(root)

    def test_another_folder_and_another_list(self, root, tmp_path):
        with pytest.raises(RalsegError, match=r"nowhere: no JPEGImages/; set dataset\.root to the folder VOC2012"):
            Voc(tmp_path / "nowhere")
        with pytest.raises(RalsegError, match=r"dataset\.train='all' is unknown; choose from trainaug, train"):
            Voc(root, train="all")  # pyright: ignore[reportArgumentType]
        path = root / "ImageSets/Segmentation/val.txt"
        for text, message in (
            ("2008_000003\n", "line 1: 2008_000003 is in line 8 of trainaug.txt, too; list each image once"),
            ("/JPEGImages/2009_000000.jpg\n", "line 1: '/JPEGImages/2009_000000.jpg' is no image of VOC"),
        ):
            path.write_text(text)
            with pytest.raises(RalsegError, match=rf"{re.escape(str(path))}, {message}"):
                Voc(root)


class Listed:
    """Names alone."""

    name = "voc"
    classes = Voc.classes

    def __init__(self, subsets):
        self.subsets = subsets
        self.names = tuple(sorted(name for names in subsets.values() for name in names))
        self.groups = dict.fromkeys(self.names, "all")


def test_the_protocol_on_the_published_lists():
    if not LISTS.is_dir():
        pytest.skip("the lists are not here")
    subsets = voc_lists({"train": LISTS / "train_aug.txt", "val": LISTS / "val.txt"}, "")
    assert (len(subsets["train"]), len(subsets["val"])) == (10_582, 1449)
    protocol = composed("train_agent", ["dataset=voc", "dataset.root=x"])["protocol"]
    splits = splits_from_config(protocol, Listed(subsets), np.ones((12_031, 21), np.int64))
    roles = ("state", "train", "compare", "dev", "reward", "twin", "test")
    assert [len(getattr(splits, role)) for role in roles] == [105, 1058, 8571, 423, 423, 0, 1449]


def test_a_comparison(tmp_path, capsys, own_cache):
    root = write_voc(tmp_path / "VOC2012")
    words = ["dataset=voc", f"dataset.root={root}", f"run={tmp_path / 'run'}", "policies=[random,margin]"]
    fractions = "protocol.fractions={state: 0.2, train: 0.2, compare: 0.4, dev: 0.1, reward: 0.1}"
    assert evaluate_policy.main([*words, *TINY, fractions]) == 0
    header, *rows = (tmp_path / "run/results.csv").read_text().splitlines()
    assert "iou_background" in header and "iou_tvmonitor" in header and len(rows) == 4
