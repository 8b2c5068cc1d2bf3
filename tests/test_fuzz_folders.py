"""Any folder of images and labels is read as an independent reader reads it, or refused in one line.

The quick run tries a few; FUZZ_EXAMPLES=2000 pytest tests/test_fuzz_folders.py tries many.
"""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ralseg.configs import composed
from ralseg.envs import World
from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets import IGNORE, Folder
from ralseg.segmentation.overview import overview
from tests.segmentation.naive_reader import naive_image, naive_label
from tests.segmentation.test_reading import write_png

COLORS = [(128, 64, 128), (0, 0, 142), (70, 130, 180), (1, 2, 3)]
IMAGES = {
    **{f"gray {bits}": (0, bits, 1) for bits in (1, 2, 4, 8, 16)},
    **{f"palette {bits}": (3, bits, 1) for bits in (1, 4, 8)},
    **{f"RGB {bits}": (2, bits, 3) for bits in (8, 16)},
    "opaque": (6, 8, 4),
    "transparent": (6, 8, 4),
}
"""Kind of an image -> colour type of PNG, bits per channel, channels."""
LABELS = (
    "missing",
    "gray 8",
    "gray 16",
    "gray bits",
    "palette",
    "sorted palette",
    "colours",
    "unknown",
    "large",
    "JPEG",
)
NAMES = st.text(st.sampled_from("aÄ0 #,'=(%._-") | st.characters(categories=["Ll"]), min_size=1, max_size=8)
STRAY = (
    "images/._a.png",
    "images/Thumbs.db",
    "labels/.DS_Store",
    "images/notes.txt",
    "images/deep/er/c.png",
    "images/e.png",
)


@st.composite
def folders(draw):
    """What lies in a folder: classes, more settings, per image (name, kind, seed, orientation, label), and strays."""
    count = draw(st.integers(2, 4))
    ids = draw(st.lists(st.sampled_from([0, 1, 2, 3, 7, 200, 255, 300]), min_size=count, max_size=count, unique=True))
    colored = draw(st.booleans())
    classes = [{"name": f"c{i}", "id": id_} | ({"color": [*COLORS[i]]} if colored else {}) for i, id_ in enumerate(ids)]
    more = draw(
        st.sampled_from([{}, {}, {"ignore": 9}, {"depth": 16}, {"depth": 16}, {"palette": "ids"}, {"exif": "ignore"}])
    )
    names = draw(st.lists(NAMES, min_size=1, max_size=6, unique_by=str.lower))
    # Most labels of a folder are of one kind, as a program writes them.
    usual = draw(st.sampled_from(LABELS))
    label = st.one_of(st.just(usual), st.just(usual), st.sampled_from(LABELS))
    kind = st.one_of(st.sampled_from(["gray 8", "RGB 8", "JPEG"]), st.sampled_from([*IMAGES, "JPEG", "CMYK"]))
    rows = [
        (n, draw(kind), draw(st.integers(0, 99)), draw(st.sampled_from([1, 1, 1, 6, 8])), draw(label)) for n in names
    ]
    return classes, dict(more), rows, draw(st.lists(st.sampled_from(STRAY), max_size=2, unique=True))


def write(root: Path, classes, more, rows, stray) -> None:
    """Write the folder that `folders` describes."""
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True)
    (root / "classes.yaml").write_text(yaml.safe_dump({"classes": classes, **more}))
    for name, kind, seed, orientation, label in rows:
        rng = np.random.default_rng(seed)
        height, width = 5, 5 + seed % 3
        if kind in IMAGES:
            color, bits, channels = IMAGES[kind]
            samples = rng.integers(0, 2**bits, (height, width, channels))
            if channels == 4:
                samples[..., 3] = 255 if kind == "opaque" else 128
            palette = rng.integers(0, 256, (2**bits, 3)).tolist() if color == 3 else ()
            write_png(root / f"images/{name}.png", samples, bits, color, palette)
            orientation = 1
        else:
            mode, channels = ("RGB", 3) if kind == "JPEG" else ("CMYK", 4)
            exif = Image.Exif()
            exif[274] = orientation
            pixels = Image.fromarray(rng.integers(0, 256, (height, width, channels), np.uint8), mode)
            pixels.save(root / f"images/{name}.JPG", "JPEG", exif=exif)
        if orientation in (6, 8) and more.get("exif") != "ignore":
            height, width = width, height
        write_label(root / f"labels/{name}.png", label, classes, rng, (height, width))
    for path in stray:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"\x89PNG, but no more")


