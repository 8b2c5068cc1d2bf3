"""A round as the page shows it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ralseg.annotation.page.pictures import Pictures
from ralseg.annotation.query import NOT_LABELLED, Query
from ralseg.annotation.work import WorkFolder
from ralseg.foundation import RalsegError


@dataclass(frozen=True)
class Shown:
    """The units of a round, their pictures and the work on them.

    Attributes:
        query: the query; every unit lies within its image, and every prelabel has the size of its unit.
        image: image name -> (height, width, 3) uint8, red, green and blue.
        work: the work folder of the round.
        changes: what the last labels changed in the network, sentences for the person, or nothing.

    Raises:
        RalsegError: if the query cannot be shown.
    """

    query: Query
    image: Callable[[str], np.ndarray]
    work: WorkFolder
    changes: str

    def __post_init__(self) -> None:
        _check(self.query)

    @cached_property
    def pictures(self) -> Pictures:
        """What is shown of each unit."""
        return Pictures(self.query, self.image)

    def content(self) -> dict[str, Any]:
        """What the page needs to begin, as JSON values."""
        events = self.work.events
        units = [
            {"image": name, "y": y, "x": x, "height": height, "width": width, "size": self.query.sizes[name]}
            | {"frame": self.pictures.frame(place)}
            for place, (name, y, x, height, width) in enumerate(self.query.units)
        ]
        return {
            "round": self.query.round,
            "changes": self.changes,
            "classes": [{"name": label.name, "colour": label.colour} for label in self.query.classes],
            "units": units,
            "states": self.work.states,
            "events": len(events),
            "last": events[-1].unit if events else None,
        }

    def label(self, unit: int) -> np.ndarray:
        """What the page shows as the label of a unit: the draft, otherwise the prediction, otherwise nothing.

        Args:
            unit: its place in the query.

        Returns:
            (height, width) uint8 of class ids, 255 where not labelled.
        """
        label = self.work.label(unit)
        if label is None:
            label = self.query.prelabels[unit]
        return np.full(self.query.units[unit][3:], NOT_LABELLED, np.uint8) if label is None else label


def _check(query: Query) -> None:
    if not query.units or not 1 <= len(query.classes) <= NOT_LABELLED or len(query.prelabels) != len(query.units):
        raise RalsegError("a query that people can answer has a unit, 1 to 255 classes, and as many prelabels as units")
    for (name, y, x, height, width), label in zip(query.units, query.prelabels, strict=True):
        below, beside = query.sizes[name]
        if min(y, x) < 0 or min(height, width) < 1 or y + height > below or x + width > beside:
            raise RalsegError(f"the unit {(y, x, height, width)} is not within {name}, {below} x {beside}; ask again")
        if label is None:
            continue
        if label.dtype != np.uint8 or label.shape != (height, width):
            raise RalsegError(f"the prelabel of {name} {(y, x)} is {label.shape} {label.dtype}, not its unit's size")
        if np.any((label >= len(query.classes)) & (label != NOT_LABELLED)):
            raise RalsegError(f"the prelabel of {name} {(y, x)} has a class that the query has not; ask again")
