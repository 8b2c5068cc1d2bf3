"""Damaged and hostile files: one line that names the file, the place, what is wrong and what to do."""

import copy
import importlib.util
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ralseg.annotation.formats import FORMATS, codecs
from ralseg.annotation.query import Query
from ralseg.foundation import RalsegError


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


world = loaded("format_world")
FILES = {"cvat": "annotations.xml", "label-studio": "export.json", "coco": "export.json", "png": "query.json"}
WRONG = [None, -1, 0, 1.5, 1e300, 10**30, "", "x", "../../x", [], [[]], {}, {"a": []}, True]


@pytest.fixture
def query():
    small = np.full((5, 6), 255, np.uint8)
    small[1:4, 1:4], small[2, 2] = 0, 3
    units = (("a/b.jpg", 1, 2, 5, 6), ("c", 0, 0, 5, 6))
    sizes = {"a/b.jpg": (9, 11), "c": (7, 8)}
    return Query("0" * 16, 1, world.CLASSES, sizes, units, (small, small))


@pytest.fixture
def image(query):
    return lambda name: np.zeros((*query.sizes[name], 3), np.uint8)


@pytest.fixture
def path(request, query, image, tmp_path):
    """A good file of the format that the test names."""
    name = request.param
    FORMATS[name].export(query, image, tmp_path)
    return world.confirmed(name, tmp_path, (0, 1))


def refused(name, path, query):
    """The one line of the refusal; nothing is written."""
    before = sorted(Path(path).parent.rglob("*"))
    with pytest.raises(RalsegError) as caught:
        FORMATS[name].read(path, query)
    assert sorted(Path(path).parent.rglob("*")) == before
    line = str(caught.value)
    assert "\n" not in line and str(path) in line and ";" in line
    return line


def changed(path, old, new):
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
    return path


def places(value, place=()):
    """The place of every value in a JSON value."""
    yield place
    items = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*place, key))


def put(value, place, new):
    value = copy.deepcopy(value)
    if not place:
        return new
    holder = value
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = new
    return value


@pytest.mark.parametrize("path", ["label-studio", "coco"], indirect=True, ids=["studio", "coco"])
def test_any_value_of_any_type_in_any_place(path, query, request):
    name = "coco" if "coco" in request.node.name else "label-studio"
    content = json.loads(path.read_text())
    good = FORMATS[name].read(path, query).labels
    assert set(good) == {0, 1}
    outcomes = {"refused": 0, "read": 0}
    for number, place in enumerate(places(content)):
        for wrong in WRONG[number % 7 :: 7]:
            path.write_text(json.dumps(put(content, place, wrong)))
            try:
                answers = FORMATS[name].read(path, query)
            except RalsegError as error:
                assert str(error).startswith(str(path)) and "\n" not in str(error) and len(str(error)) < 400
                outcomes["refused"] += 1
            else:
                # Whatever is not refused is a value that does not matter, or leaves out a task or an annotation.
                assert all(label.shape == (5, 6) and set(np.unique(label)) <= {0, 3, 255}
                           for label in answers.labels.values())  # fmt: skip
                outcomes["read"] += 1
    assert min(outcomes.values()) > 20


