"""The gallery of the page: photographs and class maps as data: addresses, bought units as outlines over them."""

import base64
import io
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np
from PIL import Image

from ralseg.evaluation.gallery import DRAW, RULE, read_maps
from ralseg.evaluation.neighbourhoods import class_at, neighbourhood, of_pixels, strip
from ralseg.evaluation.page.material import Material
from ralseg.evaluation.page.words import plural
from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets import IGNORE, Dataset

WIDTH = 320
"""Largest width of a picture in pixels; a page of 26 policies stays below 3 MB."""
LEAST_FRAME = 9
"""Smallest side of the outline of a bought unit, pixels of the photograph."""
STRIP = 10
"""Pixels of each policy whose neighbourhoods are shown."""


def gallery(material: Material) -> dict[str, Any] | None:
    """What every policy bought in its first run on a few images, and the predictions before and after.

    Returns:
        What the gallery's template takes; None where nothing was kept.

    Raises:
        RalsegError: if a file of the gallery is damaged or of another image.
    """
    results, dataset = material.results, material.dataset
    images, runs = results.comparison.get("gallery", []), _first_runs(material)
    if not images or not runs:
        return None
    units = {name: bought["units"] for name, (_, bought) in runs.items()}
    scenes, missing = [], {}
    for number, image in enumerate(images):
        photograph, label = dataset.load(image)
        maps = {name: read_maps(results.folder, run, image) for name, (run, _) in runs.items()}
        for name, pair in maps.items():
            if pair is None:
                missing[name] = None
            elif any(part.shape != label.shape for part in pair):
                raise RalsegError(f"{results.folder}: the gallery of {runs[name][0]} is not of {image}; delete it")
        scenes.append({"id": f"photo-{number}", **_scene(image, photograph, label, material, units, maps)})
    colours = [f"rgb({red} {green} {blue})" for red, green, blue in [*dataset.colors.tolist(), (0, 0, 0)]]
    legend = list(zip([*dataset.classes, "not labelled"], colours, strict=True))
    pixels = _last_pixels(units, dataset) if of_pixels(results.comparison) else []
    return {"rule": RULE, "legend": legend, "scenes": scenes, "missing": list(missing), "pixels": pixels}


def _scene(
    image: str, photograph: np.ndarray, label: np.ndarray, material: Material, units: Mapping[str, Sequence],
    maps: Mapping[str, tuple[np.ndarray, np.ndarray] | None],
) -> dict[str, Any]:  # fmt: skip
    dataset = material.dataset
    before = next((pair[0] for pair in maps.values() if pair is not None), None)
    first = [_class_map(label, label, dataset, "true classes", f"True classes of {image}")]
    if before is not None:
        description = f"Predicted classes of {image} at theta_0"
        first.append(_class_map(before, label, dataset, "before, at theta_0", description))
    tiles = []
    for name, own in units.items():
        boxes = [box for unit, *box in own if unit == image]
        tile: dict[str, Any] = {
            "policy": name,
            "words": f"bought {len(boxes)} here of {plural(len(own), 'unit')}" if boxes else "bought nothing here",
            "frames": "".join(map(_frame, boxes)),
        }
        tile["map"] = None
        if (pair := maps[name]) is not None:
            description = f"Predicted classes of {image} after what {material.looks[name].label} bought"
            tile["map"] = _class_map(pair[1], label, dataset, "after", description)
        tiles.append(tile)
    return {
        "image": image,
        "clip": dataset.groups[image],
        "height": label.shape[0],
        "width": label.shape[1],
        "photo": _jpeg(cv2.resize(photograph, _fitting(photograph.shape), interpolation=cv2.INTER_AREA)),
        "maps": first,
        "tiles": tiles,
    }


def _last_pixels(units: Mapping[str, Sequence], dataset: Dataset) -> list[dict[str, str]]:
    """A strip of what lies around the last pixels of each policy, and their true classes."""
    found, loaded = [], cache(dataset.load)
    for name, own in units.items():
        shown = [(*loaded(image), y, x) for image, y, x, *_ in own[-STRIP:]]
        words = ", ".join(class_at(dataset, label, y, x) for _, label, y, x in shown)
        pictures = [neighbourhood(photograph, y, x) for photograph, _, y, x in shown]
        found.append({"policy": name, "words": words, "strip": _jpeg(strip(pictures, (255, 0, 200)))})
    return found


def _frame(box: Sequence[int]) -> str:
    """The outline of a unit as a path; around single pixels it is wide enough to be seen."""
    y, x, height, width = box
    grown = max(0, LEAST_FRAME - min(height, width)) // 2
    wide = width + 2 * grown
    return f"M{x - grown},{y - grown}h{wide}v{height + 2 * grown}h{-wide}Z"


def _class_map(
    classes: np.ndarray, label: np.ndarray, dataset: Dataset, words: str, description: str
) -> dict[str, str]:
    known = label != IGNORE
    right = "" if classes is label else f", {100 * (classes == label)[known].mean():.0f} % of the pixels right"
    return {"address": _png(classes, dataset.colors), "description": description + right, "caption": words + right}


def _first_runs(material: Material) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Policy -> run id of its first run of the game itself, that of its lowest training seed, and what it bought."""
    budget, found = material.budgets(material.games[0])[-1], {}
    for row in material.results.rows:
        if row["seed"] == DRAW and row["budget_units"] == budget and not row["game"].endswith("+fit"):
            if (bought := material.results.bought(row["run_id"])) is None:
                continue
            seed = -1 if row["training_seed"] is None else row["training_seed"]
            if row["policy"] not in found or (seed, row["run_id"]) < found[row["policy"]][:2]:
                found[row["policy"]] = (seed, row["run_id"], bought)
    return {name: found[name][1:] for name in material.looks if name in found}


def _fitting(shape: Sequence[int]) -> tuple[int, int]:
    scale = min(1, WIDTH / shape[1])
    return round(scale * shape[1]), max(1, round(scale * shape[0]))


def _jpeg(picture: np.ndarray) -> str:
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "JPEG", quality=80, optimize=True)
    return _address("image/jpeg", data.getvalue())


def _png(classes: np.ndarray, colors: np.ndarray) -> str:
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colors)] = colors
    small = np.ascontiguousarray(cv2.resize(classes, _fitting(classes.shape), interpolation=cv2.INTER_NEAREST))
    # Void gets the first free place, so that few bits are enough for a pixel.
    small = np.where(small == IGNORE, len(colors), small).astype(np.uint8)
    picture = Image.fromarray(small, "P")
    picture.putpalette(palette[: len(colors) + 1].tobytes())
    data = io.BytesIO()
    picture.save(data, "PNG", optimize=True)
    return _address("image/png", data.getvalue())


def _address(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
