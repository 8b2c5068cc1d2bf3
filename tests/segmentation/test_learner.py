import dataclasses
import shutil

import cv2
import numpy as np
import pytest
import torch

from ralseg.features.prediction import Noise
from ralseg.foundation import RalsegError
from ralseg.segmentation.augmentation import Crops
from ralseg.segmentation.datasets import Folder, Streets
from ralseg.segmentation.evaluation import Evaluator
from ralseg.segmentation.labels import PartialLabels, revealed
from ralseg.segmentation.learners import (
    FitCheckpoint,
    FitOptions,
    FromScratchLearner,
    LearnerImages,
    LearnOptions,
    MeanTeacherLearner,
    Predictor,
    SupervisedLearner,
    TrainingSet,
    batches,
    predictor,
    taught,
)
from ralseg.segmentation.metrics import confusion
from ralseg.segmentation.networks import CUTS, EncoderFPN, SmallFPN, SmpNetwork
from ralseg.segmentation.store import ImageStore

CROPS = Crops((32, 48))
FIT = FitOptions(steps=12, batch=4, evaluations=3, crops=Crops((32, 48), (0.7, 1.5), True, 0.2))


def accuracy(found):
    """Share of the labelled pixels that are right, in percent."""
    return 100 * np.trace(found.counts) / found.counts.sum()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    streets = Streets(10, (96, 128))
    return ImageStore(streets, streets.names, 0.5, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def ragged_store(tmp_path_factory):
    """Images of three sizes, one pair of which shrinks to one input size."""
    root = tmp_path_factory.mktemp("ragged")
    rng = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    for i, (height, width) in enumerate([(70, 90), (64, 101), (70, 90), (64, 102)]):
        label = np.kron(rng.integers(0, 3, (9, 13)), np.ones((8, 8), int))[:height, :width].astype(np.uint8)
        cv2.imwrite(str(root / "labels" / f"{i}.png"), label)
        cv2.imwrite(str(root / "images" / f"{i}.png"), np.stack([80 * label] * 3, axis=-1))
    (root / "classes.yaml").write_text("[{name: a, id: 0}, {name: b, id: 1}, {name: c, id: 2}]")
    data = Folder(root)
    return ImageStore(data, data.names, 0.5, tmp_path_factory.mktemp("cache"))


def network_of(classes=11, dropout=0.0, seed=0):
    torch.manual_seed(seed)
    network = SmallFPN(classes, dropout=dropout)
    network.add_frozen_head(16)
    return network


def learner_of(store, cut="partial", network=None, precision="auto", **options):
    network = network or network_of(len(store.dataset.classes))
    return SupervisedLearner(
        network,
        LearnerImages(store),
        LearnOptions(**{"cut": cut, "crops": CROPS, "steps": 2, "batch": 4} | options),
        precision=precision,
    )


def some_labels(store, images=(0, 1, 2), box=(24, 32, 24, 48)):
    """One unit of each image."""
    labels, new = PartialLabels(len(store.dataset.classes)), []
    for i in images:
        y, x, height, width = box
        labels.reveal(i, store.size(i), box, store.label(i)[y : y + height, x : x + width])
        new.append((i, ((y + height / 2) / store.size(i)[0], (x + width / 2) / store.size(i)[1])))
    return TrainingSet(labels, new)


def rng(seed=0):
    return np.random.default_rng(seed)


def same(first, second):
    return set(first) == set(second) and all(torch.equal(first[key], second[key]) for key in first)


def logits_of(learner, images):
    found = {i: z for p in learner.predict(images) for i, z in zip(p.images, p.logits.float().numpy(), strict=True)}
    return [found[image] for image in images]


def evaluate(learner, store, images, observer=None):
    return Evaluator(store, learner.classes)(learner, images, observer)


@pytest.mark.parametrize("cut", CUTS)
def test_reset_goes_back_to_theta0_bit_for_bit(store, cut):
    network = network_of()
    theta0 = {key: value.clone() for key, value in network.state_dict().items()}
    learner = learner_of(store, cut, network)
    data = some_labels(store)
    before = logits_of(learner, [0, 5])
    losses = [learner.learn(data, rng(i)) for i in range(3)]
    after = learner.weights()
    assert not same(after, theta0)
    learner.reset()
    assert same(learner.weights(), theta0)
    np.testing.assert_array_equal(logits_of(learner, [0, 5]), before)
    # The optimiser is fresh, too: the same turns give the same weights again.
    assert [learner.learn(data, rng(i)) for i in range(3)] == losses
    assert same(learner.weights(), after)


@pytest.mark.parametrize("cut", CUTS)
def test_learn_changes_what_lies_above_the_cut_and_nothing_else(store, cut):
    network = network_of()
    theta0 = {key: value.clone() for key, value in network.state_dict().items()}
    learner = learner_of(store, cut, network)
    data = some_labels(store)
    learner.learn(data, rng())
    above = {name for name in theta0 if _above(name, cut)}
    for weights in (learner.weights(), learner._network.state_dict()):
        changed = {name for name in theta0 if not torch.equal(weights[name], theta0[name])}
        assert changed <= above
        # Statistics are frozen and all weights change, except possibly the bias of a unit that never fires.
        assert not any("running" in name or "num_batches" in name for name in changed)
        assert sum("weight" in name for name in changed) == sum("weight" in name for name in above)


def _above(name, cut):
    if cut == "frozen":
        return name.startswith("frozen_head")
    if name.startswith("frozen_head"):
        return False
    return cut == "full" or not name.startswith(("stages.0", "stages.1", "stages.2"))


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("loss", ["plain", "balanced"])
def test_learning_lowers_the_loss(store, cut, loss):
    learner = learner_of(store, cut, loss=loss, learning_rate=3e-3, steps=4)
    data = some_labels(store)
    losses = [learner.learn(data, rng(i)) for i in range(12)]
    assert np.mean(losses[-3:]) < 0.8 * losses[0]


@pytest.mark.parametrize("cut", CUTS)
def test_the_same_rng_gives_the_same_weights(store, cut):
    data = some_labels(store)

    def weights(seed):
        learner = learner_of(store, cut)
        for turn in range(2):
            learner.learn(data, rng(seed + turn))
        return learner.weights()

    assert same(weights(0), weights(0))
    assert not same(weights(0), weights(10))


@pytest.mark.parametrize("cut", CUTS)
def test_labels_that_were_not_bought_change_nothing(store, monkeypatch, cut):
    def weights():
        data = some_labels(store)
        learner = learner_of(store, cut)
        learner.learn(data, rng())
        if cut == "full":
            learner.fit(data, FIT, rng())
        return learner.weights()

    expected = weights()
    true, asked = store.label, []

    def scrambled(i):
        asked.append(i)
        label = (true(i) + 3) % 11
        label[24:48, 32:80] = true(i)[24:48, 32:80]
        return label.astype(np.uint8)

    monkeypatch.setattr(store, "label", scrambled)
    assert same(weights(), expected)
    # Only `some_labels` looked.
    assert asked == [0, 1, 2]


@pytest.mark.parametrize("cut", ["partial", "frozen"])
def test_one_step_is_adamw_on_the_cross_entropy_of_the_labelled_pixels(store, cut):
    """One step on every labelled image at once, against the same step written out."""
    learner = learner_of(store, cut, None, "float32", steps=1, batch=3, averaging=0.5, weight_decay=0.1, clip=0.5)
    data = some_labels(store)
    value = learner.learn(data, rng())
    network = network_of().eval()
    parameters = [p for module in network.trained(cut) for p in module.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.1)
    images = network.normalise(torch.from_numpy(np.stack([store.image(i) for i in range(3)])))
    with torch.no_grad():
        maps = network.lower(images, cut)
    logits = network(maps, cut).logits
    known = torch.full((3, 96, 128), 255)
    for i in range(3):
        known[i, 24:48, 32:80] = torch.from_numpy(store.label(i)[24:48, 32:80].astype(np.int64))
    upsampled = torch.nn.functional.interpolate(logits, size=(96, 128), mode="nearest")
    loss = torch.nn.functional.cross_entropy(upsampled, known, ignore_index=255)
    assert value.item() == pytest.approx(loss.item(), rel=1e-5)
    before = [p.detach().clone() for p in parameters]
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 0.5)
    optimiser.step()
    for old, own, found in zip(before, parameters, learner._steps._twins, strict=True):
        # Adam's first step has the gradient's sign: where a gradient is nearly 0 rounding may turn it.
        close = torch.isclose(found, (old + own) / 2, rtol=1e-3, atol=2e-5)
        assert close.float().mean() > 0.98


