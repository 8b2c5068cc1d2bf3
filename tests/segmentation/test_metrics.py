import numpy as np
import pytest

from ralseg.foundation import RalsegError
from ralseg.segmentation.metrics import Confusion, confusion


# Up to 15 classes a pair of classes fits into a byte; of many pixels, where their number is even, two are read at once.
@pytest.mark.parametrize("classes", [2, 11, 15, 16, 255])
@pytest.mark.parametrize("size", [(2, 9, 7), (360, 480), (363, 481)])
def test_confusion_against_a_slow_loop(classes, size):
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, size).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.2] = 255
    predicted = rng.integers(0, classes, labels.shape).astype(np.uint8)
    labels[0, :2], predicted[0, :2] = classes - 1, np.resize([classes - 1, 0], predicted[0, :2].shape)
    slow = np.zeros((classes, classes), int)
    for true, guess in zip(labels.ravel().tolist(), predicted.ravel().tolist(), strict=True):
        if true < classes:
            slow[true, guess] += 1
    found = confusion(predicted, labels, classes)
    np.testing.assert_array_equal(found.counts, slow)
    assert found.counts.dtype == np.int64
    np.testing.assert_array_equal((found + found).counts, 2 * slow)


def test_figures_by_hand():
    matrix = Confusion(np.array([[6, 2, 0, 0], [1, 3, 0, 0], [0, 0, 0, 0], [0, 4, 0, 0]]))
    # Class 2 is neither true nor predicted, class 3 is true and never predicted.
    np.testing.assert_allclose(matrix.iou, [6 / 9, 3 / 10, np.nan, 0])
    assert matrix.miou == pytest.approx(100 * (6 / 9 + 3 / 10 + 0) / 3)


@pytest.mark.parametrize("labels", [np.full((3, 4), 255, np.uint8), np.zeros((0, 4), np.uint8)])
def test_without_a_labelled_pixel_there_is_no_nan(labels):
    found = confusion(np.zeros(labels.shape, np.uint8), labels, 3)
    assert (found.counts.sum(), found.miou) == (0, 0.0)
    assert np.isnan(found.iou).all()


def test_one_class_alone():
    found = confusion(np.full((2, 2), 1, np.uint8), np.full((2, 2), 1, np.uint8), 5)
    assert found.miou == 100.0


def test_sizes_must_agree():
    with pytest.raises(RalsegError, match=r"prediction \(2, 3\) and label \(3, 2\) differ in size"):
        confusion(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), 3)
