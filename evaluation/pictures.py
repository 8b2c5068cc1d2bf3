"""Pictures of a comparison as PNG: curves, class shares, and bought regions drawn on images."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from textwrap import wrap
from typing import Any

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from ralseg.evaluation.cells import split_name
from ralseg.evaluation.neighbourhoods import REACH, class_at, neighbourhood, strip
from ralseg.evaluation.results import SUPERVISED, Results
from ralseg.segmentation.datasets import Dataset

# Okabe and Ito's palette, which all common kinds of colour vision distinguish; chance is grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = "osD^vPX"
MOST_SHOWN = 8
"""Policies side by side in a picture."""
STYLE: dict[Any, Any] = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
STYLE |= {"savefig.dpi": 130, "figure.dpi": 130}


def style_of(names: Sequence[str], references: Collection[str] = ()) -> dict[str, dict[str, Any]]:
    """Policy -> colour, marker and line of its curve; references are dashed."""
    others = [name for name in names if name not in ("random", SUPERVISED)]
    return {"random": {"color": "#808080", "marker": "o", "ls": "-"}} | {
        name: {
            "color": COLOURS[i % len(COLOURS)],
            # Another marker each time the colours come round.
            "marker": MARKERS[(i + i // len(COLOURS)) % len(MARKERS)],
            "ls": "--" if name in references else "-",
        }
        for i, name in enumerate(others)
    }


def curves(summary: Mapping[str, Any], game: str) -> Figure:
    """The mIoU over what was paid, one column per split, and below it the paired differences to `random`.

    Bars are 95 % intervals; references that see true labels are dashed. With one budget every policy is a row.

    Args:
        summary: see `summarise`.
        game: which of its games.
    """
    entries = [entry for entry in summary["entries"] if entry["game"] == game]
    splits = list(dict.fromkeys(entry["split"] for entry in entries))
    names = list(dict.fromkeys(entry["policy"] for entry in entries))
    panels = [("interval", "mIoU, %")]
    if any("random" in entry["difference"] for entry in entries):
        panels.append(("random", "mIoU less random's"))
    single = len({entry["budget"] for entry in entries}) == 1
    height = (0.9 + 0.28 * len(names) if single else 2.5) * len(panels) + 0.7
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(3.3 * len(splits), 4.5), height), layout="constrained")
        axes = figure.subplots(len(panels), len(splits), squeeze=False, sharey="row")
        for row, (line, (what, label)) in enumerate(zip(axes, panels, strict=True)):
            for axis, split in zip(line, splits, strict=True):
                here = [entry for entry in entries if entry["split"] == split]
                (_dots if single else _lines)(axis, here, what, names)
                full = summary["supervised"].get(game, {}).get(split)
                if what == "interval" and full:
                    line_at = axis.axvline if single else axis.axhline
                    line_at(full, color="black", lw=1, ls=":", label="fully supervised")
                if what == "random":
                    (axis.axvline if single else axis.axhline)(0, color="#808080", lw=1)
                axis.set_title(split_name(split) if what == "interval" else "", fontsize=10)
                axis.set_xlabel(label if single else ("units labelled" if row == len(axes) - 1 else ""))
            if not single:
                line[0].set_ylabel(label)
        handles = dict(zip(*reversed(axes[0, 0].get_legend_handles_labels()), strict=True))
        if not single or "fully supervised" in handles:
            figure.legend(
                handles.values(), handles.keys(), loc="outside lower center", ncols=min(len(handles), 5), frameon=False
            )
        budget = f", {entries[0]['units']:.0f} units" if single else ""
        figure.suptitle(f"{game} game{budget}: mean and 95 % interval of {_runs(entries)}", fontsize=10)
    return figure


def bought_shares(results: Results) -> dict[str, np.ndarray]:
    """Policy -> (C,) share of each class in what it bought at the largest budget, 0 to 1, mean over its runs.

    Policies that bought nothing, or nothing but void, are left out.
    """
    shares = {
        name: np.mean([_shares(run["class_pixels"][-1]) for run in own], axis=0)
        for name, own in results.bought_runs().items()
    }
    return {name: share for name, share in shares.items() if share.any()}


def class_shares(results: Results) -> Figure:
    """Share of each class in what each policy bought at the largest budget, and in the whole pool."""
    classes = results.comparison["classes"]
    bought, of = shown(bought_shares(results))
    pool = _shares(results.comparison["pool"]["class_pixels"])
    order = np.argsort(-pool)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(5.0, 0.55 * len(classes) + 1.2), 3.4), layout="constrained")
        axis = figure.subplots()
        width = 0.8 / max(len(bought), 1)
        for i, (name, shares) in enumerate(bought.items()):
            place = np.arange(len(classes)) + (i - (len(bought) - 1) / 2) * width
            axis.bar(place, 100 * shares[order], width, color=style_of(list(bought))[name]["color"], label=name)
        place = np.arange(len(classes))
        axis.hlines(100 * pool[order], place - 0.45, place + 0.45, color="black", lw=1.2, label="whole pool")
        # Rare classes are what a choice can change, and on a linear axis they could not be seen.
        axis.set_yscale("log")
        axis.set_ylim(max(0.01, 20 * min(s[s > 0].min() for s in [pool, *bought.values()])), 100)
        axis.yaxis.set_major_formatter("{x:g}")
        axis.set_xticks(place, [classes[i] for i in order], rotation=35, ha="right")
        axis.set_ylabel("share of labelled pixels, % (log)")
        axis.set_title(f"What was bought, by class{of}", fontsize=10)
        figure.legend(loc="outside lower center", ncols=min(len(bought) + 1, 5), frameon=False)
    return figure


def bought_regions(results: Results, dataset: Dataset, images: int = 4) -> Figure:
    """What each policy bought in its first run, on the images where the policies bought most; bought units are bright.

    Args:
        results: the comparison.
        dataset: its data set.
        images: how many.
    """
    runs, of = shown(results.bought_runs())
    first = {name: found[0] for name, found in runs.items()}
    on: dict[str, dict[str, list]] = {name: {} for name in first}
    for name, bought in first.items():
        for image, *box in bought["units"]:
            on[name].setdefault(image, []).append(box)
    everywhere = {image for policy in on.values() for image in policy}
    # Images on which most policies bought, then those on which they bought most: only there can choices be compared.
    rank = {i: (sum(i in p for p in on.values()), sum(len(p.get(i, ())) for p in on.values())) for i in everywhere}
    chosen = sorted(sorted(everywhere), key=lambda i: rank[i], reverse=True)[:images]
    styles = style_of(list(first))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.2 * (len(first) + 1), 1.75 * max(len(chosen), 1) + 0.5), layout="constrained")
        axes = figure.subplots(max(len(chosen), 1), len(first) + 1, squeeze=False)
        for axis in axes.flat:
            axis.axis("off")
        for line, image in zip(axes, chosen, strict=False):
            picture, label = dataset.load(image)
            palette = np.zeros((256, 3), np.uint8)
            palette[: len(dataset.colors)] = dataset.colors
            line[0].imshow(palette[label])
            for axis, name in zip(line[1:], first, strict=True):
                axis.imshow(_highlighted(picture, on[name].get(image, []), styles[name]["color"]))
        axes[0, 0].set_title("true classes", fontsize=9)
        for axis, name in zip(axes[0, 1:], first, strict=True):
            axis.set_title(name, fontsize=9, color=styles[name]["color"])
        figure.suptitle(f"Bought in the first run (bright), of the images bought from most{of}", fontsize=10)
    return figure


def bought_pixels(results: Results, dataset: Dataset, pixels: int = 10) -> Figure:
    """The last pixels that each policy bought in its first run, in the middle of what lies around them.

    The first ones would be the same for all policies that start alike.

    Args:
        results: a comparison whose units are pixels.
        dataset: its data set.
        pixels: how many of each policy.
    """
    runs, of = shown(results.bought_runs())
    first = {name: found[0]["units"][-pixels:] for name, found in runs.items()}
    styles, loaded = style_of(list(first)), cache(dataset.load)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.15 * pixels + 1.5, 1.35 * len(first) + 0.4), layout="constrained")
        axes = figure.subplots(max(len(first), 1), pixels, squeeze=False)
        for line, (name, units) in zip(axes, first.items(), strict=False):
            # Beside a picture of this height there is room for so many letters in a line.
            label = "\n".join(wrap(name.replace("_", " "), 14)).replace(" ", "_")
            line[0].set_ylabel(label, fontsize=8, color=styles[name]["color"])
            for axis in line:
                axis.set_xticks([])
                axis.set_yticks([])
                axis.set_frame_on(False)
            for axis, (image, y, x, *_) in zip(line, units, strict=False):
                picture, label = loaded(image)
                colour = [round(255 * part) for part in to_rgb(styles[name]["color"])]
                axis.imshow(strip([neighbourhood(picture, y, x)], colour))
                axis.set_title(class_at(dataset, label, y, x), fontsize=7, pad=2)
        side = 2 * REACH + 1
        figure.suptitle(f"The last pixels bought in the first run, {side} x {side} pixels around each{of}", fontsize=10)
    return figure


def _lines(axis: Axes, entries: Sequence[Mapping], what: str, names: Sequence[str]) -> None:
    reach = max(entry["units"] for entry in entries)
    for i, name in enumerate(names):
        own = [(entry["units"], _interval(entry, what)) for entry in entries if entry["policy"] == name]
        own = [(units, interval) for units, interval in own if interval is not None]
        # Side by side: bands or bars on top of each other cannot be distinguished.
        units = np.array([u for u, _ in own]) + 0.012 * reach * (i - (len(names) - 1) / 2)
        style = style_of(names, _references(entries))[name]
        label = _label(name, entries)
        axis.plot(units, [interval["mean"] for _, interval in own], ms=4, lw=1.3, label=label, **style)
        ends = np.array([(interval["low"], interval["high"]) for _, interval in own if interval["low"] is not None])
        if len(ends):
            axis.vlines(units, *ends.T, color=style["color"], lw=1.1, alpha=0.8)


def _dots(axis: Axes, entries: Sequence[Mapping], what: str, names: Sequence[str]) -> None:
    for row, name in enumerate(names):
        interval = _interval(next(entry for entry in entries if entry["policy"] == name), what)
        if interval is None:
            continue
        style = style_of(names, _references(entries))[name]
        if interval["low"] is not None:
            axis.plot([interval["low"], interval["high"]], [row, row], color=style["color"], lw=2)
        axis.plot([interval["mean"]], [row], ms=6, **style)
    axis.set_yticks(range(len(names)), [_label(name, entries) for name in names])
    axis.set_ylim(len(names) - 0.4, -0.6)


def _interval(entry: Mapping[str, Any], what: str) -> Mapping[str, Any] | None:
    return entry["interval"] if what == "interval" else entry["difference"].get(what)


def _references(entries: Sequence[Mapping[str, Any]]) -> set[str]:
    return {entry["policy"] for entry in entries if entry["reference"]}


def _label(name: str, entries: Sequence[Mapping[str, Any]]) -> str:
    return f"{name} (sees truth)" if name in _references(entries) else name


def _runs(entries: Sequence[Mapping]) -> str:
    draws, seeds = (max(entry[key] for entry in entries) for key in ("draws", "training_seeds"))
    return f"{draws} draw{'s' * (draws > 1)}" + (f" of up to {seeds} training seeds" if seeds > 1 else "")


def shown(runs: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """As many policies as a picture side by side can hold, the first ones, and a note on how many those are of."""
    shown = dict(list(runs.items())[:MOST_SHOWN])
    return shown, "" if len(shown) == len(runs) else f" (the first {len(shown)} of {len(runs)} policies)"


def _shares(pixels: Sequence[int]) -> np.ndarray:
    return np.array(pixels) / max(sum(pixels), 1)


def _highlighted(picture: np.ndarray, boxes: Sequence[Sequence[int]], colour: str) -> np.ndarray:
    """The picture pale and grey, the boxes as they are with a frame."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, 2)
    shown = (150 + 0.35 * grey).astype(np.uint8)
    frame = tuple(int(255 * part) for part in to_rgb(colour))
    thick = max(1, min(picture.shape[:2]) // 90)
    for y, x, height, width in boxes:
        shown[y : y + height, x : x + width] = picture[y : y + height, x : x + width]
    for y, x, height, width in boxes:
        cv2.rectangle(shown, (x, y), (x + width - 1, y + height - 1), frame, thick)
    return shown
