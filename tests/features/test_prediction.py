import numpy as np
import pytest
import torch

from ralseg.features.prediction import FEATURE_NOISE, Noise, Prediction, as_array, resized
from ralseg.foundation import RalsegError

RNG = np.random.default_rng(0)
LOGITS = torch.from_numpy(RNG.normal(size=(3, 4, 6, 8)))
FEATURES = torch.from_numpy(RNG.normal(size=(3, 5, 3, 4)).astype(np.float32))
EMBEDDING = tuple(torch.from_numpy(RNG.normal(size=(3, d, h, 4)).astype(np.float32)) for d, h in ((2, 3), (7, 2)))
FLIP = Noise("flip", 2)
NOISY = {FEATURE_NOISE: torch.stack([LOGITS + m for m in range(5)]), FLIP: torch.stack([LOGITS, -LOGITS])}


@pytest.fixture
def prediction():
    """Of three images, the fifth, the third and the ninth of their store."""
    return Prediction(LOGITS, FEATURES, EMBEDDING, NOISY, (5, 3, 9))


def test_what_a_noise_is():
    assert (FEATURE_NOISE.kind, FEATURE_NOISE.draws, FEATURE_NOISE.scale) == ("features", 5, 0.25)
    assert Noise("flip", 1) != FLIP == Noise("flip", 2)
    assert Noise("dropout", 9).draws == 9
    with pytest.raises(RalsegError, match="draws=3 is out of range; an image has 1 flip, or 2 with the plain one"):
        Noise("flip", 3)
    for changed, key in (({"draws": 0}, "draws"), ({"scale": 0}, "scale")):
        with pytest.raises(RalsegError, match=f"noise.{key}=0 is out of range"):
            Noise(**{"kind": "features", "draws": 2} | changed)


def test_the_prediction_of_one_image_is_its_part_of_the_batch(prediction):
    own = prediction.of_image(1)
    assert torch.equal(own.logits, LOGITS[1:2]) and torch.equal(own.features, FEATURES[1:2])
    assert [torch.equal(part, whole[1:2]) for part, whole in zip(own.embedding, EMBEDDING, strict=True)] == [True, True]
    assert own.noisy.keys() == NOISY.keys() and own.images == (3,)
    for noise, logits in own.noisy.items():
        assert torch.equal(logits, NOISY[noise][:, 1:2])


def test_the_softmax_is_computed_once_and_in_float32(prediction):
    found = prediction.softmax.probabilities
    assert isinstance(found, np.ndarray) and found.dtype == np.float32 and prediction.softmax is prediction.softmax
    np.testing.assert_allclose(found, torch.softmax(LOGITS, 1).numpy(), atol=1e-6)
    array = prediction.array(LOGITS)
    assert isinstance(array, np.ndarray) and array.dtype == np.float32
    np.testing.assert_array_equal(array, as_array(LOGITS))
    assert as_array(torch.empty(2, device="meta")).device.type == "meta"


def test_features_are_brought_to_the_size_of_the_logits(prediction):
    expected = torch.nn.functional.interpolate(FEATURES, size=(6, 8), mode="bilinear")
    assert torch.equal(prediction.decoded, expected)
    assert resized(FEATURES, (3, 4)) is FEATURES and resized(FEATURES, (4, 3)).shape == (3, 5, 4, 3)
