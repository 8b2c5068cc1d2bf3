import numpy as np
import pytest

from ralseg.features import PrincipalComponents
from ralseg.foundation import RalsegError


def rows(n, width, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, width)) * np.geomspace(5, 0.1, width)) @ rng.normal(size=(width, width)) + 3


@pytest.mark.parametrize(("n", "width"), [(60, 8), (8, 20), (20, 20)])
def test_fit_against_the_covariance(n, width):
    x = rows(n, width)
    fitted = PrincipalComponents.fit(x, 4)
    variance, vectors = np.linalg.eigh(np.cov(x.T))
    np.testing.assert_allclose(fitted.scale**2, variance[::-1][:4], rtol=1e-4)
    np.testing.assert_allclose(np.abs(fitted.components @ vectors[:, ::-1][:, :4]), np.eye(4), atol=1e-3)
    np.testing.assert_allclose(fitted.components @ fitted.components.T, np.eye(4), atol=1e-5)
    assert (fitted.components[np.arange(4), np.abs(fitted.components).argmax(axis=1)] > 0).all()
    assert len(fitted) == 4


def test_transform_whitens_the_rows_of_the_fit():
    x = rows(60, 8)
    fitted = PrincipalComponents.fit(x, 3)
    white = fitted.transform(x)
    assert white.dtype == np.float32
    np.testing.assert_allclose(np.cov(white.T), np.eye(3), atol=1e-3)
    np.testing.assert_allclose(white * fitted.scale, (x - x.mean(axis=0)) @ fitted.components.T, atol=1e-3)
    np.testing.assert_allclose(fitted.transform(x.reshape(6, 10, 8)), white.reshape(6, 10, 3), atol=1e-5)


def test_mirrored_rows_mirror_nothing_but_the_coordinates():
    x = rows(60, 8)
    a, b = PrincipalComponents.fit(x, 3), PrincipalComponents.fit(-x, 3)
    np.testing.assert_allclose(a.components, b.components, atol=1e-5)


def test_as_many_as_there_are():
    x = rows(60, 8)
    twice = np.hstack([x[:, :3], x[:, :3]])  # six numbers that vary in three directions
    for given, k, kept in ((x, 9, 8), (x[:4], 4, 3), (twice, 4, 3), (x, 3, 3)):
        fitted = PrincipalComponents.fit(given, k, fewer=True)
        plain = PrincipalComponents.fit(given, kept)
        assert len(fitted) == kept
        np.testing.assert_array_equal(fitted.transform(given), plain.transform(given))
    with pytest.raises(RalsegError, match="fewer than 1 directions"):
        PrincipalComponents.fit(np.ones((5, 3)), 2, fewer=True)


def test_bad_input_is_refused():
    x = rows(60, 8)
    fitted = PrincipalComponents.fit(x, 3)
    with pytest.raises(RalsegError, match="at most 8"):
        PrincipalComponents.fit(x, 9)
    with pytest.raises(RalsegError, match="at most 3"):
        PrincipalComponents.fit(x[:4], 4)
    with pytest.raises(RalsegError, match="fewer than 4 directions"):
        PrincipalComponents.fit(np.hstack([x[:, :3], x[:, :3]]), 4)
    with pytest.raises(RalsegError, match="fewer than 1 directions"):
        PrincipalComponents.fit(np.ones((5, 3)), 1)
    with pytest.raises(RalsegError, match="not finite"):
        PrincipalComponents.fit(np.full((5, 3), np.nan), 1)
    with pytest.raises(RalsegError, match="8 numbers each"):
        fitted.transform(x[:, :7])
    with pytest.raises(RalsegError, match="do not belong together"):
        PrincipalComponents(fitted.mean[:7], fitted.components, fitted.scale)
