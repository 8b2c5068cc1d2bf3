import numpy as np
import pytest
import scipy.stats
import torch

from ralseg.features import class_map, confidence_map, entropy_map, margin_map, mutual_information_map, softmax
from ralseg.foundation import RalsegError

LOGITS = np.random.default_rng(0).normal(scale=4, size=(2, 3, 5, 6, 7)).astype(np.float32)
ALL = (softmax, class_map, entropy_map, margin_map, confidence_map)


def probabilities(logits):
    return torch.softmax(torch.from_numpy(logits).double(), dim=-3).numpy()


def test_maps_against_scipy_and_torch():
    p = probabilities(LOGITS)
    ordered = np.sort(p, axis=-3)[..., ::-1, :, :]
    np.testing.assert_allclose(softmax(LOGITS), p, atol=1e-6)
    np.testing.assert_allclose(entropy_map(LOGITS), scipy.stats.entropy(p, axis=-3), atol=1e-5)
    np.testing.assert_allclose(margin_map(LOGITS), ordered[..., 0, :, :] - ordered[..., 1, :, :], atol=1e-6)
    np.testing.assert_allclose(confidence_map(LOGITS), ordered[..., 0, :, :], atol=1e-6)
    np.testing.assert_array_equal(class_map(LOGITS), p.argmax(axis=-3))


@pytest.mark.parametrize("function", ALL)
def test_shapes_and_types(function):
    result = function(LOGITS)
    assert result.shape == (LOGITS.shape if function is softmax else (2, 3, 6, 7))
    assert result.dtype == (np.uint8 if function is class_map else np.float32)
    np.testing.assert_array_equal(function(LOGITS[1, 2]), result[1, 2])


@pytest.mark.parametrize("function", ALL)
def test_the_logits_are_left_alone(function):
    logits = LOGITS.copy()
    function(logits)
    np.testing.assert_array_equal(logits, LOGITS)


def test_extreme_logits_stay_in_range():
    logits = np.array([1e30, 0, -1e30, 1e4], np.float32).reshape(4, 1, 1)
    assert entropy_map(logits) == 0
    assert margin_map(logits) == 1
    tied = np.zeros((4, 1, 1), np.float32)
    np.testing.assert_allclose(entropy_map(tied), np.log(4), rtol=1e-6)
    assert entropy_map(tied) <= np.float32(np.log(4))
    assert margin_map(tied) == 0
    assert class_map(tied) == 0


def test_mutual_information_is_entropy_of_the_mean_less_mean_entropy():
    p = probabilities(LOGITS)
    expected = scipy.stats.entropy(p.mean(axis=0), axis=-3) - scipy.stats.entropy(p, axis=-3).mean(axis=0)
    found = mutual_information_map(LOGITS)
    assert found.shape == (3, 6, 7)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_mutual_information_of_one_belief_is_zero_and_of_two_certain_ones_is_ln_2():
    np.testing.assert_allclose(mutual_information_map(np.stack([LOGITS[0]] * 4)), 0, atol=1e-6)
    certain = np.array([[50, 0], [0, 50]], np.float32).reshape(2, 2, 1, 1)
    np.testing.assert_allclose(mutual_information_map(certain), np.log(2), rtol=1e-6)


@pytest.mark.parametrize("function", ALL)
def test_bad_logits_are_refused(function):
    with pytest.raises(RalsegError, match="give"):
        function(np.zeros((5, 6)))
    with pytest.raises(RalsegError, match="NaN"):
        function(np.full((3, 2, 2), np.nan))
    with pytest.raises(RalsegError, match="1 to 255 classes"):
        function(np.zeros((256, 2, 2)))


def test_what_has_no_meaning_is_refused():
    with pytest.raises(RalsegError, match="single class"):
        margin_map(np.zeros((1, 2, 2)))
    with pytest.raises(RalsegError, match="noisy predictions"):
        mutual_information_map(np.zeros((3, 2, 2)))
