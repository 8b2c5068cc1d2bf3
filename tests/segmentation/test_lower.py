import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets import Streets
from ralseg.segmentation.learners import LearnerImages
from ralseg.segmentation.networks import SmallFPN
from ralseg.segmentation.sources import MIRRORED, PLAIN, KeptMaps, Pictures, StagesSource, held_maps, kept, map_files
from ralseg.segmentation.sources.map_files import MapFiles
from ralseg.segmentation.store import ImageStore

CPU = torch.device("cpu")
IMAGE = (32 * 16 * 24 + 64 * 8 * 12) * 4
"""Bytes of the maps of an image of 64 x 96 below the partial cut: 32 channels at stride 4, 64 at stride 8."""


@pytest.fixture
def store(tmp_path):
    streets = Streets(9, (64, 96))
    return ImageStore(streets, streets.names, cache_dir=tmp_path)


def network_of(seed=0, dtype=torch.float32):
    torch.manual_seed(seed)
    network = SmallFPN(11).eval().to(dtype, memory_format=torch.channels_last)
    network.add_frozen_head(8)
    return network.to(dtype).eval()


def maps_of(store, cut="partial", **network):
    return kept_maps(network_of(**network), store, cut)


def kept_maps(network, store, cut="partial"):
    return KeptMaps(StagesSource(network, cut, CPU), LearnerImages(store), CPU)


def expected(store, images, cut="partial", dtype=torch.float32):
    """What the network gives for each image by itself."""
    network = network_of(dtype=dtype)
    with torch.no_grad():
        pixels = [network.normalise(torch.from_numpy(store.image(i)[None].copy())) for i in images]
        each = [network.lower(p.to(dtype), cut) for p in pixels]
    return [torch.cat(maps) for maps in zip(*each, strict=True)]


