"""Learners that also learn from unlabelled images: the contract, and what supervision alone cannot solve."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from learner_contract import LearnerContract, data_of, rng

from ralseg.evaluate_policy import main as evaluate_policy
from ralseg.features.prediction import Prediction
from ralseg.foundation import RalsegError
from ralseg.segmentation.augmentation import Crops, Strong
from ralseg.segmentation.labels import PartialLabels
from ralseg.segmentation.learners import (
    FitOptions,
    LearnerImages,
    LearnOptions,
    MeanTeacherLearner,
    RipuLearner,
    S4GanLearner,
    StalLearner,
    TrainingSet,
    U2plLearner,
    fitted,
    taught,
)
from ralseg.segmentation.learners.s4gan import Discriminator
from ralseg.segmentation.learners.semi_supervised import as_targets, rising
from ralseg.segmentation.learners.u2pl import Cells, Representations, U2plOptions
from ralseg.segmentation.networks import PixelMLP, SmallFPN

SIDE, FULL = 32, Crops((32, 32), flip=False)


class Unlabelled(LearnerContract):
    def test_it_learns_from_unlabelled_images(self, store, learner_of):
        with_them, without = learner_of(), learner_of()
        data = data_of(store)
        taught(with_them, data, rng())
        taught(without, TrainingSet(data.labels, data.new), rng())
        assert with_them.figures and not without.figures
        states = with_them.state(), without.state()
        assert any(not torch.equal(states[0][key], states[1][key]) for key in states[0] if key.startswith("network"))


class TestMeanTeacher(Unlabelled):
    def make(self, network, images, options):
        return MeanTeacherLearner(network, images, options, precision="float32", images=2, sure=0.1, ramp_up=0.0)


class TestS4Gan(Unlabelled):
    def make(self, network, images, options):
        own = {"images": 2, "width": 4, "gate": 0.4, "warm_up": 0.4}
        return S4GanLearner(network, images, options, precision="float32", **own)


class TestU2pl(Unlabelled):
    def make(self, network, images, options):
        own = {"images": 2, "width": 8, "memory": 50, "anchors": 5, "negatives": 10, "sure": 0.0}
        return U2plLearner(network, images, options, precision="float32", **own)


class TestStal(Unlabelled):
    def make(self, network, images, options):
        own = {"images": 2, "width": 8, "memory": 50, "anchors": 5, "negatives": 10, "sure": 0.0, "contrast_from": 0.0}
        return StalLearner(network, images, options, precision="float32", **own)


class TestRipu(Unlabelled):
    def make(self, network, images, options):
        return RipuLearner(network, images, options, precision="float32", unlikely=0.2)


def pictures(images, labels):
    """What learners read of a list of images, of which the first ones are labelled, and their labels."""
    names = [str(i) for i in range(len(images))]
    store = SimpleNamespace(
        names=names, image=images.__getitem__, input_size=lambda _: (SIDE, SIDE), size=lambda _: (SIDE, SIDE)
    )
    known = PartialLabels(2)
    for i, label in enumerate(labels):
        known.reveal(i, (SIDE, SIDE), (0, 0, SIDE, SIDE), label)
    return LearnerImages(store), known


def stripes(truth, bright, draws):
    """Rows or columns, dark or bright: the class is their direction."""
    wave = 25 * np.sign(np.sin(2 * np.pi * (np.arange(SIDE) + draws.integers(8)) / 8))
    picture = np.full((SIDE, SIDE), 150.0 if bright else 105.0) + (wave[:, None] if truth else wave[None])
    return np.clip(picture[..., None] + draws.normal(0, 8, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def brightness_that_misleads():
    """Labelled images, where the brighter ones are of class 1; unlabelled ones, of which a quarter contradicts; and
    images that contradict all."""
    draws = np.random.default_rng(3)
    labelled, unlabelled, test = np.tile([0, 1], 4), draws.integers(2, size=60), draws.integers(2, size=40)
    bright = [*labelled, *np.where(draws.random(60) < 0.75, unlabelled, 1 - unlabelled), *(1 - test)]
    truth = [*labelled, *unlabelled, *test]
    images = [stripes(own, light, draws) for own, light in zip(truth, bright, strict=True)]
    whole = [np.full((SIDE, SIDE), own, np.uint8) for own in truth]
    return images, whole


def colours_without_a_label():
    """Class 0 lies above class 1 in every image; half of the unlabelled images have colours that no label has."""
    draws = np.random.default_rng(2)
    label = np.repeat(np.array([0, 1], np.uint8), SIDE // 2)[:, None].repeat(SIDE, axis=1)
    colours = np.array([[(200, 60, 60), (60, 60, 200)], [(60, 200, 60), (200, 200, 60)]])
    other = [*np.zeros(8, int), *draws.integers(2, size=60), *np.ones(40, int)]
    images = [
        np.clip(colours[own][label] + draws.normal(0, 10, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8) for own in other
    ]
    return images, [label] * len(images)


@pytest.mark.parametrize(
    ("kind", "problem", "told"),
    [
        (MeanTeacherLearner, brightness_that_misleads, {"sure": 0.6, "strong": Strong(colour=0.4, grey=0, blur=0)}),
        (U2plLearner, brightness_that_misleads, {"width": 8, "strong": Strong(colour=0.4, grey=0, blur=0)}),
        (StalLearner, brightness_that_misleads, {"width": 8, "strong": Strong(colour=0.4, grey=0, blur=0)}),
        (S4GanLearner, colours_without_a_label, {"width": 16, "rate": 1e-3, "gate": 0.5, "matching": 3.0}),
    ],
)
def test_what_supervision_alone_cannot_solve(kind, problem, told):
    images, labels = problem()
    readable, known = pictures(images, labels[:8])
    options = FitOptions(steps=150, batch=8, learning_rate=3e-3, averaging=0.9, crops=FULL)

    def right(unlabelled):
        torch.manual_seed(0)
        network = SmallFPN(2, widths=(8, 8, 8, 8, 8), pyramid=8)
        learner = kind(network, readable, LearnOptions(cut="full"), precision="float32", **told)
        fitted(learner, TrainingSet(known, [], unlabelled), options, rng())
        shares = []
        for found in learner.predict(range(68, 108)):
            sized = torch.nn.functional.interpolate(found.logits, size=(SIDE, SIDE), mode="bilinear")
            truth = np.stack([labels[i] for i in found.images])
            shares += (sized.argmax(1).numpy() == truth).mean((1, 2)).tolist()
        return np.mean(shares)

    with_them, without = right(range(8, 68)), right(())
    assert with_them > 0.85
    assert without < 0.75


def test_a_fit_trains_and_keeps_what_is_beside_the_network(tmp_path):
    images, labels = brightness_that_misleads()
    readable, known = pictures(images, labels[:8])
    torch.manual_seed(0)
    network = SmallFPN(2, widths=(8, 8, 8, 8, 8), pyramid=8)
    told = {"width": 4, "images": 2, "warm_up": 1.0}
    learner = S4GanLearner(network, readable, LearnOptions(cut="full"), precision="float32", **told)
    before = {key: value.clone() for key, value in learner.companion.state_dict().items()}
    seen = []
    options = FitOptions(steps=4, batch=2, crops=FULL)
    fitted(learner, TrainingSet(known, [], (9, 10)), options, rng(), on_step=lambda *_: seen.append(learner.progress))
    assert seen == [0, 0.25, 0.5, 0.75]
    # The gate stayed shut, and after a fit everything beside the network begins anew.
    assert learner.figures["passed"] == 0
    assert all(torch.equal(value, before[key]) for key, value in learner.companion.state_dict().items())
    assert {key for key in learner.state() if key.startswith("companion")} == {f"companion.{key}" for key in before}


def test_the_discriminator_reads_maps_of_any_size():
    torch.manual_seed(0)
    discriminator, draws = Discriminator(3, 4), torch.Generator().manual_seed(0)
    for size in ((5, 7), (40, 24)):
        shares = torch.rand(2, 3, *size).softmax(1)
        images = torch.zeros(2, 4 * size[0], 4 * size[1], 3, dtype=torch.uint8)
        score, features = discriminator(shares, images, 2, draws)
        assert score.shape == (2,) and features.shape == (2, 32)
        assert ((score > 0) & (score < 1)).all()


def some_cells(classes=4, width=6, count=80):
    """Cells with all kinds of labels, of which some are unsure."""
    torch.manual_seed(1)
    ids = torch.randint(-1, classes, (count,))
    unsure = (ids < 0) & (torch.rand(count) < 0.7)
    student = torch.randn(count, width, requires_grad=True)
    shares = torch.randn(count, classes).softmax(1)
    return Cells(student, torch.randn(count, width), shares, ids, unsure, torch.ones(count, dtype=torch.bool))


def test_the_contrast_is_that_of_a_slow_reference():
    cells, told = some_cells(), U2plOptions(width=5, memory=200, anchors=99, negatives=99, sure=0.2, ranks=(2, 3))
    layers = Representations(6, 4, told)
    found = layers.contrast(cells, torch.Generator().manual_seed(0))

    def represented(which, cell):
        vector = which(cell)
        return vector / vector.norm()

    terms = []
    for number in range(4):
        negatives, anchors = [], []
        for i in range(80):
            place = int((cells.shares[i] > cells.shares[i, number]).sum())
            label = int(cells.ids[i])
            labelled = label >= 0 and label != number and place < 2
            unsure = bool(cells.unsure[i]) and place == 2
            negatives += [represented(layers.average, cells.teacher[i])] * (labelled or unsure)
            anchors += [i] * (label == number and cells.shares[i, number] > 0.2)
        centre = torch.stack([represented(layers.average, cells.teacher[i]) for i in anchors]).mean(0)
        each = []
        for i in anchors:
            own = represented(layers.own, cells.student[i])
            near = torch.exp(own @ (centre / centre.norm()) / 0.5)
            far = sum(torch.exp(own @ other / 0.5) for other in negatives)
            each.append(-torch.log(near / (near + far)))
        terms.append(torch.stack(each).mean())
    assert len(terms) == 4
    torch.testing.assert_close(found, torch.stack(terms).mean())
    found.backward()
    assert cells.student.grad.abs().sum() > 0


def test_the_memory_forgets_the_oldest():
    layers = Representations(6, 4, U2plOptions(width=5, memory=8, negatives=6))
    draws = torch.Generator().manual_seed(0)
    layers.contrast(some_cells(), draws)
    first = layers.memory.clone()
    assert layers.filled.tolist() == [6] * 4
    layers.contrast(some_cells(), draws)
    assert layers.filled.tolist() == [12] * 4
    # Two new ones fill it, four replace the oldest, and two of the first stay.
    kept = [(layers.memory[number] == first[number]).all(1).nonzero()[:, 0].tolist() for number in range(4)]
    assert kept == [[4, 5]] * 4


def test_few_sure_cells_weigh_little():
    learner = MeanTeacherLearner(SmallFPN(2), pictures([], [])[0], LearnOptions(cut="full"), precision="float32")
    logits = torch.tensor([[[[0.0, 1.0]], [[0.0, 0.0]]]])
    targets = torch.tensor([[[[0.0, 1.0]], [[0.0, 0.0]]]])
    found = learner.pseudo_labelled(Prediction(logits, logits, ()), targets, torch.ones(2))
    assert float(found) == pytest.approx(np.log1p(np.exp(-1)) / 2)


def test_targets_of_sure_cells_alone():
    found = as_targets(torch.tensor([[[1, 0]]]), torch.tensor([[[True, False]]]), 3)
    assert found.tolist() == [[[[0, 0]], [[1, 0]], [[0, 0]]]]


def test_the_weight_rises():
    assert [rising(at, 0.5) for at in (0.5, 0.9)] == [1, 1]
    assert rising(0.0, 0.5) == pytest.approx(np.exp(-5))
    assert rising(0.25, 0.5) == pytest.approx(np.exp(-1.25))
    assert rising(0.0, 0.0) == 1


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"images": 0}, "learner.images=0 is out of range"),
        ({"sure": 1.5}, "learner.sure=1.5 is out of range"),
        ({"strong": {"colour": 3}}, "learner.strong.colour=3 is out of range"),
        ({"strong": {"colours": 0.5}}, "colours"),
    ],
)
def test_options_out_of_range_are_refused(told, message):
    images, labels = brightness_that_misleads()
    readable, _ = pictures(images, labels[:8])
    with pytest.raises(RalsegError, match=message):
        MeanTeacherLearner(SmallFPN(2), readable, LearnOptions(cut="full"), **told)


def test_another_source_is_refused():
    network = PixelMLP(2, (12,), 4, hidden=8)
    with pytest.raises(RalsegError, match="source=stages alone can do"):
        MeanTeacherLearner(network, pictures([], [])[0], LearnOptions(cut="frozen"), source=SimpleNamespace(key=""))


@pytest.mark.parametrize("own", [["mean_teacher"], ["s4gan", "width=4"], ["u2pl", "width=8"]])
def test_it_is_played_through_the_door(tmp_path, monkeypatch, own):
    monkeypatch.setenv("RALSEG_CACHE", str(tmp_path / "cache"))
    tiny = [
        "dataset=streets", "dataset.images=40", "dataset.size=[96,128]", "network=small_fpn", "theta0.fit.steps=2",
        "protocol.counts={state: 5, train: 5, compare: 5, dev: 2}", "theta0.fit.batch=4", "game=full",
        "game.unit=image", "game.draw=pool", "game.slates=2", "game.budget=4", "game.learn.steps=2",
        "game.learn.batch=2", "policies=[random]", "draws=1", "splits=[dev]", "processes=1",
    ]  # fmt: skip
    name, *options = own
    told = [f"learner={name}", "learner.images=2", *(f"learner.{option}" for option in options)]
    assert evaluate_policy([*tiny, *told, f"run={tmp_path / 'run'}"]) == 0
    assert (tmp_path / "run" / "results.csv").read_text().count("\n") == 2
    (bought,) = (tmp_path / "run" / "bought").glob("*.json")
    (told,) = json.loads(bought.read_text())["learner"]
    figure = {"mean_teacher": "sure", "s4gan": "passed", "u2pl": "reliable"}[name]
    assert 0 <= told[figure] <= 1
