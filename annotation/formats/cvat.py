"""CVAT for images 1.1: full-image coordinates, a frame round each region, predictions as masks to edit.

A frame is a box with the label `ralseg region`. Its attributes are what survives CVAT: the digest of the query, the
number of the unit, and `done`, a checkbox that a person ticks. A unit counts as answered only then, since CVAT does not
say whether anyone has looked at a prediction that comes back unchanged. Where masks overlap, the higher z_order holds,
and within one the later in the file, as CVAT shows them. Other shapes than masks are refused: what of a pixel on its
outline a polygon covers is not the same in any two tools.

Zip the folder `images` for the upload, so that folders within it are kept; paste `labels.json` as raw labels; then
upload `annotations.xml`. CVAT's export is read as it comes, zipped, or as the XML within.
"""

import io
import json
import zipfile
import zlib
from operator import itemgetter
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np

from ralseg.annotation.formats.checks import Place, file_name, image_of, shown, unit_number
from ralseg.annotation.formats.codecs import cvat_decode, cvat_encode
from ralseg.annotation.formats.exported import (
    ImageOf,
    begin,
    hexadecimal,
    image_names,
    prelabel_masks,
    write,
    write_images,
)
from ralseg.annotation.formats.painting import Painting, counted
from ralseg.annotation.formats.safe_xml import tree
from ralseg.annotation.query import Answers, Query
from ralseg.foundation import RalsegError, read_file

REGION = "ralseg region"
FRAME_COLOUR = "#ff00ff"
ANNOTATIONS = "annotations.xml"
LARGEST = 1 << 27
"""Bytes of the XML that are read at most."""
MEND = "export the task again as 'CVAT for images 1.1'"


def export(query: Query, image: ImageOf, folder: Path) -> list[Path]:
    """Write `annotations.xml`, `labels.json` and the images of a query.

    Args:
        query: the query.
        image: image name -> uint8 (height, width, 3) in RGB.
        folder: where to; made if missing.

    Returns:
        The files.

    Raises:
        RalsegError: if there is an export already, a name or class cannot be exported, an image does not fit the
            query, or a file cannot be written.
    """
    begin(query, folder, ANNOTATIONS)
    if REGION in [label.name for label in query.classes]:
        raise RalsegError(f"the class {REGION!r} has the name of the frames of regions; rename it")
    labels = _labels(query)
    root = _annotations(query, labels)
    indent(root)
    written = write_images(query, image, folder)
    written.append(write(folder / "labels.json", json.dumps(labels, indent=2).encode()))
    written.append(write(folder / ANNOTATIONS, tostring(root, encoding="utf-8", xml_declaration=True)))
    return written


def _labels(query: Query) -> list[dict]:
    """Classes and frame as CVAT's raw labels."""
    attributes = [
        {"name": "query", "mutable": False, "input_type": "text", "default_value": query.digest},
        {"name": "unit", "mutable": False, "input_type": "text", "default_value": ""},
        {"name": "done", "mutable": False, "input_type": "checkbox", "default_value": "false"},
    ]
    attributes = [{**attribute, "values": [attribute["default_value"]]} for attribute in attributes]
    masks = [
        {"name": label.name, "color": hexadecimal(label.colour), "type": "mask", "attributes": []}
        for label in query.classes
    ]
    return [*masks, {"name": REGION, "color": FRAME_COLOUR, "type": "rectangle", "attributes": attributes}]


def _annotations(query: Query, labels: list[dict]) -> Element:
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    task = SubElement(SubElement(root, "meta"), "task")
    SubElement(task, "name").text = f"ralseg {query.project} round {query.round}"
    SubElement(task, "size").text = str(len(image_names(query)))
    SubElement(task, "mode").text = "annotation"
    described = SubElement(task, "labels")
    for label in labels:
        element = SubElement(described, "label")
        for key in ("name", "color", "type"):
            SubElement(element, key).text = label[key]
        attributes = SubElement(element, "attributes")
        for attribute in label["attributes"]:
            values = {**attribute, "mutable": str(attribute["mutable"]), "values": "\n".join(attribute["values"])}
            inner = SubElement(attributes, "attribute")
            for key, value in values.items():
                SubElement(inner, key).text = value
    # CVAT sorts the files of a task by name and may match images by their number.
    for number, name in enumerate(image_names(query)):
        height, width = query.sizes[name]
        attributes = {"id": str(number), "name": file_name(name), "width": str(width), "height": str(height)}
        element = SubElement(root, "image", attributes)
        for unit, (of, *_) in enumerate(query.units):
            if of == name:
                _add_unit(element, query, unit)
    return root


