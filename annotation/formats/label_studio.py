"""Label Studio: the crop of each region as a task of its own, with brush masks.

A crop has a dimmed margin, so that people see what the region belongs to, and is enlarged by a whole number, since the
rim of a brush stroke is half transparent and about a pixel wide. A pixel of the region has a mask's class where at
least half of its enlarged pixels are at least half opaque; untouched predictions come back exact.

What is read is the JSON export. "Submit" confirms what a task shows, prediction or not. Skipped tasks, drafts and tasks
that nobody opened stay unlabelled; Label Studio stores a skipped task with the prediction in it, marked
`was_cancelled`. Where masks overlap, what a person drew goes above an edited prediction and this above an untouched
one; within these, the later in the list holds. Of several annotations of a task, the one changed last counts.

Set up a project with `labelling.xml`, import `tasks.json`, and order tasks by `score`, highest first, to label the most
useful region first. Predictions are shown once the project's settings name their model version.
"""

import base64
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.etree.ElementTree import Comment, Element, SubElement, indent, tostring

import numpy as np

from ralseg.annotation.formats.checks import Place, shown, unit_number
from ralseg.annotation.formats.codecs import brush_decode, brush_encode
from ralseg.annotation.formats.exported import ImageOf, begin, hexadecimal, picture, png, prelabel_masks, write
from ralseg.annotation.formats.painting import Painting, counted
from ralseg.annotation.query import Answers, Query
from ralseg.foundation import RalsegError, read_json
from ralseg.foundation.files import LARGEST_JSON

TASKS, CONFIG = "tasks.json", "labelling.xml"
TAG, IMAGE = "tag", "image"
MARGIN = 20
"""Pixels of the image that are shown round a region."""
DIMMED = 0.4
"""Brightness of the margin."""
LONGEST, MOST = 768, 8
"""Pixels of an enlarged crop's longer side at most, and the largest factor."""
OPAQUE = 128
"""Alpha from which a pixel belongs to a stroke."""
ORIGINS = {"prediction": 0, "prediction-changed": 1, "manual": 2}
"""Where a mask comes from, and what goes above what."""
MEND = "export the project again as JSON"


