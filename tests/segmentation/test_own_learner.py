"""Learners from outside of the package: they keep the contract and are played through both doors."""

import importlib.util
import sys
from pathlib import Path

import pytest

from ralseg.configs import composed
from ralseg.configs.identity import identity
from ralseg.envs import World
from ralseg.evaluate_policy import main as evaluate_policy
from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets import Streets
from ralseg.segmentation.labels import PartialLabels
from ralseg.segmentation.learners import FromScratchLearner, LearnerImages, LearnOptions, SupervisedLearner, taught
from ralseg.segmentation.store import ImageStore
from ralseg.train_agent import main as train_agent


def loaded(name):
    """A module beside this file, as a package on the path."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


contract = loaded("learner_contract")
own = loaded("own_learner")


class TestSupervised(contract.LearnerContract):
    def make(self, network, images, options):
        return SupervisedLearner(network, images, options, precision="float32")


class TestFromScratch(contract.LearnerContract):
    def make(self, network, images, options):
        return FromScratchLearner(network, images, options, precision="float32")

    def test_only_the_labels_count(self, store, learner_of):
        """Two turns end as one turn with the labels of both does."""
        twice, once = learner_of(), learner_of()
        data = contract.data_of(store)
        first = PartialLabels(11)
        first.reveal(0, store.size(0), (24, 32, 24, 48), store.label(0)[24:48, 32:80])
        before = twice.weights()
        taught(twice, contract.TrainingSet(first, data.new[:1]), contract.rng(1))
        halfway = twice.weights()
        for learner in (twice, once):
            taught(learner, data, contract.rng())
        assert contract.same(twice.weights(), once.weights())
        assert not contract.same(halfway, before) and not contract.same(halfway, once.weights())


class TestMeanTeacher(contract.LearnerContract):
    def make(self, network, images, options):
        return own.MeanTeacher(network, images, options, precision="float32", sure=0.1)

    def test_it_learns_from_unlabelled_images(self, store, learner_of):
        with_them, without = learner_of(), learner_of()
        data = contract.data_of(store)
        taught(with_them, data, contract.rng())
        taught(without, contract.TrainingSet(data.labels, data.new), contract.rng())
        assert not contract.same(with_them.weights(), without.weights())


class Peeking(SupervisedLearner):
    """A learner that looks at a test image while it learns."""

    def objective(self, batches, weights, data, rng):
        self.images.image(contract.FORBIDDEN)
        return super().objective(batches, weights, data, rng)


class PeekingAtMaps(SupervisedLearner):
    def objective(self, batches, weights, data, rng):
        self.maps()([contract.FORBIDDEN])
        return super().objective(batches, weights, data, rng)


class PeekingByPrediction(SupervisedLearner):
    def learn(self, data, rng):
        list(self.predict([contract.FORBIDDEN]))
        return super().learn(data, rng)


@pytest.mark.parametrize("kind", [Peeking, PeekingAtMaps, PeekingByPrediction])
@pytest.mark.parametrize("cut", ["partial", "full"])
def test_a_learner_that_asks_for_a_test_image_is_refused(tmp_path, kind, cut):
    streets = Streets(10, (96, 128))
    store = ImageStore(streets, streets.names, 0.5, tmp_path)
    network = contract.LearnerContract().network()
    learner = kind(network, LearnerImages(store), LearnOptions(cut=cut, **contract.OPTIONS))
    list(learner.predict([contract.FORBIDDEN]))
    name = store.names[contract.FORBIDDEN]
    with pytest.raises(RalsegError, match=rf"asked for image {contract.FORBIDDEN} \({name}\) while learning; it may"):
        taught(learner, contract.data_of(store), contract.rng())
    # Afterwards everything is open again.
    learner.images.image(contract.FORBIDDEN)


TINY = [
    "dataset=streets", "dataset.images=40", "dataset.size=[96,128]", "network=small_fpn", "loss=plain",
    "protocol.counts={state: 5, train: 5, compare: 5, dev: 2}", "theta0.fit.steps=2", "theta0.fit.batch=4",
    "game.unit=[24,32]", "game.slates=2", "game.candidates=3", "game.budget=4", "game.learn.steps=1",
    "game.learn.batch=2",
]  # fmt: skip
OWN = [*TINY, "learner._target_=own_learner.MeanTeacher", "+learner.weight=0.7"]


def test_it_is_played_through_both_doors(tmp_path, monkeypatch):
    monkeypatch.setenv("RALSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    seen = []
    objective = own.MeanTeacher.objective

    def watched(self, batches, weights, data, rng):
        seen.append((self.weight, len(data.unlabelled)))
        return objective(self, batches, weights, data, rng)

    monkeypatch.setattr(own.MeanTeacher, "objective", watched)
    trained = ["features=compact", "training.episodes=1", "training.streams=1", "training.processes=1"]
    compared = ["comparison.draws=1", "comparison.policies=[random]", "comparison.processes=1"]
    assert train_agent([*OWN, *trained, *compared, f"run={tmp_path / 'train'}"]) == 0
    assert set(seen) == {(0.7, 5)}
    seen.clear()
    door = ["policies=[random]", "draws=1", "splits=[dev]", "processes=1"]
    assert evaluate_policy([*OWN, *door, f"run={tmp_path / 'evaluate'}"]) == 0
    assert set(seen) == {(0.7, 5)}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["learner._target_=own_learner.Teacher"], "learner._target_=own_learner.Teacher cannot be found"),
        (["+learner.wait=3"], "SupervisedLearner cannot be made with options ['wait']: got an unexpected keyword"),
        (["learner.wait=3"], "learner.wait is not a setting; learner has _target_"),
    ],
)
def test_mistyped_targets_and_options_give_one_line(tmp_path, monkeypatch, capsys, overrides, message):
    monkeypatch.setenv("RALSEG_CACHE", str(tmp_path / "cache"))
    assert evaluate_policy([*TINY, *overrides, f"run={tmp_path / 'run'}"]) == 2
    found = capsys.readouterr().err
    assert message in found
    assert found.count("\n") == 1


def test_a_recorded_configuration_without_learner_is_supervised_and_another_learner_another_run(tmp_path, monkeypatch):
    monkeypatch.setenv("RALSEG_CACHE", str(tmp_path))
    config = composed("evaluate_policy", TINY)
    recorded = {key: value for key, value in config.items() if key not in ("learner", "source")}
    assert identity(config, "run") == identity(recorded, "run")
    old = World({key: value for key, value in config.items() if key not in ("learner", "source")})
    assert type(old.learner()) is SupervisedLearner
    assert old.source is None
    changed = composed("evaluate_policy", OWN)
    assert identity(changed, "run") == identity(recorded, "run") | {"learner": changed["learner"]}