def _add_unit(element: Element, query: Query, unit: int) -> None:
    _, y, x, height, width = query.units[unit]
    common = {"source": "file", "occluded": "0"}
    corners = {"xtl": x, "ytl": y, "xbr": x + width, "ybr": y + height}
    corners = {key: f"{value:.2f}" for key, value in corners.items()}
    frame = SubElement(element, "box", {"label": REGION, **common, **corners, "z_order": "0"})
    for name, value in (("query", query.digest), ("unit", str(unit)), ("done", "false")):
        SubElement(frame, "attribute", {"name": name}).text = value
    for label, mask in prelabel_masks(query, unit):
        rle, (top, left, h, w) = cvat_encode(mask)
        box = {"left": str(x + left), "top": str(y + top), "width": str(w), "height": str(h)}
        SubElement(element, "mask", {"label": query.classes[label].name, **common, "rle": rle, **box, "z_order": "0"})


def read(path: Path, query: Query) -> Answers:
    """Read what CVAT exported.

    Args:
        path: the XML, or the ZIP with `annotations.xml` in it.
        query: the query that was exported.

    Returns:
        The labels of the units that are marked as done.

    Raises:
        RalsegError: if the file is damaged, belongs to another query, or names an unknown class.
    """
    place = Place(path, MEND)
    root = tree(_content(path, place), place)
    if root.tag != "annotations" or root.find("track") is not None:
        raise place.error("not annotations of images")
    painting, seen, moved, frames = Painting(query, "the upper one"), set(), 0, {}
    for element in root.iter("image"):
        name = image_of(place, place.get(element.attrib, "name", str), query)
        inside = place.at(f"image {name}")
        if name in seen:
            raise inside.error("the image appears twice")
        seen.add(name)
        inside.check_size((inside.integer(element.attrib, "height"), inside.integer(element.attrib, "width")),
                          query.sizes[name])  # fmt: skip
        here, masks = {}, []
        for shape in element:
            if shape.tag == "box" and shape.get("label") == REGION:
                unit, done, was_moved = _frame(inside, shape, query, name)
                if unit in here:
                    raise inside.error(f"unit {unit} appears twice", "delete one of its frames")
                here[unit] = done
                moved += was_moved
            elif shape.tag != "tag":
                masks.append((inside.integer({"z_order": "0", **shape.attrib}, "z_order"), shape))
        frames.update(here)
        masks.sort(key=itemgetter(0))
        layers = (_mask(inside, shape, query, name) for _, shape in masks)
        painting.image(name, layers, [unit for unit, done in here.items() if done])
    if not frames:
        raise place.error(f"no frame {REGION!r}, which says what query it belongs to")
    return painting.answers(*_notes(query, frames, moved))


def _notes(query: Query, frames: dict[int, bool], moved: int) -> list[str]:
    moved_ones = "frames were moved; the regions are those of the query all the same"
    return [
        counted(len(query.units) - len(frames), "unit has lost its frame", "units have lost their frames"),
        counted(
            sum(not done for done in frames.values()), "unit is not marked as done", "units are not marked as done"
        ),
        counted(moved, "frame was moved; its region is that of the query all the same", moved_ones),
    ]


def _content(path: Path, place: Place) -> bytes:
    data = read_file(path, LARGEST, MEND)
    if not data.startswith(b"PK"):
        return data
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file, file.open(ANNOTATIONS) as inner:
            # What the archive says about a size may be a lie.
            content = inner.read(LARGEST + 1)
    except KeyError as error:
        raise place.error(f"no {ANNOTATIONS} in this archive") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise place.error(f"a damaged archive ({error})") from error
    if len(content) > LARGEST:
        raise place.error(f"{ANNOTATIONS} has more than {LARGEST:,} bytes", "export fewer images at a time")
    return content


def _frame(place: Place, box: Element, query: Query, name: str) -> tuple[int, bool, bool]:
    """The unit of a frame, whether it is done, and whether the frame was moved."""
    found = {attribute.get("name", ""): attribute.text or "" for attribute in box.iter("attribute")}
    place = place.at(f"frame of unit {shown(found.get('unit'))}", "delete this frame and export the task again")
    place.check_digest(place.get(found, "query", str), query)
    unit = unit_number(place, place.integer(found, "unit"), query)
    of, y, x, height, width = query.units[unit]
    if of != name:
        raise place.error(f"unit {unit} is of image {of}")
    done = found.get("done", "false").lower()
    if done not in ("true", "false"):
        raise place.error(f"'done' is {shown(done)}, not true or false")
    corners = [place.number(box.attrib, key) for key in ("ytl", "xtl", "ybr", "xbr")]
    moved = np.abs(np.subtract(corners, [y, x, y + height, x + width])).max() >= 1
    return unit, done == "true", bool(moved)


def _mask(place: Place, shape: Element, query: Query, name: str) -> tuple[int, np.ndarray]:
    label = place.class_id(place.get(shape.attrib, "label", str), query)
    place = place.at(f"{shape.tag} of {query.classes[label].name}")
    if shape.tag != "mask":
        raise place.error("only masks are read", "draw it with the brush and export the task again")
    top, left, height, width = [place.integer(shape.attrib, key) for key in ("top", "left", "height", "width")]
    with place.named():
        return label, cvat_decode(place.get(shape.attrib, "rle", str), (top, left, height, width), query.sizes[name])
