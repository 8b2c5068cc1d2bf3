"""The gallery on the page: photographs and class maps as data: addresses, bought units as outlines over them."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image

from ralseg.evaluation.gallery import DRAW, RULE, read_maps
from ralseg.evaluation.page.looks import Look, swatch
from ralseg.evaluation.page.markup import Markup, tag
from ralseg.evaluation.page.words import plural
from ralseg.evaluation.results import Results
from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets import IGNORE, Dataset

WIDTH = 320
"""Of a picture, at most; a page of 26 policies stays below 3 MB."""


def gallery(results: Results, dataset: Dataset, looks: Mapping[str, Look], budget: float) -> list[Markup]:
    """What every policy bought in its first run on a few images, and the predictions before and after.

    Args:
        results: of the comparison.
        dataset: its data set, for photographs and true classes.
        looks: of the policies.
        budget: the largest.

    Raises:
        RalsegError: if a file of the gallery is damaged or of another image.
    """
    images = results.comparison.get("gallery", [])
    runs = _first_runs(results, looks, budget)
    if not images or not runs:
        return []
    units = {name: (results.bought(run) or {})["units"] for name, run in runs.items()}
    intro = tag("p", RULE, " Each policy is shown in its first run: bought units are outlined, the rest is pale.")
    parts = [intro, _legend(dataset)]
    missing: dict[str, None] = {}
    for number, image in enumerate(images):
        photograph, label = dataset.load(image)
        maps = {name: read_maps(results.folder, run, image) for name, run in runs.items()}
        for name, pair in maps.items():
            if pair is None:
                missing[name] = None
            elif any(part.shape != label.shape for part in pair):
                raise RalsegError(f"{results.folder}: the gallery of {runs[name]} is not of {image}; delete it")
        parts.append(_scene(number, image, photograph, label, dataset, units, maps, looks))
    if missing:
        words = ", ".join(missing)
        parts.append(tag("p", f"Played before predictions were kept, and so shown without: {words}.", class_="note"))
    return parts


def _scene(
    number: int, image: str, photograph: np.ndarray, label: np.ndarray, dataset: Dataset,
    units: Mapping[str, Sequence], maps: Mapping[str, Any], looks: Mapping[str, Look],
) -> Markup:  # fmt: skip
    height, width = label.shape
    small = cv2.resize(photograph, _fitting(photograph.shape), interpolation=cv2.INTER_AREA)
    source = f"photo-{number}"
    clip = dataset.groups[image]
    shown = tag("image", id=source, href=_jpeg(small), width=width, height=height, preserveAspectRatio="none")
    store = tag("svg", tag("defs", shown), width=0, height=0, class_="store", aria_hidden="true")
    first = [
        tag("figure", _drawn(source, (height, width), None, f"{image}, clip {clip}"), tag("figcaption", "photograph")),
        _class_map(label, label, dataset, "true classes", f"True classes of {image}"),
    ]
    before = next((pair[0] for pair in maps.values() if pair is not None), None)
    if before is not None:
        first.append(
            _class_map(before, label, dataset, "before, at theta_0", f"Predicted classes of {image} at theta_0")
        )
    tiles = []
    for name, look in ((name, looks[name]) for name in units):
        boxes = [box for unit, *box in units[name] if unit == image]
        words = f"bought {len(boxes)} here of {plural(len(units[name]), 'unit')}" if boxes else "bought nothing here"
        bought = _drawn(source, (height, width), boxes, f"{look.label} {words}")
        inside = [tag("figure", bought, tag("figcaption", words))]
        if maps[name] is not None:
            told = f"Predicted classes of {image} after what {look.label} bought"
            inside.append(_class_map(maps[name][1], label, dataset, "after", told))
        tiles.append(
            tag(
                "div",
                tag("h4", swatch(look), tag("span", look.name), title=look.label),
                inside,
                class_=f"tile {look.css}",
            )
        )
    heading = tag("h3", image, tag("small", f" clip {clip}"))
    return tag(
        "section", store, heading, tag("div", first, class_="truth"), tag("div", tiles, class_="tiles"), class_="scene"
    )


def _drawn(source: str, size: tuple[int, int], boxes: Sequence[Sequence[int]] | None, told: str) -> Markup:
    """The photograph, pale but for the boxes; as it is where these are None."""
    height, width = size
    parts = [tag("use", href=f"#{source}")]
    if boxes is not None:
        frames = "".join(f"M{x},{y}h{w}v{h}h{-w}Z" for y, x, h, w in boxes)
        parts.append(tag("path", d=f"M0,0H{width}V{height}H0Z{frames}", fill_rule="evenodd", class_="pale"))
        parts.append(tag("path", d=frames, class_="frame") if boxes else None)
    return tag("svg", parts, viewBox=f"0 0 {width} {height}", role="img", aria_label=told, class_="photo")


def _class_map(classes: np.ndarray, label: np.ndarray, dataset: Dataset, words: str, told: str) -> Markup:
    known = label != IGNORE
    right = "" if classes is label else f", {100 * (classes == label)[known].mean():.0f} % of the pixels right"
    height, width = label.shape
    picture = tag("img", src=_png(classes, dataset.colors), alt=told + right, width=width, height=height)
    return tag("figure", picture, tag("figcaption", words + right))


def _legend(dataset: Dataset) -> Markup:
    colours = [f"rgb({red} {green} {blue})" for red, green, blue in [*dataset.colors.tolist(), (0, 0, 0)]]
    named = zip([*dataset.classes, "not labelled"], colours, strict=True)
    items = [tag("li", tag("i", style=f"background:{colour}"), name) for name, colour in named]
    return tag("ul", items, class_="legend", aria_label="Colours of the classes")


def _first_runs(results: Results, looks: Mapping[str, Look], budget: float) -> dict[str, str]:
    """Policy -> run id of its first run of the game itself, that of its lowest training seed."""
    found: dict[str, tuple] = {}
    for row in results.rows:
        own = row["seed"] == DRAW and row["budget_units"] == budget and not row["game"].endswith("+fit")
        if own and results.bought(row["run_id"]) is not None:
            key = (-1 if row["training_seed"] is None else row["training_seed"], row["run_id"])
            found[row["policy"]] = min(found.get(row["policy"], key), key)
    return {name: found[name][1] for name in looks if name in found}


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
