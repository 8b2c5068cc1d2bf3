import errno
import multiprocessing
import os
import pickle
import time

import cv2
import numpy as np
import pytest

from ralseg.foundation import RalsegError, read_json
from ralseg.segmentation.datasets import CamVid, Folder, Streets
from ralseg.segmentation.store import ImageStore, count_classes, shrink


class Counting(Streets):
    """Streets of several sizes that count how often they are drawn and whose fingerprints can change."""

    def __init__(self):
        super().__init__(images=9, size=(60, 80))
        self.loads = 0
        self.version = dict.fromkeys(self.names, "1")

    def size(self, name):
        return 60 - int(name[-1]), 80 + 3 * int(name[-1])

    def load(self, name):
        self.loads += 1
        height, width = self.size(name)
        image, label = super().load(name)
        image, label = (cv2.resize(x, (width, height), interpolation=cv2.INTER_NEAREST) for x in (image, label))
        return image, label

    def fingerprint(self, name):
        return self.version[name]


@pytest.fixture
def dataset():
    return Counting()


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.37])
def test_it_holds_what_the_data_set_loads(dataset, tmp_path, scale):
    names = dataset.names[::-2]
    store = ImageStore(dataset, names, scale, tmp_path)
    assert len(store) == len(names) == 5
    assert store.names == names
    assert store.dataset is dataset
    for name in names:
        i = store.index(name)
        image, label = dataset.load(name)
        height, width = label.shape
        assert store.size(i) == (height, width)
        assert store.input_size(i) == (round(scale * height), round(scale * width))
        np.testing.assert_array_equal(store.label(i), label)
        if scale == 1:
            np.testing.assert_array_equal(store.image(i), image)
        else:
            shrunk = cv2.resize(image, store.input_size(i)[::-1], interpolation=cv2.INTER_AREA)
            np.testing.assert_array_equal(store.image(i), shrunk)


def test_views_are_read_only_and_shared(dataset, tmp_path):
    store = ImageStore(dataset, dataset.names, cache_dir=tmp_path)
    for view in (store.image(2), store.label(2)):
        assert type(view) is np.ndarray
        assert not view.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            view[0, 0] = 0
    assert np.shares_memory(store.image(2), store.image(2))


def test_class_counts_are_kept_beside_the_labels(dataset, tmp_path, monkeypatch):
    store = ImageStore(dataset, dataset.names[::2], 0.5, tmp_path)
    expected = [[(store.label(i) == c).sum() for c in range(11)] for i in range(5)]
    reopened = ImageStore(dataset, dataset.names[::2], 0.5, tmp_path)
    monkeypatch.setattr(reopened, "label", None)
    assert reopened.class_counts().tolist() == expected
    assert reopened.class_counts().dtype == np.int64
    assert count_classes(np.array([[0, 2, 255], [2, 2, 255]], np.uint8), 4).tolist() == [1, 0, 3, 0]


def test_it_is_decoded_once(dataset, tmp_path):
    ImageStore(dataset, dataset.names, 0.5, tmp_path)
    assert dataset.loads == 9
    ImageStore(dataset, dataset.names, 0.5, tmp_path)
    assert dataset.loads == 9
    assert len(list(tmp_path.iterdir())) == 1


