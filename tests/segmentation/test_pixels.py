"""Single pixels: their vectors, their predictions, and learning from few of them."""

from collections import Counter

import numpy as np
import own_source as own
import pytest
import torch
from torch.nn import functional

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
from ralseg.segmentation.networks import PixelMLP, SmallFPN, normalised
from ralseg.segmentation.sources import (
    MIRRORED,
    PLAIN,
    KeptMaps,
    KeptPixels,
    TimmSource,
    Variant,
    map_files,
    pixels,
)
from ralseg.segmentation.store import ImageStore

CPU = torch.device("cpu")
SIZE = (96, 128)
GRAINY = Variant("grainy", 2)
WHERE = {
    4: np.array([[0, 0], [95, 127], [50, 3], [50, 4], [1, 1]]),
    1: np.array([[40, 90]]),
    7: np.array([[95, 0], [94, 1]]),
}


@pytest.fixture
def store(tmp_path):
    streets = Streets(10, SIZE)
    return ImageStore(streets, streets.names, 0.5, tmp_path)


class Counted(own.RandomColours):
    """How often each variant of each image passed."""

    def __init__(self):
        super().__init__()
        self.passes = Counter()

    def maps(self, image, variant):
        self.passes[variant.name, variant.draw, image.tobytes()] += 1
        return super().maps(image, variant)


def kept_pixels(store, source):
    made = {}
    return KeptPixels(lambda variant: made.setdefault(variant, KeptMaps(source, LearnerImages(store), CPU, variant)))


def interpolated(store, image, variant=PLAIN, source=None):
    """(D, H, W): all maps of an image at the size of its label."""
    mirrored = variant == MIRRORED
    picture = store.image(image)[:, ::-1] if mirrored else store.image(image)
    maps = (source or own.RandomColours()).maps(picture, PLAIN if mirrored else variant)
    return torch.cat([functional.interpolate(m[None], size=SIZE, mode="bilinear")[0] for m in maps])


