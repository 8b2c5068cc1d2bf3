"""COCO JSON with run-length masks of whole images.

Two files are written: `annotations.json` has images and categories and waits for annotations; `prelabels.json` has the
predictions, too, and says so in `info`. COCO has no place for "a person has looked at this", and tools drop what they
do not know. So whoever has predictions corrected sets `info.ralseg.content` of the result to "answers"; until then
it is refused, and a prediction cannot be taken for truth. In a file of answers a unit counts as answered when one
of its pixels is labelled. Where masks overlap, the later in the list holds. Polygons are refused: what of a pixel on
its outline a polygon covers is not the same in any two tools.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ralseg.annotation.formats.checks import Place, file_name, image_of, shown
from ralseg.annotation.formats.codecs import coco_decode, coco_encode, coco_unpack
from ralseg.annotation.formats.exported import ImageOf, begin, image_names, prelabel_masks, write, write_images
from ralseg.annotation.formats.painting import Painting
from ralseg.annotation.query import Answers, Query
from ralseg.foundation import read_json

ANNOTATIONS = "annotations.json"
PREDICTIONS = "prelabels.json"
ANSWERS, PRELABELS = "answers", "prelabels"
MEND = "export it again as COCO with RLE masks"


def export(query: Query, image: ImageOf, folder: Path) -> list[Path]:
    """Write `annotations.json`, `prelabels.json` and the images of a query.

    Args:
        query: the query.
        image: image name -> uint8 (height, width, 3) in RGB.
        folder: where to; made if missing.

    Returns:
        The files.

    Raises:
        RalsegError: if there is an export already, a name cannot be exported, an image does not fit the query, or a
            file cannot be written.
    """
    begin(query, folder, ANNOTATIONS)
    prelabels = _content(query, PRELABELS, [])
    prelabels["annotations"] = list(_annotations(query))
    written = write_images(query, image, folder)
    written.append(write(folder / PREDICTIONS, json.dumps(prelabels).encode()))
    written.append(write(folder / ANNOTATIONS, json.dumps(_content(query, ANSWERS, []), indent=2).encode()))
    return written


def _content(query: Query, content: str, annotations: list[dict]) -> dict:
    regions = [{"image": name, "bbox": [x, y, width, height]} for name, y, x, height, width in query.units]
    ralseg = {"query": query.digest, "content": content, "regions": regions}
    images = [
        {"id": number, "file_name": file_name(name), "height": query.sizes[name][0], "width": query.sizes[name][1]}
        for number, name in enumerate(image_names(query), start=1)
    ]
    return {
        "info": {"description": f"ralseg {query.project} round {query.round}", "ralseg": ralseg},
        "images": images,
        "categories": [{"id": number, "name": label.name} for number, label in enumerate(query.classes, start=1)],
        "annotations": annotations,
    }


def _annotations(query: Query) -> Iterator[dict]:
    images = {name: number for number, name in enumerate(image_names(query), start=1)}
    number = 0
    for unit, (name, y, x, height, width) in enumerate(query.units):
        for label, mask in prelabel_masks(query, unit):
            number += 1
            whole = np.zeros(query.sizes[name], bool)
            whole[y : y + height, x : x + width] = mask
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            left, top = int(columns[0]), int(rows[0])
            box = [x + left, y + top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]
            yield {
                "id": number,
                "image_id": images[name],
                "category_id": label + 1,
                "segmentation": {"size": list(whole.shape), "counts": coco_encode(whole)},
                "area": int(mask.sum()),
                "bbox": box,
                "iscrowd": 1,
            }


def read(path: Path, query: Query) -> Answers:
    """Read a COCO file of answers.

    Args:
        path: the JSON file.
        query: the query that was exported.

    Returns:
        The labels of the units in which a pixel is labelled.

    Raises:
        RalsegError: if the file is damaged, belongs to another query, holds predictions, or names an unknown class.
    """
    place = Place(path, MEND)
    content = read_json(path, MEND)
    _check_info(place, content, query)
    images = {
        number: image_of(where, where.get(entry, "file_name", str), query)
        for number, where, entry in _numbered(place, content, "images")
    }
    if len(set(images.values())) < len(images):
        raise place.error("an image appears twice")
    for number, where, entry in _numbered(place, content, "images"):
        where.check_size((where.get(entry, "height", int), where.get(entry, "width", int)), query.sizes[images[number]])
    classes = {
        number: where.get(entry, "name", str) for number, where, entry in _numbered(place, content, "categories")
    }
    masks: dict[int, list[tuple[Place, dict, int]]] = {number: [] for number in images}
    for _, where, entry in _numbered(place, content, "annotations"):
        number, category = where.get(entry, "image_id", int), where.get(entry, "category_id", int)
        if number not in images:
            raise where.error(f"there is no image {shown(number)}")
        if category not in classes:
            raise where.error(f"unknown class: there is no category {shown(category)}; nothing is imported")
        masks[number].append((where, entry, where.class_id(classes[category], query)))
    painting = Painting(query, "the later one")
    for number, name in images.items():
        shape = query.sizes[name]
        painting.image(name, ((label, _mask(where, entry, shape)) for where, entry, label in masks[number]))
    return painting.answers()


def _check_info(place: Place, content: object, query: Query) -> None:
    info = place.at("info")
    ralseg = place.get(content, "info", dict).get("ralseg")
    if not isinstance(ralseg, dict):
        raise info.error(
            "it does not say what query it belongs to", f"copy `info` from the {ANNOTATIONS} of the export"
        )
    info.check_digest(info.get(ralseg, "query", str), query)
    if (kind := info.get(ralseg, "content", str)) != ANSWERS:
        raise info.error(
            f"these are {shown(kind)}, not answers",
            'set info.ralseg.content to "answers" once people have corrected them',
        )


def _numbered(place: Place, content: object, key: str) -> Iterator[tuple[int, Place, dict]]:
    """Id, place and entry of each entry of a list."""
    seen = set()
    for position, entry in enumerate(place.get(content, key, list)):
        where = place.at(f"{key}[{position}]")
        number = where.get(entry, "id", int)
        if number in seen:
            raise where.error(f"the id {shown(number)} appears twice")
        seen.add(number)
        yield number, where, entry


def _mask(place: Place, entry: dict, shape: tuple[int, int]) -> np.ndarray:
    if isinstance(entry.get("segmentation"), list):
        raise place.error("a polygon; only RLE masks are read")
    segmentation = place.get(entry, "segmentation", dict)
    if segmentation.get("size") != list(shape):
        raise place.error(f"its size is not {list(shape)} (height, width)")
    counts = segmentation.get("counts")
    with place.named():
        if isinstance(counts, str):
            counts = coco_unpack(counts)
        return coco_decode(place.get({"counts": counts}, "counts", list), shape)