@pytest.mark.parametrize("name", world.NAMES)
def test_every_truncated_file(name, query, image, tmp_path):
    FORMATS[name].export(query, image, tmp_path)
    path = world.confirmed(name, tmp_path, (0, 1))
    file = path / "query.json" if name == "png" else path
    content = file.read_bytes().rstrip()
    for length in range(0, len(content), max(1, len(content) // 60)):
        file.write_bytes(content[:length])
        with pytest.raises(RalsegError, match=r"(not JSON|not well-formed XML)"):
            FORMATS[name].read(path, query)


@pytest.mark.parametrize("path", ["cvat"], indirect=True)
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<annotations>", '<!DOCTYPE a [<!ENTITY b "c">]><annotations>', "a document type (DTD)"),
        ("<annotations>", '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations>', "a document type (DTD)"),
        ("<annotations>", "<annotations>" + "<a>" * 40, "more than 32 nested"),
        ("<annotations>", "<annotations>&b;", "not well-formed XML"),
        ("encoding='utf-8'", "encoding='utf-99'", "not well-formed XML"),
        (
            "<meta>",
            '<track id="0" label="Car"/><meta>',
            "not annotations of images; export the task again as 'CVAT for",
        ),
        ('name="c.png"', 'name="a/b.jpg.png"', "image a/b.jpg: the image appears twice"),
        ('name="c.png"', 'name="../c.png"', "the image '../c.png' is not of this query"),
        ('name="c.png"', 'name="/etc/c.png"', "the image '/etc/c.png' is not of this query"),
        ('width="11"', 'width="12"', "9 x 12 pixels (height x width), not 9 x 11; annotate the pictures"),
        ('width="11"', 'width="1e9"', "'width' is '1e9', not a whole number"),
        ('width="11"', "", "'width' is missing"),
        ('xtl="2.00"', 'xtl="nan"', "'xtl' is 'nan', not a finite number"),
        ('xtl="2.00"', 'xtl="1e999"', "'xtl' is '1e999', not a finite number"),
        ('"unit">0', '"unit">7', "unit 7 is not of this query, which has 2"),
        ('"unit">0', '"unit">-1', "unit -1 is not of this query, which has 2"),
        ('"unit">0', '"unit">1', "unit 1 is of image c"),
        ('"unit">0', '"unit">', "'unit' is '', not a whole number; delete this frame"),
        ('"done">true', '"done">maybe', "'done' is 'maybe', not true or false"),
        ('<mask label="Car"', '<mask label="Cow"', "unknown class 'Cow'; nothing is imported; the classes are Sky, "),
        ('<mask label="Car"', '<polygon label="Car" points="0,0;1,1;2,0"/><mask label="Car"', "only masks are read"),
        ('rle="0, 4, 1, 4"', 'rle="0, 4, 1, 5"', "mask of Sky: its runs do not have 9 pixels"),
        ('rle="0, 4, 1, 4"', 'rle="0, 4, -1, 6"', "a run has -1 pixels"),
        ('rle="0, 4, 1, 4"', 'rle="inf"', "not whole numbers"),
        ('left="3"', 'left="10"', "leaves the image of 9 x 11"),
        ('left="3"', 'left="99999999999"', "'left' is '99999999999', not a whole number"),
        ('z_order="0" />', 'z_order="x" />', "'z_order' is 'x', not a whole number"),
    ],
)
def test_damaged_cvat(path, query, old, new, message):
    changed(path, old, new)
    assert message in refused("cvat", path, query)


@pytest.mark.parametrize("path", ["cvat"], indirect=True)
def test_a_frame_twice(path, query):
    text = path.read_text("utf-8")
    frame = text[text.index("<box") : text.index("</box>") + 6]
    changed(path, frame, frame + frame)
    assert "image a/b.jpg: unit 0 appears twice; delete one of its frames" in refused("cvat", path, query)


@pytest.mark.parametrize("path", ["cvat"], indirect=True)
def test_no_frames(path, query):
    text = path.read_text("utf-8")
    while "<box" in text:
        text = text[: text.index("<box")] + text[text.index("</box>") + 6 :]
    path.write_text(text, "utf-8")
    assert "no frame 'ralseg region', which says what query it belongs to" in refused("cvat", path, query)


@pytest.mark.parametrize("path", ["cvat"], indirect=True)
def test_damaged_archives(path, query, monkeypatch):
    archive = path.with_name("task.zip")
    archive.write_bytes(b"PK\x03\x04" + b"x" * 100)
    assert "a damaged archive" in refused("cvat", archive, query)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("other.xml", "x")
    assert "no annotations.xml in this archive" in refused("cvat", archive, query)
    monkeypatch.setattr("ralseg.annotation.formats.cvat.LARGEST", 50_000)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("annotations.xml", b" " * 10_000_000)
    assert archive.stat().st_size < 50_000
    assert "has more than 50,000 bytes" in refused("cvat", archive, query)
    path.write_bytes(b" " * 50_001)
    assert "more than 50,000" in refused("cvat", path, query)


