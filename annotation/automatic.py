"""A program in people's place: it labels what was exported from the labels of a data set."""

import json
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np

from ralseg.annotation.label_files import write_png
from ralseg.annotation.query import NOT_LABELLED
from ralseg.segmentation.datasets import Dataset


def answer(dataset: Dataset, out: Path) -> None:
    """Label what was exported as PNG files, as a person would who knows the labels of the data set.

    Args:
        dataset: has the labels, under the names of the project's images and in the order of its classes.
        out: the exported folder.
    """
    units = sorted(json.loads((out / "query.json").read_text())["units"], key=itemgetter("image"))
    for name, asked in groupby(units, itemgetter("image")):
        true = dataset.load(name)[1]
        label = np.full_like(true, NOT_LABELLED)
        for unit in asked:
            place = slice(unit["y"], unit["y"] + unit["height"]), slice(unit["x"], unit["x"] + unit["width"])
            label[place] = true[place]
        write_png(out / "labels" / f"{name}.png", label)
