import http.server
import os
import re
import shutil
import threading
import zipfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets import IGNORE, CamVid, Folder, InTaxonomy, Streets
from ralseg.segmentation.datasets.download import CAMVID_SHA256, content_sha256
from ralseg.segmentation.datasets.palettes import CITYSCAPES, spread_colors


class DatasetContract:
    """What every data set keeps; subclasses give the fixture `dataset`."""

    def test_names_are_sorted_unique_and_bare(self, dataset):
        assert list(dataset.names) == sorted(set(dataset.names))
        assert not any(name.endswith((".png", ".jpg")) for name in dataset.names)

    def test_classes_have_colours(self, dataset):
        assert len(set(dataset.classes)) == len(dataset.classes) < IGNORE
        assert dataset.colors.shape == (len(dataset.classes), 3)
        assert dataset.colors.dtype == np.uint8
        assert len(np.unique(dataset.colors, axis=0)) == len(dataset.classes)

    def test_load_gives_an_image_and_ids(self, dataset):
        seen = np.zeros(256, bool)
        for name in dataset.names[:12]:
            image, label = dataset.load(name)
            assert image.dtype == label.dtype == np.uint8
            assert image.shape == (*dataset.size(name), 3)
            assert label.shape == dataset.size(name)
            seen[np.unique(label)] = True
        assert not seen[len(dataset.classes) : IGNORE].any()
        assert seen[: len(dataset.classes)].sum() > 1

    def test_load_twice_gives_the_same(self, dataset):
        for first, second in zip(dataset.load(dataset.names[0]), dataset.load(dataset.names[0]), strict=True):
            np.testing.assert_array_equal(first, second)

    def test_an_unknown_name_is_refused(self, dataset):
        for method in (dataset.size, dataset.load, dataset.fingerprint):
            with pytest.raises(RalsegError, match=r"no image 'nobody.png'.*suffix"):
                method("nobody.png")

    def test_fingerprints_are_stable(self, dataset):
        assert dataset.fingerprint(dataset.names[0]) == dataset.fingerprint(dataset.names[0])

    def test_subsets_are_sorted_disjoint_and_known(self, dataset):
        names = [name for subset in dataset.subsets.values() for name in subset]
        assert len(set(names)) == len(names)
        assert set(names) <= set(dataset.names)
        assert all(list(subset) == sorted(subset) for subset in dataset.subsets.values())

    def test_every_image_has_a_group(self, dataset):
        assert set(dataset.groups) == set(dataset.names)

    def test_the_unit_fits_the_images(self, dataset):
        height, width = np.median([dataset.size(name) for name in dataset.names], axis=0)
        assert 1 <= dataset.unit_size[0] <= height
        assert 1 <= dataset.unit_size[1] <= width


