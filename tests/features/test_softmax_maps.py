import numpy as np
import pytest
import scipy.stats
import torch

from ralseg.features import class_map, confidence_map, entropy_map, margin_map
from ralseg.features.softmax_maps import Softmax
from ralseg.foundation import RalsegError

LOGITS = np.random.default_rng(0).normal(scale=4, size=(2, 3, 5, 6, 7)).astype(np.float32)


def softmax(logits):
    return Softmax(logits).probabilities


ALL = (softmax, class_map, entropy_map, margin_map, confidence_map)


def probabilities(logits):
    return torch.softmax(torch.from_numpy(logits).double(), dim=-3).numpy()


def type_of(function):
    return np.uint8 if function is class_map else np.float32


def test_maps_against_scipy_and_torch(kind):
    p, logits = probabilities(LOGITS), kind(LOGITS)
    ordered = np.sort(p, axis=-3)[..., ::-1, :, :]
    np.testing.assert_allclose(kind.back(softmax(logits)), p, atol=1e-6)
    np.testing.assert_allclose(kind.back(entropy_map(logits)), scipy.stats.entropy(p, axis=-3), atol=1e-5)
    np.testing.assert_allclose(kind.back(margin_map(logits)), ordered[..., 0, :, :] - ordered[..., 1, :, :], atol=1e-6)
    np.testing.assert_allclose(kind.back(confidence_map(logits)), ordered[..., 0, :, :], atol=1e-6)
    np.testing.assert_array_equal(kind.back(class_map(logits), np.uint8), p.argmax(axis=-3))
    np.testing.assert_allclose(kind.back(Softmax(logits).log_probabilities), np.log(p), atol=1e-5)
    np.testing.assert_array_equal(kind.back(Softmax(logits).one_hot), p == p.max(axis=-3, keepdims=True))


@pytest.mark.parametrize("function", ALL)
def test_shapes_and_batches(function, kind):
    result = kind.back(function(kind(LOGITS)), type_of(function))
    assert result.shape == (LOGITS.shape if function is softmax else (2, 3, 6, 7))
    np.testing.assert_array_equal(kind.back(function(kind(LOGITS[1, 2])), type_of(function)), result[1, 2])


@pytest.mark.parametrize("function", ALL)
def test_no_image_has_no_map(function, kind):
    found = kind.back(function(kind(LOGITS[0, :0])), type_of(function))
    assert found.shape == ((0, 5, 6, 7) if function is softmax else (0, 6, 7))


@pytest.mark.parametrize("function", ALL)
def test_the_logits_are_left_alone(function, kind):
    logits = LOGITS.copy()
    function(kind(logits))
    np.testing.assert_array_equal(logits, LOGITS)


@pytest.mark.parametrize("function", ALL)
def test_the_order_in_memory_does_not_matter(function, kind):
    """Networks leave the classes of a pixel side by side."""
    logits = LOGITS[0]
    beside = np.ascontiguousarray(logits.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert not beside.flags.c_contiguous
    found = kind.back(function(kind(beside)), type_of(function))
    np.testing.assert_array_equal(found, kind.back(function(kind(logits)), type_of(function)))


@pytest.mark.parametrize("function", ALL)
def test_half_precision_is_taken_as_it_is(function):
    half = torch.from_numpy(LOGITS).bfloat16()
    found = function(half)
    assert found.dtype == (torch.uint8 if function is class_map else torch.float32)
    assert torch.equal(found, function(half.float()))


@pytest.mark.parametrize("function", ALL)
def test_results_carry_no_graph(function):
    assert not function(torch.from_numpy(LOGITS).requires_grad_() * 2).requires_grad


def test_extreme_logits_stay_in_range(kind):
    logits = kind(np.array([1e30, 0, -1e30, 1e4], np.float32).reshape(4, 1, 1))
    assert entropy_map(logits) == 0
    assert margin_map(logits) == 1


@pytest.mark.parametrize("classes", [2, 4, 255])
def test_of_tied_classes_the_first_wins(classes, kind):
    tied = kind(np.zeros((classes, 1, 1), np.float32))
    np.testing.assert_allclose(kind.back(entropy_map(tied)), np.log(classes), rtol=1e-6)
    assert entropy_map(tied) <= np.float32(np.log(classes))
    assert margin_map(tied) == 0
    assert class_map(tied) == 0
    last = kind(np.eye(classes, dtype=np.float32)[-1].reshape(classes, 1, 1))
    assert class_map(last) == classes - 1
    between = np.zeros((classes + 2, 1, 1), np.float32)
    between[[1, classes]] = 1
    if classes < 254:
        assert class_map(kind(between)) == 1
        assert margin_map(kind(between)) == 0


@pytest.mark.parametrize("function", ALL)
def test_bad_logits_are_refused(function, kind):
    with pytest.raises(RalsegError, match="give"):
        function(kind(np.zeros((5, 6))))
    for bad in (np.nan, np.inf, -np.inf):
        logits = np.zeros((3, 2, 2))
        logits[1, 0, 1] = bad
        with pytest.raises(RalsegError, match="NaN"):
            function(kind(logits))
    with pytest.raises(RalsegError, match="1 to 255 classes"):
        function(kind(np.zeros((256, 2, 2))))


def test_what_has_no_meaning_is_refused(kind):
    with pytest.raises(RalsegError, match="single class"):
        margin_map(kind(np.zeros((1, 2, 2))))