def test_new_units_are_trained_on_first(store):
    learner = learner_of(store, steps=2, batch=2)
    data = some_labels(store, range(8))
    seen = []
    batches = learner._batches
    learner._batches = lambda samples, *rest: seen.append([image for image, _ in samples]) or batches(samples, *rest)
    learner.learn(TrainingSet(data.labels, data.new[:3]), rng())
    chosen = [image for images in seen for image in images]
    assert [len(images) for images in seen] == [2, 2]
    assert {0, 1, 2} <= set(chosen)
    learner._batches = batches


def test_crops_contain_the_new_units(store, monkeypatch):
    learner = learner_of(store, "full", steps=1, batch=3)
    data = some_labels(store)
    groups = []
    batches = learner._batches
    monkeypatch.setattr(learner, "_batches", lambda *a: groups.append(batches(*a)) or groups[-1])
    for seed in range(20):
        learner.learn(data, rng(seed))
    targets = torch.cat([batch.targets for batches in groups for batch in batches])
    assert len(targets) == 60
    assert (targets.sum((1, 2, 3)) > 0).all()


@pytest.mark.parametrize("kind", [SupervisedLearner, FromScratchLearner, MeanTeacherLearner])
def test_windows_of_a_kept_encoder_train_as_the_full_game_with_a_frozen_one(store, kind):
    def logits(**options):
        torch.manual_seed(0)
        network = EncoderFPN(11, weights=None, cached=5)
        told = LearnOptions(crops=Crops((32, 48), (0.7, 1.5), True, 0.2), batch=2, learning_rate=0.01, **options)
        learner = kind(network, LearnerImages(store), told)
        data = some_labels(store)
        data = TrainingSet(data.labels, data.new, (5, 6, 7))
        before = logits_of(learner, [3, 8])
        learner.learn(data, rng())
        return before, logits_of(learner, [3, 8])

    _, full = logits(cut="full", encoder_rate=0.0)
    theta0, windows = logits(cut="partial", windows=True)
    _, whole = logits(cut="partial")
    np.testing.assert_allclose(windows, full, atol=2e-3)
    assert np.abs(np.subtract(full, theta0)).max() > 0.05 and np.abs(np.subtract(whole, full)).max() > 0.05


