"""What STAL and RIPU are made of: against slow references, by hand, and by what the network learns."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from learner_contract import rng

from ralseg.foundation import RalsegError
from ralseg.segmentation.augmentation import Crops
from ralseg.segmentation.datasets import IGNORE, Streets
from ralseg.segmentation.labels import FullLabels, PartialLabels, revealed
from ralseg.segmentation.learners import (
    FromScratchLearner,
    LearnerImages,
    LearnOptions,
    RipuLearner,
    StalLearner,
    TrainingSet,
    taught,
)
from ralseg.segmentation.learners.copy_paste import Donors, Pasting, exchanged, pasted, rectangle
from ralseg.segmentation.learners.ripu import unevenness, unlikely_classes
from ralseg.segmentation.learners.stal import StalOptions, hard_cells, with_pseudo_label
from ralseg.segmentation.learners.stal_memory import StalMemory
from ralseg.segmentation.networks import PixelMLP, SmallFPN
from ralseg.segmentation.store import ImageStore

CLASSES = 3


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    streets = Streets(9, (64, 96))
    return ImageStore(streets, streets.names, cache_dir=tmp_path_factory.mktemp("store"))


def maps(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).float()


def counts(b, h, w, seed=0):
    """Labelled pixels of 16 a cell; a third of the cells has none."""
    draws = np.random.default_rng(seed)
    found = draws.multinomial(16, [0.7, 0.2, 0.1], (b, h, w)) * (draws.random((b, h, w, 1)) > 1 / 3)
    return torch.from_numpy(np.moveaxis(found, -1, 1)).float()


@pytest.mark.parametrize(("easy", "kept"), [(0.7, 0.05), (0.3, 0.5), (0.0, 0.0), (1.0, 0.0)])
def test_hard_cells(easy, kept):
    logits, targets = (
        [3 * maps(2, CLASSES, 5, 4), 3 * maps(1, CLASSES, 3, 3, seed=1)],
        [counts(2, 5, 4), counts(1, 3, 3)],
    )
    right = []
    for z, t in zip(logits, targets, strict=True):
        p = z.softmax(1)
        for b, i, j in np.ndindex(z.shape[0], *z.shape[2:]):
            if (n := t[b, :, i, j].sum()) > 0:
                right.append(float((p[b, :, i, j] * t[b, :, i, j]).sum() / n))
    bound = max(easy, float(np.quantile(right, kept)))
    found = hard_cells(logits, targets, easy, kept)
    left = sum(int((t.sum(1) > 0).sum()) for t in found)
    assert left == sum(p <= bound + 1e-6 for p in right)
    assert all(((own == 0) | (own == all_)).all() for own, all_ in zip(found, targets, strict=True))
    assert hard_cells(logits, [0 * t for t in targets], easy, kept)[0].sum() == 0


def test_rectangles_contain_a_wanted_cell():
    draws, wanted = rng(), np.zeros((12, 16), bool)
    for _ in range(300):
        wanted[:] = False
        wanted[draws.integers(12), draws.integers(16)] = True
        cells = rectangle(wanted, draws)
        assert (cells & wanted).any()
        rows, columns = np.flatnonzero(cells.any(1)), np.flatnonzero(cells.any(0))
        assert cells.sum() == len(rows) * len(columns) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert 0.2 < cells.mean() < 0.55
    assert rectangle(np.zeros((12, 16), bool), draws).any()


def test_pairs_exchange_rectangles():
    windows = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((4, 16, 24, 3), np.uint8)
    own = np.arange(4, dtype=np.float32)[:, None, None, None] * np.ones((4, 2, 4, 6), np.float32)
    ids = np.zeros((4, 4, 6), np.int64)
    ids[1, 2, 3] = 1
    seen, of_seen = exchanged(windows, own, ids, [1, 0], rng())
    for place, other in ((0, 1), (1, 0), (2, 3), (3, 2)):
        assert set(np.unique(seen[place])) == set(np.unique(of_seen[place])) == {place, other}
        # Windows and maps are mixed in the same cells.
        cells = of_seen[place, 0] == other
        np.testing.assert_array_equal(seen[place, :, :, 0] == other, np.kron(cells, np.ones((4, 4), bool)))
    assert of_seen[0, 0, 2, 3] == 1


def test_pasted_cells_bring_pixels_and_labels():
    window, other = np.zeros((8, 12, 3), np.uint8), np.full((8, 12, 3), 9, np.uint8)
    cells = np.array([[True, False, False], [False, False, True]])
    found, targets = pasted(window, np.zeros((2, 2, 3), np.float32), other, np.ones((2, 2, 3), np.float32), cells)
    np.testing.assert_array_equal(found[..., 0], 9 * np.kron(cells, np.ones((4, 4), int)))
    np.testing.assert_array_equal(targets, np.stack([cells, cells]))


def test_donors_are_images_of_both_domains_that_hold_the_class(store):
    known = PartialLabels(11)
    known.reveal(0, store.size(0), (0, 0, *store.size(0)), np.full(store.size(0), 2, np.uint8))
    source = FullLabels(store, [5, 6])
    donors = Donors(LearnerImages(store), [known, source])
    drawn = [donors.draw(2, rng(seed)) for seed in range(20)]
    assert any((label == 2).all() for _, label in drawn) and any((label != 2).any() for _, label in drawn)
    assert all((label == 2).any() for _, label in drawn)
    assert Donors(LearnerImages(store), [known]).draw(3, rng()) is None


def test_pasting_puts_the_drawn_class_into_windows(store):
    bare = np.full((64, 96), IGNORE, np.uint8)
    donors = Donors(LearnerImages(store), [FullLabels(store, [5, 6])])
    number = int(store.class_counts()[[5, 6]].sum(0).argmax())
    view = Pasting(Crops((32, 48), flip=False), donors, 1.0, 1, lambda: np.eye(11)[number])
    dark = np.zeros((64, 96, 3), np.uint8)
    window, targets = view.cut(dark, bare, 11, rng())
    assert targets[number].sum() > 0
    # Where nothing was pasted, both stay as they were.
    cells = np.kron(targets.sum(0) > 0, np.ones((4, 4), bool))
    assert not window[~cells].any() and window[cells].any()
    never = Pasting(Crops((32, 48), flip=False), donors, 0.0, 1, lambda: np.eye(11)[number])
    assert not never.cut(dark, bare, 11, rng())[1].any()


def test_the_confidence_of_classes():
    """A mean over steps whose weight falls by `keep`, without a bias to 0; classes that are not there stay."""
    memory, keep = StalMemory(4, CLASSES, StalOptions(width=2, memory=2), 5), 0.9
    history = []
    for step in range(4):
        shares, targets = maps(1, CLASSES, 3, 3, seed=step).softmax(1), counts(1, 3, 3, seed=step)
        if step == 2:
            targets[:, 1] = 0
        memory.see([shares], [targets], keep)
        history.append(((shares * targets).sum((0, 2, 3)) / targets.sum((0, 2, 3))).tolist())
    for number in range(CLASSES):
        seen = [values[number] for values in history if not math.isnan(values[number])]
        weights = keep ** np.arange(len(seen))[::-1]
        assert memory.confidences()[number] == pytest.approx(np.average(seen, weights=weights), abs=1e-6)
    unsure = 1 - memory.confidences()
    np.testing.assert_allclose(memory.chances(), np.exp(unsure) / np.exp(unsure).sum())
    np.testing.assert_allclose(memory.rates(), np.sqrt(unsure / unsure.max()), rtol=1e-6)
    assert StalMemory(4, CLASSES, StalOptions(width=2, memory=2), 5).rates().tolist() == [1, 1, 1]


def test_which_images_hold_a_class():
    memory = StalMemory(4, CLASSES, StalOptions(width=2, memory=2), 5)
    shares = torch.zeros(2, CLASSES, 2, 2)
    shares[0, 1], shares[1, 0], shares[1, 2, 0, 0] = 1, 0.5, 1
    memory.remember(np.array([3, 1]), shares)
    assert [memory.holds(np.arange(5), number).tolist() for number in range(CLASSES)] == [
        [False, True, False, False, False],
        [False, False, False, True, False],
        [False, True, False, False, False],
    ]


def learner_of(kind, store, steps=3, **told):
    torch.manual_seed(0)
    network = SmallFPN(11, widths=(8, 8, 8, 8, 8), pyramid=8)
    options = LearnOptions(cut="full", steps=steps, batch=4, learning_rate=0.01, averaging=0.9, crops=Crops((32, 48)))
    return kind(network, LearnerImages(store), options, precision="float32", **told)


@pytest.mark.parametrize(("drop", "left_out"), [("unsure", [7, 9]), ("as_released", [1, 2])])
def test_which_cells_have_no_pseudo_label(drop, left_out):
    entropy = torch.tensor([[3, 1, 4, 7, 5], [9, 2, 6, 4.5, 3.5]])
    taken = with_pseudo_label(entropy, 0.2, drop)
    assert sorted(entropy[~taken].tolist()) == left_out
    assert with_pseudo_label(entropy, 0.0, drop).all()


def test_unlikely_classes():
    shares = maps(2, CLASSES, 3, 4).softmax(1)
    total, number = unlikely_classes(shares, 0.3)
    slow = [-math.log1p(-p) for p in shares.flatten().tolist() if p < 0.3]
    assert number == len(slow) > 0
    assert float(total) == pytest.approx(sum(slow), rel=1e-5)


def test_unevenness_at_boundaries():
    shares, targets = maps(2, CLASSES, 5, 6).softmax(1), counts(2, 5, 6)
    total, number = unevenness(shares, targets)
    slow, cells = 0.0, 0
    for b, i, j in np.ndindex(2, 5, 6):
        window = (b, slice(None), slice(max(0, i - 1), i + 2), slice(max(0, j - 1), j + 2))
        near = targets[window].flatten(1).T
        classes = {int(row.argmax()) for row in near if row.sum() > 0}
        if targets[b, :, i, j].sum() > 0 and len(classes) > 1:
            mean = shares[window].flatten(1).mean(1)
            slow, cells = slow + float((shares[b, :, i, j] - mean).abs().sum()), cells + 1
    assert number == cells > 0
    assert float(total) == pytest.approx(slow, rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (FromScratchLearner, {}),
        (RipuLearner, {}),
        (StalLearner, {"images": 2, "width": 8, "memory": 50, "anchors": 5, "negatives": 10, "weight": 0.1}),
    ],
)
def test_the_source_domain_teaches_what_the_target_has_no_label_of(kind, told, store):
    """The target's labels are of one class; with a share of the source domain, others are predicted, too."""
    labels, size = PartialLabels(11), store.size(0)
    road = store.dataset.classes.index("road")
    for image in (0, 1):
        labels.reveal(image, size, (48, 0, 16, 96), np.full((16, 96), road, np.uint8))
    new = [(0, (0.9, 0.5)), (1, (0.9, 0.5))]
    data = TrainingSet(labels, new, [2, 3], FullLabels(store, [5, 6, 7, 8]))
    found = {}
    for share in (0.0, 0.5):
        learner = learner_of(kind, store, 60, source_share=share, **told)
        taught(learner, data, rng())
        logits = next(learner.predict([4])).logits
        found[share] = len(np.unique(np.asarray(logits).argmax(1)))
    assert found[0.0] == 1 < found[0.5]


