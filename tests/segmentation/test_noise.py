import numpy as np
import pytest
import torch
from torch.nn import functional

from ralseg.features.prediction import Noise
from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets import Streets
from ralseg.segmentation.learners import LearnerImages, LearnOptions, SupervisedLearner
from ralseg.segmentation.networks import CUTS, SmallFPN
from ralseg.segmentation.networks.noise import dropped, jitter_of_logits, jittered
from ralseg.segmentation.store import ImageStore

SIZE = (64, 100)
FLIP, BOTH = Noise("flip", 1), Noise("flip", 2)
DROPOUT, FEATURES = Noise("dropout", 3), Noise("features", 4, 0.5)


class MirroredStreets(Streets):
    """The same streets, seen in a mirror."""

    def load(self, name):
        """See `Dataset`."""
        image, label = super().load(name)
        return np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(label[:, ::-1])


def store_of(data, folder):
    return ImageStore(data, data.names, cache_dir=folder)


@pytest.fixture
def store(tmp_path):
    return store_of(Streets(9, SIZE), tmp_path)


def network_of(dropout=0.0):
    torch.manual_seed(0)
    network = SmallFPN(11, dropout=dropout)
    network.add_frozen_head(8)
    return network.eval()


def learner_of(store, cut="partial", dropout=0.0):
    return SupervisedLearner(network_of(dropout), LearnerImages(store), LearnOptions(cut=cut), precision="float32")


def noisy_of(learner, images, *noises, seed=0):
    """(plain logits, noise -> noisy logits), the images first."""
    (found,) = learner.predict(images, noises, torch.Generator().manual_seed(seed))
    assert list(found.images) == list(images)
    return found.logits.numpy(), {noise: maps.movedim(0, 1).numpy() for noise, maps in found.noisy.items()}


def counted(learner, monkeypatch):
    """The batch sizes of the passes above the cut, as they come."""
    passes, forward = [], learner._twin.network.forward

    def counting(maps, *arguments):
        passes.append(len(maps[0]))
        return forward(maps, *arguments)

    monkeypatch.setattr(learner._twin.network, "forward", counting)
    return passes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dropout", 0), "noise.draws=0 is out of range; it must be 1 or more"),
        (("features", -1), "noise.draws=-1 is out of range; it must be 1 or more"),
        (("flip", 3), "^draws=3 is out of range; an image has 1 flip, or 2 with the plain one"),
        (("features", 2, 0.0), "noise.scale=0.0 is out of range; it must be above 0"),
        (("features", 2, float("nan")), "noise.scale=nan is out of range; it must be above 0"),
    ],
)
def test_bad_noise_is_refused(arguments, message):
    with pytest.raises(RalsegError, match=message):
        Noise(*arguments)


def test_equal_noises_are_one():
    assert {Noise("flip", 1), Noise("flip", 1), Noise("flip", 2)} == {FLIP, BOTH}
    with pytest.raises(AttributeError):
        FLIP.draws = 2


def test_dropout_drops_its_share_and_keeps_the_mean():
    maps = torch.rand(2, 8, 40, 50) + 1
    found = dropped(maps, 0.3, torch.Generator().manual_seed(0))
    kept = found != 0
    assert kept.float().mean() == pytest.approx(0.7, abs=0.01)
    torch.testing.assert_close(found[kept], (maps / 0.7)[kept])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_feature_noise_follows_the_deviation_of_each_channel_of_each_image(dtype):
    deviations = torch.tensor([[0.1, 3.0, 0.0], [5.0, 1.0, 20.0]])
    maps = (
        deviations[..., None, None] * torch.randn(2, 3, 90, 110, generator=torch.Generator().manual_seed(1)) + 4
    ).to(dtype)
    draws = list(jittered(maps, FEATURES, torch.Generator().manual_seed(0)))
    assert len(draws) == 4
    assert {(draw.dtype, draw.shape) for draw in draws} == {(dtype, maps.shape)}
    noise = torch.stack(draws).float() - maps.float()
    within = maps.float().std(dim=(2, 3), correction=0)
    error = 0.5 * within / np.sqrt(4 * 90 * 110)
    rounding = 1e-6 if dtype == torch.float32 else 1e-2
    assert (noise.mean(dim=(0, 3, 4)).abs() <= 5 * error + rounding).all()
    torch.testing.assert_close(noise.std(dim=(0, 3, 4)), 0.5 * within, rtol=0.02, atol=rounding)
    assert torch.corrcoef(noise[:, 1, 0].flatten(1))[0, 1].abs() < 0.05