def test_other_names_and_scales_are_other_stores(dataset, tmp_path):
    ImageStore(dataset, dataset.names, 0.5, tmp_path)
    ImageStore(dataset, dataset.names, 1.0, tmp_path)
    ImageStore(dataset, dataset.names[:3], 0.5, tmp_path)
    ImageStore(Streets(images=9, size=(64, 64)), dataset.names, 0.5, tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_change_is_noticed_and_the_old_store_removed(dataset, tmp_path):
    ImageStore(dataset, dataset.names, 0.5, tmp_path)
    other = ImageStore(dataset, dataset.names, 1.0, tmp_path)
    dataset.version[dataset.names[4]] = "2"
    store = ImageStore(dataset, dataset.names, 0.5, tmp_path)
    assert dataset.loads == 27
    assert len(list(tmp_path.iterdir())) == 2
    meta = read_json(store.folder / "meta.json")
    assert meta["fingerprints"][3:6] == ["1", "2", "1"]
    assert other.image(0).shape == (60, 80, 3)


def test_a_changed_file_is_decoded_again(camvid_tree, tmp_path):
    dataset = CamVid(camvid_tree)
    name = dataset.names[3]
    before = ImageStore(dataset, dataset.names, 0.5, tmp_path / "cache").image(3).copy()
    path = dataset.files[name][0]
    cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    after = ImageStore(dataset, dataset.names, 0.5, tmp_path / "cache").image(3)
    np.testing.assert_allclose(after, 255 - before.astype(int), atol=1)


def test_contents_tell_images_apart_and_nothing_else(tmp_path):
    """A copy of a tree, of another day, holds the same; another scale changes all, one label changes that image."""

    class Moved(Streets):
        def fingerprint(self, name):
            return "another day"

        def load(self, name):
            image, label = super().load(name)
            return image, 255 - label if name == "street_00002" else label

    def contents(dataset, scale=0.5):
        store = ImageStore(dataset, dataset.names, scale, tmp_path)
        return [store.content(i) for i in range(len(store))]

    held = contents(Streets(9, (60, 80)))
    assert len(set(held)) == 9
    assert [i for i, (a, b) in enumerate(zip(held, contents(Moved(9, (60, 80))), strict=True)) if a != b] == [2]
    assert not set(held) & set(contents(Streets(9, (60, 80)), 0.25))


def test_contents_are_read_not_reckoned(dataset, tmp_path, monkeypatch):
    store = ImageStore(dataset, dataset.names, 0.5, tmp_path)
    monkeypatch.setattr("ralseg.segmentation.store._content", None)
    reopened = ImageStore(dataset, dataset.names, 0.5, tmp_path)
    assert [reopened.content(i) for i in range(9)] == [store.content(i) for i in range(9)]


def test_it_is_picklable(dataset, tmp_path):
    store = ImageStore(dataset, dataset.names, 0.5, tmp_path)
    sent = pickle.dumps(store)
    assert len(sent) < 20_000
    np.testing.assert_array_equal(pickle.loads(sent).image(4), store.image(4))


def test_it_goes_to_a_spawned_worker(tmp_path):
    dataset = Streets(images=9, size=(60, 80))
    store = ImageStore(dataset, dataset.names, cache_dir=tmp_path)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(ImageStore.class_counts, (store,)), store.class_counts())


def test_two_that_build_at_once_end_with_one(dataset, tmp_path):
    class Slow(Counting):
        def load(self, name):
            if name == self.names[-1] and self.loads == 8:
                ImageStore(dataset, self.names, 0.5, tmp_path)
            return super().load(name)

    store = ImageStore(Slow(), dataset.names, 0.5, tmp_path)
    assert dataset.loads == 9
    assert [path.name for path in tmp_path.iterdir()] == [store.folder.name]
    assert store.label(8).shape == dataset.size(dataset.names[8])


def test_a_store_that_is_removed_is_read_on(dataset, tmp_path):
    """Another process finds a change and removes the store; who has opened it goes on with its own bytes."""
    store = ImageStore(dataset, dataset.names, 0.5, tmp_path)
    before = [(store.image(i).copy(), store.label(i).copy()) for i in range(9)]
    sent, counts, digest = pickle.dumps(store), store.class_counts(), store.digest
    dataset.version[dataset.names[4]] = "2"
    again = ImageStore(dataset, dataset.names, 0.5, tmp_path)
    assert not store.folder.exists() and again.folder.exists()
    for i, (image, label) in enumerate(before):
        np.testing.assert_array_equal(store.image(i), image)
        np.testing.assert_array_equal(store.label(i), label)
    np.testing.assert_array_equal(store.class_counts(), counts)
    assert store.digest == again.digest == digest
    with pytest.raises(RalsegError, match="was removed, perhaps by a process that found the images changed"):
        pickle.loads(sent)


