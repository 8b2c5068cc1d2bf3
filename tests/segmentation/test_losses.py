import numpy as np
import pytest
import torch
from torch.nn import functional

from ralseg.foundation import RalsegError
from ralseg.segmentation.labels import soft_targets
from ralseg.segmentation.losses import class_weights, cross_entropy


def test_plain_weights_are_one():
    assert class_weights(np.array([5, 0, 100]), "plain").tolist() == [1, 1, 1]
    assert class_weights(np.zeros(3), "balanced").tolist() == [1, 1, 1]


def test_balanced_weights_by_hand():
    # One over the square root: 1/2, 1/6, 1/10; the mean over the 140 pixels is (2 + 6 + 10) / 140.
    scale = 140 / (4 / 2 + 36 / 6 + 100 / 10)
    weights = class_weights(np.array([4, 36, 100]), "balanced")
    np.testing.assert_allclose(weights, scale * np.array([1 / 2, 1 / 6, 1 / 10]), rtol=1e-6)
    assert weights.dtype == np.float32
    # A class without pixels weighs as much as the rarest.
    weights = class_weights(np.array([4, 0, 100]), "balanced")
    assert weights[0] == weights[1]
    assert (weights * np.array([4, 0, 100])).sum() == pytest.approx(104, rel=1e-6)


def test_unknown_loss():
    with pytest.raises(RalsegError, match="loss='dice' is unknown; choose from plain, balanced"):
        class_weights(np.ones(3), "dice")


def test_cross_entropy_by_hand():
    # Two cells: logits (ln 3, 0) hold 2 pixels of class 0 and 1 of class 1, logits (0, 0) hold 1 of class 1.
    logits = torch.tensor([[[[np.log(3), 0.0]], [[0.0, 0.0]]]])
    targets = torch.tensor([[[[2.0, 0.0]], [[1.0, 1.0]]]])
    terms = 2 * -np.log(3 / 4), -np.log(1 / 4), -np.log(1 / 2)
    assert cross_entropy([logits], [targets], torch.ones(2)).item() == pytest.approx(sum(terms) / 4, rel=1e-6)
    weighted = (3 * terms[0] + terms[1] + terms[2]) / (3 * 2 + 1 + 1)
    assert cross_entropy([logits], [targets], torch.tensor([3.0, 1.0])).item() == pytest.approx(weighted, rel=1e-6)


@pytest.mark.parametrize("size", [(12, 16), (10, 13), (24, 36)])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_the_cross_entropy_of_every_labelled_pixel_against_the_nearest_cell(size, weighted):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (2, 24, 36)).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.6] = 255
    logits = torch.randn(2, 5, *size, generator=torch.Generator().manual_seed(0), requires_grad=True)
    targets = torch.from_numpy(np.stack([soft_targets(label, 5, size) for label in labels]))
    weights = torch.tensor([1.0, 0.5, 2.0, 1.5, 1.0]) if weighted else torch.ones(5)
    upsampled = functional.interpolate(logits, size=(24, 36), mode="nearest")
    true = torch.from_numpy(labels.astype(np.int64))
    expected = functional.cross_entropy(upsampled, true, weights, ignore_index=255)
    found = cross_entropy([logits], [targets], weights)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    gradients = (torch.autograd.grad(value, logits)[0] for value in (found, expected))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-7)


def test_no_labelled_pixel():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = cross_entropy([logits], [torch.zeros(1, 3, 4, 4)], torch.ones(3))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().max() == 0
