import re

import cv2
import numpy as np
import pytest

from ralseg import evaluate_policy
from ralseg.configs import composed
from ralseg.envs import World
from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets import IGNORE, AdeBedroom
from tests.segmentation.test_datasets import FileContract

SIZE = (96, 96)
TINY = [
    "network=small_fpn", "loss=plain", "game.unit=[32,32]", "game.slates=2", "network.widths=[8,8,8,8,8]",
    "network.pyramid=8", "theta0.fit.steps=2", "theta0.fit.batch=2", "game.candidates=3", "game.budget=4",
    "game.learn.batch=2", "processes=1", "draws=1",
]  # fmt: skip
"""What makes a comparison on a generated tree a matter of seconds."""


def write_ade_bedroom(root, train=10, test=3):
    """Blocks of all 30 classes and void, with names as in ADE20K; one image is a PNG."""
    rng = np.random.default_rng(0)
    ids = np.append(np.arange(30), IGNORE).astype(np.uint8)
    for subset, count in (("train", train), ("test", test)):
        (root / subset).mkdir(parents=True)
        for i in range(count):
            label = rng.permutation(np.resize(ids, SIZE[0] * SIZE[1] // 64)).reshape(SIZE[0] // 8, -1)
            label = label.repeat(8, 0).repeat(8, 1)
            image = 8 * label[..., None] % 200 + rng.integers(0, 40, (*SIZE, 3))
            path = root / subset / f"ADE_{i:08d}.{'png' if i == 1 else 'jpg'}"
            assert cv2.imwrite(str(path), image.astype(np.uint8))
            np.save(path.with_suffix(".npy"), label)
    return root


class TestAdeBedroom(FileContract):
    many_dimensions = r"an array of type 'uint8' and shape \(96, 96, 3\) where class ids are expected"

    def stored(self, path):
        return np.load(path)

    def store(self, path, array):
        np.save(path, array)

    @pytest.fixture
    def dataset(self, tmp_path):
        return AdeBedroom(write_ade_bedroom(tmp_path / "real"))

    def test_layout(self, dataset):
        assert {subset: len(names) for subset, names in dataset.subsets.items()} == {"train": 10, "test": 3}
        # Both folders have a file of this name.
        assert "train/ADE_00000000" in dataset.names and "test/ADE_00000000" in dataset.names
        assert len(dataset.classes) == 30
        assert (dataset.classes[0], dataset.classes[8], dataset.classes[29]) == ("wall", "pillow", "television")
        assert dataset.unit_size == (64, 64)

    def test_values_are_the_files(self, dataset, tmp_path):
        image, label = dataset.load("train/ADE_00000001")
        path = tmp_path / "real/train/ADE_00000001.png"
        np.testing.assert_array_equal(image, cv2.imread(str(path))[..., ::-1])
        np.testing.assert_array_equal(label, np.load(path.with_suffix(".npy")))
        assert set(np.unique(label)) == {*range(30), IGNORE}

    @pytest.mark.parametrize("type_", [np.int64, np.uint16, ">i4"])
    def test_any_whole_numbers_are_ids(self, dataset, type_):
        path = dataset.files["test/ADE_00000002"][1]
        before = dataset.load("test/ADE_00000002")[1]
        np.save(path, np.asfortranarray(np.load(path).astype(type_)))
        np.testing.assert_array_equal(dataset.load("test/ADE_00000002")[1], before)

    @pytest.mark.parametrize("id_", [30, 254, 256, 300, 70_000])
    def test_ids_out_of_range(self, dataset, id_):
        path = dataset.files[dataset.names[0]][1]
        label = np.load(path).astype(np.int32)
        label[7, 5] = id_
        np.save(path, label)
        message = (
            rf"{re.escape(str(path))}: unknown class id {id_} at y=7, x=5; the known ids are 0 to 29, 255: correct"
        )
        with pytest.raises(RalsegError, match=message):
            dataset.load(dataset.names[0])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda x: x.astype(np.float32), r"an array of type 'float32' and shape \(96, 96\)"),
            (lambda x: x > 3, "an array of type 'bool'"),
            (
                lambda x: x[None],
                r"shape \(1, 96, 96\) where class ids are expected; export whole numbers, one for each",
            ),
            (lambda x: -x.astype(np.int8), r"unknown class id -\d+ at y=\d+, x=\d+; ids begin at 0"),
            (lambda x: x.astype(object), r"Object arrays cannot be loaded when allow_pickle=False\); replace the file"),
            (lambda x: x[:-1], "the label is 95 x 96 .* but the image .* is 96 x 96"),
        ],
    )
    def test_labels_of_another_kind(self, dataset, change, message):
        path = dataset.files[dataset.names[0]][1]
        np.save(path, change(np.load(path)), allow_pickle=True)
        with pytest.raises(RalsegError, match=message) as caught:
            dataset.load(dataset.names[0])
        assert str(caught.value).startswith(str(path))

    def test_a_damaged_header(self, dataset):
        path = dataset.files[dataset.names[0]][1]
        whole = path.read_bytes()
        begin = whole.index(b"{")
        for position in (0, *range(begin + 1, len(whole) - SIZE[0] * SIZE[1])):
            path.write_bytes(whole[:position] + b"{" + whole[position + 1 :])
            with pytest.raises(RalsegError, match=rf"^{re.escape(str(path))}: ") as caught:
                dataset.load(dataset.names[0])
            assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("lost", "what"), [("train/ADE_00000003.npy", "label"), ("test/ADE_00000000.jpg", "image")]
    )
    def test_what_is_missing_is_named(self, tmp_path, lost, what):
        root = write_ade_bedroom(tmp_path / "real")
        (root / lost).unlink()
        with pytest.raises(RalsegError, match=rf"{re.escape(str(root / lost))}: the {what} is missing; restore it"):
            AdeBedroom(root)

    def test_another_folder(self, tmp_path):
        write_ade_bedroom(tmp_path / "ade_bedroom_30/real")
        for root in (tmp_path / "ade_bedroom_30", tmp_path / "none"):
            with pytest.raises(RalsegError, match=rf"{re.escape(str(root))}/train: no images; .* ade_bedroom_30/real"):
                AdeBedroom(root)

    def test_two_images_of_one_name(self, tmp_path):
        root = write_ade_bedroom(tmp_path / "real")
        (root / "train/ADE_00000000.png").write_bytes((root / "train/ADE_00000001.png").read_bytes())
        with pytest.raises(RalsegError, match=r"ADE_00000000\.png: ADE_00000000\.jpg has the same name; rename one"):
            AdeBedroom(root)


