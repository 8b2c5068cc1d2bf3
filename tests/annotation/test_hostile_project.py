"""Hostile and damaged input of a project, by the commands: one clear line each, and the folder stays as it was."""

import hashlib
import importlib.util
import json
import os
import shutil
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ralseg.annotation import commands
from ralseg.annotation.choosing import ask
from ralseg.annotation.events import Event
from ralseg.annotation.project import Project
from ralseg.annotation.rounds import rounds
from ralseg.query_regions import main
from ralseg.segmentation.datasets import Streets

SIZE = (60, 80)


def beside(name):
    """A module beside this file."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


loop = beside("test_project")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project with a round that was labelled and trained on, and one that waits, exported to every tool."""
    place = tmp_path_factory.mktemp("project")
    streets = Streets(images=9, size=SIZE)
    for name in streets.names:
        (place / "images").mkdir(exist_ok=True)
        Image.fromarray(streets.load(name)[0]).save(place / "images" / f"{name}.png")
    (place / "classes.yaml").write_text(json.dumps([{"name": name, "id": i} for i, name in enumerate(streets.classes)]))
    project = Project.init(place, loop.SMALL)
    loop.answered(project, streets, ask(project))
    commands.train_(place)
    for tool in ("cvat", "label-studio", "coco", "png"):
        commands.export(place, tool, None)
    asked = rounds(Project(place))[-1]
    asked.work.record(Event(1, 0, "show", 0.0, "page"))
    label = np.zeros(asked.query.units[0][3:], np.uint8)
    asked.work.record(Event(2, 0, "brush", 1.0, "page", 0), label)
    return place


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    monkeypatch.setenv("RALSEG_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(made, tmp_path / "project"))


def contents(folder):
    """What every path below a folder holds; what no regular file is, by its kind."""
    found = {}
    for path in sorted(folder.rglob("*")):
        kind = "link" if path.is_symlink() else "folder" if path.is_dir() else "other"
        found[path.relative_to(folder)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else kind
    return found


def refused(folder, capsys, *arguments):
    """The one line of a command that is refused."""
    before = contents(folder)
    capsys.readouterr()
    assert main([arguments[0], str(folder), *map(str, arguments[1:])]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert contents(folder) == before
    return lines[0]


def png_of(width, height):
    """A PNG whose header declares a size that its few bytes do not hold."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")
    )


def edited(old, new, count=1):
    """Replaces a text in a file."""

    def edit(path):
        text = path.read_text("utf-8")
        assert old in text, text[:500]
        path.write_text(text.replace(old, new, count), "utf-8")

    return edit


def written(data):
    """Replaces a file."""
    return lambda path: path.write_bytes(data if isinstance(data, bytes) else data.encode())


def json_edited(change):
    """Changes the JSON of a file in place."""

    def edit(path):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return edit


def first_label(change):
    """Changes the first label of an export of PNG files."""
    return lambda path: change(min((path / "labels").glob("*.png")))


def instead(make):
    """Puts something else in the place of a file."""

    def edit(path):
        path.unlink()
        make(path)

    return edit


def bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("annotations.xml", b" " * (1 << 28))


ENTITIES = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;">]>'
CVAT, STUDIO, COCO, PNG = "annotations.xml", "tasks.json", "annotations.json", "."
IMPORTS = {
    "an XML document type": ("cvat", CVAT, edited("<annotations>", ENTITIES + "<annotations>"), "document type"),
    "an external XML entity": (
        "cvat", CVAT, edited("<annotations>", '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations>'), "document type",
    ),
    "deeply nested XML": ("cvat", CVAT, edited("<annotations>", "<annotations>" + "<a>" * 10**5), "nested"),
    "XML of other bytes": ("cvat", CVAT, written(bytes(range(256))), "not well-formed XML"),
    "an image outside of the folder": ("cvat", CVAT, edited('name="street', 'name="../../street'), "not of this query"),
    "a zip bomb": ("cvat", CVAT, instead(bomb), ""),
    "JSON that nests": ("label-studio", STUDIO, written("[" * 10**6), "JSON"),
    "JSON of a number of a million digits": ("label-studio", STUDIO, written("[" + "9" * 10**6 + "]"), "JSON"),
    "JSON of other bytes": ("coco", COCO, written(b"\xff\xfe\x00"), "JSON"),
    "predictions that nobody confirmed": ("coco", "prelabels.json", lambda path: None, "content"),
    "a query that is missing": ("png", PNG, lambda path: (path / "query.json").unlink(), "query.json"),
    "a query that is a folder": (
        "png", PNG, lambda path: instead(Path.mkdir)(path / "query.json"), "query.json",
    ),
    "a query of another project": (
        "png", PNG, lambda path: json_edited(lambda c: c.update(query="0" * 64))(path / "query.json"),
        "answers no round of this project",
    ),
    "a label of another size": (
        "png", PNG, first_label(lambda path: Image.fromarray(np.zeros((9, 9), np.uint8)).save(path)), "9",
    ),
    "a label of an unknown class": (
        "png", PNG, first_label(lambda path: Image.fromarray(np.full(SIZE, 77, np.uint8)).save(path)), "77",
    ),
    "a label of three channels": (
        "png", PNG, first_label(lambda path: Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(path)), ".png",
    ),
    "a label of 3.6 billion pixels": ("png", PNG, first_label(written(png_of(60000, 60000))), ".png"),
    "a label that is no picture": ("png", PNG, first_label(written("nothing")), ".png"),
    "a label that ends early": ("png", PNG, first_label(lambda p: p.write_bytes(p.read_bytes()[:60])), ".png"),
    "a label that is a pipe": ("png", PNG, first_label(instead(os.mkfifo)), ".png"),
    "a label that links to itself": ("png", PNG, first_label(instead(lambda p: p.symlink_to(p))), ".png"),
}  # fmt: skip


@pytest.mark.parametrize("kind", IMPORTS)
def test_an_import_is_refused(folder, capsys, kind):
    tool, name, damage, message = IMPORTS[kind]
    path = folder / "exports" / f"002-{tool}" / name
    damage(path)
    line = refused(folder, capsys, "import", tool, path)
    assert message in line and len(line) < 600


def newest(pattern):
    return lambda folder: max(folder.glob(pattern))


FILES = {
    "a project that is a list": ("status", "project.json", written("[]"), "project.json"),
    "a project of settings that do not exist": (
        "status", "project.json", json_edited(lambda c: c["overrides"].append("nonsense=1")), "nonsense",
    ),
    "settings that lead elsewhere": (
        "status", "project.json", json_edited(lambda c: c["overrides"].append("dataset.root=/etc")), "dataset.root",
    ),
    "a class that calls": ("status", "classes.yaml", written("!!python/object/apply:os.system ['true']"), "classes"),
    "YAML that multiplies": (
        "status", "classes.yaml",
        written("a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c]\n"),
        "classes.yaml",
    ),
    "an image of another size": (
        "query", "images/street_00002.png",
        lambda path: Image.fromarray(np.zeros((30, 30, 3), np.uint8)).save(path), "images",
    ),
    "an image of 3.6 billion pixels": ("query", "images/street_00002.png", written(png_of(60000, 60000)), "00002"),
    "an image that is a pipe": ("query", "images/street_00002.png", instead(os.mkfifo), "street_00002"),
    "an image that is gone": ("query", "images/street_00002.png", Path.unlink, "street_00002"),
    "a record of another unit": ("status", "records.jsonl", edited('street_00002"', 'street_9"', 99), "street_9"),
    "a record that was cut": (
        "status", "records.jsonl", lambda p: p.write_bytes(p.read_bytes()[:-200] + b"\n"), "records.jsonl",
    ),
    "a prediction that is gone": ("status", newest("rounds/002/prelabels/*.png"), Path.unlink, "prelabels"),
    "a prediction of another size": (
        "status", newest("rounds/002/prelabels/*.png"), written(png_of(60000, 60000)), "prelabels",
    ),
    "a query with a unit outside of its image": (
        "status", "rounds/002/query.json", json_edited(lambda c: c["units"][0].__setitem__(1, 10**9)), "query.json",
    ),
    "an event of no unit": ("status", newest("rounds/002/*/events.jsonl"), edited('"unit":0', '"unit":-1'), "events"),
    "a draft that is gone": (
        "status", newest("rounds/002/*/labels/*.png"), lambda p: (p.unlink(), _accept(p.parents[2])), "labels",
    ),
    "weights that were cut": (
        "predict", "learner/001/weights.safetensors", lambda p: p.write_bytes(p.read_bytes()[:999]), "weights",
    ),
    "weights of pickled code": ("predict", "learner/001/weights.safetensors", written(b"\x80\x04cos"), "weights"),
    "a training of another kind": ("status", "learner/001/training.json", written("[1]"), "training.json"),
    "a measurement of another kind": ("status", "learner/001/measured.json", written("[1]"), "measured.json"),
}  # fmt: skip


def _accept(round_folder):
    events = round_folder / "work" / "events.jsonl"
    line = {"n": 3, "unit": 0, "kind": "accept", "at": 2.0, "page": "page", "label": None}
    events.write_text(events.read_text() + json.dumps(line) + "\n")


@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_project_is_refused(folder, capsys, kind):
    command, place, damage, message = FILES[kind]
    damage(place(folder) if callable(place) else folder / place)
    line = refused(folder, capsys, command)
    assert message in line and len(line) < 600


def test_there_are_many_kinds():
    assert len(IMPORTS) + len(FILES) >= 40
