import numpy as np
import pytest
import torch
from torch.nn import functional

from ralseg.foundation import RalsegError
from ralseg.segmentation.metrics import Confusion, confusion, upsampled_classes


def smooth(shape, seed):
    """Logits that change slowly, as a network's do."""
    coarse = torch.randn(shape[0], shape[1], 3, 4, generator=torch.Generator().manual_seed(seed))
    return functional.interpolate(coarse, size=shape[2:], mode="bicubic") * 4


SIZES = [
    ((12, 16), (48, 64)), ((12, 16), (96, 128)), ((5, 7), (15, 35)), ((5, 7), (5, 7)), ((5, 7), (5, 14)),
    ((9, 4), (9, 20)), ((12, 16), (50, 70)), ((12, 16), (96, 130)), ((12, 16), (7, 9)), ((1, 1), (8, 6)),
    ((1, 5), (7, 40)), ((6, 5), (66, 45)), ((45, 60), (360, 480)),
]  # fmt: skip


@pytest.mark.parametrize(("size", "full"), SIZES)
@pytest.mark.parametrize("kind", ["random", "smooth", "channels_last"])
def test_upsampled_classes_are_those_of_the_interpolation(size, full, kind):
    shape = (2, 7, *size)
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(1)) if kind == "random" else smooth(shape, 2)
    if kind == "channels_last":
        logits = logits.contiguous(memory_format=torch.channels_last)
    resized = functional.interpolate(logits, size=full, mode="bilinear")
    found = upsampled_classes(logits, *full)
    assert (found.shape, found.dtype) == ((2, *full), np.uint8)
    best = resized.topk(2, dim=1)
    differs = found != best.indices[:, 0].numpy()
    # Where they differ the two best logits are equal but for rounding.
    gaps = (best.values[:, 0] - best.values[:, 1]).numpy()[differs]
    assert gaps.max(initial=0) < 1e-5
    assert differs.mean() < 1e-3


def test_ties_go_to_the_lowest_class():
    logits = torch.zeros(1, 4, 3, 3)
    assert not upsampled_classes(logits, 12, 12).any()
    logits[:, 2:] = 1
    assert (upsampled_classes(logits, 12, 12) == 2).all()


def test_many_classes():
    logits = torch.randn(1, 200, 4, 4, generator=torch.Generator().manual_seed(0))
    expected = functional.interpolate(logits, size=(16, 16), mode="bilinear").argmax(1)
    np.testing.assert_array_equal(upsampled_classes(logits, 16, 16), expected)


@pytest.mark.parametrize("classes", [2, 11, 255])
def test_confusion_against_a_slow_loop(classes):
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, (2, 9, 7)).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.2] = 255
    predicted = rng.integers(0, classes, labels.shape).astype(np.uint8)
    labels[0, 0, :2], predicted[0, 0, :2] = classes - 1, (classes - 1, 0)
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
    assert matrix.accuracy == pytest.approx(100 * 9 / 16)


@pytest.mark.parametrize("labels", [np.full((3, 4), 255, np.uint8), np.zeros((0, 4), np.uint8)])
def test_without_a_labelled_pixel_there_is_no_nan(labels):
    found = confusion(np.zeros(labels.shape, np.uint8), labels, 3)
    assert (found.counts.sum(), found.miou, found.accuracy) == (0, 0.0, 0.0)
    assert np.isnan(found.iou).all()


def test_one_class_alone():
    found = confusion(np.full((2, 2), 1, np.uint8), np.full((2, 2), 1, np.uint8), 5)
    assert (found.miou, found.accuracy) == (100.0, 100.0)


def test_sizes_must_agree():
    with pytest.raises(RalsegError, match=r"prediction \(2, 3\) and label \(3, 2\) differ in size"):
        confusion(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), 3)
