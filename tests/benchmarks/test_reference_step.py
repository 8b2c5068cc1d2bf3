"""The reference row does the same work as ours: where both compute a figure, it is the same figure."""

import numpy as np
import pytest
import torch

from ralseg.benchmarks.reference_step import ReferenceStep
from ralseg.benchmarks.same_work import SameWork
from ralseg.configs import composed
from ralseg.envs import World
from ralseg.features import entropy_map, released_entropy_pools, released_histogram
from ralseg.features.prediction import as_array
from ralseg.foundation import generator
from ralseg.segmentation.evaluation import Evaluator
from ralseg.segmentation.learners import LearnerImages, SupervisedLearner


@pytest.fixture
def work(small):
    """A turn at full resolution in the full game, on all 12 images of val."""
    return SameWork(World(composed("train_agent", [*small, "game=full", "input_scale=1.0", "game.unit=[48,64]"])), 1.0)


@pytest.fixture
def step(work):
    """The reference's operations at theta_0."""
    return ReferenceStep(work.network(), work.store, work.grid, (64, 64))


def logits(work, image):
    """What the network says of an image at full size, (1, C, H, W)."""
    learner = SupervisedLearner(
        work.network(), LearnerImages(work.store), work.world.learn_options, precision="float32"
    )
    kept = as_array(next(learner.predict([image])).logits)[0]
    size = work.store.size(image)
    return torch.nn.functional.interpolate(torch.as_tensor(kept)[None], size=size, mode="bilinear").numpy()


def test_reward_is_ours(work, step):
    """The same weights and images give the same confusion matrix, up to the rounding of two layouts."""
    learner = SupervisedLearner(
        work.network(), LearnerImages(work.store), work.world.learn_options, precision="float32"
    )
    ours, theirs = Evaluator(work.store, learner.classes)(learner, work.reward), step.evaluate(work.reward)
    assert (theirs.counts.sum(0) > 0).sum() > 3
    assert theirs.counts.sum() == ours.counts.sum()
    assert np.abs(theirs.counts - ours.counts).sum() <= 1e-3 * ours.counts.sum()
    assert theirs.miou == pytest.approx(ours.miou, abs=0.01)


def test_units_are_counted_and_pooled_at_full_size(work, step):
    """Counts of the classes and pools of the entropy, image after image, unit after unit."""
    images, classes = work.images[:2], len(work.world.dataset.classes)
    found = step.unit_vectors(images).reshape(2, len(work.grid), -1)
    for row, image in zip(found, images, strict=True):
        maps = logits(work, image)
        counts = work.grid.class_counts(maps[0].argmax(0).astype(np.uint8), classes)
        assert np.abs(row[:, :classes] - counts).sum() <= 1e-3 * counts.sum()
        assert (row[:, classes] == np.float32(1e-7)).all()
        np.testing.assert_allclose(
            row[:, classes + 1 :], released_entropy_pools(entropy_map(maps), work.grid)[0], atol=1e-3
        )


def test_histograms_are_the_released_ones(work, step):
    """One by one with scipy, or all at once as in ours."""
    own, classes = step.unit_vectors(work.images)[work.rows_of_units()], len(work.world.dataset.classes)
    found = step.candidate_vectors(own, work.labelled_shares)
    counts = own[:, : classes + 1]
    both = [released_histogram(counts, others) for others in (work.labelled_shares, counts)]
    assert (np.abs(found[:, -64:] - np.concatenate(both, axis=1)) < 1e-6).mean() > 0.99
    np.testing.assert_array_equal(found[:, :-64], own)


def test_training_is_one_step_in_training_mode(work, step):
    """Weights and the statistics of batch norm move; the loss is that of the labelled pixels."""
    before = {key: value.clone() for key, value in step.network.state_dict().items()}
    loss = step.train(work.bought, work.labels, generator(0, "test"))
    after = step.network.state_dict()
    assert 0.5 < loss < 20
    assert not torch.equal(after["head.weight"], before["head.weight"])
    assert any(not torch.equal(after[key], before[key]) for key in after if key.endswith("running_mean"))


def test_work_of_a_turn(work):
    """Candidates lie in images that hold more than K x N units, labels and shares belong to what is bought."""
    options = work.options
    assert len(work.units) == options.slates * options.candidates
    assert len(work.images) == len(work.units) // len(work.grid) + 1 == 3
    assert len(work.bought) == options.slates
    assert {image for image, _ in work.bought} <= set(work.images)
    assert work.labelled_shares.shape == (options.slates, len(work.world.dataset.classes) + 1)
    np.testing.assert_allclose(work.labelled_shares.sum(1), 1, atol=1e-5)
    rows = work.rows_of_units()
    assert len(set(rows)) == len(rows) and rows.max() < len(work.images) * len(work.grid)