def test_a_flood_of_elements(query, tmp_path, monkeypatch):
    monkeypatch.setattr("ralseg.annotation.formats.safe_xml.MOST_ELEMENTS", 1000)
    path = tmp_path / "a.xml"
    path.write_text("<annotations>" + "<a/>" * 2000 + "</annotations>")
    assert "nested or 1,000 elements" in refused("cvat", path, query)


def brush(**value):
    return {"format": "rle", "rle": codecs.brush_encode(np.ones((56, 64), bool)), "brushlabels": ["Car"], **value}


@pytest.mark.parametrize("path", ["label-studio"], indirect=True)
@pytest.mark.parametrize(
    ("place", "new", "message"),
    [
        ((), {}, "not a list of tasks; export the project again as JSON"),
        ((1,), 5, "task 2: 5 is not an object"),
        ((1, "meta"), {}, "task 2: its meta does not say what query it belongs to"),
        ((1, "meta", "ralseg", "unit"), 0, "task 2: unit 0 appears twice; delete one of its tasks"),
        ((1, "meta", "ralseg", "unit"), 2, "unit 2 is not of this query, which has 2"),
        ((1, "meta", "ralseg", "unit"), True, "'unit' is True, not a whole number"),
        ((1, "meta", "ralseg", "query"), "f" * 64, "belongs to another query ('ffffffffffff', not "),
        ((1, "annotations"), None, "task 2: 'annotations' is None, not a list"),
        ((1, "annotations", 0, "was_cancelled"), "no", "'was_cancelled' is 'no', not true or false"),
        ((1, "annotations", 0, "result", 0, "type"), "polygonlabels", "'polygonlabels', not a brush mask with a class"),
        ((1, "annotations", 0, "result", 0, "origin"), "magic", "a result of unknown origin 'magic'"),
        ((1, "annotations", 0, "result", 0, "id"), "unit1class3", "the id 'unit1class3' appears twice"),
        ((1, "annotations", 0, "result", 0, "original_width"), 65, "56 x 65 pixels (height x width), not 56 x 64"),
        ((1, "annotations", 0, "result", 0, "image_rotation"), 90, "the picture was rotated; rotate it back"),
        (
            (1, "annotations", 0, "result", 0, "value"),
            brush(brushlabels=["Cow"]),
            "unknown class 'Cow'; nothing is imp",
        ),
        ((1, "annotations", 0, "result", 0, "value"), brush(brushlabels=[]), "0 classes; give each mask one class"),
        ((1, "annotations", 0, "result", 0, "value"), brush(brushlabels=["Car", "Sky"]), "2 classes"),
        ((1, "annotations", 0, "result", 0, "value"), brush(format="png"), "not an rle mask"),
        ((1, "annotations", 0, "result", 0, "value"), brush(rle=[255] * 99), "result 1: its rle has 4294967295 values"),
        ((1, "annotations", 0, "result", 0, "value"), brush(rle=[1, 2.5] * 9), "its runs are not all whole numbers"),
    ],
)
def test_damaged_label_studio(path, query, place, new, message):
    path.write_text(json.dumps(put(json.loads(path.read_text()), place, new)))
    assert message in refused("label-studio", path, query)


@pytest.mark.parametrize("path", ["coco"], indirect=True)
@pytest.mark.parametrize(
    ("place", "new", "message"),
    [
        (("info",), {}, "info: it does not say what query it belongs to; copy `info` from the annotations.json"),
        (("info", "ralseg", "query"), "x", "info: it belongs to another query ('x', not "),
        (("images", 1, "id"), 1, "images[1]: the id 1 appears twice"),
        (("images", 1, "file_name"), "a/b.jpg.png", "an image appears twice"),
        (("images", 1, "file_name"), "../../c.png", "images[1]: the image '../../c.png' is not of this query"),
        (("images", 1, "height"), 10**9, "1000000000 x 8 pixels (height x width), not 7 x 8"),
        (("images", 1, "height"), 7.0, "'height' is 7.0, not a whole number"),
        (("categories", 0, "name"), "Cow", "annotations[0]: unknown class 'Cow'; nothing is imported; the classes are"),
        (("categories", 1, "id"), 1, "categories[1]: the id 1 appears twice"),
        (("annotations", 0, "category_id"), 9, "unknown class: there is no category 9; nothing is imported"),
        (("annotations", 0, "image_id"), 9, "there is no image 9"),
        (("annotations", 1, "id"), 1, "annotations[1]: the id 1 appears twice"),
        (
            ("annotations", 0, "segmentation"),
            [[0, 0, 1, 1, 2, 0]],
            "a polygon; only RLE masks are read; export it again",
        ),
        (("annotations", 0, "segmentation", "size"), [11, 9], "its size is not [9, 11] (height, width)"),
        (("annotations", 0, "segmentation", "size"), [10**6, 10**6], "its size is not [9, 11] (height, width)"),
        (("annotations", 0, "segmentation", "counts"), [98], "its runs do not have 99 pixels"),
        (("annotations", 0, "segmentation", "counts"), [100, -1], "a run has -1 pixels"),
        (("annotations", 0, "segmentation", "counts"), "\x00", "not COCO's compressed text"),
        (("annotations",), {}, "'annotations' is a dict, not a list"),
        ((), [], "a list is not an object"),
    ],
)
def test_damaged_coco(path, query, place, new, message):
    path.write_text(json.dumps(put(json.loads(path.read_text()), place, new)))
    assert message in refused("coco", path, query)