def test_nothing_new_changes_nothing(store):
    learner = learner_of(store)
    data = some_labels(store)
    version, weights = learner.version, learner.weights()
    assert learner.learn(TrainingSet(PartialLabels(11), data.new), rng()) == 0
    assert learner.learn(TrainingSet(data.labels, []), rng()) == 0
    assert (learner.version, same(weights, learner.weights())) == (version, True)
    learner.learn(data, rng())
    assert learner.version != version


def test_void_alone_teaches_nothing(store):
    learner = learner_of(store, weight_decay=0.0)
    labels = PartialLabels(11)
    labels.reveal(0, (96, 128), (0, 0, 24, 32), np.full((24, 32), 255, np.uint8))
    weights = learner.weights()
    assert learner.learn(TrainingSet(labels, [(0, (0.1, 0.1))]), rng()) == 0
    assert same(weights, learner.weights())


@pytest.mark.parametrize("cut", CUTS)
def test_ragged_images(ragged_store, cut):
    """Batches of several sizes weigh every labelled pixel alike; predictions come in the order asked."""
    learner = learner_of(ragged_store, cut, steps=1, batch=4)
    labels = PartialLabels(3)
    for i in range(4):
        labels.reveal(i, ragged_store.size(i), (0, 0, *ragged_store.size(i)), ragged_store.label(i))
    new = [(i, (0.5, 0.5)) for i in range(4)]
    expected = None
    if cut != "full":
        total = pixels = 0
        for i in range(4):
            z = torch.from_numpy(logits_of(learner, [i])[0])
            target = torch.from_numpy(labels.targets(i, z.shape[1:]))
            total -= float((target * z.log_softmax(0)).sum())
            pixels += float(target.sum())
        expected = total / pixels
    value = learner.learn(TrainingSet(labels, new), rng())
    assert np.isfinite(value)
    if expected is not None:
        assert value == pytest.approx(expected, rel=1e-4)
    order = [3, 0, 2, 1, 0]
    for image, z in zip(order, logits_of(learner, order), strict=True):
        height, width = ragged_store.input_size(image)
        assert z.shape == (3, -(-height // 4), -(-width // 4))
        np.testing.assert_allclose(z, logits_of(learner, [image])[0], atol=1e-5)
    slow = np.zeros((3, 3), int)
    for i in range(4):
        z = torch.from_numpy(logits_of(learner, [i])[0])[None]
        resized = torch.nn.functional.interpolate(z, size=ragged_store.size(i), mode="bilinear")
        slow += confusion(resized.argmax(1)[0].numpy().astype(np.uint8), ragged_store.label(i), 3).counts
    found = evaluate(learner, ragged_store, range(4)).counts
    assert found.sum() == slow.sum()
    assert np.abs(found - slow).sum() <= 4


def test_kept_maps_do_not_depend_on_the_first_request(store):
    first, second = learner_of(store), learner_of(store)
    logits_of(first, range(10))
    for i in (7, 3, 0):
        logits_of(second, [i])
    for own, other in zip(first.maps()([0, 3, 7]), second.maps()([0, 3, 7]), strict=True):
        assert torch.equal(own, other)


def test_an_observer_sees_every_prediction_once(store):
    learner, seen = learner_of(store), []
    plain = evaluate(learner, store, range(10))
    with_observer = evaluate(learner, store, range(10), lambda p: seen.append((len(p.logits), list(p.images))))
    np.testing.assert_array_equal(plain.counts, with_observer.counts)
    assert sorted(i for _, images in seen for i in images) == list(range(10))
    assert all(count == len(images) for count, images in seen)


def test_noisy_predictions_reach_the_reducers(store):
    learner, noise = learner_of(store, network=network_of(dropout=0.5)), Noise("dropout", 3)

    def draws(seed):
        generator = torch.Generator().manual_seed(seed)
        (found,) = learner.predict([0, 1], [noise], generator)
        return found.noisy[noise].numpy().swapaxes(0, 1)

    first, again, other = draws(0), draws(0), draws(1)
    assert first[0].shape == (3, 11, 12, 16)
    np.testing.assert_array_equal(first, again)
    assert (np.array(first) != np.array(other)).mean() > 0.9


@pytest.mark.parametrize("cut", CUTS)
def test_precision(store, cut):
    """Convolutions in bfloat16: the same learning but for rounding, and what leaves the learner is float32."""
    exact, rough = (learner_of(store, cut, precision=precision) for precision in ("float32", "bfloat16"))
    assert (exact.dtype, rough.dtype) == (torch.float32, torch.bfloat16)
    data, losses = some_labels(store), []
    for learner in (exact, rough):
        losses.append(float(learner.learn(data, rng())))
        assert {w.dtype for name, w in learner.weights().items() if "num_batches" not in name} == {torch.float32}
        assert next(learner.predict([0])).logits.dtype == torch.float32
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[1] != losses[0]
    images = range(len(store))
    assert evaluate(rough, store, images).miou == pytest.approx(evaluate(exact, store, images).miou, abs=0.5)
    moved = [
        (a - b).norm() / (a - c).norm()
        for a, b, c in zip(exact._steps._twins, rough._steps._twins, theta0_of(exact), strict=True)
    ]
    assert np.median(moved) < 0.3


def theta0_of(learner):
    """The start of the averaged weights that are trained."""
    names = {id(p): name for name, p in learner._averaged.named_parameters()}
    return [learner._theta0[names[id(p)]] for p in learner._steps._twins]


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_inference_is_the_same_but_for_rounding(store):
    eager = learner_of(store, "frozen")
    network = network_of(len(store.dataset.classes))
    compiled = SupervisedLearner(network, LearnerImages(store), eager.options, compiled=True)
    np.testing.assert_allclose(logits_of(compiled, [0, 1]), logits_of(eager, [0, 1]), rtol=0.02, atol=0.02)


def test_weights_are_a_copy(store):
    learner = learner_of(store)
    weights = learner.weights()
    kept = {key: value.clone() for key, value in weights.items()}
    learner.learn(some_labels(store), rng())
    assert same(weights, kept)
    assert all(value.is_contiguous() for value in weights.values())


def test_fit_learns_and_keeps_the_best_weights(store):
    labels = revealed(store, range(6))
    learner, data = learner_of(store, "full"), TrainingSet(labels, [])
    plain, scores = [], iter([10.0, 30.0, 20.0])

    def scripted():
        """Finds the second of the three best, and remembers what it was shown."""
        plain.append(learner.weights())
        return next(scores)

    steps = []
    assert learner.fit(data, FIT, rng(), scripted, on_step=lambda *s: steps.append(s)) == 12
    assert steps == [(i, 12) for i in range(1, 13)]
    assert same(learner.weights(), plain[1])
    assert not same(plain[1], plain[2])
    assert same(dict(learner._network.state_dict().items()), plain[1])
    assert not learner._network.training
    version = learner.version
    before = accuracy(evaluate(learner, store, range(6)))
    learner.fit(data, dataclasses.replace(FIT, steps=60), rng())
    assert accuracy(evaluate(learner, store, range(6))) > before + 10
    assert learner.version != version
    learner.reset()
    assert accuracy(evaluate(learner, store, range(6))) < before + 10


class Killed(Exception):
    """In the place of a kill."""


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize("killed", [1, 5, 9, 12])
def test_a_fit_that_was_killed_ends_with_the_same_weights(store, tmp_path, killed, validated, dropout):
    """Validation makes the second of its scores the best, so that the best weights are older than the last ones."""

    def fit(checkpoint=None, until=None):
        learner = learner_of(store, "full", network_of(dropout=dropout))
        # The score depends on the step alone, as that of a real validation does.
        scores = {4: 10.0, 8: 30.0, 12: 20.0}
        at = [0]

        def on_step(step, _):
            at[0] = step
            if step == until:
                raise Killed

        validate = (lambda: scores[at[0]]) if validated else None
        steps = learner.fit(some_labels(store), FIT, rng(), validate, on_step, checkpoint)
        return learner.weights(), steps

    of = FitCheckpoint(tmp_path / "fit.safetensors", "this", every=0.0)
    with pytest.raises(Killed):
        fit(of, until=killed)
    assert of.path.exists() == (killed > 1)
    again, steps = fit(FitCheckpoint(of.path, "this", every=0.0))
    whole, of_whole = fit()
    assert same(again, whole) and steps == of_whole == 12
    assert not of.path.exists()


def test_a_fit_does_not_go_on_from_another_training(store, tmp_path):
    path = tmp_path / "fit.safetensors"
    FitCheckpoint(path, "other").save({"network.nothing": torch.zeros(1)}, {})
    learner, plain = learner_of(store, "full"), learner_of(store, "full")
    learner.fit(some_labels(store), FIT, rng(), checkpoint=FitCheckpoint(path, "this"))
    plain.fit(some_labels(store), FIT, rng())
    assert same(learner.weights(), plain.weights())


@pytest.mark.parametrize("content", [b"", b"garbage" * 9])
def test_a_damaged_checkpoint_of_a_fit_is_refused(store, tmp_path, content):
    path = tmp_path / "fit.safetensors"
    path.write_bytes(content)
    with pytest.raises(RalsegError, match=r"fit\.safetensors is damaged .*; remove it"):
        learner_of(store, "full").fit(some_labels(store), FIT, rng(), checkpoint=FitCheckpoint(path, "this"))


def test_fit_ends_early_without_progress(store):
    learner = learner_of(store, "full")
    options = dataclasses.replace(FIT, steps=20, evaluations=10, patience=2)
    # The first is the best of all, the second and the third are not better.
    assert learner.fit(some_labels(store), options, rng(), lambda: 1.0) == 6


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 21])
def test_fit_of_any_length(store, steps):
    learner = learner_of(store, "full")
    validate = lambda: evaluate(learner, store, [0]).miou  # noqa: E731
    assert learner.fit(some_labels(store), dataclasses.replace(FIT, steps=steps), rng(), validate) == steps


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_fit_is_deterministic(store, dropout):
    def weights(seed):
        learner = learner_of(store, "full", network_of(dropout=dropout))
        torch.rand(3)
        learner.fit(some_labels(store), FIT, rng(seed))
        return learner.weights()

    assert same(weights(0), weights(0))
    assert not same(weights(0), weights(1))


