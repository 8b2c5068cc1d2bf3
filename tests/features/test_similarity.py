import numpy as np
import pytest

from ralseg.features import similarity_histogram
from ralseg.foundation import RalsegError

RNG = np.random.default_rng(0)
ROWS, OTHERS = RNG.normal(size=(7, 4)), RNG.normal(size=(300, 4))


def cosine(a, b):
    return np.array([[x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in b] for x in a])


@pytest.mark.parametrize("bins", [1, 10])
def test_against_numpy(bins):
    found = similarity_histogram(ROWS, OTHERS, bins)
    expected = [np.histogram(row, bins=bins, range=(-1, 1))[0] / 300 for row in np.clip(cosine(ROWS, OTHERS), -1, 1)]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_by_hand():
    found = similarity_histogram([[2.0, 0.0]], [[1.0, 0.0], [5.0, 0.0], [-3.0, 0.0], [0.0, 1.0]], 4)
    # Edges at -1, -0.5, 0, 0.5, 1: one opposite, one at right angles, two alike.
    np.testing.assert_allclose(found, [[0.25, 0, 0.25, 0.5]])


def test_it_knows_no_scale_and_no_rotation():
    rotation = np.linalg.qr(RNG.normal(size=(4, 4)))[0]
    moved = similarity_histogram(3 * ROWS @ rotation, 0.1 * OTHERS @ rotation)
    np.testing.assert_allclose(moved, similarity_histogram(ROWS, OTHERS), atol=2 / 300)


def test_nothing_to_compare_with():
    np.testing.assert_array_equal(similarity_histogram(ROWS, OTHERS[:0]), 0)
    assert similarity_histogram(ROWS[:0], OTHERS).shape == (0, 10)
    np.testing.assert_allclose(similarity_histogram(np.zeros((1, 4)), OTHERS, 2), [[0, 1]])


def test_bad_input():
    with pytest.raises(RalsegError, match=r"rows \(7, 4\) and references \(300, 3\) do not match"):
        similarity_histogram(ROWS, OTHERS[:, :3])
    with pytest.raises(RalsegError, match="NaN"):
        similarity_histogram(ROWS, OTHERS * np.nan)
