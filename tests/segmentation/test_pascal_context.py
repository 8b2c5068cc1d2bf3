import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from ralseg import evaluate_policy
from ralseg.configs import composed
from ralseg.envs import World
from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets import IGNORE, PascalContext
from ralseg.segmentation.datasets.pascal_context import read_lists
from ralseg.segmentation.protocols import splits_from_config
from tests.segmentation.test_ade_bedroom import TINY
from tests.segmentation.test_datasets import FileContract

LISTS = Path(__file__).parents[3] / "shared/data/lists/pascal_context"
SIZES = ((100, 120), (120, 100), (96, 110))
IDS = {
    "aeroplane": 2, "bicycle": 23, "bird": 25, "boat": 31, "bottle": 34, "building": 44, "bus": 45, "car": 59,
    "cat": 65, "ceiling": 68, "chair": 72, "cow": 98, "dog": 113, "floor": 158, "grass": 187, "ground": 189,
    "horse": 207, "keyboard": 220, "motorbike": 258, "mountain": 259, "person": 284, "pottedplant": 308, "road": 324,
    "sheep": 347, "sky": 360, "sofa": 368, "table": 397, "track": 415, "train": 416, "tree": 420, "tvmonitor": 427,
    "wall": 440, "water": 445,
}  # fmt: skip
"""The ids of the 33 classes in the real labels.txt, as they stand in the code of two-stage eDALD."""


def write_mat(path, array, **options):
    # As MATLAB saves it; scipy compresses nothing by itself.
    savemat(path, {"LabelMap": array}, do_compression=True, **options)