class FileContract(DatasetContract):
    """What data sets of files keep besides; `stored` and `store` read and write a label file, by default a PNG."""

    unknown = 77
    many_dimensions = "holds colours where class ids are expected"

    def stored(self, path):
        return np.array(Image.open(path))

    def store(self, path, array):
        assert cv2.imwrite(str(path), array)

    def test_fingerprint_changes_with_each_file(self, dataset):
        name = dataset.names[0]
        for path in dataset.files[name]:
            before, others = dataset.fingerprint(name), dataset.fingerprint(dataset.names[1])
            stat = path.stat()
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
            assert dataset.fingerprint(name) != before
            assert dataset.fingerprint(dataset.names[1]) == others

    def test_sizes_that_differ_are_refused(self, dataset):
        image, label = dataset.files[dataset.names[0]]
        self.store(label, np.zeros((5, 7), np.uint8))
        with pytest.raises(RalsegError, match=rf"{re.escape(str(label))}: the label is 5 x 7 .*{image.name}"):
            dataset.load(dataset.names[0])

    def test_an_unknown_id_is_named_with_its_place(self, dataset):
        _, path = dataset.files[dataset.names[0]]
        label = self.stored(path)
        label[3, 9] = label[5, 2] = self.unknown
        self.store(path, label)
        with pytest.raises(RalsegError, match=rf"{re.escape(str(path))}: unknown class id {self.unknown} at y=3, x=9"):
            dataset.load(dataset.names[0])

    def test_a_label_of_colours_is_refused(self, dataset):
        _, path = dataset.files[dataset.names[0]]
        self.store(path, np.zeros((*dataset.size(dataset.names[0]), 3), np.uint8))
        with pytest.raises(RalsegError, match=self.many_dimensions):
            dataset.load(dataset.names[0])

    def test_damaged_files_are_refused(self, dataset):
        for path in dataset.files[dataset.names[1]]:
            whole = path.read_bytes()
            for damaged in (whole[: len(whole) // 2], b"", b"not an image"):
                path.write_bytes(damaged)
                with pytest.raises(RalsegError, match=rf"{re.escape(str(path))}: .*replace the file"):
                    dataset.load(dataset.names[1])
            path.write_bytes(whole)

    def test_a_file_that_goes_is_named(self, dataset):
        for path in reversed(dataset.files[dataset.names[0]]):
            path.unlink()
            for method in (dataset.load, dataset.fingerprint):
                with pytest.raises(RalsegError, match=rf"{re.escape(str(path))}: the file is gone"):
                    method(dataset.names[0])


class TestCamVid(FileContract):
    @pytest.fixture
    def dataset(self, camvid_tree):
        return CamVid(camvid_tree)

    def test_layout(self, dataset):
        assert {subset: len(names) for subset, names in dataset.subsets.items()} == {"train": 24, "val": 7, "test": 6}
        assert dataset.unit_size == (90, 80)
        assert dataset.classes[:3] == ("sky", "building", "pole")
        assert set(dataset.groups.values()) == {"0001TP", "0006R0", "0016E5", "Seq05VD"}

    def test_values_are_the_files(self, dataset, camvid_tree):
        name = dataset.subsets["val"][2]
        image, label = dataset.load(name)
        np.testing.assert_array_equal(image, cv2.imread(str(camvid_tree / f"val/{name}.png"))[..., ::-1])
        stored = cv2.imread(str(camvid_tree / f"valannot/{name}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(label, np.where(stored == 11, 255, stored))
        assert (label[-2:] == IGNORE).all()

    def test_lists_give_the_same_as_folders(self, dataset, camvid_tree):
        lists = {}
        for subset, names in dataset.subsets.items():
            lists[subset] = camvid_tree / f"{subset}.txt"
            lines = [f"/SegNet/CamVid/{subset}/{name}.png /SegNet/CamVid/{subset}annot/{name}.png" for name in names]
            lists[subset].write_text("\n".join(lines) + "\n\n")
        listed = CamVid(camvid_tree, list_files=lists)
        assert listed.files == dataset.files
        assert listed.subsets == dataset.subsets

    def test_a_list_may_choose(self, dataset, camvid_tree):
        name = dataset.subsets["train"][5]
        path = camvid_tree / "one.txt"
        path.write_text(f"train/{name}.png trainannot/{name}.png\n")
        assert CamVid(camvid_tree, list_files={"train": path}).names == (name,)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("train/a.png\n", "line 1: expected 'IMAGE LABEL', found 1 words"),
            ("", "the list is empty"),
            ("../x.png trainannot/a.png\n", r"line 1: '../x.png' does not end in a folder and a file"),
            ("/a.png trainannot/a.png\n", r"line 1: '/a.png' does not end in a folder and a file"),
            ("train/a.png trainannot/a.png\n", "train/a.png: the image is missing"),
        ],
    )
    def test_bad_lists(self, camvid_tree, text, message):
        path = camvid_tree / "bad.txt"
        path.write_text(text)
        with pytest.raises(RalsegError, match=message):
            CamVid(camvid_tree, list_files={"train": path})

    def test_a_missing_list(self, camvid_tree):
        with pytest.raises(RalsegError, match=r"none\.txt: cannot be read .*; correct dataset.list_files"):
            CamVid(camvid_tree, list_files={"train": camvid_tree / "none.txt"})

    def test_a_missing_root(self, tmp_path):
        with pytest.raises(RalsegError, match=r"nowhere: no such folder; set dataset\.root"):
            CamVid(tmp_path / "nowhere")

    def test_a_missing_folder(self, camvid_tree):
        shutil.rmtree(camvid_tree / "val")
        with pytest.raises(RalsegError, match=r"val: no PNG images"):
            CamVid(camvid_tree)

    def test_a_missing_label(self, dataset, camvid_tree):
        label = dataset.files[dataset.names[0]][1]
        label.unlink()
        with pytest.raises(RalsegError, match=rf"{re.escape(str(label))}: the label is missing"):
            CamVid(camvid_tree)

    def test_a_name_in_two_subsets(self, dataset, camvid_tree):
        name = dataset.subsets["train"][0]
        for suffix in ("", "annot"):
            shutil.copy(camvid_tree / f"train{suffix}/{name}.png", camvid_tree / f"test{suffix}/{name}.png")
        with pytest.raises(RalsegError, match="has the same name; an image belongs to one subset"):
            CamVid(camvid_tree)


class TestRealCamVid(DatasetContract):
    @pytest.fixture(scope="class")
    def dataset(self, camvid_root):
        return CamVid(camvid_root)

    def test_layout(self, dataset):
        assert {subset: len(names) for subset, names in dataset.subsets.items()} == {
            "train": 367,
            "val": 101,
            "test": 233,
        }
        assert dataset.size(dataset.names[0]) == (360, 480)


class TestDownload:
    @pytest.fixture
    def served(self, camvid_tree, tmp_path):
        """The address of a zip with the tree in it as a code host packs it, and its checksum."""
        site = tmp_path / "site"
        site.mkdir()
        with zipfile.ZipFile(site / "repo.zip", "w") as archive:
            archive.writestr("Tutorial-abc/README.md", "hello")
            archive.writestr("Tutorial-abc/CamVid/other/x.png", b"")
            archive.writestr("Tutorial-abc/CamVid/train.txt", "")
            for path in sorted(camvid_tree.rglob("*.png")):
                archive.write(path, f"Tutorial-abc/CamVid/{path.relative_to(camvid_tree)}")
        with zipfile.ZipFile(site / "empty.zip", "w") as archive:
            archive.writestr("Tutorial-abc/README.md", "hello")
        (site / "text.zip").write_text("no zip")

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def address(file):
            return f"http://127.0.0.1:{server.server_port}/{file}", content_sha256(camvid_tree)

        yield address
        server.shutdown()
        server.server_close()

    def test_it_unpacks_only_camvid(self, served, camvid_tree, tmp_path):
        url, sha256 = served("repo.zip")
        root = tmp_path / "new" / "camvid"
        fetched, original = CamVid(root, download=True, url=url, sha256=sha256), CamVid(camvid_tree)
        assert fetched.names == original.names
        np.testing.assert_array_equal(fetched.load(fetched.names[3])[0], original.load(original.names[3])[0])
        assert sorted(path.name for path in root.iterdir()) == sorted(path.name for path in camvid_tree.iterdir())
        assert [path.name for path in root.parent.iterdir()] == ["camvid"]

    def test_two_that_download_at_once_end_with_one(self, served, camvid_tree, tmp_path, monkeypatch):
        url, sha256 = served("repo.zip")
        root = tmp_path / "camvid"
        replace = os.replace

        def late(source, target):
            if Path(target) == root:
                shutil.copytree(camvid_tree, root)
            replace(source, target)

        monkeypatch.setattr(os, "replace", late)
        assert CamVid(root, download=True, url=url, sha256=sha256).names == CamVid(camvid_tree).names
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]

    def test_a_place_that_cannot_be_written(self):
        with pytest.raises(RalsegError, match=r"/proc/camvid: cannot be written .* dataset\.root=<folder>"):
            CamVid("/proc/camvid", download=True, url="http://127.0.0.1:1/none.zip", sha256="0" * 64)

    def test_an_existing_folder_is_not_fetched(self, camvid_tree):
        CamVid(camvid_tree, download=True, url="http://127.0.0.1:1/none.zip", sha256="0" * 64)

    @pytest.mark.parametrize(
        ("file", "sha256", "message"),
        [
            ("repo.zip", "1" * 64, "the images have the checksum .*, not 111"),
            ("empty.zip", None, "no CamVid/train/"),
            ("text.zip", None, "not a zip archive"),
            ("missing.zip", None, "cannot be fetched"),
        ],
    )
    def test_a_failed_download_leaves_nothing(self, served, tmp_path, file, sha256, message):
        url, right = served(file)
        folder = tmp_path / "new"
        with pytest.raises(RalsegError, match=message):
            CamVid(folder / "camvid", download=True, url=url, sha256=sha256 or right)
        assert not list(folder.iterdir())

    def test_the_checksum_sees_every_pixel_and_name(self, camvid_tree):
        before = content_sha256(camvid_tree)
        path = sorted((camvid_tree / "valannot").iterdir())[0]
        path.rename(path.with_name("renamed.png"))
        renamed = content_sha256(camvid_tree)
        label = cv2.imread(str(path.with_name("renamed.png")), cv2.IMREAD_UNCHANGED)
        label[0, 0] = (label[0, 0] + 1) % 11
        cv2.imwrite(str(path.with_name("renamed.png")), label)
        assert len({before, renamed, content_sha256(camvid_tree)}) == 3

    def test_the_built_in_checksum_is_that_of_the_real_data(self, camvid_root):
        assert content_sha256(camvid_root) == CAMVID_SHA256


def write_folder(root, settings=None):
    """Images of two sizes with labels of ids 10, 20, 30 and void 0."""
    rng = np.random.default_rng(1)
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for i in range(6):
        size = (40, 60) if i % 2 else (44, 72)
        cv2.imwrite(str(root / f"images/{'ab'[i // 3]}_{i}.{'png' if i else 'jpg'}"), rng.integers(0, 255, (*size, 3)))
        label = rng.choice(np.array([0, 10, 20, 30], np.uint8), size)
        cv2.imwrite(str(root / f"labels/{'ab'[i // 3]}_{i}.png"), label)
    classes = [{"name": "soil", "id": 20}, {"name": "crop", "id": 10, "color": [1, 2, 3]}, {"name": "weed", "id": 30}]
    (root / "classes.yaml").write_text(yaml.safe_dump({"classes": classes, "ignore": 0} | (settings or {})))
    return root


class TestFolder(FileContract):
    @pytest.fixture
    def dataset(self, tmp_path):
        subsets = {"train": ["a_0", "a_2", "b_4"], "val": "val.txt"}
        root = write_folder(tmp_path / "field", {"subsets": subsets, "groups": "[ab]"})
        (root / "val.txt").write_text("b_3\n\na_1\n")
        return Folder(root)

    def test_what_it_reads(self, dataset):
        assert dataset.names == ("a_0", "a_1", "a_2", "b_3", "b_4", "b_5")
        assert dataset.classes == ("soil", "crop", "weed")
        assert (dataset.name, dataset.title) == ("folder", "field")
        assert InTaxonomy(dataset, {"land": ["soil"], "plants": ["crop", "weed"]}).title == "field"
        assert dataset.colors[1].tolist() == [1, 2, 3]
        assert dataset.groups["a_2"] == "a"
        assert dataset.subsets == {"train": ("a_0", "a_2", "b_4"), "val": ("a_1", "b_3")}
        assert dataset.size("a_0") == (44, 72)

    def test_ids_become_places(self, dataset):
        stored = cv2.imread(str(dataset.files["a_1"][1]), cv2.IMREAD_UNCHANGED)
        expected = np.full(stored.shape, IGNORE, np.uint8)
        for place, id_ in enumerate((20, 10, 30)):
            expected[stored == id_] = place
        np.testing.assert_array_equal(dataset.load("a_1")[1], expected)

    def test_the_usual_unit(self, dataset):
        # Median size 42 x 66: a quarter is 10.5, a sixth 11.
        assert dataset.unit_size == (11, 11)

    def test_a_palette_label_is_read_as_ids(self, dataset):
        path = dataset.files["a_1"][1]
        before = dataset.load("a_1")[1]
        palette = Image.open(path).convert("L")
        image = Image.fromarray(np.array(palette), "P")
        image.putpalette(list(range(256)) * 3)
        image.save(path)
        assert Image.open(path).mode == "P"
        np.testing.assert_array_equal(dataset.load("a_1")[1], before)

    def test_other_ids_change_the_fingerprint(self, dataset, tmp_path):
        path = tmp_path / "field/classes.yaml"
        path.write_text(path.read_text().replace("id: 30", "id: 31"))
        assert Folder(tmp_path / "field").fingerprint("a_1") != dataset.fingerprint("a_1")

    def test_labels_may_be_missing_where_allowed(self, dataset, tmp_path):
        (tmp_path / "field/labels/a_0.png").unlink()
        with pytest.raises(
            RalsegError, match=r"a_0\.png: the label of a_0\.jpg is missing.*dataset\.require_labels=false"
        ):
            Folder(tmp_path / "field", require_labels=True)
        partly = Folder(tmp_path / "field")
        assert partly.notes == ("1 of 6 images have no label: they are pool, and nothing is measured there",)
        image, label = partly.load("a_0")
        assert image.shape == (44, 72, 3)
        assert (label == IGNORE).all()
        assert partly.fingerprint("a_0") != dataset.fingerprint("a_1")

    def test_grey_images_become_colour(self, dataset):
        grey = np.arange(40 * 60).reshape(40, 60).astype(np.uint8)
        cv2.imwrite(str(dataset.files["a_1"][0]), grey)
        np.testing.assert_array_equal(dataset.load("a_1")[0], np.repeat(grey[..., None], 3, 2))

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"subsets": {"train": ["c_9"]}}, "subset train lists 'c_9'"),
            ({"subsets": {"train": ["a_0"], "val": ["a_0"]}}, "'a_0' is in train and in val"),
            ({"subsets": {"train": "none.txt"}}, r"none\.txt: the list of subset train is missing"),
            ({"subsets": {"train": {"a": 3}}}, r"subset train is \{'a': '3'\}; give a text file or a list"),
            ({"subsets": ["train"]}, r"subsets is \['train'\]; map"),
            ({"groups": "x"}, "groups 'x' does not match 'a_0'"),
            ({"groups": "("}, "no regular expression"),
            ({"voids": 1}, "unknown key 'voids'; the known ones are classes"),
            ({"ignore": 65536}, "ignore is '65536'; give the id of void in the labels, 0 to 65535"),
            ({"classes": []}, "no classes"),
            ({"classes": [{"name": "a"}]}, "class 1: .*give a name and an id"),
            ({"classes": [{"name": "a", "id": 1}, {"name": "b", "id": 1}]}, "class 2: name 'b' or id 1 is taken"),
            ({"classes": [{"name": "a", "id": 1}, {"name": "a", "id": 2}]}, "class 2: name 'a' or id 2 is taken"),
            ({"classes": [{"name": "a", "id": 0}]}, "ignore is 0, which is the id of a class, too"),
            ({"classes": [{"name": "a", "id": 1, "color": [0, 0]}]}, r"the color of 'a' is \['0', '0'\]; give \[red"),
        ],
    )
    def test_bad_settings(self, tmp_path, settings, message):
        with pytest.raises(RalsegError, match=message):
            Folder(write_folder(tmp_path / "field", settings))

    def test_bad_files(self, tmp_path):
        root = write_folder(tmp_path / "field")
        shutil.copy(root / "images/a_1.png", root / "images/a_0.png")
        with pytest.raises(RalsegError, match=r"has the same name; rename one"):
            Folder(root)
        shutil.rmtree(root / "images")
        with pytest.raises(RalsegError, match=r"images: no images; put PNG or JPEG"):
            Folder(root)
        (root / "classes.yaml").write_text("{")
        with pytest.raises(RalsegError, match=r"classes\.yaml: not YAML"):
            Folder(root)
        (root / "classes.yaml").unlink()
        with pytest.raises(RalsegError, match=r"classes\.yaml: cannot be read"):
            Folder(root)

    def test_a_bare_list_of_classes(self, tmp_path):
        root = write_folder(tmp_path / "field")
        (root / "classes.yaml").write_text("- {name: all, id: 10}\n")
        dataset = Folder(root, unit_size=(20, 30))
        assert dataset.classes == ("all",)
        assert dataset.unit_size == (20, 30)
        assert set(dataset.groups.values()) == {"all"}
        assert dataset.subsets == {}


