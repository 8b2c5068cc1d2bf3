"""What every learner keeps; a subclass says how to make one."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ralseg.foundation import RalsegError
from ralseg.segmentation.augmentation import Crops
from ralseg.segmentation.datasets import Streets
from ralseg.segmentation.evaluation import Evaluator
from ralseg.segmentation.labels import PartialLabels
from ralseg.segmentation.learners import (
    FitCheckpoint,
    FitOptions,
    LearnerImages,
    LearnOptions,
    TrainingSet,
    fitted,
    taught,
)
from ralseg.segmentation.networks import CUTS, SmallFPN
from ralseg.segmentation.store import ImageStore

OPTIONS = {"crops": Crops((32, 48)), "steps": 2, "batch": 3}
FIT = FitOptions(steps=4, batch=2, evaluations=2, crops=Crops((32, 48)))
LABELLED, UNLABELLED, FORBIDDEN = (0, 1, 2), (0, 1, 2, 3, 4), 9


def rng(seed=0):
    return np.random.default_rng(seed)


def same(first, second):
    return set(first) == set(second) and all(torch.equal(first[key], second[key]) for key in first)


def data_of(store):
    """One unit of three images, and two images without labels."""
    labels, new = PartialLabels(len(store.dataset.classes)), []
    for i in LABELLED:
        labels.reveal(i, store.size(i), (24, 32, 24, 48), store.label(i)[24:48, 32:80])
        new.append((i, (36 / store.size(i)[0], 56 / store.size(i)[1])))
    return TrainingSet(labels, new, UNLABELLED)


class LearnerContract:
    """`cuts`: the games that it plays; `by_chance`: whether its training draws anything at random."""

    cuts, by_chance = CUTS, True

    def make(self, network, images, options):
        """A learner."""
        raise NotImplementedError

    def network(self):
        """The same theta_0 each time."""
        torch.manual_seed(0)
        network = SmallFPN(11, widths=(8, 12, 16, 20, 24), pyramid=16)
        network.add_frozen_head(8)
        return network

    @pytest.fixture(scope="class")
    def store(self, tmp_path_factory):
        streets = Streets(10, (96, 128))
        return ImageStore(streets, streets.names, 0.5, tmp_path_factory.mktemp("contract"))

    @pytest.fixture(params=CUTS)
    def learner_of(self, request, store):
        if request.param not in self.cuts:
            pytest.skip("another game")
        return lambda: self.make(self.network(), LearnerImages(store), LearnOptions(cut=request.param, **OPTIONS))

    def logits(self, learner, images=range(10)):
        found = {i: z for p in learner.predict(images) for i, z in zip(p.images, p.logits.float(), strict=True)}
        return torch.stack([found[i] for i in images]).clone()

    def test_reset_is_theta0(self, store, learner_of):
        learner = learner_of()
        before, weights = self.logits(learner), learner.weights()
        first = taught(learner, data_of(store), rng())
        assert not same(learner.weights(), weights)
        learner.reset()
        assert same(learner.weights(), weights)
        assert torch.equal(self.logits(learner), before)
        # Optimisers are fresh, too.
        assert taught(learner, data_of(store), rng()) == first

    def test_learning_is_deterministic_and_changes_the_version(self, store, learner_of):
        def taught_twice(seed):
            learner = learner_of()
            versions = [learner.version]
            for turn in range(2):
                taught(learner, data_of(store), rng(seed + turn))
                versions.append(learner.version)
            assert len(set(versions)) == 3
            return learner.weights()

        assert same(taught_twice(0), taught_twice(0))
        assert same(taught_twice(0), taught_twice(7)) != self.by_chance

    def test_nothing_labelled_changes_nothing(self, store, learner_of):
        learner = learner_of()
        version, weights = learner.version, learner.weights()
        assert taught(learner, TrainingSet(PartialLabels(11), [], UNLABELLED), rng()) == 0
        assert taught(learner, TrainingSet(data_of(store).labels, [], UNLABELLED), rng()) == 0
        assert (learner.version, same(weights, learner.weights())) == (version, True)

    def test_predict_covers_every_image_once_in_batches_of_one_size(self, store, learner_of):
        learner, images = learner_of(), [7, 2, 9, 0]
        batches = list(learner.predict(images))
        assert sorted(i for p in batches for i in p.images) == sorted(images)
        for prediction in batches:
            assert prediction.logits.shape[:2] == (len(prediction.images), learner.classes)
            assert len({(store.size(i), store.input_size(i)) for i in prediction.images}) == 1
        version = learner.version
        assert torch.equal(self.logits(learner), self.logits(learner))
        assert learner.version == version

    def test_evaluation_is_a_naive_count(self, store, learner_of):
        learner = learner_of()
        slow = np.zeros((11, 11), int)
        for image, logits in zip(range(10), self.logits(learner), strict=True):
            resized = torch.nn.functional.interpolate(logits[None], size=store.size(image), mode="bilinear")
            known = store.label(image) < 11
            np.add.at(slow, (store.label(image)[known], resized.argmax(1)[0].numpy()[known]), 1)
        found = Evaluator(store, 11)(learner, range(10)).counts
        assert found.sum() == slow.sum()
        # Rounding may turn a pixel whose two best classes are alike.
        assert np.abs(found - slow).sum() <= 4

    def test_a_restored_learner_continues_bit_for_bit(self, store, learner_of, tmp_path):
        first, second = learner_of(), learner_of()
        taught(first, data_of(store), rng(0))
        save_file(first.state(), tmp_path / "state.safetensors")
        taught(second, data_of(store), rng(5))
        second.restore(load_file(tmp_path / "state.safetensors"))
        for turn in (1, 2):
            losses = [taught(learner, data_of(store), rng(turn)) for learner in (first, second)]
            assert losses[0] == losses[1]
        assert same(first.weights(), second.weights())
        assert same(first.state(), second.state())
        assert torch.equal(self.logits(first), self.logits(second))

    def test_a_state_is_a_copy(self, store, learner_of):
        learner = learner_of()
        state, weights = learner.state(), learner.weights()
        kept = [{key: value.clone() for key, value in part.items()} for part in (state, weights)]
        taught(learner, data_of(store), rng())
        assert same(state, kept[0])
        assert same(weights, kept[1])

    def test_weights_go_round(self, store, learner_of, tmp_path):
        learner = learner_of()
        taught(learner, data_of(store), rng())
        save_file(learner.weights(), tmp_path / "weights.safetensors")
        network = self.network()
        network.load_state_dict(load_file(tmp_path / "weights.safetensors"))
        other = self.make(network, LearnerImages(store), learner.options)
        assert torch.equal(self.logits(learner), self.logits(other))

    def test_a_forbidden_image_is_refused(self, store, learner_of):
        learner = learner_of()
        list(learner.predict([FORBIDDEN]))  # kept predictions must be refused, too
        message = (
            f"asked for image {FORBIDDEN} .* it may read only labelled images and the unlabelled images of the pool"
        )

        def asking():
            with pytest.raises(RalsegError, match=message):
                list(learner.predict([FORBIDDEN]))
            with pytest.raises(RalsegError, match=message):
                learner.images.image(FORBIDDEN)
            list(learner.predict(UNLABELLED))

        with learner.images.only(data_of(store).images):
            asking()
        list(learner.predict([FORBIDDEN]))

    def test_a_fit_that_was_killed_goes_on(self, store, learner_of, tmp_path):
        if learner_of().options.cut != "full":
            pytest.skip("fit trains the whole network")

        def fit(kill=False, **given):
            def on_step(step, steps):
                if kill and step == 3:
                    raise KeyboardInterrupt

            learner = learner_of()
            fitted(learner, data_of(store), FIT, rng(), on_step=on_step, **given)
            return learner.weights()

        checkpoint = FitCheckpoint(tmp_path / "fit.safetensors", "this", every=0.0)
        with pytest.raises(KeyboardInterrupt):
            fit(True, checkpoint=checkpoint)
        assert checkpoint.load()[1]["steps"] == 2
        assert same(fit(checkpoint=checkpoint), fit())

    def test_fit_sees_what_validation_sees_as_scores_alone(self, store, learner_of):
        learner = learner_of()
        if learner.options.cut != "full":
            pytest.skip("fit trains the whole network")
        evaluator, scores = Evaluator(store, 11), []

        def validate():
            scores.append(evaluator(learner, [8, FORBIDDEN]).miou)
            return scores[-1]

        def on_step(step, steps):
            with pytest.raises(RalsegError, match="it may read only labelled images"):
                learner.images.image(FORBIDDEN)

        assert fitted(learner, data_of(store), FIT, rng(), validate, on_step) == 4
        assert len(scores) == 2