def assert_equal(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def files(store):
    return sorted(store.folder.parent.glob("maps-*/*.safetensors"))


def counted(maps, monkeypatch):
    """Counts the images that go through the lower stages, each as often as it does."""
    seen, original = [], maps._computed

    def computed(image):
        seen.append(image)
        return original(image)

    monkeypatch.setattr(maps, "_computed", computed)
    return seen


@pytest.mark.parametrize("cut", ["partial", "frozen"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_maps_are_those_of_the_network_new_kept_and_reopened(store, cut, dtype):
    images = [4, 0, 4, 7]
    wanted = expected(store, images, cut, dtype)
    first = maps_of(store, cut, dtype=dtype)
    for maps in (first, first, maps_of(store, cut, dtype=dtype)):
        with torch.inference_mode():
            found = maps(images)
        assert_equal(found, wanted)
        assert all(m.is_contiguous(memory_format=torch.channels_last) for m in found[:1])


def test_nothing_lies_below_the_cut_of_the_full_game(store):
    (images,) = Pictures(network_of(), LearnerImages(store), CPU, PLAIN)([3, 1])
    wanted = network_of().normalise(torch.from_numpy(np.stack([store.image(3), store.image(1)])))
    assert torch.equal(images, wanted)
    assert not files(store)


def test_stacks_of_the_full_game_are_kept_within_the_budget(store, monkeypatch):
    monkeypatch.setattr(kept, "CPU_BYTES", 2 * 3 * 64 * 96 * 4)
    maps = Pictures(network_of(), LearnerImages(store), CPU, PLAIN)
    once, first = maps([2]), maps([0, 1], again=True)
    assert maps([0, 1])[0] is first[0] and maps([2])[0] is not once[0]
    second = maps([3, 4], again=True)
    assert maps([3, 4])[0] is second[0]
    assert maps([0, 1])[0] is not first[0] and torch.equal(maps([0, 1])[0], first[0])


def test_an_image_is_computed_once_per_cache(store, monkeypatch):
    first, second = maps_of(store), maps_of(store)
    seen = counted(first, monkeypatch), counted(second, monkeypatch)
    first([0, 1])
    first([1, 2])
    second([2, 0, 3])
    first([3])
    assert seen == ([0, 1, 2], [3])
    assert [path.name for path in files(store)] == [f"{i}.safetensors" for i in range(4)]


ELSEWHERE = """
import sys
import torch
from ralseg.segmentation.datasets import Streets
from ralseg.segmentation.learners import LearnerImages
from ralseg.segmentation.networks import SmallFPN
from ralseg.segmentation.sources import KeptMaps, StagesSource
from ralseg.segmentation.store import ImageStore
torch.set_num_threads(1)
streets = Streets(9, (64, 96))
store = ImageStore(streets, streets.names, cache_dir=sys.argv[1])
torch.manual_seed(0)
network = SmallFPN(11).eval().to(memory_format=torch.channels_last)
network.add_frozen_head(8)
cpu = torch.device("cpu")
maps = KeptMaps(StagesSource(network.eval(), "partial", cpu), LearnerImages(store), cpu)
maps._computed = None
print([m.double().sum().item() for m in maps([1, 5])])
"""


def test_another_process_finds_them(store):
    wanted = [m.double().sum().item() for m in maps_of(store)([1, 5])]
    command = [sys.executable, "-c", ELSEWHERE, str(store.folder.parent)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == wanted


def test_other_weights_precisions_cuts_and_stores_have_other_files(store, tmp_path):
    streets = Streets(9, (64, 96), seed=1)
    another = ImageStore(streets, streets.names, cache_dir=tmp_path)
    for maps in (
        maps_of(store), maps_of(store, seed=1), maps_of(store, dtype=torch.bfloat16), maps_of(store, "frozen"),
        maps_of(another),
    ):  # fmt: skip
        maps([0])
    assert len(files(store)) == 5
    # The weights above the cut do not belong to the key.
    network = network_of()
    with torch.no_grad():
        for module in network.trained("partial"):
            for parameter in module.parameters():
                parameter.add_(1)
    kept_maps(network, store)([0])
    assert len(files(store)) == 5
    # Statistics of batch norm below it are.
    network.stages[1][0][1].running_mean.add_(0.1)
    kept_maps(network, store)([0])
    assert len(files(store)) == 6


def test_the_least_recently_used_are_dropped(store, monkeypatch):
    monkeypatch.setattr(kept, "CPU_BYTES", 3 * IMAGE)
    monkeypatch.setattr(map_files, "DISK_BYTES", 0)
    maps = maps_of(store)
    seen = counted(maps, monkeypatch)
    for image in (0, 1, 2, 0, 3, 0, 2, 1, 3):
        maps([image])
        assert len(maps._maps) <= 3
    # 3 drops 1, which was not used since 0 was; 1 drops 3, and 3 drops 0.
    assert seen == [0, 1, 2, 3, 1, 3]
    assert_equal(maps([2]), expected(store, [2]))
    assert not files(store)


def test_a_batch_larger_than_the_budget(store, monkeypatch):
    monkeypatch.setattr(kept, "CPU_BYTES", IMAGE)
    maps = maps_of(store)
    assert_equal(maps(range(6), again=True), expected(store, range(6)))
    assert maps._stacks.get(tuple(range(6))) is None
    monkeypatch.setattr(kept, "CPU_BYTES", IMAGE - 1)
    assert_equal(maps_of(store)([8, 7]), expected(store, [8, 7]))


def test_stacks_that_are_asked_for_again_are_kept_within_the_budget(store, monkeypatch):
    monkeypatch.setattr(kept, "CPU_BYTES", 4 * IMAGE)
    maps = maps_of(store)
    once, first = maps([2]), maps([0, 1], again=True)
    assert maps([0, 1], again=True)[0] is first[0]
    assert maps([2])[0] is not once[0]
    second = maps([3, 4], again=True)
    assert maps([0, 1])[0] is first[0]
    maps([5], again=True)
    assert maps([0, 1])[0] is first[0]
    assert maps([3, 4])[0] is not second[0]
    # The maps of a stack that is kept are not kept a second time.
    assert len(maps._maps) == 3
    assert all(maps._maps.get((PLAIN, image)) is not None for image in (2, 3, 4))


def test_variants_share_one_budget(store, monkeypatch):
    monkeypatch.setattr(kept, "CPU_BYTES", 3 * IMAGE)
    held = held_maps(CPU)
    source, images = StagesSource(network_of(), "partial", CPU), LearnerImages(store)
    plain, mirrored = (KeptMaps(source, images, CPU, variant, held) for variant in (PLAIN, MIRRORED))
    for image in range(2):
        plain([image]), mirrored([image])
    assert len(held) == 3
    assert held.get((PLAIN, 0)) is None
    assert not torch.equal(plain([1])[0], mirrored([1])[0])


def test_kept_maps_can_be_trained_on(store):
    maps = maps_of(store)
    with torch.inference_mode():
        maps([0, 1])
    network = network_of()
    network(maps([0, 1]), "partial").logits.sum().backward()
    assert network.head.weight.grad is not None


def some_maps(value):
    return (torch.full((4, 4), float(value)), torch.zeros(2, 0))


def test_files_fill_the_disk_up_to_a_limit(tmp_path, monkeypatch):
    kept = MapFiles(tmp_path, "a")
    kept.write(0, some_maps(0))
    monkeypatch.setattr(map_files, "DISK_BYTES", 3.5 * kept._path(0).stat().st_size)
    for image in range(1, 9):
        kept.write(image, some_maps(image))
    found = [kept.read(image) for image in range(9)]
    assert [maps is not None for maps in found] == [True] * 3 + [False] * 6
    assert_equal(found[2], some_maps(2))


def test_the_files_of_networks_used_least_recently_are_removed(tmp_path, monkeypatch):
    for number, key in enumerate(("a", "b", "c")):
        kept = MapFiles(tmp_path, key)
        kept.write(0, some_maps(0))
        os.utime(kept.folder, (number, number))
    size = kept._path(0).stat().st_size
    MapFiles(tmp_path, "a")
    monkeypatch.setattr(map_files, "DISK_BYTES", 2 * size)
    MapFiles(tmp_path, "d")
    assert {path.name for path in tmp_path.iterdir()} == {"maps-a", "maps-c", "maps-d"}
    monkeypatch.setattr(map_files, "DISK_BYTES", 0)
    own = MapFiles(tmp_path, "c")
    assert [path.name for path in tmp_path.glob("*/*")] == ["0.safetensors"]
    # A network whose files were removed continues: mapped files stay valid, and new maps are written again.
    maps = own.read(0)
    MapFiles(tmp_path, "e")
    assert_equal(maps, some_maps(0))
    assert own.read(0) is None
    monkeypatch.setattr(map_files, "DISK_BYTES", 2 * size)
    own.write(1, some_maps(1))
    assert_equal(own.read(1), some_maps(1))


def test_a_full_disk_is_named(store, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    maps = maps_of(store)
    monkeypatch.setattr("ralseg.foundation.files.os.fsync", full)
    with pytest.raises(RalsegError, match=r"maps-\w+/3\.safetensors: no space left on the disk; free some"):
        maps([3])
    assert not list(store.folder.parent.glob("maps-*/*"))


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(RalsegError, match=r"maps-a: cannot be written \(Not a directory\); set RALSEG_CACHE to a"):
        MapFiles(tmp_path / "cache", "a")


def test_a_damaged_file_is_named(tmp_path):
    kept = MapFiles(tmp_path, "a")
    kept.write(5, some_maps(5))
    with open(kept._path(5), "r+b") as file:
        file.truncate(60)
    with pytest.raises(RalsegError, match=r"5\.safetensors: not readable .*; delete .*maps-a"):
        kept.read(5)