@pytest.mark.parametrize("rate", [0.0, 0.1, 1.0])
def test_the_encoder_is_trained_at_its_own_rate(store, rate):
    """Adam's first step is as long as its learning rate, whatever the gradient."""
    learner = learner_of(store, "full", network_of(), "float32")
    before = learner.weights()
    options = FitOptions(1, learning_rate=1e-3, averaging=0.0, weight_decay=0.0, batch=4, encoder_rate=rate)
    learner.fit(some_labels(store), options, rng())
    after = learner.weights()
    moved = {name: (after[name].float() - before[name].float()).abs().max().item() for name in after}
    stages = {name: value for name, value in moved.items() if name.startswith("stages")}
    weights = [value for name, value in stages.items() if name.endswith("weight")]
    assert max(weights) == pytest.approx(1e-3 * rate, rel=0.01)
    assert (max(stages.values()) == 0) == (rate == 0), "frozen stages keep the statistics of their batch norms"
    assert moved["head.weight"] == pytest.approx(1e-3, rel=0.01)
    assert max(value for name, value in moved.items() if name.endswith("running_mean") and "smooth" in name) > 0


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_the_encoder_has_its_own_rate_in_turns(store, rate):
    told = {"learning_rate": 1e-3, "weight_decay": 0.0, "averaging": 0.0, "encoder_rate": rate}
    learner = learner_of(store, "full", network_of(), "float32", steps=1, **told)
    before = learner.weights()
    learner.learn(some_labels(store), rng())
    after = learner.weights()
    moved = {name: (after[name].float() - before[name].float()).abs().max().item() for name in after}
    stages = [value for name, value in moved.items() if name.startswith("stages") and name.endswith("weight")]
    assert max(stages) == pytest.approx(1e-3 * rate, rel=0.01)
    assert moved["head.weight"] == pytest.approx(1e-3, rel=0.01)


