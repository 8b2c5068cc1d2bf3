from math import comb

import numpy as np
import pytest

from ralseg.foundation import RalsegError
from ralseg.stats.redundancy import AROUND, redundancy


def rng(seed=0):
    return np.random.default_rng(seed)


def runs(length, count=20, spread=0.3):
    """Runs of points around centres of their own, one run after the other."""
    centres = np.repeat(rng().standard_normal((count, 8)), length, axis=0)
    return centres + spread * rng(1).standard_normal(centres.shape)


def slow(points, groups):
    """The definition, one image at a time, with the chances of every rank."""
    n, found, copies = len(points), [], 0
    for i in range(n):
        apart = [float(np.linalg.norm(points[i] - points[j])) for j in range(n)]
        near = [j for j in range(n) if j != i and abs(i - j) <= AROUND and groups[i] == groups[j]]
        ranked = sorted(apart[j] for j in range(n) if j != i)
        floor = 1e-3 * ranked[2 * AROUND]
        outside = min(apart[j] for j in range(n) if j != i and j not in near)
        expected = sum(
            comb(n - 1 - r, len(near) - r + 1) / comb(n - 1, len(near)) * np.log(max(ranked[r - 1], floor))
            for r in range(1, len(near) + 2)
        )
        found.append(np.log(max(outside, floor)) - expected)
        copies += ranked[0] < 0.5 * ranked[AROUND]
    return np.mean(found), copies / n


@pytest.mark.parametrize("lengths", [[80], [30, 5, 45], [1] * 70])
def test_by_its_definition(lengths):
    points = rng(2).standard_normal((sum(lengths), 5))
    points[7] = points[6]
    groups = np.repeat(np.arange(len(lengths)), lengths)
    found = redundancy(points, groups, rng())
    assert (found.in_sequence, found.copies) == pytest.approx(slow(points, groups), abs=1e-9)
    assert found.low <= found.in_sequence <= found.high


def test_without_sequence_it_is_about_0():
    values = [redundancy(rng(seed).standard_normal((200, 8)), np.zeros(200), rng()) for seed in range(8)]
    assert abs(np.mean([found.in_sequence for found in values])) < 0.01
    assert sum(found.low <= 0 <= found.high for found in values) >= 6 and values[0].copies < 0.15


def test_runs_are_redundant_and_the_order_says_so():
    points = runs(12)
    found = redundancy(points, np.zeros(len(points)), rng())
    assert found.low > 0.5 and found.low < found.in_sequence < found.high
    shuffled = redundancy(rng().permutation(points), np.zeros(len(points)), rng())
    assert abs(shuffled.in_sequence) < 0.05
    denser = redundancy(runs(12, spread=0.1), np.zeros(len(points)), rng())
    assert denser.in_sequence > found.in_sequence + 0.5


def test_copies_are_found_in_any_order():
    points = rng().permutation(np.repeat(rng().standard_normal((40, 8)), 3, axis=0))
    assert redundancy(points, np.zeros(120), rng()).copies == 1


def test_the_unit_of_the_points_does_not_matter():
    points = runs(6)
    first, second = (redundancy(p, np.zeros(len(points)), rng()) for p in (points, 1000 * points + 5))
    assert first == pytest.approx(second, abs=1e-9)


def test_the_interval_is_that_of_blocks():
    """Values that go together within runs make the interval wider than single images would."""
    wide = redundancy(runs(12, count=12), np.zeros(144), rng())
    narrow = redundancy(runs(12, count=100), np.zeros(1200), rng())
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


@pytest.mark.parametrize(
    ("points", "groups", "message"),
    [
        (np.zeros((59, 2)), np.zeros(59), "59 images are too few to measure it; at least 60"),
        (np.zeros((60, 2)), np.zeros(61), "are not"),
        (np.full((60, 2), np.nan), np.zeros(60), "are not"),
    ],
)
def test_bad_input(points, groups, message):
    with pytest.raises(RalsegError, match=message):
        redundancy(points, groups, rng())


def test_copies_to_the_pixel_alone():
    found = redundancy(np.zeros((60, 2)), np.zeros(60), rng())
    assert np.isfinite(found).all()
