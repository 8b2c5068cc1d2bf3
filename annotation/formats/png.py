"""Index PNGs: one per image, the value of a pixel is the id of its class, 255 where it is not labelled.

`labels/` waits for people's work, all 255; `prelabels/` shows the predictions and is never read back, so that no
prediction is taken for truth unless a person carries it over. Both have a palette with the colours of the classes.
`query.json` says what query they belong to and what the numbers mean. A unit counts as answered when one of its pixels
is labelled.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ralseg.annotation.formats.checks import Place, file_name
from ralseg.annotation.formats.exported import (
    ImageOf,
    begin,
    image_names,
    png,
    prelabel_masks,
    write,
    write_images,
)
from ralseg.annotation.formats.painting import Painting, counted
from ralseg.annotation.query import NOT_LABELLED, Answers, Query
from ralseg.foundation import read_json
from ralseg.segmentation.datasets.images import png_header
from ralseg.segmentation.datasets.masks import read_mask

QUERY = "query.json"
LABELS, PRELABELS = "labels", "prelabels"
MEND = "take the file from the export again"


def export(query: Query, image: ImageOf, folder: Path) -> list[Path]:
    """Write `query.json`, `labels/`, `prelabels/` and the images of a query.

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
    begin(query, folder, QUERY)
    palette = _palette(query)
    written = write_images(query, image, folder)
    for name in image_names(query):
        empty = np.full(query.sizes[name], NOT_LABELLED, np.uint8)
        predicted = empty.copy()
        for unit, (of, y, x, height, width) in enumerate(query.units):
            for label, mask in prelabel_masks(query, unit) if of == name else ():
                predicted[y : y + height, x : x + width][mask] = label
        written.append(write(folder / PRELABELS / file_name(name), png(predicted, palette)))
        written.append(write(folder / LABELS / file_name(name), png(empty, palette)))
    written.append(write(folder / QUERY, json.dumps(_described(query), indent=2).encode()))
    return written


def _described(query: Query) -> dict:
    classes = [
        {"id": number, "name": label.name, "colour": list(label.colour)} for number, label in enumerate(query.classes)
    ]
    units = [
        {"image": name, "y": y, "x": x, "height": height, "width": width} for name, y, x, height, width in query.units
    ]
    return {
        "query": query.digest,
        "project": query.project,
        "round": query.round,
        "not_labelled": NOT_LABELLED,
        "classes": classes,
        "units": units,
    }


def read(path: Path, query: Query) -> Answers:
    """Read the index PNGs of an exported folder.

    Args:
        path: the folder with `query.json` and `labels/`.
        query: the query that was exported.

    Returns:
        The labels of the units in which a pixel is labelled.

    Raises:
        RalsegError: if a file is damaged, has another size or a value that is no class, or the folder belongs to
            another query.
    """
    place = Place(path / QUERY, MEND)
    place.check_digest(place.get(read_json(path / QUERY, "choose the exported folder"), "query", str), query)
    # Within an index PNG no two classes can overlap.
    painting, missing = Painting(query, "neither"), 0
    for name in image_names(query):
        file = path / LABELS / file_name(name)
        # A link that leads nowhere is refused, not taken for an image that was left out.
        if os.path.lexists(file):
            painting.image(name, _layers(file, query, name))
        else:
            missing += 1
    return painting.answers(counted(missing, f"image has no file in {LABELS}/", f"images have no file in {LABELS}/"))


def _layers(file: Path, query: Query, name: str) -> Iterator[tuple[int, np.ndarray]]:
    place = Place(file, MEND)
    # Before anything is decoded, so that a small file cannot become a huge picture.
    place.check_size(png_header(file)[0], query.sizes[name])
    mask = read_mask(file)
    if mask.values.ndim == 3:
        raise place.error("colours, not the ids of classes", "save it with its palette, or as gray values")
    labels = np.unique(mask.values).tolist()
    if unknown := [label for label in labels if label >= len(query.classes) and label != NOT_LABELLED]:
        y, x = np.argwhere(mask.values == unknown[0])[0]
        raise place.error(
            f"unknown class {unknown[0]} at y {y}, x {x}; nothing is imported",
            f"the classes are 0 to {len(query.classes) - 1}, and {NOT_LABELLED} is not labelled",
        )
    if mask.palette is not None:
        _check_palette(place, mask.palette, labels, query)
    for label in labels:
        if label != NOT_LABELLED:
            yield label, mask.values == label


def _palette(query: Query) -> np.ndarray:
    """(256, 3) uint8: the colours of the classes, and for what is not labelled a gray that no class has."""
    colours = [label.colour for label in query.classes]
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colours)] = colours
    palette[NOT_LABELLED] = next(gray for gray in range(256) if (gray,) * 3 not in colours)
    return palette


def _check_palette(place: Place, palette: np.ndarray, labels: list[int], query: Query) -> None:
    """Some editors drop unused colours when they save, and number those that are left anew."""
    expected = _palette(query)
    for label in labels:
        if label >= len(palette) or (palette[label] != expected[label]).any():
            raise place.error(
                f"colour {label} of its palette is not the exported one, so the numbers may have changed",
                "save it with the whole palette of the exported file, or as gray values",
            )