def test_schedules_keep_the_rates_in_proportion(store):
    learner = learner_of(store, "full", network_of(), "float32")
    rates = []
    options = FitOptions(9, learning_rate=1e-2, batch=2, encoder_rate=0.25)
    learner.fit(
        some_labels(store),
        options,
        rng(),
        on_step=lambda *_: rates.append([group["lr"] for group in learner._steps.optimisers[0].param_groups]),
    )
    assert [len(pair) for pair in rates] == [2] * 9
    np.testing.assert_allclose([slow / fast for fast, slow in rates], 0.25)
    assert max(fast for fast, _ in rates) == pytest.approx(1e-2, rel=0.05)


def test_steps_follow_the_labelled_pixels():
    options = FitOptions(steps=100, steps_per_megapixel=50, max_steps=220)
    assert [options.steps_for(n) for n in (0, 1_000_000, 2_000_000, 9_000_000)] == [100, 150, 200, 220]


@pytest.mark.parametrize("crops", [(32, 48), (144, 192), (40, 44)])
@pytest.mark.parametrize("architecture", ["fpn", "deeplabv3plus"])
def test_other_networks_are_trained_whole_on_any_crop(store, crops, architecture):
    torch.manual_seed(0)
    network = SmpNetwork(11, architecture, "tu-mobilenetv3_small_100")
    learner = learner_of(store, "full", network, crops=Crops(crops), steps=1, batch=2)
    data = some_labels(store)
    assert np.isfinite(learner.learn(data, rng()))
    assert learner.fit(data, dataclasses.replace(FIT, steps=2, crops=Crops(crops)), rng()) == 2