def test_steps_and_weights_go_by_the_target_and_the_share(store):
    labels = revealed(store, [0])
    source = FullLabels(store, [5, 6, 7, 8])
    learner = learner_of(FromScratchLearner, store, source_share=0.5)
    shown = []
    learner._batches = lambda samples, view, of, draws: shown.append((of, len(samples))) or []
    learner.labelled_batches(TrainingSet(labels, [], [], source), rng())
    assert shown == [(labels, 2), (source, 2)]
    learner.options = LearnOptions(cut="full", loss="balanced")
    mixed = labels.class_counts / labels.class_counts.sum() / 2 + source.class_counts / source.class_counts.sum() / 2
    there = mixed > 0
    expected = np.where(there, 1 / np.sqrt(np.where(there, mixed, mixed[there].min())), mixed[there].min() ** -0.5)
    found = learner.weights_of(TrainingSet(labels, [], [], source)).numpy()
    np.testing.assert_allclose(found, expected / (expected * mixed).sum(), rtol=1e-5)


def test_full_labels_are_those_of_the_store(store):
    full, slow = FullLabels(store, [5, 2]), revealed(store, [5, 2])
    assert (full.images, len(full), full.classes) == ([5, 2], 2, 11)
    np.testing.assert_array_equal(full.class_counts, slow.class_counts)
    for image in full.images:
        np.testing.assert_array_equal(full.label(image), slow.label(image))
        np.testing.assert_array_equal(full.targets(image, (16, 24)), slow.targets(image, (16, 24)))
        np.testing.assert_array_equal(full.counts(image), np.bincount(full.label(image).ravel(), minlength=256)[:11])


def test_a_network_per_pixel_has_no_source_domain(store):
    source = SimpleNamespace(key="x", variants=())
    network = PixelMLP(11, widths=[4], stride=4)
    options = LearnOptions(cut="frozen")
    with pytest.raises(RalsegError, match=r"learner\.source_share is for networks that learn from windows"):
        FromScratchLearner(network, LearnerImages(store), options, source=source, source_share=0.5)