def test_a_comparison(tmp_path, capsys, own_cache):
    root = write_ade_bedroom(tmp_path / "real")
    words = ["dataset=ade_bedroom", f"dataset.root={root}", f"run={tmp_path / 'run'}", "policies=[random,margin]"]
    assert evaluate_policy.main([*words, *TINY]) == 0
    assert "images: D_S 1, D_T 2, D_V 5, dev 1, D_R 1" in capsys.readouterr().out.replace("\n", " ")
    header, *rows = (tmp_path / "run/results.csv").read_text().splitlines()
    assert "iou_windowpane" in header and len(rows) == 4


def test_the_protocol_on_as_many_images_as_published(tmp_path, own_cache):
    root = write_ade_bedroom(tmp_path / "real", train=50)
    splits = World(composed("train_agent", ["dataset=ade_bedroom", f"dataset.root={root}"])).splits
    roles = ("state", "train", "compare", "dev", "reward", "twin", "test")
    assert [len(getattr(splits, role)) for role in roles] == [5, 10, 25, 5, 5, 0, 3]


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("train/ADE_00000000.npy", lambda x: x[:900], "no array of numbers that can be read .*; replace the file"),
        ("train/ADE_00000000.jpg", lambda x: x[:900], "the image is damaged .*; replace the file"),
    ],
)
def test_damage_is_one_line_at_the_door(refused, tmp_path, name, damage, message):
    root = write_ade_bedroom(tmp_path / "real")
    (root / name).write_bytes(damage((root / name).read_bytes()))
    line = refused("evaluate", "dataset=ade_bedroom", f"dataset.root={root}", *TINY)
    assert re.search(rf"{name}: {message}", line), line
