import hashlib

import numpy as np
import pytest

from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets import IGNORE, Streets
from ralseg.segmentation.datasets.street_canvas import CAMERA_HEIGHT, Canvas
from ralseg.segmentation.datasets.street_looks import LOOKS
from ralseg.segmentation.datasets.street_scene import PARTS
from ralseg.segmentation.datasets.streets import CLASS_OF_PART, CYCLE, PALETTES

# CamVid's training images, % of the pixels that are not void.
CAMVID_SHARES = (17.54, 24.21, 1.02, 32.96, 4.67, 10.12, 1.22, 1.17, 6.11, 0.67, 0.30)
SIGN, BICYCLIST = 6, 10


def digest(dataset, part):
    sums = hashlib.sha256()
    for name in dataset.names:
        sums.update(dataset.load(name)[part].tobytes())
    return sums.hexdigest()[:16]


@pytest.fixture(scope="module")
def labels():
    """The labels of 150 training images at a quarter of the size."""
    dataset = Streets(images=225, size=(90, 120))
    return np.stack([dataset.load(name)[1] for name in dataset.subsets["train"]])


def test_pictures_are_the_same_on_every_machine():
    # The same with OpenCV 4.10 and 5.0, NumPy 2.0 and 2.4.
    dataset = Streets(images=30, size=(90, 120))
    assert digest(dataset, 0) == "2960c8b63c8dd4d7"
    assert digest(dataset, 1) == "d3f2c0090151962b"
    dataset = Streets(images=30, size=(64, 128), seed=3, variant="cityscapes")
    assert digest(dataset, 0) == "95de792dcc5e932b"
    assert digest(dataset, 1) == "2068e0ea7fbaf628"


def test_an_image_depends_on_its_number_only():
    few, many = Streets(images=9, size=(60, 80)), Streets(images=40, size=(60, 80))
    many.load(many.names[30])
    for name in few.names:
        np.testing.assert_array_equal(few.load(name)[0], many.load(name)[0])
        assert few.groups[name] == many.groups[name]
    assert all((few.load(a)[1] != few.load(b)[1]).any() for a, b in zip(few.names, few.names[1:], strict=False))


def test_seeds_and_numbers_give_other_pictures():
    name = "street_00002"
    first, second = (Streets(images=9, size=(60, 80), seed=seed).load(name)[1] for seed in (0, 1))
    assert (first != second).mean() > 0.1


def test_variants_show_the_same_street():
    camvid, cityscapes = (Streets(images=9, size=(60, 80), variant=variant) for variant in PALETTES)
    a, b = camvid.load("street_00000")[1], cityscapes.load("street_00000")[1]
    for name, other in (("road", "road"), ("sky", "sky"), ("pedestrian", "person"), ("pavement", "sidewalk")):
        np.testing.assert_array_equal(a == camvid.classes.index(name), b == cityscapes.classes.index(other))


def test_class_shares_are_near_camvids(labels):
    counts = np.bincount(labels.ravel(), minlength=256)
    assert 0.015 < counts[IGNORE] / counts.sum() < 0.045
    shares = 100 * counts[:11] / counts[:11].sum()
    for share, target in zip(shares, CAMVID_SHARES, strict=True):
        assert 0.6 * target < share < 1.6 * target
    assert 65 < shares[[0, 1, 3]].sum() < 78
    assert shares[[SIGN, BICYCLIST]].max() < 1


def test_rare_classes_are_in_few_images(labels):
    present = np.array([(labels == i).any((1, 2)).mean() for i in range(11)])
    assert present[[0, 1, 3]].min() > 0.98
    assert 0.1 < present[10] < 0.6


def test_subsets_and_clips():
    dataset = Streets(images=300)
    assert {subset: len(names) for subset, names in dataset.subsets.items()} == {"train": 200, "val": 60, "test": 40}
    clips = {subset: {dataset.groups[name] for name in names} for subset, names in dataset.subsets.items()}
    assert clips == {"train": {"brick", "stone", "suburb", "avenue"}, "val": {"brick"}, "test": {"dusk", "avenue"}}
    assert {clip for _, clip in CYCLE} == set(LOOKS)


def test_clips_differ_in_light():
    dataset = Streets(images=60, size=(60, 80))
    light = {clip: [] for clip in LOOKS}
    for name in dataset.names:
        light[dataset.groups[name]].append(dataset.load(name)[0][40:].mean())
    brightness = {clip: np.mean(values) for clip, values in light.items()}
    assert brightness.pop("dusk") < min(brightness.values()) - 8


@pytest.mark.parametrize("size", [(60, 60), (97, 331), (240, 61), (1100, 1300)])
def test_any_size(size):
    image, label = Streets(images=9, size=size).load("street_00004")
    assert image.shape == (*size, 3)
    assert label.shape == size
    assert len(np.unique(label)) > 3
    # The noise tile is smaller than the largest picture.
    assert image.std((0, 1)).min() > 5


def test_every_part_has_a_class():
    for variant, palette in PALETTES.items():
        mapped = {CLASS_OF_PART[variant].get(part, part) for part in PARTS}
        assert mapped == set(palette) | {"void"}


def test_default_unit():
    assert Streets().unit_size == (90, 80)
    assert Streets(size=(90, 200)).unit_size == (23, 34)
    assert Streets(unit_size=(10, 20)).unit_size == (10, 20)


def test_fingerprint_holds_the_arguments():
    prints = {
        Streets(**arguments).fingerprint("street_00000")
        for arguments in ({}, {"seed": 1}, {"size": (90, 120)}, {"variant": "cityscapes"})
    }
    assert len(prints) == 4


@pytest.mark.parametrize("arguments", [{"images": 8}, {"size": (59, 80)}, {"seed": -1}])
def test_bad_arguments(arguments):
    with pytest.raises(RalsegError, match=r"dataset\.(images|seed|size\[0\])=.* is out of range"):
        Streets(**arguments)


def test_an_unknown_variant():
    with pytest.raises(RalsegError, match=r"dataset\.variant='kitti' is unknown; choose from camvid, cityscapes"):
        Streets(variant="kitti")


def test_projection_by_hand():
    canvas = Canvas((360, 480), (0.5, 0.5), (0, 0, 0), {"road": 3})
    # Focal length 480; at 10 m a metre is 48 pixels; eye height falls on the horizon.
    assert canvas.project([(0, CAMERA_HEIGHT, 10), (2, 0, 10), (-1, 3, 20)]).tolist() == [
        [240, 180],
        [336, 252],
        [216, 144],
    ]
    canvas.upright((-1, 1), (0, 1), 10, (10, 20, 30), "road")
    rows, columns = np.nonzero(canvas.label)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (204, 252, 192, 288)
    # Haze is black here: at 10 m it takes 10 / 170 of the colour.
    np.testing.assert_allclose(canvas.image[230, 240], np.array([10, 20, 30]) * 160 / 170, atol=0.51)


def test_a_ring_is_hollow_but_its_label_is_not():
    canvas = Canvas((120, 160), (0.5, 0.5), (0, 0, 0), {"bicycle": 7})
    canvas.ring(0, CAMERA_HEIGHT, 4, 0.8, 0.1, (200, 200, 200), "bicycle")
    assert canvas.image[60, 80].tolist() == [0, 0, 0]
    assert canvas.image[60, 80 - 31].min() > 150
    assert canvas.label[60, 80] == 7