def test_refusals(store):
    data = some_labels(store)
    with pytest.raises(RalsegError, match="fit: no pixel is labelled; buy units with labels first"):
        learner_of(store, "full").fit(TrainingSet(PartialLabels(11), []), FIT, rng())
    with pytest.raises(RalsegError, match="fit trains the whole network, but the partial game freezes a part of it"):
        learner_of(store).fit(data, FIT, rng())
    network = SmallFPN(11)
    with pytest.raises(RalsegError, match="the frozen game needs a network with its MLP head"):
        SupervisedLearner(network, LearnerImages(store), LearnOptions(cut="frozen"))
    learner = learner_of(store)
    with torch.no_grad():
        learner._network.head.weight.fill_(float("nan"))
    learner.learn(data, rng())
    with pytest.raises(RalsegError, match="the segmentation loss is nan; lower the learning rate"):
        evaluate(learner, store, [0])
    learner.reset()
    evaluate(learner, store, [0])
    with pytest.raises(RalsegError, match="precision='half' is unknown; choose from auto, float32, bfloat16"):
        learner_of(store, precision="half")


@pytest.mark.parametrize(
    ("cls", "changes", "message"),
    [
        (LearnOptions, {"cut": "half"}, "LearnOptions.cut='half' is unknown; choose from full, partial, frozen"),
        (LearnOptions, {"loss": "focal"}, "loss='focal' is unknown; choose from plain, balanced"),
        (LearnOptions, {"steps": 0}, "LearnOptions.steps=0 is out of range; it must be 1 to 100000"),
        (LearnOptions, {"learning_rate": -1.0}, "learning_rate=-1.0 is out of range; it must be 0 to 1"),
        (LearnOptions, {"learning_rate": float("nan")}, "learning_rate=nan is out of range"),
        (LearnOptions, {"averaging": 1.0}, "averaging=1.0 is out of range"),
        (FitOptions, {"batch": 0}, "FitOptions.batch=0 is out of range"),
        (FitOptions, {"patience": 0}, "patience=0 is out of range"),
        (FitOptions, {"steps_per_megapixel": -1.0}, "steps_per_megapixel=-1.0 is out of range"),
    ],
)
def test_options_out_of_range(cls, changes, message):
    with pytest.raises(RalsegError, match=message):
        cls(**changes)