def test_an_image_that_changes_while_it_is_read_is_refused(dataset, tmp_path):
    class Changing(Counting):
        def load(self, name):
            self.version[self.names[2]] = f"after {self.loads}"
            return super().load(name)

    with pytest.raises(RalsegError, match="image or label 'street_00002' changed while it was read; run the same"):
        ImageStore(Changing(), dataset.names, 0.5, tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_killed_builders_left_is_removed_in_time(dataset, tmp_path):
    for name, age in ((".building-dead", 25), (".building-alive", 23)):
        (tmp_path / name / "store").mkdir(parents=True)
        (tmp_path / name / "store/images.bin").write_bytes(b"half")
        then = time.time() - age * 3600
        for path in (tmp_path / name / "store/images.bin", tmp_path / name / "store", tmp_path / name):
            os.utime(path, (then, then))
    store = ImageStore(dataset, dataset.names, 0.5, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".building-alive", store.folder.name}


@pytest.mark.parametrize("cache", ["file", "file/below", "/proc/cache", "/proc"])
def test_a_cache_that_cannot_be_written(dataset, tmp_path, cache):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(RalsegError, match=rf"{cache}: cannot be written \(.*set RALSEG_CACHE to a folder that can be"):
        ImageStore(dataset, dataset.names, 0.5, tmp_path / cache)
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_leaves_nothing(dataset, tmp_path, monkeypatch):
    def full(path, value):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("ralseg.segmentation.store.write_json", full)
    with pytest.raises(RalsegError, match="no space left on the disk; free some, or set RALSEG_CACHE"):
        ImageStore(dataset, dataset.names, cache_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_bad_image_leaves_nothing(camvid_tree, tmp_path):
    dataset = CamVid(camvid_tree)
    dataset.files[dataset.names[5]][1].write_bytes(b"")
    with pytest.raises(RalsegError, match="replace the file"):
        ImageStore(dataset, dataset.names, cache_dir=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_the_environment_names_the_cache(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("RALSEG_CACHE", str(tmp_path / "there"))
    ImageStore(dataset, dataset.names[:1])
    assert len(list((tmp_path / "there").iterdir())) == 1


def test_a_cut_file_is_refused(dataset, tmp_path):
    store = ImageStore(dataset, dataset.names, cache_dir=tmp_path)
    with open(store.folder / "labels.bin", "r+b") as file:
        file.truncate(100)
    with pytest.raises(RalsegError, match=r"labels\.bin: 100 bytes where \d+ belong; delete"):
        ImageStore(dataset, dataset.names, cache_dir=tmp_path)


def test_bad_arguments(dataset, tmp_path):
    with pytest.raises(RalsegError, match="'street_00001' is twice"):
        ImageStore(dataset, ["street_00001", "street_00000", "street_00001"], cache_dir=tmp_path)
    for scale in (0, 1.5, -1):
        with pytest.raises(RalsegError, match=f"scale is {scale}"):
            ImageStore(dataset, dataset.names, scale, tmp_path)
    store = ImageStore(dataset, dataset.names[:2], cache_dir=tmp_path)
    with pytest.raises(RalsegError, match="no image 'street_00002'"):
        store.index("street_00002")


def test_shrinking():
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    assert shrink(image, 1.0) is image
    halves = image.reshape(2, 2, 3, 2, 3).astype(float).mean((1, 3))
    np.testing.assert_allclose(shrink(image, 0.5), halves, atol=0.51)
    assert shrink(image[:1], 0.01).shape == (1, 1, 3)


def test_partly_labelled_folders(tmp_path):
    root = tmp_path / "field"
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    for name in "ab":
        cv2.imwrite(str(root / f"images/{name}.png"), np.zeros((8, 9, 3), np.uint8))
    cv2.imwrite(str(root / "labels/b.png"), np.zeros((8, 9), np.uint8))
    (root / "classes.yaml").write_text("- {name: a, id: 0}\n")
    store = ImageStore(Folder(root), ["a"], cache_dir=tmp_path / "cache")
    assert (store.label(0) == 255).all()
