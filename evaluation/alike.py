"""Whether a comparison can tell its policies apart: exact ties, and networks that find one class alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from ralseg.evaluation.cells import Cell, split_name
from ralseg.evaluation.results import TWO_SET_MEAN

Entry = Mapping[str, Any]


def claimed(summary: Mapping[str, Any]) -> list[Entry]:
    """The entries that claims are made on: first game, largest budget, two-set mean where it is there."""
    game = summary["entries"][0]["game"]
    own = [entry for entry in summary["entries"] if entry["game"] == game]
    largest, split = max(entry["budget"] for entry in own), own[-1]["split"]
    return [entry for entry in own if entry["budget"] == largest and entry["split"] == split]


def contenders(entries: Sequence[Entry]) -> list[Entry]:
    """The policies that see no true labels."""
    return [entry for entry in entries if not entry["reference"]]


def all_alike(entries: Sequence[Entry]) -> bool:
    """Whether two contenders or more, and all of them, have exactly the same mIoU."""
    return len(contenders(entries)) > 1 and len({entry["miou"] for entry in contenders(entries)}) == 1


def remarks(summary: Mapping[str, Any]) -> list[str]:
    """What must be said before a winner is named, a sentence each; none where the policies can be told apart.

    A network that predicts one class has no other IoU above 0, as one has that finds no pixel of the others.
    """
    entries = claimed(summary)
    said = []
    if all_alike(entries):
        first = contenders(entries)[0]
        where = "the " * (first["split"] == TWO_SET_MEAN) + split_name(first["split"])
        figure = Cell(first["miou"])
        said.append(
            f"All alike: the {len(contenders(entries))} contenders have exactly the same mIoU on {where}, {figure} %."
        )
    found = {entry["policy"]: [name for name, iou in entry["iou"].items() if iou] for entry in entries}
    for name in dict.fromkeys(classes[0] for classes in found.values() if len(classes) == 1):
        those = [policy for policy, classes in found.items() if classes == [name]]
        whose = "" if len(those) == len(found) else f" after what {', '.join(those)} bought"
        said.append(
            f"The network predicts one class everywhere{whose}: only {name} has an IoU above 0. Set loss=balanced, or "
            "more theta0.fit.steps."
        )
    return said