@pytest.fixture
def passes(monkeypatch):
    """The images of each forward pass of any inference twin, batch by batch."""
    seen, original = [], Predictor._passed
    monkeypatch.setattr(
        Predictor, "_passed", lambda self, images, *rest: seen.append(images) or original(self, images, *rest)
    )
    return seen


def test_an_image_passes_once_at_the_same_weights(store, passes):
    learner, noise = learner_of(store), Noise("features", 2)
    evaluate(learner, store, [0, 1, 2])
    first = dict(zip(range(3), logits_of(learner, [0, 1, 2]), strict=True))
    (noisy,) = learner.predict([0, 1, 2], [noise], torch.Generator().manual_seed(0))
    assert passes == [[0, 1, 2]]
    # Rows of what is kept, in any order, and a pass for what is not.
    found = logits_of(learner, [2, 5, 0, 2])
    assert passes == [[0, 1, 2], [5]]
    np.testing.assert_array_equal(found[0], first[2])
    np.testing.assert_array_equal(found[2], first[0])
    np.testing.assert_array_equal(found[3], first[2])
    np.testing.assert_allclose(found[1], logits_of(learner_of(store), [5])[0], atol=1e-6)
    # The same noise as without what is kept.
    (fresh,) = learner_of(store).predict([0, 1, 2], [noise], torch.Generator().manual_seed(0))
    assert torch.equal(noisy.noisy[noise], fresh.noisy[noise])
    passes.clear()
    learner.learn(some_labels(store), rng())
    assert not np.array_equal(logits_of(learner, [0])[0], first[0])
    assert passes == [[0]]


def test_kept_predictions_are_bounded(store, passes, monkeypatch):
    monkeypatch.setattr(predictor, "PREDICTION_BYTES", 1000)
    learner = learner_of(store)
    for _ in range(2):
        logits_of(learner, [0, 1])
    assert passes == [[0, 1]] * 2