def test_feature_noise_is_drawn_directly_for_the_logits():
    maps = torch.randn(2, 5, 80, 90, generator=torch.Generator().manual_seed(1)) * torch.arange(1, 6)[:, None, None]
    for classes in (3, 7):
        weight = torch.randn(classes, 5, generator=torch.Generator().manual_seed(2))
        made = torch.stack(list(jitter_of_logits(maps, weight, FEATURES, torch.Generator().manual_seed(0))))
        assert made.shape == (4, 2, classes, 80, 90)
        for image in range(2):
            within = 0.5 * maps[image].std(dim=(1, 2), correction=0)
            expected = (weight * within**2) @ weight.T
            found = torch.cov(made[:, image].movedim(1, 0).flatten(1))
            torch.testing.assert_close(found, expected, rtol=0.05, atol=float(expected.abs().max()) * 0.03)
        assert torch.corrcoef(made[:, 1, 0].flatten(1))[0, 1].abs() < 0.05


def test_an_even_map_has_no_noise_of_features():
    made = next(jitter_of_logits(torch.ones(1, 4, 6, 6), torch.randn(3, 4), FEATURES, torch.Generator().manual_seed(0)))
    assert torch.equal(made, torch.zeros(1, 3, 6, 6))


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("cut", CUTS)
def test_feature_noise_is_on_the_map_that_the_last_layer_reads(cut, kernel):
    """With or without dropout, which then takes no part."""
    if (cut, kernel) == ("frozen", 3):
        pytest.skip("the frozen game's head reads single pixels")
    for dropout in (0.0, 0.5):
        network, made = network_of(dropout), []
        if kernel == 3:
            network.head = torch.nn.Conv2d(network.decoded, 11, 3, padding=1)
        images = torch.randn(2, 3, 64, 128, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            maps, noises = network.lower(images, cut), [Noise("features", 60, 0.5)]
            found = network(maps, cut)
            noisy = network.noisy(found, cut, noises[0], torch.Generator().manual_seed(0))
            layer = network.last_layer(cut)
            made = [layer(part) for part in jittered(found.features, noises[0], torch.Generator().manual_seed(1))]
        expected = functional.interpolate(torch.cat(made), found.logits.shape[-2:], mode="bilinear").unflatten(
            0, (60, 2)
        )
        assert noisy.dtype == torch.float32
        inner = (..., slice(4, -4), slice(4, -4))
        spread, like = ((part - found.logits)[inner].std(dim=(0, 3, 4)) for part in (noisy, expected))
        torch.testing.assert_close(spread, like, rtol=0.1, atol=1e-5)
        torch.testing.assert_close(
            noisy.mean(0)[inner], found.logits[inner], atol=float(5 * like.max()) / 60**0.5, rtol=0
        )


def test_dropout_is_of_the_decoded_map():
    """Written out: a mask of the decoder's map for each draw, from the generator."""
    network, generator = network_of(0.4), torch.Generator().manual_seed(3)
    images = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = network((images,))
        for noisy in network.noisy(found, "full", DROPOUT, torch.Generator().manual_seed(3)):
            mask = torch.rand(found.decoded.shape, generator=generator) >= 0.4
            torch.testing.assert_close(noisy, network.head(found.decoded * mask / 0.6))


def test_noises_come_one_after_the_other_from_the_generator(store):
    learner = learner_of(store, dropout=0.3)
    _, both = noisy_of(learner, [0, 1], DROPOUT, FEATURES)
    _, again = noisy_of(learner, [0, 1], DROPOUT, FEATURES)
    _, alone = noisy_of(learner, [0, 1], DROPOUT, BOTH, DROPOUT)
    _, other = noisy_of(learner, [0, 1], DROPOUT, FEATURES, seed=1)
    for noise in (DROPOUT, FEATURES):
        np.testing.assert_array_equal(both[noise], again[noise])
        assert (both[noise] != other[noise]).mean() > 0.5
    np.testing.assert_array_equal(alone[DROPOUT], both[DROPOUT])
    assert both[DROPOUT].shape[:3] == (2, 3, 11)
    assert both[FEATURES].shape[:3] == (2, 4, 11)


@pytest.mark.parametrize("cut", CUTS)
def test_a_flip_is_the_mirrored_prediction_of_the_mirrored_image(store, cut):
    plain, noisy = noisy_of(learner_of(store, cut), [4, 1], FLIP, BOTH)
    network = network_of()
    for row, image in enumerate((4, 1)):
        mirrored = torch.from_numpy(store.image(image)[:, ::-1].copy())[None]
        with torch.no_grad():
            expected = network(network.lower(network.normalise(mirrored), cut), cut).logits[0].numpy()[..., ::-1]
        np.testing.assert_allclose(noisy[FLIP][row, 0], expected, rtol=1e-4, atol=1e-5)
        assert abs(noisy[FLIP][row, 0] - plain[row]).max() > 5e-3
    np.testing.assert_array_equal(noisy[BOTH], np.stack([plain, noisy[FLIP][:, 0]], axis=1))


@pytest.mark.parametrize("cut", CUTS)
def test_the_flip_of_a_flip_is_the_plain_prediction(store, tmp_path, cut):
    """Of streets that are mirrored already, the flip is the prediction of the streets themselves, mirrored."""
    plain, noisy = noisy_of(learner_of(store, cut), [0, 3], FLIP)
    mirror = learner_of(store_of(MirroredStreets(9, SIZE), tmp_path / "mirrored"), cut)
    plain_of_mirrored, noisy_of_mirrored = noisy_of(mirror, [0, 3], FLIP)
    close = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(noisy_of_mirrored[FLIP][:, 0], plain[..., ::-1], **close)
    np.testing.assert_allclose(noisy[FLIP][:, 0], plain_of_mirrored[..., ::-1], **close)


def test_one_pass_for_all_noises_and_a_second_for_flips(store, monkeypatch):
    learner = learner_of(store, dropout=0.3)
    passes = counted(learner, monkeypatch)
    for noises, count in [((), 1), ((DROPOUT, FEATURES), 1), ((FLIP,), 2), ((FLIP, DROPOUT, BOTH), 2)]:
        passes.clear()
        learner._changed()
        noisy_of(learner, range(6), *noises)
        assert passes == [6] * count
    # What was predicted at these weights is not predicted again, whatever noise is asked for.
    noisy_of(learner, range(6), FEATURES, FLIP)
    assert passes == [6, 6]


def test_what_lies_below_the_cut_is_computed_once_for_the_mirrored_images_too(store, monkeypatch):
    learner = learner_of(store)
    lower, seen = learner._twin.network.lower, []
    monkeypatch.setattr(
        learner._twin.network, "lower", lambda *inputs: seen.append(inputs[0].shape[-1]) or lower(*inputs)
    )
    folders = lambda: {path.parent for path in store.folder.parent.glob("maps-*/*.safetensors")}  # noqa: E731
    noisy_of(learner, [0, 1])
    assert len(folders()) == 1
    for _ in range(2):
        noisy_of(learner, [0, 1], FLIP)
    assert seen.count(SIZE[1]) == 4
    assert sorted(len(list(folder.iterdir())) for folder in folders()) == [2, 2]
    other = learner_of(store)
    monkeypatch.setattr(
        other._twin.network, "lower", lambda images, cut: lower(images, cut) if images.shape[-1] == 64 else 1 / 0
    )
    learner.forget()
    np.testing.assert_array_equal(noisy_of(other, [1], FLIP)[1][FLIP], noisy_of(learner, [1], FLIP)[1][FLIP])


def test_a_flip_follows_the_weights(store):
    learner = learner_of(store)
    _, before = noisy_of(learner, [2], FLIP)
    with torch.no_grad():
        learner.head.bias += 1
    learner._changed()
    _, after = noisy_of(learner, [2], FLIP)
    np.testing.assert_allclose(after[FLIP], before[FLIP] + 1, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cut", ["partial", "full"])
def test_noise_of_an_unknown_kind_is_refused(store, cut):
    with pytest.raises(RalsegError, match=r"noise\.kind='blur' is unknown; choose from dropout, features, flip"):
        noisy_of(learner_of(store, cut), [0], Noise("blur", 1))


def test_noise_by_dropout_needs_dropout(store):
    with pytest.raises(RalsegError, match=r"by dropout need a network trained with dropout; set network\.dropout=0\.1"):
        noisy_of(learner_of(store), [0], DROPOUT)
