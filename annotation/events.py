"""Events: what a person did to the units of a query, and the clicks and the time that it took."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

from ralseg.annotation.query import NOT_LABELLED, Query
from ralseg.foundation import RalsegError

Kind = Literal[
    "show",
    "superpixel",
    "brush",
    "erase",
    "fill",
    "vertex",
    "polygon",
    "clear",
    "undo",
    "redo",
    "accept",
    "skip",
    "import",
]
"""What was done. `show`: the unit came onto the screen; `vertex`: a corner of a polygon, which `polygon` then fills;
`import`: another tool gave the label back, which is accepted."""

ACCEPTED = frozenset[str]({"accept", "import"})
"""Kinds of events after which the label of a unit counts."""
WITH_LABEL = frozenset[str](get_args(Kind)) - {"show", "vertex", "skip"}
"""Kinds of events after which the unit has a label."""
CLICKS = frozenset[str]({"superpixel", "brush", "erase", "fill", "vertex"})
"""Kinds of events that are a click on the picture."""
LONGEST_PAUSE = 15.0
"""Seconds between two events that still count as work."""


@dataclass(frozen=True)
class Event:
    """Something that a person did to a unit.

    Attributes:
        n: the number of the event in its round, from 1, without a gap.
        unit: the place of the unit in `Query.units`.
        kind: what was done.
        at: when, in seconds since 1970, by the clock of the page.
        page: the name that the page drew for itself when it was loaded; 1 to 64 letters, digits, hyphens, underscores.
        label: the id of the class that was given, 255 for 'not sure'; None where no class was given.
    """

    n: int
    unit: int
    kind: Kind
    at: float
    page: str
    label: int | None = None

    @classmethod
    def read(cls, values: Any, query: Query) -> "Event":
        """An event of values that may be a stranger's.

        Args:
            values: what JSON held: the attributes by name.
            query: the query of the round.

        Raises:
            RalsegError: if it is no event of this query.
        """
        try:
            event = cls(**values)
        except TypeError:
            raise RalsegError("an event has n, unit, kind, at, page and label, and nothing else") from None
        # Whole numbers alone: for Python, True is an int, too.
        if type(event.n) is not int or event.n < 1:
            raise RalsegError(f"n={event.n!r} is no number of an event: 1, 2, ...")
        if type(event.unit) is not int or not 0 <= event.unit < len(query.units):
            raise RalsegError(f"unit={event.unit!r} is no place of a unit: 0 to {len(query.units) - 1}")
        if event.kind not in get_args(Kind):
            raise RalsegError(f"kind={event.kind!r} is not one of {', '.join(get_args(Kind))}")
        if type(event.at) not in (int, float) or not math.isfinite(event.at):
            raise RalsegError(f"at={event.at!r} is no time in seconds since 1970")
        if not isinstance(event.page, str) or not 1 <= len(event.page) <= 64 or not _is_name(event.page):
            raise RalsegError(f"page={event.page!r} is not 1 to 64 letters, digits, hyphens or underscores")
        known = (NOT_LABELLED, *range(len(query.classes)))
        if event.label is not None and (type(event.label) is not int or event.label not in known):
            raise RalsegError(f"unknown class {event.label!r}: classes are 0 to {len(query.classes) - 1}, and 255")
        return event


def _is_name(text: str) -> bool:
    return text.isascii() and text.replace("-", "a").replace("_", "a").isalnum()


def clicks(events: Sequence[Event]) -> dict[int, int]:
    """Place of a unit -> number of clicks on its picture; units without an event on the page are missing.

    A brush stroke is one click, a polygon one for each corner. Keys and buttons are none.

    Args:
        events: all events of a round, oldest first.
    """
    events = _on_the_page(events)
    found = dict.fromkeys((event.unit for event in events), 0)
    for event in events:
        found[event.unit] += event.kind in CLICKS
    return found


def seconds(events: Sequence[Event]) -> dict[int, float]:
    """Place of a unit -> seconds of work on it; units without an event on the page are missing.

    The time between two successive events of the same unit is work, unless it is longer than 15 s or the clock was set
    back in it.

    Args:
        events: all events of a round, oldest first.
    """
    events = _on_the_page(events)
    found = dict.fromkeys((event.unit for event in events), 0.0)
    for before, event in pairwise(events):
        if before.unit == event.unit and 0 < event.at - before.at <= LONGEST_PAUSE:
            found[event.unit] += event.at - before.at
    return found


def _on_the_page(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if event.kind != "import"]