@pytest.mark.parametrize("cut", ["partial", "frozen"])
def test_what_lies_below_the_cut_is_there_once(store, cut):
    learner = learner_of(store, cut)
    other = learner.another(learner.options)
    for name, tensor in learner._network.state_dict().items():
        copies = [own.state_dict()[name] for own in (learner._averaged, other._network, other._averaged)]
        shared = [tensor.data_ptr() == twin.data_ptr() for twin in copies]
        assert shared == [not _above(name, cut)] * 3 or "norm" in name, name
    assert all(_above(name, cut) for name in learner._theta0)


def test_a_state_of_another_learner_is_refused(store):
    learner = learner_of(store)
    learner.learn(some_labels(store), rng())
    state = learner.state()
    for key, value, message in [
        ("what", torch.zeros(1), "has an unknown what"),
        ("network.no.weight", torch.zeros(1), "has no.weight of another network"),
        ("averaged.head.bias", torch.zeros(3), "has head.bias of another network"),
        ("optimiser.1.0.step", torch.zeros(()), "has 1.0.step of another optimiser"),
    ]:
        with pytest.raises(RalsegError, match=message):
            learner.restore(state | {key: value})


class TwoOptimisers(SupervisedLearner):
    """Biases are trained by an optimiser of their own."""

    def make_optimisers(self, parameters, learning_rate, weight_decay):
        biases = [p for p in parameters if p.dim() == 1]
        others = [p for p in parameters if p.dim() != 1]
        sgd = torch.optim.SGD(biases, lr=learning_rate, momentum=0.9)
        return [*super().make_optimisers(others, learning_rate, weight_decay), sgd]


def test_several_optimisers_make_a_step_and_are_restored(store):
    options = LearnOptions(cut="partial", steps=2, batch=3)
    first, second = (TwoOptimisers(network_of(), LearnerImages(store), options, precision="float32") for _ in range(2))
    data, theta0 = some_labels(store), first.weights()
    first.learn(data, rng())
    after = first.weights()
    changed = {name for name in after if not torch.equal(after[name], theta0[name])}
    assert {"head.weight", "head.bias"} <= changed
    second.restore(first.state())
    assert first.learn(data, rng(1)) == second.learn(data, rng(1))
    assert same(first.weights(), second.weights())


@pytest.mark.parametrize("decoded", ["plain", "dropout"])
def test_the_frozen_head_learns_from_few_labelled_cells_as_from_whole_maps(store, monkeypatch, decoded):
    """Its logits are interpolated: a cell reads four neighbours on the coarser map, at the border two of them twice."""
    labels = PartialLabels(len(store.dataset.classes))
    for i in range(3):
        height, width = store.size(i)
        for y, x in ((0, 0), (height - 3, width - 2), (10 + i, 21)):
            labels.reveal(i, store.size(i), (y, x, 3, 2), store.label(i)[y : y + 3, x : x + 2])
    data, found = TrainingSet(labels, [(i, (0.5, 0.5)) for i in range(3)]), []
    for few in (1, 10**9):
        monkeypatch.setattr(batches, "FEW_NEIGHBOURS", few)
        network = network_of(len(store.dataset.classes), dropout=1e-12 if decoded == "dropout" else 0.0)
        learner, shapes = learner_of(store, "frozen", network, "float32", steps=1, averaging=0.0), []
        student = learner.student
        learner.student = lambda maps, to=shapes, of=student: to.append(maps[0].shape) or of(maps)
        loss = taught(learner, data, rng())
        found.append((loss.item(), learner.weights(), shapes))
    (loss, weights, shapes), (whole, of_whole, maps) = found
    assert all(shape[0] == 1 and shape[2] == 4 for shape in shapes) and all(shape[0] > 1 for shape in maps)
    assert loss == pytest.approx(whole, rel=1e-5)
    # Adam's first step has the gradient's sign: where a gradient is nearly 0 rounding may turn it.
    for name, value in weights.items():
        assert torch.isclose(value, of_whole[name], atol=1e-5).float().mean() > 0.98, name