def write_pascal_context(root, train=12, val=3):
    """Blocks of all ids from 0 to 459 in images of three sizes and three years; val has every third image."""
    rng = np.random.default_rng(0)
    for folder in ("VOC2012/JPEGImages", "trainval"):
        (root / folder).mkdir(parents=True)
    names = {id_: name for name, id_ in IDS.items()}
    lines = [f"{id_}: {names.get(id_, f'thing {id_}')}" for id_ in range(1, 460)]
    (root / "labels.txt").write_text("\n".join(lines) + "\n")
    lists = {"train": [], "val": []}
    for i in range(train + val):
        height, width = SIZES[i % 3]
        rows, columns = -(-height // 4), -(-width // 4)
        coarse = rng.permutation(np.resize(np.arange(460), rows * columns)).reshape(rows, columns).astype(np.uint16)
        # Half of it are classes that are used.
        coarse[: rows // 2] = rng.choice([*IDS.values()], (rows // 2, columns))
        label = coarse.repeat(4, 0).repeat(4, 1)[:height, :width].copy()
        label[-6:] = np.resize(np.arange(460), (6, width))
        image = label[..., None] // 3 + rng.integers(0, 80, (height, width, 3))
        name = f"{2008 + i % 3}_{i:06d}"
        assert cv2.imwrite(str(root / f"VOC2012/JPEGImages/{name}.jpg"), image.astype(np.uint8))
        write_mat(root / f"trainval/{name}.mat", label)
        lists["val" if i < val else "train"].append(name)
    for subset, listed in lists.items():
        (root / f"pascal_{subset}.txt").write_text("\n".join(listed) + "\n")
    return root


class TestPascalContext(FileContract):
    unknown = 460
    many_dimensions = r"an array of type 'uint8' and shape \(100, 120, 3\) where class ids are expected"

    def stored(self, path):
        return loadmat(path)["LabelMap"]

    def store(self, path, array):
        write_mat(path, array)

    @pytest.fixture
    def root(self, tmp_path):
        return write_pascal_context(tmp_path / "pascal")

    @pytest.fixture
    def dataset(self, root):
        return PascalContext(root)

    def test_layout(self, dataset):
        assert {subset: len(names) for subset, names in dataset.subsets.items()} == {"train": 12, "val": 3}
        assert dataset.subsets["val"] == ("2008_000000", "2009_000001", "2010_000002")
        assert dataset.groups["2009_000001"] == "2009" and set(dataset.groups.values()) == {"2008", "2009", "2010"}
        assert (dataset.classes[0], dataset.classes[19], dataset.classes[20]) == ("aeroplane", "tvmonitor", "sky")
        assert set(dataset.classes) == set(IDS)
        assert {dataset.size(name) for name in dataset.names} == set(SIZES)

    @pytest.mark.parametrize("compressed", [True, False])
    def test_classes_by_name_and_all_else_void(self, dataset, compressed):
        path = dataset.files["2008_000003"][1]
        stored = loadmat(path)["LabelMap"]
        savemat(path, {"other": 3, "LabelMap": stored}, do_compression=compressed)
        expected = np.full(stored.shape, IGNORE, np.uint8)
        for place, name in enumerate(dataset.classes):
            expected[stored == IDS[name]] = place
        assert stored.dtype == np.uint16 and stored.min() == 0 and stored.max() == 459
        np.testing.assert_array_equal(dataset.load("2008_000003")[1], expected)

    def test_names_decide_not_ids(self, dataset, root):
        before = dataset.load("2008_000003")[1]
        text = (root / "labels.txt").read_text()
        (root / "labels.txt").write_text(
            text.replace(": cat\n", ": x\n").replace(": dog\n", ": cat\r\n") + "460 :  dog "
        )
        stored, label = loadmat(dataset.files["2008_000003"][1])["LabelMap"], PascalContext(root).load("2008_000003")[1]
        cat, dog = dataset.classes.index("cat"), dataset.classes.index("dog")
        assert (label[stored == 113] == cat).all() and (label[stored == 65] == IGNORE).all()
        assert not (label == dog).any() and (before == dog).any()
        assert PascalContext(root).fingerprint("2008_000003") != dataset.fingerprint("2008_000003")

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("397: table\n", "", "no line for the class table; use the file as it was downloaded"),
            ("397: table", "397: diningtable", "no line for the class table"),
            ("44: building\n45: bus", "", "no line for the class bus, building"),
            ("3: thing 3", "3 thing 3", r"the id in line 3 is '3 thing 3'; give a line 'ID: NAME' with a number, 1 to"),
            ("3: thing 3", "-3: thing 3", "the id in line 3 is '-3'"),
            ("3: thing 3", "3:", "line 3: '3:' has no name"),
            ("3: thing 3", "2: thing 3", "line 3: '2: thing 3' has no name, or one or an id of a line before"),
            ("3: thing 3", "3: aeroplane", "line 3: '3: aeroplane' has no name, or one"),
        ],
    )
    def test_a_damaged_list_of_classes(self, root, old, new, message):
        path = root / "labels.txt"
        text = path.read_text()
        assert f"\n{old}" in text
        path.write_text(text.replace(f"\n{old}", f"\n{new}", 1))
        with pytest.raises(RalsegError, match=rf"{re.escape(str(path))}(:|,) .*{re.escape(message)}") as caught:
            PascalContext(root)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("subset", "text", "message"),
        [
            (
                "train",
                "2008_000003\n2009_000004\n2008_000003\n",
                "line 3: 2008_000003 is in line 1 of pascal_train.txt, too",
            ),
            (
                "val",
                "2008_000000\n\n2008_000003\n",
                "line 3: 2008_000003 is in line 1 of pascal_train.txt, too; list each image once",
            ),
            ("train", "2008_000003\n../../x\n", r"line 2: '../../x' is no image of VOC, as 2008_000002; correct it"),
            ("val", "2008_000000.jpg\n", r"line 1: '2008_000000.jpg' is no image of VOC"),
            ("val", "\n", "the list is empty; give one image per line"),
        ],
    )
    def test_damaged_lists(self, root, subset, text, message):
        path = root / f"pascal_{subset}.txt"
        path.write_text(text)
        with pytest.raises(RalsegError, match=rf"{re.escape(str(path))}(:|,) {message}"):
            PascalContext(root)

    @pytest.mark.parametrize(
        ("lost", "message"),
        [
            ("labels.txt", r"cannot be read .*; restore it from the release of Pascal-Context"),
            ("pascal_val.txt", r"cannot be read .*; copy it there from the folder preprocess/"),
            ("trainval/2008_000003.mat", "the label is missing; restore it, or remove its partner"),
            ("VOC2012/JPEGImages/2008_000003.jpg", "the image is missing"),
        ],
    )
    def test_what_is_missing_is_named(self, root, lost, message):
        (root / lost).unlink()
        with pytest.raises(RalsegError, match=rf"{re.escape(str(root / lost))}: {message}"):
            PascalContext(root)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ({"LabelMap": np.zeros((100, 120))}, r"type 'float64' and shape \(100, 120\)"),
            (
                {"LabelMap": np.full((100, 120), "x", object)},
                r"type 'object' and shape \(100, 120\) where class ids are",
            ),
            ({"LabelMap": "sky"}, r"an array of type '<U3'"),
            ({"LabelMap": {"a": 1}}, "an array of type .* where class ids are expected"),
            ({"Labels": np.zeros((100, 120), np.uint16)}, "no array LabelMap in it; replace the file by the one"),
            ({"LabelMap": np.zeros((120, 100), np.uint16)}, "the label is 120 x 100 .* but the image .* is 100 x 120"),
        ],
    )
    def test_labels_of_another_kind(self, dataset, content, message):
        path = dataset.files[dataset.names[0]][1]
        savemat(path, content)
        with pytest.raises(RalsegError, match=message) as caught:
            dataset.load(dataset.names[0])
        assert str(caught.value).startswith(f"{path}: ")

    def test_a_newer_mat_file(self, dataset):
        path = dataset.files[dataset.names[0]][1]
        path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(600))
        with pytest.raises(RalsegError, match=rf"{path.name}: no array of numbers that can be read .*HDF.*; replace"):
            dataset.load(dataset.names[0])

    def test_orientations_are_not_applied(self, dataset):
        path = dataset.files["2008_000000"][0]
        exif = Image.Exif()
        exif[274] = 6
        Image.fromarray(dataset.load("2008_000000")[0]).save(path, exif=exif)
        stored = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        assert dataset.size("2008_000000") == (100, 120)
        np.testing.assert_array_equal(dataset.load("2008_000000")[0], stored[..., ::-1])
        write_mat(dataset.files["2008_000000"][1], np.zeros((120, 100), np.uint16))
        with pytest.raises(RalsegError, match=r"the label is 120 x 100 .* as its EXIF orientation 6 is not applied"):
            dataset.load("2008_000000")