@pytest.mark.parametrize("path", ["coco"], indirect=True)
def test_not_a_number(path, query):
    path.write_text(json.dumps(put(json.loads(path.read_text()), ("annotations", 0, "area"), float("nan"))))
    assert "NaN is no number" in refused("coco", path, query)


@pytest.mark.parametrize("path", ["label-studio"], indirect=True)
def test_too_large_a_file(path, query, monkeypatch):
    monkeypatch.setattr("ralseg.foundation.files.LARGEST_JSON", 100)
    assert "more than 100; export the project again" in refused("label-studio", path, query)


@pytest.mark.parametrize("name", ["cvat", "label-studio", "coco"])
def test_no_file_or_a_folder(name, query, tmp_path):
    assert "no such file" in refused(name, tmp_path / "x", query)
    assert "cannot be read" in refused(name, tmp_path, query)


class TestPng:
    @pytest.fixture
    def folder(self, query, image, tmp_path):
        FORMATS["png"].export(query, image, tmp_path)
        return tmp_path

    def refused(self, folder, query):
        return refused("png", folder, query)

    def test_an_unknown_class(self, folder, query):
        values = np.full((7, 8), 255, np.uint8)
        values[3, 5] = 4
        world.write_gray(folder / "labels" / "c.png", values)
        line = self.refused(folder, query)
        assert "c.png: unknown class 4 at y 3, x 5; nothing is imported; the classes are 0 to 3, and 255 is not" in line

    def test_another_size(self, folder, query):
        world.write_gray(folder / "labels" / "c.png", np.zeros((8, 7), np.uint8))
        assert "8 x 7 pixels (height x width), not 7 x 8" in self.refused(folder, query)

    def test_a_picture_that_would_be_huge(self, folder, query):
        content = bytearray((folder / "labels" / "c.png").read_bytes())
        content[16:24] = (2**31 - 1).to_bytes(4, "big") * 2
        (folder / "labels" / "c.png").write_bytes(content)
        assert "2147483647 x 2147483647 pixels" in self.refused(folder, query)

    def test_colours(self, folder, query):
        Image.fromarray(np.zeros((7, 8, 3), np.uint8)).save(folder / "labels" / "c.png")
        assert "colours, not the ids of classes; save it with its palette" in self.refused(folder, query)

    def test_half_a_picture(self, folder, query):
        file = folder / "labels" / "c.png"
        content = file.read_bytes()
        file.write_bytes(content[: len(content) - 30])
        assert "damaged" in self.refused(folder, query)

    def test_no_picture(self, folder, query):
        (folder / "labels" / "c.png").write_bytes(b"GIF89a")
        assert "not a PNG image" in self.refused(folder, query)

    def test_no_export(self, query, tmp_path):
        assert "query.json: no such file; choose the exported folder" in self.refused(tmp_path, query)

    @pytest.mark.parametrize("content", ["[]", "{}", '{"query": 5}', "5"])
    def test_another_json(self, folder, query, content):
        (folder / "query.json").write_text(content)
        assert "query.json: " in self.refused(folder, query)
