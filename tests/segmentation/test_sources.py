"""Feature sources and the per-pixel network on them."""

import copy

import learner_contract as contract
import numpy as np
import own_source as own
import pytest
import torch
from torch.nn import functional

from ralseg.evaluate_policy import main as evaluate_policy
from ralseg.features.prediction import Noise
from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets import Streets
from ralseg.segmentation.labels import PartialLabels
from ralseg.segmentation.learners import (
    FromScratchLearner,
    LearnerImages,
    LearnOptions,
    SupervisedLearner,
    TrainingSet,
    taught,
)
from ralseg.segmentation.networks import PixelMLP, normalised
from ralseg.segmentation.networks.encoders import timm_encoder
from ralseg.segmentation.sources import MIRRORED, PLAIN, KeptMaps, TimmSource, Variant
from ralseg.segmentation.store import ImageStore

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    streets = Streets(10, (96, 128))
    return ImageStore(streets, streets.names, 0.5, tmp_path_factory.mktemp("store"))


def learner_of(store, **options):
    torch.manual_seed(0)
    source = own.RandomColours()
    network = PixelMLP(11, source.widths, source.stride, hidden=16)
    options = LearnOptions(cut="frozen", **{"steps": 1, "batch": 3} | options)
    return SupervisedLearner(network, LearnerImages(store), options, precision="float32", source=source)


def some_labels(store, side):
    labels = PartialLabels(11)
    for i in range(3):
        labels.reveal(i, store.size(i), (4 * i, 6, side, side), store.label(i)[4 * i : 4 * i + side, 6 : 6 + side])
    return TrainingSet(labels, [(i, (0.5, 0.5)) for i in range(3)])


class TestPixelMLP(contract.LearnerContract):
    cuts = ("frozen",)

    def network(self):
        torch.manual_seed(0)
        return PixelMLP(11, (12, 3), 2, hidden=16)

    def make(self, network, images, options):
        return SupervisedLearner(network, images, options, precision="float32", source=own.RandomColours())


class TestPixelMLPFromScratch(TestPixelMLP):
    by_chance = False

    def make(self, network, images, options):
        return FromScratchLearner(network, images, options, precision="float32", source=own.RandomColours())

    def test_every_step_is_on_all_labelled_cells(self, store, monkeypatch):
        """Six images, two at a time, are one batch of cells, which is made once."""
        monkeypatch.setattr("ralseg.segmentation.learners.from_scratch.AT_ONCE", 2)
        torch.manual_seed(0)
        network = PixelMLP(11, (12, 3), 2, hidden=16)
        options = LearnOptions(cut="frozen", steps=40, batch=1, learning_rate=0.03, loss="plain", averaging=0.0)
        learner = self.make(network, LearnerImages(store), options)
        seen = []
        plain = learner.objective
        learner.objective = lambda batches, *given: seen.append(batches) or plain(batches, *given)
        labels, cells = PartialLabels(11), 0
        for i in range(6):
            labels.reveal(i, store.size(i), (10 * i, 20, 1, 1), store.label(i)[10 * i : 10 * i + 1, 20:21])
            cells += store.label(i)[10 * i, 20] != 255
        losses = [float(taught(learner, TrainingSet(labels, [(5, (0.5, 0.5))]), np.random.default_rng(0)))]
        assert len(seen) == 40 and all(each is seen[0] for each in seen) and len(seen[0]) == 1
        assert seen[0][0].targets.sum() == cells and seen[0][0].targets.shape == (1, 11, 1, cells)
        with torch.no_grad():
            after = float(plain(seen[0], torch.ones(11), None, None))
        assert after < 0.5 * losses[0]


def test_learning_on_gathered_pixels_is_learning_on_interpolated_maps(store):
    """The first loss and the direction of the first step, against maps that are interpolated to the size of labels."""
    data = some_labels(store, 8)
    learner = learner_of(store, averaging=0.0, loss="plain")
    shapes, student, network = [], learner.student, copy.deepcopy(learner._network)
    learner.student = lambda maps: shapes.append(maps[0].shape) or student(maps)
    loss = taught(learner, data, np.random.default_rng(0))
    total, known = torch.zeros(()), 0
    for i in range(3):
        maps = own.RandomColours().maps(store.image(i), PLAIN)
        whole = torch.cat([functional.interpolate(m[None], size=store.size(i), mode="bilinear") for m in maps], dim=1)
        label = torch.from_numpy(data.labels.label(i).astype(np.int64))[None]
        total = total + functional.cross_entropy(network((whole,)).logits, label, ignore_index=255, reduction="sum")
        known += int((label != 255).sum())
    assert shapes == [(1, 15, 1, known)]
    assert loss == pytest.approx(float(total.detach()) / known, rel=1e-4)
    network.requires_grad_(True)
    (total / known).backward()
    moved = learner._network.first.weight - network.first.weight
    against = network.first.weight.grad
    sure = against.abs() > 1e-6
    # Adam's first step has the sign of the gradient.
    assert sure.float().mean() > 0.8 and (moved[sure].sign() == -against[sure].sign()).float().mean() > 0.999


def test_many_labelled_cells_are_trained_on_as_maps(store):
    learner, shapes = learner_of(store), []
    student = learner.student
    learner.student = lambda maps: shapes.append(maps[0].shape) or student(maps)
    taught(learner, some_labels(store, 60), np.random.default_rng(0))
    assert shapes == [(3, 12, 24, 32)]


