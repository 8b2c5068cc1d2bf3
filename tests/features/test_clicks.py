"""Clicks by hand, and against a reference that walks along every outline."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, label

from ralseg.features import UnitGrid
from ralseg.features.clicks import PREDICTED_CLICKS, polygon_clicks
from ralseg.features.prediction import Prediction
from ralseg.foundation import RalsegError


def drawn(text):
    """A map of one digit per pixel, `.` is void."""
    return np.array([[255 if c == "." else int(c) for c in row] for row in text.split()], dtype=np.uint8)


def image_clicks(labels, tolerance=1.5):
    """(vertices, intersections, classes) of a map that is one unit."""
    return tuple(int(kind[0]) for kind in polygon_clicks(labels, UnitGrid.of_images(*labels.shape), tolerance))


@pytest.mark.parametrize(
    ("text", "clicks"),
    [
        ("000 000 000", (0, 0, 1)),
        ("001 001 001", (0, 2, 2)),
        # Four segments meet in one corner.
        ("0011 0011 2233 2233", (1, 4, 4)),
        # A corner between two classes is drawn once.
        ("00000 00000 00000 00111 00111 00111", (1, 2, 2)),
        ("0000000 0111110 0111110 0111110 0111110 0000000", (4, 0, 2)),
        # No polygon has fewer than three corners.
        ("000 010 000", (3, 0, 2)),
        # Parts that touch at a corner are one segment.
        ("01 10", (1, 4, 2)),
        ("0100 1100 0000 0011", (0, 6, 4)),
        # Void is outlined, but not named.
        ("00. 00. 00.", (0, 2, 1)),
        ("... ... ...", (0, 0, 0)),
        # One class in two places takes two clicks.
        ("010 010 010", (0, 4, 3)),
        ("01", (0, 2, 2)),
        ("0", (0, 0, 1)),
    ],
)
def test_by_hand(text, clicks):
    assert image_clicks(drawn(text)) == clicks


def test_what_the_tolerance_does():
    stairs = np.tri(12, 12, dtype=np.uint8)
    # Eleven inner corners and the ten outer ones between them.
    assert image_clicks(stairs, 0) == (21, 2, 2)
    assert image_clicks(stairs, 1) == (0, 2, 2)


def test_a_straight_edge_of_any_slope_takes_its_two_ends():
    y, x = np.mgrid[:60, :60] - 29.5
    for angle in np.linspace(0, 2 * np.pi, 50):
        edge = (y * np.cos(angle) + x * np.sin(angle) > 7.3).astype(np.uint8)
        assert image_clicks(edge) == (0, 2, 2)


def test_units_are_counted_alone_and_cuts_between_them_cost_nothing():
    grid = UnitGrid(5, 7, 2, 3)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (2, 5, 7)).astype(np.uint8)
    found = polygon_clicks(labels, grid)
    alone = [[image_clicks(image[y : y + h, x : x + w]) for y, x, h, w in grid.boxes.tolist()] for image in labels]
    np.testing.assert_array_equal(np.stack(found, axis=-1), alone)
    assert found.total.shape == (2, 9)
    blocks = (np.arange(9, dtype=np.uint8))[grid.index_map]
    np.testing.assert_array_equal(polygon_clicks(blocks, grid).total, 1)


def slow_clicks(labels, tolerance):
    """One unit at a time, with a dictionary of edges, a walk and a recursion."""
    h, w = labels.shape
    classes = sum(label(labels == c, np.ones((3, 3)))[1] for c in np.unique(labels) if c != 255)
    rows, columns = labels[[0, -1]], labels[:, [0, -1]]
    intersections = int((rows[:, 1:] != rows[:, :-1]).sum() + (columns[1:] != columns[:-1]).sum())
    edges = []
    for y in range(h):
        for x in range(w):
            if y + 1 < h and labels[y, x] != labels[y + 1, x]:
                ends = [(y + 1, x), (y + 1, x + 1)]
                edges.append(ends if labels[y, x] > labels[y + 1, x] else ends[::-1])
            if x + 1 < w and labels[y, x] != labels[y, x + 1]:
                ends = [(y, x + 1), (y + 1, x + 1)]
                edges.append(ends if labels[y, x] < labels[y, x + 1] else ends[::-1])
    at = {}
    for edge in edges:
        for end in edge:
            at.setdefault(end, []).append(edge)
    inside = {corner for corner in at if 0 < corner[0] < h and 0 < corner[1] < w}
    through = {corner for corner in inside if len(at[corner]) == 2}
    vertices = len(inside - through)
    left = sorted(edges)
    for ring in (False, True):
        for first in [edge for edge in left if ring or edge[0] not in through]:
            if first not in left:
                continue
            left.remove(first)
            walk = list(first)
            while walk[-1] in through and walk[-1] != walk[0]:
                (following,) = [edge for edge in at[walk[-1]] if edge[0] == walk[-1]]
                left.remove(following)
                walk.append(following[1])
            inner = split(np.array(walk, dtype=float), tolerance)
            vertices += max(3, inner + 1) if ring else inner
    return vertices, intersections, classes


def split(walk, tolerance):
    """Corners that Douglas and Peucker keep between the ends of a walk."""
    begin, end = walk[0], walk[-1]
    along = end - begin
    length = max(along @ along, 1)
    distances = [np.linalg.norm(p - begin - np.clip((p - begin) @ along / length, 0, 1) * along) for p in walk]
    furthest = int(np.argmax(np.round(distances, 9)))
    if distances[furthest] <= tolerance:
        return 0
    return 1 + split(walk[: furthest + 1], tolerance) + split(walk[furthest:], tolerance)


@pytest.mark.parametrize("tolerance", [0.0, 0.9, 1.5, 2.5])
def test_against_the_slow_reference(tolerance):
    rng = np.random.default_rng(int(10 * tolerance))
    for blur in (0, 0.8, 2):
        for size in ((17, 23), (1, 9), (12, 1)):
            smooth = gaussian_filter(rng.normal(size=(4, *size)), (0, blur, blur))
            labels = smooth.argmax(axis=0).astype(np.uint8)
            labels[labels == 3] = 255
            vertices, *rest = image_clicks(labels, tolerance)
            expected, *others = slow_clicks(labels, tolerance)
            assert rest == others
            # Of points that are equally far the slow one may round another way.
            assert vertices == pytest.approx(expected, abs=1)


def test_the_reducer_counts_in_the_prediction_at_the_size_of_the_image():
    # Two classes, on the left and the right half, and a third in the middle of the second unit.
    logits = torch.zeros(2, 3, 6, 12)
    logits[:, 0, :, :6] = logits[:, 1, :, 6:] = 4
    logits[1, 2, 2:4, 8:10] = 40
    grid = UnitGrid(24, 48, 24, 24)
    found = PREDICTED_CLICKS.find(Prediction(logits, logits, (logits,), images=(0, 1)), grid)
    enlarged = torch.nn.functional.interpolate(logits, size=(24, 48), mode="bilinear").argmax(1).byte().numpy()
    np.testing.assert_array_equal(found, polygon_clicks(enlarged, grid).total)
    assert found[0].tolist() == [1, 1] and found[1, 0] == 1 and found[1, 1] >= 5
    pixels = PREDICTED_CLICKS.find(Prediction(logits, logits, (logits,), images=(0, 1)), UnitGrid.of_pixels(24, 48))
    assert pixels.shape == (2, 24 * 48) and (pixels == 1).all()


@pytest.mark.parametrize(
    ("labels", "tolerance", "message"),
    [
        (np.zeros((4, 4), int), 1, "clicks: labels are int64"),
        (np.zeros((4, 5), np.uint8), 1, "give uint8 .*4, 4"),
        (np.zeros((4, 4), np.uint8), -1, "clicks: tolerance=-1 is out of range; it is 0 or more"),
        (np.zeros((4, 4), np.uint8), np.nan, "tolerance=nan"),
    ],
)
def test_bad_input(labels, tolerance, message):
    with pytest.raises(RalsegError, match=message):
        polygon_clicks(labels, UnitGrid.of_images(4, 4), tolerance)


def test_no_images():
    assert polygon_clicks(np.zeros((0, 4, 4), np.uint8), UnitGrid(4, 4, 2, 2)).total.shape == (0, 4)
