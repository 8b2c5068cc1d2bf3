from pathlib import Path

import numpy as np
import pytest

from ralseg.configs import composed
from ralseg.envs import World
from ralseg.foundation import RalsegError, generator
from ralseg.segmentation import augmented_pool
from ralseg.segmentation.augmented_pool import READERS, main, write_augmented_pool
from ralseg.segmentation.datasets import A2D2, IGNORE, Folder, Streets
from ralseg.segmentation.splits import ROLES
from tests.segmentation.test_a2d2 import write_a2d2

SIZE = (90, 150)


@pytest.fixture
def streets():
    return Streets(30, SIZE)


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def write(streets, folder, seed=0, **options):
    given = {"originals": 3, "copies": 4, "others": 6, **options}
    write_augmented_pool(streets, folder, generator(seed, "augmented pool"), **given)
    return Folder(folder)


def window_of(label, copy):
    """The places of a window of a label that hold a copy."""
    views = np.lib.stride_tricks.sliding_window_view(label, copy.shape)
    return np.argwhere((views == copy).all((2, 3)))


def test_what_the_folder_holds(streets, tmp_path):
    dataset = write(streets, tmp_path / "pool")
    sizes = {subset: len(names) for subset, names in dataset.subsets.items()}
    assert sizes == {"pool": 15, "train": 6, "val": 6, "test": 4}
    assert dataset.classes == streets.classes and (dataset.colors == streets.colors).all()
    originals = {name.split("/")[1] for name in dataset.subsets["pool"]}
    others = {name.split("/")[2] for name in dataset.subsets["train"]}
    assert len(originals) == 3 and originals | others <= set(streets.subsets["train"]) and not originals & others
    for subset in ("val", "test"):
        assert tuple(sorted(name.split("/")[2] for name in dataset.subsets[subset])) == streets.subsets[subset]
    for name in (*dataset.subsets["train"], *dataset.subsets["test"]):
        source = name.split("/")[2]
        assert name.split("/")[1] == streets.groups[source]
        for own, found in zip(streets.load(source), dataset.load(name), strict=True):
            np.testing.assert_array_equal(own, found)


def test_copies_are_windows_in_other_colours(streets, tmp_path):
    dataset = write(streets, tmp_path / "pool")
    for original in {name.split("/")[1] for name in dataset.subsets["pool"]}:
        assert len({dataset.groups[f"pool/{original}/{i}"] for i in range(5)}) == 1
        image, label = streets.load(original)
        np.testing.assert_array_equal(dataset.load(f"pool/{original}/0")[0], image)
        places = set()
        for i in range(1, 5):
            altered, copy = dataset.load(f"pool/{original}/{i}")
            assert copy.shape == altered.shape[:2] == (83, 138)
            assert abs(copy.size / label.size - 0.85) < 0.01
            found = window_of(label, copy)
            assert len(found)
            y, x = found[0]
            places.add((y, x))
            same = image[y : y + 83, x : x + 138]
            assert (altered != same).any()
            # Colours of a channel stay in their order.
            channel, value = altered[..., 1].ravel().astype(int), same[..., 1].ravel()
            order = np.argsort(value, kind="stable")
            assert (np.diff(channel[order]) >= 0).all()
        assert len(places) > 1
    assert len({dataset.groups[name] for name in dataset.subsets["pool"]}) == 3


def test_the_seed_decides(streets, tmp_path):
    first, same, other = (write(streets, tmp_path / str(i), seed)._root for i, seed in enumerate((0, 0, 1)))
    assert contents(first) == contents(same)
    assert contents(first).keys() != contents(other).keys()


def test_void_and_options(streets, tmp_path, monkeypatch):
    load = streets.load

    def with_void(name):
        image, label = load(name)
        label[:40] = IGNORE
        return image, label

    monkeypatch.setattr(streets, "load", with_void)
    dataset = write(streets, tmp_path / "pool", area=1.0, colour=0.0, copies=1, others=0)
    assert "train" in dataset.subsets and not dataset.subsets["train"]
    for name in dataset.subsets["pool"]:
        image, label = dataset.load(name)
        assert (label[:40] == IGNORE).all() and image.shape[:2] == SIZE
        np.testing.assert_array_equal(image, dataset.load(name[:-1] + "0")[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"originals": 15}, "15 originals and 6 other images are more than the 20 training images of streets; lower"),
        ({"originals": 0}, "originals=0 is out of range"),
        ({"copies": 0}, "copies=0 is out of range"),
        ({"others": -1}, "others=-1 is out of range"),
        ({"area": 1.5}, "area=1.5 is out of range"),
        ({"area": 0}, "area=0 is out of range"),
        ({"colour": 2}, "colour=2 is out of range"),
    ],
)
def test_numbers_that_are_none(streets, tmp_path, options, message):
    with pytest.raises(RalsegError, match=message):
        write(streets, tmp_path / "pool", **options)
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_of_what_fails(streets, tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    with pytest.raises(RalsegError, match=r"there: exists; name a new folder"):
        write(streets, tmp_path / "there")
    (tmp_path / "file").write_text("")
    with pytest.raises(RalsegError, match=r"file/pool: cannot be written"):
        write(streets, tmp_path / "file" / "pool")
    load = streets.load

    def broken(name):
        if name in streets.subsets["test"]:
            raise RalsegError(f"{name}: damaged")
        return load(name)

    monkeypatch.setattr(streets, "load", broken)
    with pytest.raises(RalsegError, match="damaged"):
        write(streets, tmp_path / "pool")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there"]


def test_the_command_and_a_game_on_what_it_writes(tmp_path, capsys, own_cache):
    root, folder = write_a2d2(tmp_path / "a2d2"), tmp_path / "pool"
    words = [str(root), str(folder), "--dataset", "a2d2_as_released", "--originals", "2", "--others", "7"]
    assert main(words) == 0
    assert len(Folder(folder).subsets["pool"]) == 12
    assert Folder(folder).classes == A2D2(root, table="as_released").classes
    counts = "protocol.counts={state: 1, train: 3, dev: 1, reward: 2}"
    world = World(composed("train_agent", ["dataset=folder", f"dataset.root={folder}", "protocol=pool", counts]))
    world.check()
    assert [len(getattr(world.splits, role)) for role in ROLES] == [1, 3, 12, 1, 2, 0, 3]
    assert main(words) == 2
    assert capsys.readouterr().err == f"augmented_pool: {folder}: exists; name a new folder\n"
    assert main([*words[:1], str(tmp_path / "other"), *words[2:], "--seed", "-1"]) == 2
    assert "augmented_pool: seed=-1 is out of range" in capsys.readouterr().err
    assert main([str(tmp_path / "nowhere"), str(tmp_path / "other")]) == 2
    assert "nowhere: no such folder" in capsys.readouterr().err


def test_readers_are_called_as_their_data_sets(tmp_path):
    root = write_a2d2(tmp_path / "a2d2")
    assert [READERS[name](str(root)).name for name in ("a2d2", "a2d2_as_released")] == ["a2d2", "a2d2_as_released"]
    assert f"python -m {augmented_pool.__name__}" in str(augmented_pool.__doc__)
    assert f"python -m {augmented_pool.__name__}" in (Path(__file__).parents[2] / "docs/data.md").read_text()