@dataclass(frozen=True)
class _Crop:
    """What a task shows of a unit, in pixels of its image."""

    query: Query
    unit: int

    @cached_property
    def box(self) -> tuple[int, int, int, int]:
        """y, x, height and width of the crop."""
        name, y, x, height, width = self.query.units[self.unit]
        top, left = max(y - MARGIN, 0), max(x - MARGIN, 0)
        bottom = min(y + height + MARGIN, self.query.sizes[name][0])
        right = min(x + width + MARGIN, self.query.sizes[name][1])
        return top, left, bottom - top, right - left

    @property
    def inner(self) -> tuple[slice, slice]:
        """The unit within the crop."""
        _, y, x, height, width = self.query.units[self.unit]
        top, left = y - self.box[0], x - self.box[1]
        return slice(top, top + height), slice(left, left + width)

    @property
    def factor(self) -> int:
        return max(1, min(MOST, LONGEST // max(self.box[2:])))

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the enlarged crop."""
        return self.box[2] * self.factor, self.box[3] * self.factor

    def enlarged(self, pixels: np.ndarray) -> np.ndarray:
        return pixels.repeat(self.factor, 0).repeat(self.factor, 1)

    def reduced(self, alpha: np.ndarray) -> np.ndarray:
        """Alpha (height, width) uint8 of the enlarged crop -> (height, width) bool of the crop."""
        blocks = (alpha >= OPAQUE).reshape(self.box[2], self.factor, self.box[3], self.factor)
        return 2 * blocks.sum((1, 3)) >= self.factor**2


def export(query: Query, image: ImageOf, folder: Path) -> list[Path]:
    """Write `tasks.json` and `labelling.xml`.

    Args:
        query: the query.
        image: image name -> uint8 (height, width, 3) in RGB.
        folder: where to; made if missing.

    Returns:
        The files.

    Raises:
        RalsegError: if there is an export already, a class cannot be exported, an image does not fit the query, the
            tasks become too large for one file, or a file cannot be written.
    """
    begin(query, folder, TASKS)
    tasks = json.dumps([_task(_Crop(query, unit), image) for unit in range(len(query.units))]).encode()
    # The export holds pictures and predictions again, and the answers beside them.
    if len(tasks) > LARGEST_JSON // 3:
        raise RalsegError(
            f"{folder / TASKS} would have {len(tasks):,} bytes, too many to be read back; query fewer units"
        )
    return [write(folder / CONFIG, _config(query)), write(folder / TASKS, tasks)]


def _config(query: Query) -> bytes:
    root = Element("View")
    root.append(Comment(f" query {query.digest} "))
    SubElement(root, "Header", {"value": "$region"})
    SubElement(root, "Image", {"name": IMAGE, "value": "$image", "zoom": "true", "zoomControl": "true"})
    brush = SubElement(root, "BrushLabels", {"name": TAG, "toName": IMAGE})
    for label in query.classes:
        SubElement(brush, "Label", {"value": label.name, "background": hexadecimal(label.colour)})
    indent(root)
    return tostring(root, encoding="utf-8")


def _task(crop: _Crop, image: ImageOf) -> dict:
    query, unit = crop.query, crop.unit
    name, *box = query.units[unit]
    top, left, height, width = crop.box
    whole = picture(query, image, name)[top : top + height, left : left + width]
    cropped = (whole * DIMMED).astype(np.uint8)
    cropped[crop.inner] = whole[crop.inner]
    score = (len(query.units) - unit) / len(query.units)
    results = [_result(crop, label, mask) for label, mask in prelabel_masks(query, unit)]
    prediction = {"model_version": f"round {query.round}", "score": score, "result": results}
    uri = "data:image/png;base64," + base64.b64encode(png(crop.enlarged(cropped))).decode()
    return {
        "data": {"image": uri, "score": score, "region": f"{name}, unit {unit}"},
        "meta": {"ralseg": {"query": query.digest, "unit": unit, "image": name, "box": box, "factor": crop.factor}},
        "predictions": [prediction] if results else [],
    }


def _result(crop: _Crop, label: int, mask: np.ndarray) -> dict:
    whole = np.zeros(crop.box[2:], bool)
    whole[crop.inner] = mask
    name = crop.query.classes[label].name
    return {
        "id": f"unit{crop.unit}class{label}",
        "type": "brushlabels",
        "from_name": TAG,
        "to_name": IMAGE,
        "original_width": crop.shape[1],
        "original_height": crop.shape[0],
        "image_rotation": 0,
        "value": {"format": "rle", "rle": brush_encode(crop.enlarged(whole)), "brushlabels": [name]},
    }


def read(path: Path, query: Query) -> Answers:
    """Read the JSON export of Label Studio.

    Args:
        path: the JSON file.
        query: the query that was exported.

    Returns:
        The labels of the units whose task was submitted.

    Raises:
        RalsegError: if the file is damaged, belongs to another query, or names an unknown class.
    """
    content = read_json(path, MEND)
    if not isinstance(content, list):
        raise Place(path, MEND).error("not a list of tasks")
    painting, seen, counts = Painting(query, "what a person drew, else the later one,"), set(), Counter()
    for position, task in enumerate(content):
        place = Place(path, MEND, f"task {position + 1}")
        unit = _unit(place, task, query)
        if unit in seen:
            raise place.error(f"unit {unit} appears twice", "delete one of its tasks and export the project again")
        seen.add(unit)
        annotation = _last(place, task, counts)
        if annotation is not None:
            crop = _Crop(query, unit)
            top, left = (part.start for part in crop.inner)
            painting.unit(unit, _layers(place, annotation, crop), crop.box[2:], top, left)
    return painting.answers(*_notes(counts, len(query.units) - len(seen)))


def _unit(place: Place, task: object, query: Query) -> int:
    meta = place.get(task, "meta", dict).get("ralseg")
    if not isinstance(meta, dict):
        raise place.error("its meta does not say what query it belongs to", "export the tasks of this query alone")
    place.check_digest(place.get(meta, "query", str), query)
    return unit_number(place, place.get(meta, "unit", int), query)


def _last(place: Place, task: object, counts: Counter[str]) -> dict | None:
    """The annotation that counts, if the task was submitted."""
    submitted = []
    for annotation in place.get(task, "annotations", list):
        if place.get(annotation, "was_cancelled", bool):
            continue
        submitted.append((place.get(annotation, "updated_at", str), annotation))
    if not submitted:
        counts["skipped" if place.get(task, "annotations", list) else "open"] += 1
        return None
    counts["several"] += len(submitted) > 1
    return max(submitted, key=lambda found: found[0])[1]


def _notes(counts: Counter[str], missing: int) -> list[str]:
    last = "of which the last one counts"
    return [
        counted(counts["skipped"], "task was skipped", "tasks were skipped"),
        counted(counts["open"], "task was not submitted", "tasks were not submitted"),
        counted(missing, "unit has no task in the file", "units have no task in the file"),
        counted(counts["several"], f"task has several annotations, {last}", f"tasks have several annotations, {last}"),
    ]


def _layers(place: Place, annotation: dict, crop: _Crop) -> Iterator[tuple[int, np.ndarray]]:
    results = place.get(annotation, "result", list)
    ranks = []
    for result in results:
        # What came through Label Studio's API has no origin; somebody made it on purpose.
        origin = place.get({"origin": "manual", **result}, "origin", str) if isinstance(result, dict) else None
        if origin not in ORIGINS:
            raise place.error(f"a result of unknown origin {shown(origin)}")
        ranks.append(ORIGINS[origin])
    seen = set()
    for position in sorted(range(len(results)), key=ranks.__getitem__):
        where = place.at(f"result {position + 1}")
        name = where.get(results[position], "id", str)
        if name in seen:
            raise where.error(f"the id {shown(name)} appears twice")
        seen.add(name)
        yield _layer(where, results[position], crop)


def _layer(place: Place, result: dict, crop: _Crop) -> tuple[int, np.ndarray]:
    if (kind := place.get(result, "type", str)) != "brushlabels":
        raise place.error(f"{shown(kind)}, not a brush mask with a class", "use brush and eraser, with a class chosen")
    value = place.get(result, "value", dict)
    names = place.get(value, "brushlabels", list)
    if len(names) != 1 or not isinstance(names[0], str):
        raise place.error(f"{len(names)} classes", "give each mask one class")
    label = place.class_id(names[0], crop.query)
    place.check_size((place.get(result, "original_height", int), place.get(result, "original_width", int)), crop.shape)
    if result.get("image_rotation", 0) != 0:
        raise place.error("the picture was rotated", "rotate it back and submit the task again")
    if place.get(value, "format", str) != "rle":
        raise place.error("not an rle mask")
    with place.named():
        return label, crop.reduced(brush_decode(place.get(value, "rle", list), crop.shape))
