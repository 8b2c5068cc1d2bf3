import numpy as np

from ralseg.stats import complete

NAN = np.nan


def test_seeds_that_played_over_the_draws_of_all_of_them():
    values = np.array([[1, 2, 3, NAN], [NAN] * 4, [4, NAN, 6, 7]])
    np.testing.assert_array_equal(complete(values), [[1, 3], [4, 6]])


def test_a_curve_with_a_hole_is_no_run():
    curves = np.array([[[1.0, 2], [3, NAN], [5, 6]]])
    np.testing.assert_array_equal(complete(curves), [[[1, 2], [5, 6]]])


def test_nothing_is_left_of_nothing():
    assert complete(np.full((2, 3), NAN)).size == 0
    assert complete(np.array([[1, NAN], [NAN, 2]])).size == 0
