"""Bad folders, images, labels and lists at the doors: one clear line, nothing written; and odd ones that work."""

import json
import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from ralseg import evaluate_policy
from ralseg.configs import composed
from ralseg.envs import World
from ralseg.segmentation.datasets.images import MAX_PIXELS

pytestmark = pytest.mark.usefixtures("own_cache")

README = Path(__file__).parents[1] / "README.md"
SMALL = ["theta0.fit.steps=2", "theta0.fit.batch=2", "draws=1", "budgets=[24]"]
CLASSES = [{"name": "road", "id": 0}, {"name": "car", "id": 1}, {"name": "sky", "id": 2}]
LISTS = {"state": ["00"], "train": ["01", "02"], "compare": ["03", "04"], "reward": ["05"], "test": ["06", "07"]}


def field(root, images=12, size=(32, 48), classes=CLASSES, **settings):
    """A folder of noise with blocks of three classes; returns its root."""
    rng = np.random.default_rng(0)
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True)
    for i in range(images):
        label = rng.integers(0, 3, (size[0] // 8, size[1] // 8), np.uint8).repeat(8, 0).repeat(8, 1)
        image = 80 * label[..., None] + rng.integers(0, 60, (*size, 3))
        cv2.imwrite(str(root / f"images/{i:02d}.png"), image.astype(np.uint8))
        cv2.imwrite(str(root / f"labels/{i:02d}.png"), label)
    (root / "classes.yaml").write_text(yaml.safe_dump({"classes": classes, **settings}))
    return root


def overrides(root, *more):
    return ["dataset=folder", f"dataset.root={root}", *more]


def save(root, path, array):
    assert cv2.imwrite(str(root / path), array)
    return overrides(root)


def write(root, path, content):
    (root / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    return overrides(root)


def labels(root, change):
    """Every label changed."""
    for path in sorted((root / "labels").iterdir()):
        cv2.imwrite(str(path), change(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))
    return overrides(root)


def without(root, *patterns):
    for pattern in patterns:
        for path in root.glob(pattern):
            path.unlink()
    return overrides(root)


def listed(root, lists, text=None):
    (root / "lists.json").write_text(text or json.dumps(lists))
    return overrides(root, "protocol.kind=lists", f"protocol.path={root / 'lists.json'}")


def transparent(root):
    image = np.full((32, 48, 4), 255, np.uint8)
    image[0, 0, 3] = 254
    return save(root, "images/00.png", image)


def turned(root):
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (48, 32)).save(root / "images/00.png", exif=exif)
    return overrides(root)


def copied(root):
    (root / "images/06.png").write_bytes((root / "images/01.png").read_bytes())
    return listed(root, LISTS)


def palettes(root):
    for name, colors in (("00", [0, 0, 0, 9, 9, 9]), ("01", [0, 0, 0, 8, 8, 8])):
        image = Image.new("P", (48, 32))
        image.putpalette(colors)
        image.save(root / f"labels/{name}.png")
    return overrides(root)


def half(root, path):
    data = (root / path).read_bytes()
    return write(root, path, data[: len(data) // 2])


DEEP = np.zeros((32, 48), np.uint16)
NO_LABELS = [f"labels/{i:02d}.png" for i in (6, 7)]

CASES = {
    "no such folder": (lambda r: overrides(r / "none"), "none: no such folder; set dataset.root"),
    "no images": (lambda r: without(r, "images/*"), "images: no images; put PNG or JPEG files there"),
    "no labels": (lambda r: without(r, "labels/*"), r"labels/00\.png: no image has a label"),
    "a label that is required": (
        lambda r: [*without(r, "labels/03.png"), "dataset.require_labels=true"],
        r"03\.png: the label of 03\.png is missing; .* dataset\.require_labels=false",
    ),
    "labels with a suffix": (
        lambda r: [(r / "labels/03.png").rename(r / "labels/03_mask.png"), overrides(r)][1],
        r"03_mask\.png: it belongs to no image.*label_suffix: _mask",
    ),
    "two files of one name": (lambda r: save(r, "images/00.jpg", np.zeros((32, 48), np.uint8)), "has the same name"),
    "three images": (
        lambda r: without(r, "images/*[3-9].png", "images/1*", "labels/*[3-9].png", "labels/1*"),
        "at least 5",
    ),
    "a deep image": (lambda r: save(r, "images/00.png", DEEP), r"00\.png: 16 bits per channel.* depth: 12"),
    "transparent pixels": (transparent, r"00\.png: 0\.0651 % of the pixels are transparent"),
    "another format": (
        lambda r: [Image.new("F", (48, 32)).save(r / "images/00.png", "TIFF"), overrides(r)][1],
        "not a PNG or JPEG image",
    ),
    "half an image": (lambda r: half(r, "images/00.png"), r"images/00\.png: the image is damaged .*; replace the file"),
    "half a label": (lambda r: half(r, "labels/00.png"), r"labels/00\.png: the image is damaged"),
    "an empty image": (lambda r: write(r, "images/00.png", b""), r"images/00\.png: not a PNG or JPEG"),
    "a label turned away": (turned, r"labels/00\.png: the label is 32 x 48 .* EXIF orientation 6"),
    "a label of another size": (
        lambda r: save(r, "labels/00.png", np.zeros((32, 47), np.uint8)),
        "export the label at the image's own size",
    ),
    "colours": (lambda r: labels(r, lambda x: np.stack([x] * 3, -1)), r"color in classes\.yaml .*labelmap\.txt"),
    "a label as JPEG": (
        lambda r: [Image.new("L", (48, 32)).save(r / "labels/00.png", "JPEG"), overrides(r)][1],
        r"labels/00\.png: a label must be a PNG",
    ),
    "an unknown id": (lambda r: labels(r, lambda x: x + 1), "unknown class id 3 at .* the known ids are 0, 1, 2, 255"),
    "masks of 0 and 255": (lambda r: labels(r, lambda x: 127 * x), "unknown class id 127|unknown class id 254"),
    "palettes that differ": (palettes, r"index 1 of the palette is \[8, 8, 8\]"),
    "no YAML": (lambda r: write(r, "classes.yaml", "{"), r"classes\.yaml: not YAML"),
    "YAML of bytes": (lambda r: write(r, "classes.yaml", b"\xff\xfe\x00"), r"classes\.yaml: not UTF-8 text"),
    "YAML without an end": (lambda r: write(r, "classes.yaml", "[" * 2000), r"classes\.yaml: "),
    "huge YAML": (lambda r: write(r, "classes.yaml", b"#" * (1 << 24) + b"\n"), "more than 16 MiB of text"),
    "a class without an id": (lambda r: write(r, "classes.yaml", "[{name: a}]"), "class 1: .* give a name and an id"),
    "an id twice": (lambda r: write(r, "classes.yaml", "[{name: a, id: 1}, {name: b, id: 1}]"), "id 1 is taken"),
    "an id that is no number": (lambda r: write(r, "classes.yaml", "[{name: a, id: x}]"), "the id of 'a' is 'x'"),
    "an unknown key": (lambda r: write(r, "classes.yaml", "{classes: [], voids: 1}"), "unknown key 'voids'"),
    "an unknown word": (
        lambda r: write(r, "classes.yaml", "{classes: [{name: a, id: 0}], exif: no}"),
        "exif is 'no'; choose from apply, ignore",
    ),
    "a depth of 99": (
        lambda r: write(r, "classes.yaml", "{classes: [{name: a, id: 0}], depth: 99}"),
        "depth is '99'; give the bits that are used of 16, 9 to 16",
    ),
    "a list outside": (
        lambda r: write(r, "classes.yaml", "{classes: [{name: a, id: 0}], subsets: {train: ../../x}}"),
        "the list of subset train is outside of",
    ),
    "a bad labelmap": (lambda r: write(r, "labelmap.txt", "road:300,0,0::"), r"labelmap\.txt, line 1"),
    "a copy in test": (copied, "'06' of test is the same picture as '01' of train"),
    "a test without labels": (
        lambda r: [without(r, *NO_LABELS), listed(r, LISTS)][1],
        "no image of test has a labelled pixel, so nothing can be learned or measured there",
    ),
    "a pool without labels": (
        lambda r: [without(r, "labels/03.png", "labels/04.png"), listed(r, LISTS)][1],
        "no image of compare has a labelled pixel, so every answer would be void",
    ),
    "a list that leads outside": (
        lambda r: listed(r, LISTS | {"test": ["../../x"]}),
        r"test lists '\.\./\.\./x', which",
    ),
    "a list of numbers in lists": (lambda r: listed(r, LISTS | {"test": [[1]]}), r"\[1\] is no name of an image"),
    "a list that is missing": (
        lambda r: overrides(r, "protocol.kind=lists", f"protocol.path={r / 'none.json'}"),
        r"none\.json: no such file",
    ),
    "lists without a path": (lambda r: overrides(r, "protocol.kind=lists"), "kind lists lacks 'path'"),
    "more images than there are": (
        lambda r: overrides(r, "protocol.counts={state: 9, train: 9, compare: 9}"),
        r"protocol\.counts add up to 27 images, folder has 12",
    ),
    "fractions above 1": (
        lambda r: overrides(r, "protocol.fractions={state: 0.5, train: 0.5, compare: 0.5}"),
        r"protocol\.fractions=.* at most 1",
    ),
    "a fraction of nothing": (
        lambda r: overrides(r, "protocol.fractions={state: 0, train: 0.4, compare: 0.4}"),
        r"protocol\.fractions\.state is 0",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_data(refused, tmp_path, case):
    change, message = CASES[case]
    # Both doors make the same world; that they do is tested beside the settings.
    line = refused("evaluate", *change(field(tmp_path / "field")), "policies=[random]")
    assert re.search(message, line), line


def test_a_huge_image_is_named(refused, tmp_path, monkeypatch):
    root = field(tmp_path / "field")
    monkeypatch.setenv(MAX_PIXELS, "1000")
    for more in ([], ["dataset.unit_size=[8,8]"]):
        line = refused("evaluate", *overrides(root, *more))
        assert re.search(rf"images/00\.png: 32 x 48 .* more than the 1000 pixels.* set .*{MAX_PIXELS} to 1536", line)


def command_of_the_readme():
    """The words of the comparison under `On your own images`, without the door's name."""
    text = README.read_text().split("## On your own images")[1].split("uv run evaluate_policy.py", 1)[1].split("```")[0]
    return shlex.split(text.replace("\\\n", " "))


def test_the_command_of_the_readme(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    root = field(tmp_path / "field", images=14)
    words = [word.replace("<folder>", str(root)) for word in command_of_the_readme()]
    assert evaluate_policy.main([*words, *SMALL, "run=runs/own"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("field: 14 images, 32 x 48 (height x width); all with labels\nimages: D_S 1, D_T 2, D_V 5")
    assert re.search(r"^classes in % of the labelled pixels: road \d\d\.\d, car \d\d\.\d, sky \d\d\.\d$", said, re.M)
    assert Path("runs/own/results.csv").is_file()


def test_most_images_without_a_label(tmp_path, capsys):
    """Labelled images play all roles, the others are pool; a class that nothing shows is no obstacle."""
    root = field(tmp_path / "field", images=30, classes=[*CLASSES, {"name": "tram", "id": 7}])
    for i in range(30):
        if i % 3:
            (root / f"labels/{i:02d}.png").unlink()
    words = overrides(root, "policies=[random,margin]", "loss=balanced", f"run={tmp_path / 'run'}")
    assert evaluate_policy.main([*words, *SMALL]) == 0
    said = capsys.readouterr().out
    assert "30 images, 32 x 48 (height x width); 10 with labels" in said
    assert "20 of 30 images have no label: they are pool" in " ".join(said.split())
    assert "no label has a pixel of tram" in " ".join(said.split())
    rows = (tmp_path / "run/results.csv").read_text()
    assert "nan" not in rows.replace("tram", "").lower().split("\n", 1)[0]
    assert "nan %" not in (tmp_path / "run/report.html").read_text()
    with_labels = {f"{i:02d}" for i in range(0, 30, 3)}
    splits = World(composed("evaluate_policy", overrides(root))).splits
    for role in ("state", "dev", "reward", "test"):
        assert {*getattr(splits, role)} <= with_labels
    assert len(splits.compare) > len(with_labels & {*splits.compare}) > 0
    world = World(composed("evaluate_policy", overrides(root)))
    assert {world.store.names[image] for image in world.labelled("compare")} == with_labels & {*splits.compare}


def test_a_budget_above_what_has_a_label(refused, tmp_path):
    root = field(tmp_path / "field", images=30)
    for i in range(30):
        if i % 3:
            (root / f"labels/{i:02d}.png").unlink()
    line = refused("evaluate", *overrides(root, "policies=[random]", "budgets=[200]"))
    assert re.search(r"budget 200 is more than D_V has to offer in images with a label, \d+ units; lower budgets", line)


def test_copies_are_drawn_once(tmp_path):
    root = field(tmp_path / "field", images=20)
    for i in range(1, 5):
        (root / f"images/{i:02d}.png").write_bytes((root / "images/00.png").read_bytes())
    world = World(composed("evaluate_policy", overrides(root)))
    assert (
        world.notes[0] == "4 training images are copies of others and are left out: 01 (of 00), 02 (of 00), 03 (of 00)"
    )
    used = [name for names in world.splits.to_dict().values() for name in names]
    assert not {*used} & {"01", "02", "03", "04"}


def test_twelve_identical_images(refused, tmp_path):
    root = field(tmp_path / "field")
    for i in range(1, 12):
        (root / f"images/{i:02d}.png").write_bytes((root / "images/00.png").read_bytes())
    assert "1 images with a label are too few" in refused("evaluate", *overrides(root))
