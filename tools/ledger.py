"""Whether rows of results can be true: what no table prints is checked against what the rows themselves imply."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ralseg.evaluation.results import ALL, Results, Row, class_entropy

PAID = ("units", "pixels", "share", "images", "clicks", "label_cost_of_policy", "class_entropy")

ROUNDED = 0.5e-6
"""By how much a share in a file may differ from what it was."""


def row_problems(results: Results) -> Iterator[str]:
    """What is wrong with the rows of a comparison, a message each.

    A row's clicks must fit its units and classes; pixels must be in proportion to their share of the pool; one run has
    paid the same on every split, and never less at a larger budget. Where `bought/` is there, the units, images, pixels
    and class entropy are counted anew from it, and it must have the same clicks. That a mIoU is the mean of its row's
    IoUs is checked when results are loaded.
    """
    paid: dict[tuple, Row] = {}
    # Shares are rounded, so that the largest one says best how many pixels there are.
    largest = max(results.rows, key=lambda row: row["share"], default=None)
    exact = 1e-4 + (ROUNDED / largest["share"] if largest and largest["share"] else 0)
    for row in sorted(results.rows, key=lambda row: str((row["run_id"], row["split"]))):
        where = f"{row['run_id']}, budget {row['budget_units']}, {row['split']}"
        if row["clicks"] > min(row["units"] * len(results.comparison["classes"]), row["pixels"]):
            yield f"{where}: clicks is {row['clicks']}, more than a click for each class in each unit"
        if largest and row["share"]:
            share = row["pixels"] / largest["pixels"] * largest["share"]
            if not math.isclose(row["share"], share, rel_tol=exact, abs_tol=ROUNDED):
                yield f"{where}: pixels is {row['pixels']}, which is not the share {row['share']} of the pool"
        first = paid.setdefault((row["run_id"], row["budget_units"]), row)
        for key in PAID:
            if row[key] != first[key]:
                yield f"{where}: {key} is {row[key]}, but {first[key]} on {first['split']}"
    for (run, budget), row in paid.items():
        before = [own for (other, at), own in paid.items() if other == run and ALL not in (at, budget) and at < budget]
        for key in ("units", "pixels", "images", "clicks"):
            if any(own[key] > row[key] for own in before):
                yield f"{run}, budget {budget}: {key} is {row[key]}, less than at a smaller budget"
        yield from (f"{run}, budget {budget}: {message}" for message in _against_bought(results, row))


def _against_bought(results: Results, row: Row) -> Iterator[str]:
    bought = results.bought(row["run_id"])
    if bought is None:
        return
    place = results.comparison["budgets"].index(row["budget_units"])
    for key, value in _counted(bought, place).items():
        if row[key] != value:
            yield f"{key} is {row[key]}, but {value} by bought/"


def _counted(bought: Mapping[str, Any], place: int) -> dict[str, float]:
    units = bought["units"][: bought["counts"][place]]
    clicks = {"clicks": bought["clicks"][place]} if "clicks" in bought else {}
    return clicks | {
        "units": len(units),
        "pixels": sum(height * width for _, _, _, height, width in units),
        "images": len({image for image, *_ in units}),
        "class_entropy": round(class_entropy(np.array(bought["class_pixels"][place])), 4),
    }