@pytest.mark.parametrize("variant", [PLAIN, GRAINY, MIRRORED])
def test_vectors_are_the_maps_interpolated_at_the_middle_of_the_pixel(store, variant):
    found = kept_pixels(store, own.RandomColours())(4, WHERE[4], SIZE, variant)
    whole = interpolated(store, 4, variant)
    torch.testing.assert_close(found, whole[:, WHERE[4][:, 0], WHERE[4][:, 1]].T, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("room", [True, False])
def test_an_image_passes_once_whatever_is_asked_of_it(store, monkeypatch, room):
    """With its maps on disk or, where they find no room there, with the vectors in their place."""
    write = map_files.MapFiles.write

    def written(files, *given):
        if room or files.folder.name.startswith("pixels"):
            write(files, *given)

    monkeypatch.setattr(map_files.MapFiles, "write", written)
    source, every = Counted(), np.random.default_rng(0).integers(SIZE, size=(60, 2))
    first, whole = kept_pixels(store, source), interpolated(store, 3)
    for chosen in (every[:30], every[20:25], every[::-1].copy(), every[10:11]):
        found = first(3, chosen, SIZE)
        torch.testing.assert_close(found, whole[:, chosen[:, 0], chosen[:, 1]].T, rtol=1e-5, atol=1e-6)
    # Another process.
    assert torch.equal(kept_pixels(store, source)(3, every, SIZE), first(3, every, SIZE))
    assert sum(source.passes.values()) == 1
    kinds = {path.parent.name.split("-")[0] for path in store.folder.parent.glob("*/3.safetensors")}
    assert kinds == ({"maps"} if room else {"pixels"})


def test_vectors_are_kept_within_the_budget(store, monkeypatch):
    monkeypatch.setattr(pixels, "PIXEL_BYTES", 2 * (5 * 15 * 4 + 5 * 8))
    monkeypatch.setattr(map_files, "DISK_BYTES", 0)
    found = kept_pixels(store, own.RandomColours())
    for image in (0, 1, 2, 3):
        found(image, WHERE[4], SIZE)
        assert len(found._kept) <= 2


def test_a_forbidden_image_is_refused_even_if_it_is_kept(store):
    images = LearnerImages(store)
    maps = KeptMaps(own.RandomColours(), images, CPU)
    found = KeptPixels(lambda _: maps)
    found(4, WHERE[4], SIZE)
    with images.only({1}), pytest.raises(RalsegError, match="asked for image 4"):
        found(4, WHERE[4], SIZE)


def made(store, kind=SupervisedLearner, source=None, options=None, **network):
    torch.manual_seed(0)
    source = source or own.RandomColours()
    given = LearnOptions(cut="frozen", **({"steps": 1, "batch": 3} | (options or {})))
    module = PixelMLP(11, source.widths, source.stride, **({"hidden": 16} | network))
    torch.nn.init.normal_(module.norm.running_mean)
    torch.nn.init.uniform_(module.norm.running_var, 0.5, 2)
    return kind(module, LearnerImages(store), given, precision="float32", source=source)


def by_hand(module, vectors):
    """Logits of vectors (n, D) by the definition of the head."""
    if module._inputs == "standardised":
        x = (vectors - module.norm.running_mean) / torch.sqrt(module.norm.running_var + 1e-5)
    else:
        x = vectors / vectors.norm(dim=1, keepdim=True)
    for layer, norm in zip([module.first, *module.further], module.norms, strict=True):
        x = torch.relu(x @ layer.weight[:, :, 0, 0].T + layer.bias)
        if isinstance(norm, torch.nn.BatchNorm2d):
            x = (x - norm.running_mean) / torch.sqrt(norm.running_var + norm.eps) * norm.weight + norm.bias
        elif isinstance(norm, torch.nn.LayerNorm):
            x = (x - x.mean(1, keepdim=True)) / torch.sqrt(x.var(1, correction=0, keepdim=True) + norm.eps)
            x = x * norm.weight + norm.bias
    return x @ module.head.weight[:, :, 0, 0].T + module.head.bias


HEADS = [
    {},
    {"hidden": [12, 8], "norm": "batch"},
    {"hidden": [12, 8], "norm": "layer"},
    {"hidden": [12, 8], "norm": "batch", "inputs": "unit_length"},
]


@pytest.mark.parametrize("head", HEADS)
def test_predictions_of_pixels_and_of_whole_images_are_those_of_the_definition(store, head):
    learner = made(store, **head)
    for norm in learner._averaged.norms:
        for tensor in norm.state_dict().values():
            if tensor.is_floating_point():
                torch.nn.init.uniform_(tensor, 0.5, 2)
    learner._changed()
    with torch.no_grad():
        (pixels_,) = learner.predict_pixels(WHERE)
        assert list(pixels_.images) == [4, 1, 7] and pixels_.logits.shape == (1, 11, 1, 8)
        vectors = torch.cat([interpolated(store, i)[:, w[:, 0], w[:, 1]].T for i, w in WHERE.items()])
        torch.testing.assert_close(pixels_.logits[0, :, 0].T, by_hand(learner._averaged, vectors), rtol=1e-4, atol=1e-4)
        (whole,) = learner.predict([4])
        first, second = own.RandomColours().maps(store.image(4), PLAIN)
        cells = torch.cat([first, functional.interpolate(second[None], size=first.shape[1:], mode="bilinear")[0]])
        expected = by_hand(learner._averaged, cells.flatten(1).T).T.view(11, *first.shape[1:])
        torch.testing.assert_close(whole.logits[0], expected, rtol=1e-4, atol=1e-4)


def test_noisy_predictions_of_pixels(store):
    learner = made(store, dropout=0.5)
    noises = [Noise("grainy", 2), Noise("flip", 2), Noise("dropout", 400)]
    (found,) = learner.predict_pixels(WHERE, noises, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for draw in range(2):
            vectors = torch.cat(
                [interpolated(store, i, Variant("grainy", draw))[:, w[:, 0], w[:, 1]].T for i, w in WHERE.items()]
            )
            logits = by_hand(learner._averaged, vectors)
            torch.testing.assert_close(found.noisy[noises[0]][draw][0, :, 0].T, logits, rtol=1e-4, atol=1e-4)
        mirrored = [interpolated(store, i, MIRRORED)[:, w[:, 0], 127 - w[:, 1]].T for i, w in WHERE.items()]
        logits = by_hand(learner._averaged, torch.cat(mirrored))
        torch.testing.assert_close(found.noisy[noises[1]][1][0, :, 0].T, logits, rtol=1e-4, atol=1e-4)
    assert torch.equal(found.noisy[noises[1]][0], found.logits)
    dropped = found.noisy[noises[2]]
    assert dropped.shape == (400, *found.logits.shape)
    torch.testing.assert_close(dropped.mean(0), found.logits, atol=0.15, rtol=0)
    assert dropped.std(0).min() > 1e-3
    with pytest.raises(RalsegError, match="features is measured in whole images"):
        list(learner.predict_pixels(WHERE, [Noise("features", 2)]))


def test_which_learners_predict_pixels(store):
    assert made(store).predicts_pixels
    network = SmallFPN(11, widths=(8, 12, 16, 20, 24), pyramid=16)
    assert not SupervisedLearner(network, LearnerImages(store), LearnOptions(cut="full")).predicts_pixels


def some_pixels(store, count=9):
    labels, rng, new = PartialLabels(11), np.random.default_rng(1), []
    for i in range(count):
        y, x = rng.integers(SIZE)
        labels.reveal(i % 4, SIZE, (y, x, 1, 1), store.label(i % 4)[y : y + 1, x : x + 1])
        new.append((i % 4, (y / SIZE[0], x / SIZE[1])))
    return TrainingSet(labels, new, range(10))


def test_batch_norms_see_unlabelled_pixels_and_the_loss_does_not(store):
    """The statistics after one step from momentum 1 are those of labelled and unlabelled pixels together."""
    seen = []
    options = {"steps": 1, "averaging": 0.0, "loss": "plain"}
    learner = made(store, _scratch(500), None, options, hidden=[12, 8], norm="batch")
    for norm in learner._network.norms:
        norm.momentum = 1.0
    objective = learner.objective
    learner.objective = lambda batches, *given: seen.append(batches) or objective(batches, *given)
    before = learner._network.first.weight.clone()
    data = some_pixels(store)
    taught(learner, data, np.random.default_rng(0))
    ((batch,),) = seen
    assert (
        batch.targets.shape[-1] == 500 + batch.targets.sum() and batch.targets.sum() == data.labels.class_counts.sum()
    )
    with torch.no_grad():
        norm, vectors = learner._network.norm, batch.maps[0][0, :, 0].T
        x = (vectors - norm.running_mean) / torch.sqrt(norm.running_var + 1e-5)
        hidden = torch.relu(x @ before[:, :, 0, 0].T + learner._theta0["first.bias"])
    torch.testing.assert_close(learner._averaged.norms[0].running_mean, hidden.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(learner._averaged.norms[0].running_var, hidden.var(0), rtol=1e-4, atol=1e-5)
    learner.reset()
    assert (learner._averaged.norms[0].running_mean == 0).all()


def _scratch(unlabelled):
    return lambda *given, **named: FromScratchLearner(*given, unlabelled=unlabelled, **named)


def test_unlabelled_pixels_are_for_networks_per_pixel(store):
    network = SmallFPN(11, widths=(8, 12, 16, 20, 24), pyramid=16)
    with pytest.raises(RalsegError, match=r"learner\.unlabelled is for the batch norms of a network per pixel"):
        FromScratchLearner(network, LearnerImages(store), LearnOptions(cut="full"), unlabelled=3)
    with pytest.raises(RalsegError, match=r"set network=pixel_mlp network\.norm=batch"):
        made(store, _scratch(500), norm="layer")
    with pytest.raises(RalsegError, match=r"learner\.unlabelled=-1 is out of range"):
        FromScratchLearner(network, LearnerImages(store), LearnOptions(cut="full"), unlabelled=-1)


def test_noise_of_an_encoder_is_that_of_the_image(store, monkeypatch):
    source, image, seen = TimmSource(levels=(1, 2), noise=0.2), store.image(0), []
    model = source._model
    monkeypatch.setattr(source, "_model", lambda x: seen.append(x) or model(x))
    noisy = [source.maps(image, Variant("noisy_image", draw))[0] for draw in (0, 0, 1)]
    source.maps(image, PLAIN)
    source.maps(store.image(1), Variant("noisy_image", 1))
    assert torch.equal(noisy[0], noisy[1]) and not torch.equal(noisy[0], noisy[2])
    # Lite0 reads (x - 127) / 128, which makes a fifth of white 0.2 x 255 / 128.
    for x in (seen[0], seen[2]):
        assert float((x - seen[3]).std()) == pytest.approx(0.2 * 255 / 128, rel=0.02)
    other = normalised(torch.from_numpy(store.image(1)[None].copy()), *source._input)
    torch.testing.assert_close(seen[4] - other, seen[2] - seen[3], atol=1e-5, rtol=1e-5)
    assert source.key != TimmSource(levels=(1, 2), noise=0.1).key
    with pytest.raises(RalsegError, match=r"source\.noise=0 is out of range"):
        TimmSource(noise=0)