def test_variants_are_drawn_once_and_differ(store):
    images, noise = [3, 5], Noise("grainy", 3)
    own.COMPUTED.clear()
    learner = learner_of(store)
    (first,) = learner.predict(images, [noise])
    noisy = first.noisy[noise]
    assert noisy.shape == (3, *first.logits.shape)
    assert (noisy[0] != noisy[1]).float().mean() > 0.5
    # By hand: the network on the maps of each draw.
    source = own.RandomColours()
    for draw in range(3):
        rows = [source.maps(store.image(i), Variant("grainy", draw)) for i in images]
        with torch.no_grad():
            expected = learner._averaged(tuple(torch.stack(m) for m in zip(*rows, strict=True))).logits
        torch.testing.assert_close(noisy[draw], expected, rtol=1e-4, atol=1e-5)
    own.COMPUTED.clear()
    (again,) = learner.predict(images, [noise])
    learner._changed()
    (new,) = learner.predict(images, [noise, Noise("flip", 1)])
    assert torch.equal(again.noisy[noise], noisy)
    torch.testing.assert_close(new.noisy[noise], noisy)
    assert set(own.COMPUTED.values()) == {1}
    # The mirrored images alone.
    assert len(own.COMPUTED) == 2


def test_the_mirrored_variant_is_plain_of_the_mirrored_image(store):
    maps = KeptMaps(own.RandomColours(), LearnerImages(store), CPU, MIRRORED)([2])
    expected = own.RandomColours().maps(store.image(2)[:, ::-1], PLAIN)
    for found, wanted in zip(maps, expected, strict=True):
        assert torch.equal(found[0], wanted)


def test_the_default_encoder_has_the_installed_weights():
    """Its levels are what the stages of the default network give, with the same input and weights."""
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    encoder = timm_encoder("tf_efficientnet_lite0", "imagenet")
    x = normalised(torch.from_numpy(image[None]), encoder.mean, encoder.std)
    found = TimmSource().maps(image, PLAIN)
    outputs = []
    with torch.no_grad():
        for stage in encoder.stages.eval():
            outputs.append(x := stage(x))
    for ours, theirs in zip(found, outputs[1:], strict=True):
        torch.testing.assert_close(ours, theirs[0], rtol=1e-4, atol=1e-4)


def test_an_encoder_of_timm(store):
    source = TimmSource("mobilenetv3_small_100", levels=(1, 2), pretrained=False)
    again = TimmSource("mobilenetv3_small_100", levels=(1, 2), pretrained=False)
    first = source.maps(store.image(0), PLAIN)
    assert tuple(m.shape[0] for m in first) == source.widths
    assert source.stride == 4
    assert first[0].shape[1:] == (12, 16)
    assert source.key == again.key
    assert all(torch.equal(a, b) for a, b in zip(first, again.maps(store.image(0), PLAIN), strict=True))
    assert source.key != TimmSource("mobilenetv3_small_100", levels=(1, 3), pretrained=False).key
    with pytest.raises(RalsegError, match=r"source\.encoder=no_such_encoder with source\.levels"):
        TimmSource("no_such_encoder")


TINY = [
    "dataset=streets", "dataset.images=40", "dataset.size=[96,128]", "network=small_fpn", "loss=plain",
    "protocol.counts={state: 5, train: 5, compare: 5, dev: 2}", "theta0.fit.steps=3", "theta0.fit.batch=4",
    "game=frozen", "game.unit=pixel", "game.draw=uniform", "game.slates=2", "game.candidates=3", "game.budget=4",
    "game.learn.steps=1", "game.learn.batch=2", "draws=1", "fit.draws=1", "fit.supervised=false", "fit.options.steps=2",
    "splits=[dev]", "processes=1",
]  # fmt: skip
OWN = ["source._target_=own_source.RandomColours", "network=pixel_mlp", "+source.width=10"]


def play(tmp_path, monkeypatch, *overrides):
    monkeypatch.setenv("RALSEG_CACHE", str(tmp_path / "cache"))
    return evaluate_policy([*TINY, *overrides, f"run={tmp_path / 'run'}"])


def test_a_source_of_ones_own_is_played_with_pixels_and_its_variant(tmp_path, monkeypatch):
    own.COMPUTED.clear()
    policies = "policies=[{edald: {noise: {kind: grainy, draws: 4}}}]"
    assert play(tmp_path, monkeypatch, *OWN, policies) == 0
    # Images of D_S, D_R, D_V and dev, and four draws of those that were on offer: each once.
    assert set(own.COMPUTED.values()) == {1}
    assert len(own.COMPUTED) > 16


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([*OWN, "policies=[{edald: {noise: {kind: blur, draws: 4}}}]"],
         "noise.kind='blur' is unknown; choose from dropout, features, flip, grainy"),
        (["policies=[{edald: {noise: {kind: grainy, draws: 4}}}]"],
         "noise.kind='grainy' is unknown; choose from dropout, features, flip"),
        ([*OWN, "game=partial"], "a feature source is frozen as a whole; set game=frozen with it"),
        ([OWN[0]], "a network with its own stages takes no other feature source"),
        (["network=pixel_mlp"], "a per-pixel network needs one"),
        (["source._target_=own_source.Nothing", "network=pixel_mlp"], "source._target_=own_source.Nothing cannot be"),
        (["source._target_=collections.Counter", "network=pixel_mlp"], "does not derive from ralseg.segmentation.sour"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_anything_is_trained(tmp_path, monkeypatch, capsys, overrides, message):
    assert play(tmp_path, monkeypatch, *overrides) == 2
    found = capsys.readouterr().err
    assert message in found
    assert found.count("\n") == 1
    assert not list((tmp_path / "cache").glob("theta0-*.safetensors"))
