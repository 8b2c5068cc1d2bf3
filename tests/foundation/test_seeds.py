import numpy as np

from ralseg.foundation import generator, integer, sequence


def test_streams_are_pinned():
    """Another number here is another split, another theta_0 and another draw for every seed there is."""
    assert sequence(0, "draws", 3).entropy == [0, 2344689703, 3]
    assert generator(0, "draws", 3).integers(0, 1000, 4).tolist() == [611, 9, 898, 885]
    assert [integer(0), integer(7, "theta0", "weights")] == [7896617691693857887, 3333997625843113348]


def test_streams_know_nothing_of_each_other():
    streams = [
        (0,),
        (1,),
        (0, "a"),
        (0, "b"),
        (0, "a", 1),
        (0, "a", 2),
        (1, "a"),
        (0, 1, "a"),
        (0, "a", "b"),
        (0, "b", "a"),
    ]
    drawn = np.array([generator(*stream).random(1000) for stream in streams])
    assert len(np.unique(drawn[:, 0])) == len(streams)
    correlation = np.corrcoef(drawn)
    assert np.abs(correlation[~np.eye(len(streams), dtype=bool)]).max() < 0.15


def test_the_same_stream_is_the_same():
    np.testing.assert_array_equal(generator(3, "x", 2).random(5), generator(3, "x", 2).random(5))
    assert integer(3, "x") == integer(3, "x")


def test_integers_suit_other_libraries():
    values = [integer(seed, "env") for seed in range(200)]
    assert all(type(value) is int and 0 <= value < 2**63 for value in values)
    assert len(set(values)) == 200
    assert max(values) > 2**62