def write_label(path: Path, kind: str, classes, rng, size) -> None:
    ids = np.array([entry["id"] for entry in classes])
    chosen = rng.integers(0, len(ids), (*size, 1))
    if kind == "unknown":
        chosen[-1, -1] = -1
        write_png(path, np.where(chosen < 0, 33, ids[chosen]), 16, 0)
    elif kind == "large":
        write_png(path, np.zeros((size[0] + 1, size[1], 1), int) + ids[0], 16, 0)
    elif kind == "gray bits":
        bits = next(b for b in (1, 2, 4, 8, 16) if ids.max() < 2**b)
        write_png(path, ids[chosen], bits, 0)
    elif kind in ("gray 8", "gray 16"):
        bits = int(kind.split()[1])
        write_png(path, ids[chosen] % 2**bits, bits, 0)
    elif kind in ("palette", "sorted palette"):
        palette = [[i, i, i] for i in range(256)]
        for i, id_ in enumerate(ids % 256):
            palette[id_] = [*COLORS[i]]
        order = np.arange(256) if kind == "palette" else rng.permutation(256)
        write_png(path, order[ids[chosen] % 256], 8, 3, [palette[i] for i in order.argsort()])
    elif kind == "colours":
        write_png(path, np.array(COLORS)[chosen[..., 0]], 8, 2)
    elif kind == "JPEG":
        Image.fromarray(ids[chosen[..., 0]].astype(np.uint8)).save(path, "JPEG")


def check_reading(root: Path, classes, more) -> int:
    """Compare what is read with the independent reader; returns how many images were read."""
    dataset = Folder(root)
    colored = "color" in classes[0]
    ids = {entry["id"]: i for i, entry in enumerate(classes)}
    void = more.get("ignore", 255)
    colors = {tuple(entry["color"]): i for i, entry in enumerate(classes)} if colored else {}
    read = 0
    for name in dataset.names:
        image_path, label_path = dataset.files[name]
        try:
            image, label = dataset.load(name)
        except RalsegError as error:
            assert_one_line(error)
            continue
        read += 1
        expected = naive_image(image_path, more.get("depth", 16))
        if more.get("exif") == "ignore":
            expected = np.array(Image.open(image_path).convert("RGB")) if image_path.suffix == ".JPG" else expected
        np.testing.assert_array_equal(image, expected)
        if label_path is None:
            assert (label == IGNORE).all()
            continue
        by_id = more.get("palette") == "ids" and Image.open(label_path).mode == "P"
        known = naive_label(label_path, {void: IGNORE, **ids}, {} if by_id else colors)
        if known is None and colored:
            # Void has a colour of its own in some palettes; the library's reader knows it by its id.
            known = naive_label(label_path, {void: IGNORE, **ids}, {})
        np.testing.assert_array_equal(label, known)
    return read


def assert_one_line(error: Exception) -> None:
    assert str(error).strip()
    assert "\n" not in str(error)


def begins(root: Path) -> None:
    """What both doors do with a data set before anything is trained."""
    world = World(composed("train_agent", ["dataset=folder", f"dataset.root={root}", "input_scale=1"]))
    world.check()
    assert all(line and "\n" not in line for line in overview(world.store, world.splits))


def test_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("RALSEG_CACHE", str(tmp_path / "cache"))
    tried, read = [], []

    @settings(
        max_examples=int(os.environ.get("FUZZ_EXAMPLES", 10)),
        deadline=None,
        derandomize="FUZZ_EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck),
    )
    @given(folders())
    def one(described):
        classes, more, rows, _ = described
        with tempfile.TemporaryDirectory(dir=tmp_path) as place:
            root = Path(place) / "own"
            write(root, *described)
            tried.append(len(rows))
            for step in (lambda: read.append(check_reading(root, classes, more)), lambda: begins(root)):
                try:
                    step()
                except RalsegError as error:
                    assert_one_line(error)

    one()
    assert sum(read) > 0.2 * sum(tried), "too few were read for this test to mean anything"


@pytest.mark.parametrize("kind", ["missing", "gray bits", "palette", "colours"])
def test_sound_folders_are_read(tmp_path, kind):
    """So that refusing everything would not pass."""
    classes = [{"name": f"c{i}", "id": i, "color": [*COLORS[i]]} for i in range(3)]
    rows = [(f"n{i}", "RGB 8", i, 1, kind if i else "gray 8") for i in range(4)]
    write(tmp_path / "own", classes, {}, rows, [])
    assert check_reading(tmp_path / "own", classes, {}) == 4
