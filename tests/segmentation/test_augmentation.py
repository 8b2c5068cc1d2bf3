import numpy as np
import pytest

from ralseg.foundation import RalsegError
from ralseg.segmentation.augmentation import Crops, Strong, cut_mixed

H, W = 48, 64


@pytest.fixture
def coordinates():
    """An image whose red and green tell where a pixel comes from."""
    image = np.zeros((H, W, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(H)[:, None], np.arange(W)
    return image


def blocks(seed=0, scale=2):
    """A label of `scale` times the image's size in blocks, some void."""
    label = np.random.default_rng(seed).integers(0, 6, (H // 4, W // 4))
    label[label == 5] = 255
    return np.kron(label, np.ones((4 * scale, 4 * scale), int)).astype(np.uint8)


def source_of(window):
    """(top, left, bottom, right) of the image that an unzoomed window shows, and whether it is mirrored."""
    rows, columns = window[:, 0, 0].astype(int), window[0, :, 1].astype(int)
    mirrored = columns[0] > columns[-1]
    columns = np.sort(columns)
    assert (np.diff(rows) == 1).all()
    assert (np.diff(columns) == 1).all()
    return (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1), mirrored


def test_windows_and_their_targets(coordinates):
    label, rng = blocks(), np.random.default_rng(0)
    sources = set()
    for _ in range(60):
        window, targets = Crops((32, 40)).cut(coordinates, label, 5, rng)
        assert (window.shape, window.dtype) == ((32, 40, 3), np.uint8)
        assert (targets.shape, targets.dtype) == ((5, 8, 10), np.float32)
        (top, left, bottom, right), mirrored = source_of(window)
        part = label[2 * top : 2 * bottom, 2 * left : 2 * right]
        assert targets.sum((1, 2)).tolist() == [(part == c).sum() for c in range(5)]
        if mirrored:
            part = part[:, ::-1]
        expected = part.reshape(8, 8, 10, 8).swapaxes(1, 2).reshape(8, 10, 64)
        for c in range(5):
            np.testing.assert_array_equal(targets[c], (expected == c).sum(-1))
        sources.add((top, left, mirrored))
    assert len(sources) > 40
    assert 15 < sum(mirrored for *_, mirrored in sources) < 45


def test_the_window_contains_the_centre(coordinates):
    label, rng = blocks(), np.random.default_rng(1)
    starts = set()
    for _ in range(300):
        centre = tuple(rng.random(2))
        window, _ = Crops((32, 40), flip=False).cut(coordinates, label, 5, rng, centre)
        (top, left, bottom, right), _ = source_of(window)
        assert top <= int(centre[0] * H) < bottom
        assert left <= int(centre[1] * W) < right
        starts.add((top, left))
    assert {0, H - 32} <= {top for top, _ in starts}
    assert {0, W - 40} <= {left for _, left in starts}


@pytest.mark.parametrize("zoom", [(1.5, 2.5), (0.7, 1.5), (0.25, 0.3)])
def test_zoom(coordinates, zoom):
    label, rng = blocks(), np.random.default_rng(2)
    extents = []
    for _ in range(100):
        centre = tuple(rng.random(2))
        window, targets = Crops((32, 40), zoom, flip=False).cut(coordinates, label, 5, rng, centre)
        assert window.shape == (32, 40, 3)
        assert targets.shape == (5, 8, 10)
        rows, columns = window[..., 0].astype(int), window[..., 1].astype(int)
        extent = rows.max() - rows.min() + 1
        # The centre is in the window: interpolation shows the pixels around it.
        assert rows.min() - 1 <= centre[0] * H <= rows.max() + 2
        assert columns.min() - 1 <= centre[1] * W <= columns.max() + 2
        assert min(32 / zoom[1], H) - 2 <= extent <= min(32 / zoom[0], H) + 2
        extents.append(extent)
        # The targets hold the labelled pixels of the same part of the label, void left out.
        part = label[2 * rows.min() : 2 * rows.max() + 2, 2 * columns.min() : 2 * columns.max() + 2]
        assert targets.sum() == pytest.approx((part != 255).sum(), rel=0.25, abs=300)
    if zoom[0] > 0.3:
        assert max(extents) - min(extents) > 5


def test_the_window_is_clipped_to_the_image(coordinates):
    window, targets = Crops((144, 40), flip=False).cut(coordinates, blocks(), 5, np.random.default_rng(0))
    assert window.shape == (H, 40, 3)
    assert targets.shape == (5, 12, 10)


def test_the_label_may_have_another_shape_ratio(coordinates):
    label = np.zeros((75, 131), np.uint8)
    for seed in range(30):
        window, targets = Crops((33, 41)).cut(coordinates, label, 5, np.random.default_rng(seed))
        (top, left, bottom, right), _ = source_of(window)
        rows = round(bottom * 75 / H) - round(top * 75 / H)
        columns = round(right * 131 / W) - round(left * 131 / W)
        assert targets.shape == (5, 9, 11)
        assert targets.sum() == rows * columns


def test_targets_have_the_size_of_the_networks_logits(coordinates):
    _, targets = Crops((40, 44)).cut(
        coordinates, np.zeros((H, W), np.uint8), 5, np.random.default_rng(0), logit_size=lambda size: (size[0] // 2, 7)
    )
    assert targets.shape == (5, 20, 7)
    assert targets.sum() == 40 * 44


def test_colour_changes_the_image_alone(coordinates):
    label = blocks()
    plain = Crops((32, 40), flip=False).cut(coordinates, label, 5, np.random.default_rng(3))
    coloured = Crops((32, 40), flip=False, colour=0.4).cut(coordinates, label, 5, np.random.default_rng(3))
    assert (plain[0] != coloured[0]).mean() > 0.5
    np.testing.assert_array_equal(plain[1], coloured[1])
    means = [
        Crops((32, 40), colour=0.3).cut(np.full((H, W, 3), 128, np.uint8), label, 5, np.random.default_rng(i))[0].mean()
        for i in range(60)
    ]
    assert 128 * 0.7 - 1 <= min(means) < 105 < 150 < max(means) <= 128 * 1.3 + 1


def test_the_same_rng_gives_the_same_window(coordinates):
    crops = Crops((32, 40), (0.7, 1.5), True, 0.2)
    first, second = (crops.cut(coordinates, blocks(), 5, np.random.default_rng(9)) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (31, 64)}, r"^crops.size\[0\]=31 is out of range; it must be 32 or more"),
        ({"size": (32, 32), "zoom": (0.0, 1.0)}, r"^crops.zoom\[0\]=0.0 is out of range; it must be above 0"),
        ({"size": (32, 32), "zoom": (2.0, 1.0)}, r"^zoom=\[2.0, 1.0\] must ascend"),
        ({"size": (32, 32), "zoom": (float("nan"), 1.0)}, r"^crops.zoom\[0\]=nan is out of range"),
        ({"size": (32, 32), "colour": 1.5}, "^crops.colour=1.5 is out of range; it must be 0 to 1"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(RalsegError, match=message):
        Crops(**options)


def test_the_strong_view_changes_pixels_alone():
    window = np.random.default_rng(0).integers(0, 256, (40, 48, 3)).astype(np.uint8)
    seen = [Strong()(window, np.random.default_rng(seed)) for seed in range(40)]
    assert {(view.shape, view.dtype) for view in seen} == {(window.shape, window.dtype)}
    assert all((view != window).mean() > 0.5 for view in seen)
    np.testing.assert_array_equal(seen[3], Strong()(window, np.random.default_rng(3)))
    grey = [(view == view[..., :1]).all() for view in seen]
    assert 2 <= sum(grey) <= 16
    plain = Strong(colour=0.0, grey=0.0, blur=0.0)(window, np.random.default_rng(0))
    np.testing.assert_array_equal(plain, window)


@pytest.mark.parametrize("options", [{"colour": 1.5}, {"grey": -0.1}, {"sigma": (2.0, 1.0)}, {"sigma": (0.0, 1.0)}])
def test_a_strong_view_out_of_range(options):
    with pytest.raises(RalsegError, match=r"^strong\..* is out of range|^sigma=.* must ascend"):
        Strong(**options)


@pytest.mark.parametrize("cells", [(10, 12), (40, 48), (9, 11)])
def test_cut_mix_takes_pixels_and_targets_of_one_rectangle_from_the_next_window(cells):
    batch, rng = 3, np.random.default_rng(0)
    windows = np.arange(batch, dtype=np.uint8)[:, None, None, None] * np.ones((1, 40, 48, 3), np.uint8)
    targets = np.zeros((batch, batch, *cells), np.float32)
    for i in range(batch):
        targets[i, i] = 1
    for _ in range(20):
        mixed, found = cut_mixed(windows, targets, rng)
        np.testing.assert_array_equal(found.sum(1), 1)
        for i in range(batch):
            taken = found[i, (i + 1) % batch] == 1
            assert 0.15 < taken.mean() < 0.65
            rows, columns = np.flatnonzero(taken.any(1)), np.flatnonzero(taken.any(0))
            assert taken[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
            assert set(np.unique(mixed[i])) == {i, (i + 1) % batch}
            share = (mixed[i, ..., 0] != i).mean()
            assert share == pytest.approx(taken.mean(), abs=0.06 if cells == (9, 11) else 1e-9)
    assert (windows[0] == 0).all()