class Listed:
    """Names alone."""

    name = "pascal_context"
    classes = PascalContext.classes

    def __init__(self, subsets):
        self.subsets = subsets
        self.names = tuple(sorted(name for names in subsets.values() for name in names))
        self.groups = {name: name.split("_")[0] for name in self.names}


def test_the_protocol_on_the_published_lists():
    if not LISTS.is_dir():
        pytest.skip("the lists are not here")
    subsets = read_lists(LISTS)
    assert (len(subsets["train"]), len(subsets["val"]), len({*subsets["train"]} & {*subsets["val"]})) == (4998, 5105, 0)
    protocol = composed("train_agent", ["dataset=pascal_context", "dataset.root=x"])["protocol"]
    splits = splits_from_config(protocol, Listed(subsets), np.ones((10_103, 33), np.int64))
    roles = ("state", "train", "compare", "dev", "reward", "twin", "test")
    assert [len(getattr(splits, role)) for role in roles] == [49, 499, 4048, 199, 199, 0, 5105]
    # 2111 of 4998 training images are of 2008, 1362 of 2009, 1525 of 2010.
    years = [sum(name.startswith(year) for name in splits.compare) for year in ("2008", "2009", "2010")]
    np.testing.assert_allclose(years, [1710, 1103, 1235], atol=2)


def test_a_comparison_with_images_of_three_sizes(tmp_path, capsys, own_cache):
    root = write_pascal_context(tmp_path / "pascal")
    words = ["dataset=pascal_context", f"dataset.root={root}", f"run={tmp_path / 'run'}", "policies=[random,margin]"]
    fractions = "protocol.fractions={state: 0.2, train: 0.2, compare: 0.4, dev: 0.1, reward: 0.1}"
    assert evaluate_policy.main([*words, *TINY, fractions]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "15 images, 120 x 100 and 100 x 120 and 96 x 110 (height x width); all with labels" in said
    header, *rows = (tmp_path / "run/results.csv").read_text().splitlines()
    assert "iou_tvmonitor" in header and len(rows) == 4
    world = World(composed("evaluate_policy", [*words[:2], fractions]))
    assert world.splits.test == world.dataset.subsets["val"] and world.unit == (96, 96)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("trainval/2008_000003.mat", lambda x: x[:-40], "no array of numbers that can be read .*; replace the file"),
        ("VOC2012/JPEGImages/2008_000003.jpg", lambda x: x[:900], "the image is damaged .*; replace the file"),
        ("labels.txt", lambda x: x[:900], "no line for the class .*; use the file as it was downloaded"),
    ],
)
def test_damage_is_one_line_at_the_door(refused, tmp_path, name, damage, message):
    root = write_pascal_context(tmp_path / "pascal")
    (root / name).write_bytes(damage((root / name).read_bytes()))
    line = refused("evaluate", "dataset=pascal_context", f"dataset.root={root}", *TINY)
    assert re.search(rf"{name}: {message}", line), line
