import numpy as np
import pytest
import torch
from torch.nn import functional

from ralseg.segmentation.metrics import confusion
from ralseg.segmentation.truth import TruthCells, TruthMaps, truth

CPU = torch.device("cpu")
SIZES = [
    ((12, 16), (48, 64)), ((12, 16), (96, 128)), ((5, 7), (15, 35)), ((5, 7), (5, 7)), ((5, 7), (5, 14)),
    ((9, 4), (9, 20)), ((12, 16), (50, 70)), ((12, 16), (96, 130)), ((12, 16), (7, 9)), ((1, 1), (8, 6)),
    ((1, 5), (7, 40)), ((6, 5), (66, 45)), ((45, 60), (360, 480)),
]  # fmt: skip


def logits_of(kind, classes, size):
    """Drawn logits, or ones that change slowly, as a network's do."""
    drawn = torch.Generator().manual_seed(1)
    if kind == "random":
        return torch.randn(2, classes, *size, generator=drawn)
    logits = functional.interpolate(torch.randn(2, classes, 3, 4, generator=drawn), size=size, mode="bicubic") * 4
    return logits.contiguous(memory_format=torch.channels_last) if kind == "channels_last" else logits


def labels_of(classes, size):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, (2, *size)).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.2] = 255
    return labels


def slow(logits, labels):
    """The map of classes, then a matrix of counts."""
    predicted = functional.interpolate(logits, size=labels.shape[1:], mode="bilinear").argmax(1)
    return confusion(predicted.numpy().astype(np.uint8), labels, logits.shape[1]).counts


@pytest.mark.parametrize(("size", "full"), SIZES)
@pytest.mark.parametrize("kind", ["random", "smooth", "channels_last"])
def test_counts_are_those_of_the_interpolated_map(size, full, kind):
    logits, labels = logits_of(kind, 7, size), labels_of(7, full)
    found = truth(labels, 7, size, CPU).count(logits)
    assert (found.shape, found.dtype) == ((7, 7), torch.int64)
    assert found.sum() == (labels != 255).sum()
    # Two classes that are equal but for rounding may change places in a few pixels.
    moved = np.abs(found.numpy() - slow(logits, labels)).sum() / 2
    assert moved <= max(1, 1e-4 * labels.size)


def test_the_kind_is_cells_where_logits_divide_the_label():
    labels = labels_of(3, (48, 64))
    assert isinstance(truth(labels, 3, (12, 16), CPU), TruthCells)
    assert isinstance(truth(labels, 3, (12, 15), CPU), TruthMaps)
    assert isinstance(truth(labels, 3, (48, 64), CPU), TruthMaps)


@pytest.mark.parametrize("kind", [TruthCells, TruthMaps])
def test_the_same_labels_count_again_and_again(kind):
    labels = labels_of(5, (24, 32))
    kept = kind(labels, 5, (6, 8)) if kind is TruthCells else kind(labels, 5, CPU)
    assert kept.nbytes >= labels.nbytes
    for seed in range(3):
        logits = torch.randn(2, 5, 6, 8, generator=torch.Generator().manual_seed(seed))
        np.testing.assert_array_equal(kept.count(logits), slow(logits, labels))


def test_ties_go_to_the_lowest_class():
    labels = np.zeros((1, 12, 12), np.uint8)
    kept = truth(labels, 4, (3, 3), CPU)
    logits = torch.zeros(1, 4, 3, 3)
    assert kept.count(logits)[0].tolist() == [144, 0, 0, 0]
    logits[:, 2:] = 1
    assert kept.count(logits)[0].tolist() == [0, 0, 144, 0]


def test_a_hand_made_edge():
    """One row of two cells: the border between the classes lies in the middle of the image."""
    logits = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    labels = np.array([[[0, 1, 255, 1, 1, 0]]], np.uint8)
    assert truth(labels, 2, (1, 2), CPU).count(logits).tolist() == [[1, 1], [1, 2]]


def test_many_classes():
    logits, labels = logits_of("random", 200, (4, 4)), labels_of(200, (16, 16))
    np.testing.assert_array_equal(truth(labels, 200, (4, 4), CPU).count(logits), slow(logits, labels))


def test_all_void_counts_nothing():
    labels = np.full((1, 8, 8), 255, np.uint8)
    assert not truth(labels, 3, (2, 2), CPU).count(torch.randn(1, 3, 2, 2)).any()
