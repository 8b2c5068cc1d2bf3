import numpy as np
import pytest

from ralseg.agents.acquisitions import overlap
from ralseg.agents.acquisitions.overlap import separated, separated_pixels
from ralseg.foundation import RalsegError


def greedy(score, picks, radius):
    """The definition."""
    score, chosen = score.copy(), []
    while len(chosen) < picks and score.max() > -np.inf:
        row, column = divmod(int(score.argmax()), score.shape[1])
        chosen.append(row * score.shape[1] + column)
        score[max(0, row - radius) : row + radius + 1, max(0, column - radius) : column + radius + 1] = -np.inf
    return chosen


@pytest.fixture(params=["as it is", "few at a time"])
def batches(request, monkeypatch):
    """Leading pixels in few batches, or in so many that the threshold is lowered again and again."""
    if request.param == "few at a time":
        plain = overlap._descending
        monkeypatch.setattr(overlap, "CHUNK", 3)
        monkeypatch.setattr(overlap, "SAMPLE", 50)
        monkeypatch.setattr(overlap, "_descending", lambda score, likely: plain(score, 1))


def maps():
    rng = np.random.default_rng(0)
    noise = rng.random((37, 53), np.float32)
    yield "noise", noise
    yield "smooth", np.add.outer(np.sin(np.arange(40) / 5), np.cos(np.arange(31) / 7))
    yield "tied", np.round(noise, 1)
    yield "constant", np.full((20, 30), 0.25)
    yield "mostly void", np.where(noise > 0.9, noise, -np.inf).astype(np.float32)
    yield "infinite", np.where(noise > 0.9, np.inf, noise)
    yield "line", noise[:1]
    yield "negative", noise - 7


@pytest.mark.parametrize("radius", [0, 1, 2, 5, 60])
@pytest.mark.parametrize(("kind", "score"), list(maps()), ids=[kind for kind, _ in maps()])
def test_same_as_the_greedy_definition(kind, score, radius, batches):
    before = score.copy()
    for picks in (1, 7, 40, score.size):
        found = separated(score, picks, radius)
        assert found.tolist() == greedy(score, picks, radius) and found.dtype == np.int64
    np.testing.assert_array_equal(score, before)


def test_by_hand():
    """5 strikes out the 4 beside it; of the two 3s the first in reading order."""
    score = np.array([[5, 4, 0, 3], [1, 1, 0, 0], [3, 0, 0, 2.0]])
    assert separated(score, 4, 1).tolist() == [0, 3, 8, 11]
    assert separated(score, 9, 1).tolist() == [0, 3, 8, 11]
    assert separated(score, 9, 2).tolist() == [0, 3]
    assert separated(score, 2, 10**9).tolist() == [0]
    assert separated(np.where(score == 5, -np.inf, score), 2, 1).tolist() == [1, 3]


def test_regions_of_a_large_map_do_not_overlap():
    score = np.random.default_rng(0).random((256, 512), np.float32)
    rows, columns = np.divmod(separated(score, 1000, 2), 512)
    near = np.maximum(abs(rows[:, None] - rows), abs(columns[:, None] - columns))
    assert len(rows) == 1000 and near[~np.eye(1000, dtype=bool)].min() == 3


def test_nothing_to_choose():
    for score in (np.full((4, 5), -np.inf), np.empty((0, 5)), np.empty((0, 0), np.float32)):
        assert separated(score, 3, 1).shape == (0,)
    for picks in (0, -1):
        assert separated(np.ones((4, 5)), picks, 1).shape == (0,)
        assert separated(np.full((4, 5), -np.inf), picks, 1).shape == (0,)


def test_bad_maps_are_refused():
    score = np.ones((4, 5))
    score[2, 3] = np.nan
    with pytest.raises(RalsegError, match="row 2, column 3 is NaN"):
        separated(score, 3, 1)
    with pytest.raises(RalsegError, match=r"shape \(5,\)"):
        separated(score[0], 3, 1)
    with pytest.raises(RalsegError, match="radius -1"):
        separated(np.ones((4, 5)), 3, -1)


def slow_pixels(score, images, positions, choices, per_image, radius):
    """One after the other over all images together."""
    open_, chosen = score > -np.inf, []
    while len(chosen) < choices and open_.any():
        best = int(np.where(open_, score, -np.inf).argmax())
        chosen.append(best)
        same = images == images[best]
        open_[same & (np.abs(positions - positions[best]).max(1) <= radius)] = False
        if per_image and sum(images[i] == images[best] for i in chosen) >= per_image:
            open_[same] = False
    return chosen


@pytest.mark.parametrize("per_image", [None, 2])
@pytest.mark.parametrize("radius", [0, 1, 3])
def test_pixels_of_several_images(per_image, radius):
    rng = np.random.default_rng(radius)
    for count in (1, 7, 60, 60, 60):
        images = rng.integers(0, 3, count)
        positions = np.stack(np.unravel_index(rng.choice(100, count, replace=False), (10, 10)), axis=1)
        score = rng.integers(0, 5, count).astype(float)
        score[rng.random(count) < 0.1] = -np.inf
        given = score, images, positions, 12, per_image, radius
        assert separated_pixels(*given).tolist() == slow_pixels(*given)
    empty = np.empty((0, 2), int)
    assert separated_pixels(np.empty(0), empty[:, 0], empty, 3, per_image, radius).tolist() == []