class TestStreets(DatasetContract):
    @pytest.fixture(scope="class")
    def dataset(self):
        return Streets(images=30, size=(90, 120))


class TestStreetsCityscapes(DatasetContract):
    @pytest.fixture(scope="class")
    def dataset(self):
        return Streets(images=9, size=(64, 128), variant="cityscapes")

    def test_classes(self, dataset):
        assert dataset.classes == tuple(CITYSCAPES)
        assert len(dataset.classes) == 19


@pytest.mark.parametrize(("count", "least"), [(11, 45), (19, 35), (60, 18)])
def test_spread_colours_are_clearly_different(count, least):
    """In CIELAB a distance of 2.3 is just noticeable."""
    colors = spread_colors(count)
    assert colors.dtype == np.uint8 and colors.shape == (count, 3)
    lab = cv2.cvtColor(
        np.vstack([colors, [[0, 0, 0], [255, 255, 255]]])[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB
    )
    distances = np.linalg.norm(lab[0][:, None] - lab[0][None], axis=-1)
    assert distances[~np.eye(count + 2, dtype=bool)].min() >= least
    # Whoever adds a class keeps the colours of the others.
    assert (spread_colors(count + 1)[:count] == colors).all()


def test_spread_colours_suffice():
    assert len(np.unique(spread_colors(255), axis=0)) == 255
