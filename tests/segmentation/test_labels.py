import numpy as np
import pytest

from ralseg.features import UnitGrid
from ralseg.foundation import RalsegError
from ralseg.segmentation.labels import PartialLabels, soft_targets


def slow_targets(labels, classes, size, offset=(0, 0), full=None):
    height, width = full or labels.shape
    counts = np.zeros((classes, *size), np.float32)
    for y, x in np.ndindex(labels.shape):
        if labels[y, x] < classes:
            row, column = (offset[0] + y) * size[0] // height, (offset[1] + x) * size[1] // width
            counts[labels[y, x], row, column] += 1
    return counts


def labels_of(shape, classes=4, void=0.3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, shape).astype(np.uint8)
    labels[rng.random(shape) < void] = 255
    return labels


@pytest.mark.parametrize("shape", [(24, 32), (23, 31), (7, 5), (1, 1)])
@pytest.mark.parametrize("size", [(6, 8), (5, 7), (3, 10), (1, 1), (40, 50)])
def test_soft_targets_against_loops(shape, size):
    labels = labels_of(shape)
    found = soft_targets(labels, 4, size)
    np.testing.assert_array_equal(found, slow_targets(labels, 4, size))
    assert found.dtype == np.float32
    assert found.sum() == (labels != 255).sum()


@pytest.mark.parametrize(
    ("offset", "shape"), [((0, 0), (5, 9)), ((3, 11), (6, 4)), ((17, 23), (6, 8)), ((22, 30), (1, 1))]
)
@pytest.mark.parametrize("size", [(6, 8), (5, 7)])
def test_targets_of_a_part_that_is_revealed_later(offset, shape, size):
    truth, known = labels_of((23, 31), seed=2), PartialLabels(4)
    known.reveal(0, (23, 31), (11, 3, 2, 5), truth[11:13, 3:8])
    first = known.targets(0, size).copy()
    known.reveal(0, (23, 31), (*offset, *shape), part := truth[offset[0] :, offset[1] :][: shape[0], : shape[1]])
    np.testing.assert_array_equal(known.targets(0, size), first + slow_targets(part, 4, size, offset, (23, 31)))
    np.testing.assert_array_equal(known.targets(0, size), soft_targets(known.label(0), 4, size))


def test_unit_by_unit_is_all_at_once():
    truth, grid = labels_of((23, 31)), UnitGrid(23, 31, 7, 9)
    whole, parts = PartialLabels(4), PartialLabels(4)
    whole.reveal(5, (23, 31), (0, 0, 23, 31), truth)
    known = np.full((23, 31), 255, np.uint8)
    for y, x, height, width in np.random.default_rng(0).permutation(grid.boxes):
        part = slice(y, y + height), slice(x, x + width)
        parts.reveal(5, (23, 31), (y, x, height, width), truth[part])
        known[part] = truth[part]
        np.testing.assert_array_equal(parts.label(5), known)
        # Kept up to date from the first unit on.
        np.testing.assert_array_equal(parts.targets(5, (6, 8)), slow_targets(known, 4, (6, 8)))
        assert parts.class_counts.tolist() == [(known == c).sum() for c in range(4)]
    np.testing.assert_array_equal(parts.label(5), whole.label(5))
    np.testing.assert_array_equal(parts.class_counts, whole.class_counts)
    np.testing.assert_array_equal(parts.targets(5, (6, 8)), whole.targets(5, (6, 8)))
    np.testing.assert_array_equal(parts.targets(5, (5, 7)), slow_targets(truth, 4, (5, 7)))


def test_images_come_in_the_order_of_their_first_unit():
    labels = PartialLabels(4)
    assert (len(labels), labels.images) == (0, [])
    for image, x in ((7, 0), (2, 0), (7, 4)):
        labels.reveal(image, (8, 8), (0, x, 4, 4), np.ones((4, 4), np.uint8))
    assert (len(labels), labels.images) == (2, [7, 2])
    assert labels.class_counts.tolist() == [0, 48, 0, 0]


def test_pixels_and_void():
    labels = PartialLabels(2)
    labels.reveal(0, (3, 3), (2, 1, 1, 1), np.array([[1]], np.uint8))
    labels.reveal(0, (3, 3), (0, 0, 1, 1), np.array([[255]], np.uint8))
    assert labels.class_counts.tolist() == [0, 1]
    assert (labels.label(0) != 255).sum() == 1


@pytest.mark.parametrize("box", [(0, 0, 4, 5), (5, 0, 4, 4), (0, 5, 4, 4), (-1, 0, 4, 4), (0, -1, 4, 4)])
def test_a_box_that_does_not_fit(box):
    labels = PartialLabels(4)
    with pytest.raises(RalsegError, match=r"image 3: labels \(4, 4\) do not fit box"):
        labels.reveal(3, (8, 8), box, np.zeros((4, 4), np.uint8))
    assert len(labels) == 0


def test_an_id_out_of_range():
    labels = PartialLabels(4)
    with pytest.raises(RalsegError, match=r"image 3: label id 4 in box \(2, 1\); ids go from 0 to 3"):
        labels.reveal(3, (8, 8), (2, 1, 1, 2), np.array([[4, 255]], np.uint8))
    assert (len(labels), labels.class_counts.sum()) == (0, 0)


def test_labelled_units_are_not_labelled_again():
    labels = PartialLabels(4)
    labels.reveal(3, (8, 8), (0, 0, 4, 4), np.full((4, 4), 2, np.uint8))
    with pytest.raises(RalsegError, match=r"image 3: part of box \(3, 3, 4, 4\) is labelled already; reveal it once"):
        labels.reveal(3, (8, 8), (3, 3, 4, 4), np.ones((4, 4), np.uint8))
    assert labels.class_counts.tolist() == [0, 0, 16, 0]
    assert (labels.label(3) == 1).sum() == 0
