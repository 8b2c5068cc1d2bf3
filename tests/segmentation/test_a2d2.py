import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ralseg import evaluate_policy
from ralseg.configs import composed
from ralseg.envs import World
from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets import A2D2, IGNORE
from ralseg.segmentation.datasets.a2d2 import VAL
from ralseg.segmentation.datasets.a2d2_classes import AS_RELEASED, CATEGORIES, COLORS, TABLES
from tests.segmentation.test_ade_bedroom import TINY
from tests.segmentation.test_datasets import FileContract

LISTS = Path(__file__).parents[3] / "shared/data/lists/a2d2"
SIZE = (128, 160)
RGB = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in COLORS], np.uint8)
SEQUENCES = {"20180807_145028": 6, "20181008_095521": 4, VAL: 3}


def line_of(sequence, number, camera="front_center"):
    stem = f"{sequence.replace('_', '')}_camera_{camera.replace('_', '')}_{number:09d}"
    return f"{sequence}/camera/cam_{camera}/{stem}.png"


def label_of(line):
    return line.replace("camera/cam", "label/cam").replace("_camera_", "_label_")


def write_a2d2(root, sequences=SEQUENCES):
    """Rows of all 55 colours; every third image is of the rear camera."""
    rng = np.random.default_rng(0)
    for sequence, count in sequences.items():
        for i in range(count):
            line = line_of(sequence, 20 * i + 7, "rear_center" if i % 3 == 2 else "front_center")
            colors = RGB[rng.permutation(np.resize(np.arange(55), SIZE[0] // 2)).repeat(2)]
            colors = colors[:, None].repeat(SIZE[1], 1)
            colors[0, :55] = RGB
            image = colors // 2 + rng.integers(0, 90, (*SIZE, 3), np.uint8)
            for name, pixels in ((line, image), (label_of(line), colors)):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(root / name), pixels[..., ::-1])
    return root


class TestA2D2(FileContract):
    def store(self, path, array):
        colors = np.full((*array.shape[:2], 3), RGB[-4]) if array.ndim == 2 else array
        assert cv2.imwrite(str(path), colors[..., ::-1])

    @pytest.fixture
    def root(self, tmp_path):
        return write_a2d2(tmp_path / "camera_lidar_semantic")

    @pytest.fixture
    def dataset(self, root):
        return A2D2(root)

    def test_layout(self, dataset):
        assert {subset: len(names) for subset, names in dataset.subsets.items()} == {"train": 10, "val": 3}
        assert dataset.names[0] == "20180807145028_camera_frontcenter_000000007"
        assert {dataset.groups[name] for name in dataset.subsets["val"]} == {VAL} < set(dataset.groups.values())
        assert len(dataset.classes) == 38 and dataset.name == "a2d2"
        assert dataset.classes[0] == "car" and "traffic guide obj." in dataset.classes

    @pytest.mark.parametrize("place", ["", "train", "camera_lidar_semantic"])
    def test_roots(self, dataset, root, tmp_path, place):
        """Sequences in the root, or in a folder of it; as released, train/ and val/ may be apart."""
        above = tmp_path / "above"
        if place:
            (above / place).mkdir(parents=True)
        root.rename(above / place) if place else root.rename(above)
        if place == "train":
            (above / "val").mkdir()
            (above / "train" / VAL).rename(above / "val" / VAL)
        found = A2D2(above)
        assert (found.names, found.subsets, found.groups) == (dataset.names, dataset.subsets, dataset.groups)

    @pytest.mark.parametrize("table", TABLES)
    def test_colours_are_categories(self, root, table):
        dataset = A2D2(root, table=table)
        image = dataset.names[0]
        stored = np.array(Image.open(dataset.files[image][1]))
        label = dataset.load(image)[1]
        for (color, category), rgb in zip(CATEGORIES.items(), RGB, strict=True):
            name = next(name for name, parts in TABLES[table].items() if category in parts)
            assert (label[(stored == rgb).all(-1)] == dataset.classes.index(name)).all(), color
        assert label.max() == len(dataset.classes) - 1

    def test_the_table_of_the_released_code(self, root):
        """Its ids, as they were read there; the last one is trained and scored."""
        dataset = A2D2(root, table="as_released")
        stored = np.array(Image.open(dataset.files[dataset.names[0]][1]))[0, :55]
        label = dataset.load(dataset.names[0])[1][0, :55]
        names = [COLORS["#" + bytes(color.tolist()).hex()] for color in stored]
        ids = dict(zip(names, label.tolist(), strict=True))
        assert [ids[name] for name in ("RD normal street", "Speed bumper", "Car 4", "Bicycle 2", "Pedestrian 3")] == [
            0, 0, 1, 2, 3
        ]  # fmt: skip
        assert [ids[n] for n in ("Non-drivable street", "Grid structure", "Signal corpus", "Dashed line")] == [
            7, 12, 14, 15
        ]  # fmt: skip
        assert [ids[n] for n in ("Curbstone", "Ego car", "Rain dirt", "Parking area")] == [17, 18, 18, 18]
        assert len(AS_RELEASED) == 19 and dataset.name == "a2d2_as_released"
        assert A2D2(root).fingerprint(dataset.names[0]) != dataset.fingerprint(dataset.names[0])

    def test_every_category_is_in_each_table_once(self):
        for table in TABLES.values():
            parts = [part for parts in table.values() for part in parts]
            assert sorted(parts) == sorted(set(CATEGORIES.values())) and len(parts) == 38
        assert len(COLORS) == 55 and len(np.unique(RGB, axis=0)) == 55

    def test_an_unknown_id_is_named_with_its_place(self, dataset, root):
        name = dataset.names[0]
        path = dataset.files[name][1]
        before = dataset.load(name)[1]
        colors = np.array(Image.open(path))
        colors[3, 9] = colors[5, 2] = 1, 2, 3
        self.store(path, colors)
        message = (
            rf"{re.escape(str(path))}: the colour \[1, 2, 3\] at y=3, x=9 is that of no class; restore the file, or"
        )
        with pytest.raises(RalsegError, match=message):
            dataset.load(name)
        before[3, 9] = before[5, 2] = IGNORE
        lenient = A2D2(root, unknown="void")
        np.testing.assert_array_equal(lenient.load(name)[1], before)
        assert lenient.fingerprint(name) != dataset.fingerprint(name)

    def test_a_label_of_colours_is_refused(self, dataset):
        """Here it is one without."""
        path = dataset.files[dataset.names[0]][1]
        assert cv2.imwrite(str(path), np.zeros(SIZE, np.uint8))
        with pytest.raises(RalsegError, match=rf"{re.escape(str(path))}: no colours, which a label of A2D2 holds"):
            dataset.load(dataset.names[0])

    @pytest.mark.parametrize("place", ["", ".."])
    def test_class_list(self, dataset, root, place):
        path = root / place / "class_list.json"
        path.write_text(json.dumps(COLORS))
        assert A2D2(root if not place else root.parent).names == dataset.names
        for changes, message in (
            ({"#FF0000": "Bicycle 9"}, "'#ff0000' is 'Bicycle 9', which the release calls 'Car 1'"),
            ({"#010203": "Tram"}, "'#010203' is 'Tram', which the release calls None"),
            ({"#ff0000": None}, "'#ff0000' is None, which the release calls 'Car 1'"),
        ):
            path.write_text(json.dumps(COLORS | changes))
            with pytest.raises(RalsegError, match=rf"class_list\.json: {message}; restore it from the release"):
                A2D2(root if not place else root.parent)
        path.write_text("[]")
        with pytest.raises(RalsegError, match=r"class_list\.json: no object of colours and names"):
            A2D2(root if not place else root.parent)

    def test_what_is_missing_is_named(self, dataset, root, tmp_path):
        label = dataset.files[dataset.names[1]][1]
        label.unlink()
        with pytest.raises(RalsegError, match=rf"{re.escape(str(label))}: the label is missing"):
            A2D2(root)
        (root / VAL).rename(tmp_path / VAL)
        for place in (root, tmp_path / "nowhere"):
            with pytest.raises(
                RalsegError, match=rf"{re.escape(str(place))}: no images of the sequence {VAL}, which is"
            ):
                A2D2(place)

    def test_a_sequence_twice_and_a_name_twice(self, root):
        write_a2d2(root / "train", {"20181008_095521": 1})
        with pytest.raises(RalsegError, match=r"train/20181008_095521: the sequence is in .*, too; remove one of them"):
            A2D2(root)
        first = root / line_of("20180807_145028", 7)
        other = root / "20181008_095521/camera/cam_side_left" / first.name
        other.parent.mkdir()
        first.rename(other)
        (root / "train").rename(root.parent / "elsewhere")
        other.with_name("x.png").write_bytes(b"")
        first.write_bytes(other.read_bytes())
        with pytest.raises(RalsegError, match=rf"{first.name}: .*{first.name} has the same name; use the files"):
            A2D2(root)

    def test_some_of_the_images(self, root):
        names = A2D2(root).subsets["train"]
        found = A2D2(root, images=5)
        assert found.subsets["train"] == names[::2] and len(found.subsets["val"]) == 3
        with pytest.raises(RalsegError, match=r"dataset\.images=11 is out of range; there are 10 images"):
            A2D2(root, images=11)

    def test_arguments(self, root):
        for wrong in ({"table": "cityscapes"}, {"unknown": "road"}, {"repeats": "twice"}):
            ((key, value),) = wrong.items()
            with pytest.raises(RalsegError, match=rf"dataset\.{key}='{value}' is unknown; choose from"):
                A2D2(root, **wrong)


class TestPools:
    @pytest.fixture
    def root(self, tmp_path):
        return write_a2d2(tmp_path / "data")

    @pytest.fixture
    def lines(self):
        first = [line_of("20180807_145028", n) for n in (27, 7)]
        return [*first, "train/" + line_of("20181008_095521", 27), "", first[0]]

    def write(self, root, lines):
        path = root.parent / "pool.txt"
        path.write_text("\n".join(lines) + "\n")
        return path

    def test_a_repeated_line_is_a_second_entry_of_the_same_files(self, root, lines):
        dataset = A2D2(root, pool=self.write(root, lines))
        name = "20180807145028_camera_frontcenter_000000027"
        assert len(dataset.subsets["pool"]) == 4 and len(dataset.subsets["train"]) == 7
        assert f"{name}#2" in dataset.subsets["pool"] and dataset.files[f"{name}#2"] == dataset.files[name]
        assert dataset.groups[f"{name}#2"] == dataset.groups[name] == "20180807_145028"
        assert not set(dataset.subsets["train"]) & set(dataset.subsets["pool"])
        assert dataset.notes == (
            "1 of 4 lines of pool.txt repeat an image and are images of their own in the pool, as NAME#2",
        )

    def test_or_it_is_left_out(self, root, lines):
        dataset = A2D2(root, pool=self.write(root, lines), repeats="drop", images=4)
        assert len(dataset.subsets["pool"]) == 3 and len(dataset.subsets["train"]) == 4
        assert dataset.notes == ("1 of 4 lines of pool.txt repeat an image and are left out",)
        assert A2D2(root, pool=self.write(root, lines[:3])).notes == ()

    @pytest.mark.parametrize(
        ("lines", "message"),
        [
            ([], ": the list is empty; give one image per line"),
            (["\x00"], r", line 1: '\\x00' is no training image"),
            (
                [line_of("20180807_145028", 7), "../../x.png"],
                r", line 2: '\.\./\.\./x\.png' is no training image of A2D2",
            ),
            ([line_of("20180807_145028", 8)], r", line 1: .* is no training image of A2D2; give one that is there"),
            ([line_of(VAL, 7)], r", line 1: .* is no training image of A2D2"),
        ],
    )
    def test_damaged_lists(self, root, lines, message):
        path = self.write(root, lines)
        with pytest.raises(RalsegError, match=rf"{re.escape(str(path))}{message}"):
            A2D2(root, pool=path)

    def test_a_list_that_is_not_there(self, root, refused):
        words = ["dataset=a2d2", f"dataset.root={root}", "dataset.images=null", "protocol=pool"]
        line = refused("evaluate", *words, "dataset.pool=5")
        assert "5: cannot be read (No such file or directory); set dataset.pool to a text file" in line

    def test_d_v_is_the_pool(self, root, lines, own_cache):
        words = ["dataset=a2d2", f"dataset.root={root}", "dataset.images=null"]
        words += [f"dataset.pool={self.write(root, lines)}"]
        counts = "protocol.counts={state: 1, train: 3, dev: 1, reward: 2}"
        world = World(composed("train_agent", [*words, "protocol=pool", counts]))
        world.check()
        splits = world.splits
        assert splits.compare == world.dataset.subsets["pool"] and splits.test == world.dataset.subsets["val"]
        assert [len(part) for part in (splits.state, splits.train, splits.dev, splits.reward)] == [1, 3, 1, 2]
        assert any("1 images have the content of another one" in note for note in world.notes)

    def test_a_pool_and_a_drawn_d_v_exclude_each_other(self, root, lines, refused):
        words = ["dataset=a2d2", f"dataset.root={root}", "dataset.images=null"]
        pool = f"dataset.pool={self.write(root, lines)}"
        line = refused("evaluate", *words, pool)
        assert "protocol.fractions.compare: D_V is the pool of a2d2; set protocol=pool, or leave the pool out" in line
        line = refused("evaluate", *words, "protocol=pool")
        assert "counts lacks 'compare'" in line
        for more in ("protocol.runs=2", "protocol.unseen=20180807_145028"):
            line = refused("evaluate", *words, pool, "protocol=pool", more)
            assert "say how D_V is drawn, but the data set has a pool; leave them out" in line

    def test_buying_a_repeated_image_costs_and_is_answered(self, root, lines, own_cache):
        words = ["dataset=a2d2", f"dataset.root={root}", "dataset.images=null", "protocol=pool", *TINY]
        words += [f"dataset.pool={self.write(root, lines)}", "game.unit=image", "game.draw=pool"]
        counts = "protocol.counts={state: 1, train: 2, dev: 0, reward: 1}"
        game = World(composed("evaluate_policy", [*words, counts])).game("compare", observed=False)
        game.reset(0)
        names = [name for name, *_ in game.pool.records(np.arange(4))]
        twins = [i for i, name in enumerate(names) if name.startswith("20180807145028_camera_frontcenter_000000027")]
        game.view((), observed=False)
        turn = game.step(np.array(twins))
        assert len(turn.units) == 2 and game.ledger.units == 2

    def test_a_comparison_on_a_pool(self, root, lines, tmp_path, own_cache):
        words = ["dataset=a2d2", f"dataset.root={root}", "dataset.images=null", "dataset.table=as_released"]
        words += [f"dataset.pool={self.write(root, lines)}", "protocol=pool", "policies=[random,uniform_in_time]"]
        words += ["protocol.counts={state: 1, train: 3, dev: 1, reward: 2}", f"run={tmp_path / 'run'}", *TINY]
        assert evaluate_policy.main(words) == 0
        header, *rows = (tmp_path / "run/results.csv").read_text().splitlines()
        assert "iou_rest" in header and len(rows) == 4

    @pytest.mark.parametrize(
        ("pool", "lines", "unique", "sequences"),
        [("0f", 2640, 2640, 22), ("5f", 2640, 2400, 16), ("11f", 2640, 2407, 16), ("21f", 2680, 2430, 16)],
    )
    def test_the_published_pools(self, monkeypatch, tmp_path, pool, lines, unique, sequences):
        """On a tree of empty files with all of their names."""
        path = LISTS / f"pool_{pool}.txt"
        if not path.is_file():
            pytest.skip("the lists are not here")
        listed = set(path.read_text().split())
        for line in [*listed, *(line_of(VAL, i) for i in range(3)), line_of("20180807_145028", 1)]:
            for name in (line, label_of(line)):
                (tmp_path / "train" / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / "train" / name).touch()
        for repeats, images in (("keep", lines), ("drop", unique)):
            dataset = A2D2(tmp_path, pool=path, repeats=repeats)
            assert len(dataset.subsets["pool"]) == images
            assert len({dataset.groups[name] for name in dataset.subsets["pool"]}) == sequences
            assert len({dataset.files[name] for name in dataset.subsets["pool"]}) == unique
            assert len(dataset.subsets["train"]) == 1 and len(dataset.notes) == (lines != unique)
        assert VAL not in {dataset.groups[name] for name in dataset.subsets["pool"]}
