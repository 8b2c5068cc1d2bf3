"""A small query, and what a person would do to its exports, for the tests of the file formats."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np

from ralseg.annotation.formats import FORMATS
from ralseg.annotation.query import LabelClass, Query

CLASSES = (
    LabelClass("Sky", (128, 128, 128)),
    LabelClass('Traffic "sign" & <light>', (0, 0, 0)),
    LabelClass("Straße", (255, 255, 255)),
    LabelClass("Car", (64, 0, 128)),
)
SIZES = {"a/b.jpg": (60, 90), "c": (50, 71), "unused": (9, 9)}
UNITS = (
    ("a/b.jpg", 20, 30, 20, 30),
    ("c", 0, 0, 17, 23),
    ("a/b.jpg", 20, 60, 20, 30),
    ("a/b.jpg", 0, 0, 20, 30),
    ("c", 33, 48, 17, 23),
)
NAMES = sorted(FORMATS)


def image(name):
    height, width = SIZES[name]
    return np.random.default_rng(len(name)).integers(0, 256, (height, width, 3), np.uint8)


def random_label(rng, height, width):
    """Touching classes in blocks, holes, single pixels, unlabelled places."""
    coarse = rng.choice([0, 1, 2, 3, 255], (height // 4 + 1, width // 4 + 1)).astype(np.uint8)
    label = np.ascontiguousarray(coarse.repeat(4, 0).repeat(4, 1)[:height, :width])
    single = rng.random((height, width)) < 0.05
    label[single] = rng.choice([0, 1, 2, 3, 255], single.sum())
    return label


def query_of(seed=0, prelabels=True, **changed):
    rng = np.random.default_rng(seed)
    labels = tuple(random_label(rng, height, width) if prelabels else None for *_, height, width in UNITS)
    given = {"project": "0123456789abcdef", "round": 2, "classes": CLASSES, "sizes": SIZES, "units": UNITS}
    return Query(**{**given, "prelabels": labels, **changed})


def with_prelabels(query, labels):
    """The query with other predictions: a mapping of units, None elsewhere."""
    prelabels = tuple(labels.get(unit) for unit in range(len(query.units)))
    return Query(query.project, query.round, query.classes, query.sizes, query.units, prelabels)


def exported(name, query, folder):
    FORMATS[name].export(query, image, folder)
    return folder


def untouched(name, folder):
    """The file that comes back if nobody does anything."""
    files = {"cvat": "annotations.xml", "label-studio": "tasks.json", "coco": "annotations.json", "png": "."}
    if name == "label-studio":
        tasks = json.loads((folder / "tasks.json").read_text())
        return write_json(folder / "export.json", [studio_task(task) for task in tasks])
    return folder / files[name]


def confirmed(name, folder, units):
    """The file that comes back if a person accepts the predictions of these units (COCO and PNG: of all)."""
    if name == "cvat":
        path = folder / "annotations.xml"
        text = path.read_text("utf-8")
        for unit in units:
            before = f'<attribute name="unit">{unit}</attribute>'
            start = text.index(before)
            text = text[:start] + text[start:].replace('"done">false', '"done">true', 1)
        path.write_text(text, "utf-8")
        return path
    if name == "label-studio":
        tasks = json.loads((folder / "tasks.json").read_text())
        tasks = [studio_task(task, accepted=number in units) for number, task in enumerate(tasks)]
        return write_json(folder / "export.json", tasks)
    if name == "coco":
        content = json.loads((folder / "prelabels.json").read_text())
        content["info"]["ralseg"]["content"] = "answers"
        return write_json(folder / "export.json", content)
    shutil.rmtree(folder / "labels")
    shutil.copytree(folder / "prelabels", folder / "labels")
    return folder


def studio_task(task, accepted=False):
    """A task as Label Studio exports it."""
    results = [{**result, "origin": "prediction"} for given in task["predictions"] for result in given["result"]]
    annotations = [annotation(results)] if accepted else []
    return {**task, "id": 7, "annotations": annotations, "drafts": [], "predictions": [1]}


def annotation(results, cancelled=False, updated="2026-11-28T22:30:49.685822Z"):
    return {"id": 3, "result": results, "was_cancelled": cancelled, "updated_at": updated, "lead_time": 12.5}


def write_json(path, content):
    path.write_text(json.dumps(content))
    return path


def read_indices(path: Path):
    """The values of an index PNG, by a decoder that is not the one under test."""
    from PIL import Image

    with Image.open(path) as file:
        return np.asarray(file)


def write_gray(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), values)


def same(first, second):
    return set(first) == set(second) and all((first[key] == second[key]).all() for key in first)
