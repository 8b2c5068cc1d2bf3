"""A query: the units of a round in the order in which people should label them; and what people answered."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ralseg.foundation import RalsegError

if TYPE_CHECKING:
    # ralseg.envs loads torch, which nobody needs who labels.
    from ralseg.envs.records import Unit

NOT_LABELLED = 255
"""The id of a pixel without a label; never a class, and never background."""


class OtherQuery(RalsegError):
    """A file that answers another query than the one that was asked about."""


@dataclass(frozen=True)
class LabelClass:
    """A class that people can give.

    Attributes:
        name: as it is shown and written in files; unique in its project.
        colour: red, green and blue, 0 to 255; unique in its project.
    """

    name: str
    colour: tuple[int, int, int]


@dataclass(frozen=True)
class Query:
    """The units of one round.

    Attributes:
        project: the id of the project, 16 hexadecimal digits.
        round: the number of the round, from 1.
        classes: the classes; the id of a class is its place.
        sizes: image name -> (height, width) in pixels, for at least all images of the units.
        units: image name, y, x, height, width (pixels) of each unit, the most useful one first; none twice.
        prelabels: for each unit a (height, width) uint8 array of class ids that the network predicts, 255 where it
            predicts nothing; None for a unit without a prediction.
    """

    project: str
    round: int
    classes: tuple[LabelClass, ...]
    sizes: Mapping[str, tuple[int, int]]
    units: "tuple[Unit, ...]"
    prelabels: tuple[np.ndarray | None, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 (64 hexadecimal digits) of all but the prelabels.

        It is written into every exported file, so that a file of another query is known when it comes back.
        """
        classes = [[label.name, list(label.colour)] for label in self.classes]
        sizes = {name: list(self.sizes[name]) for name in sorted({unit[0] for unit in self.units})}
        content = [self.project, self.round, classes, sizes, [list(unit) for unit in self.units]]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class Answers:
    """What people answered to a query.

    Attributes:
        labels: place of a unit in `Query.units` -> (height, width) uint8 of class ids, 255 where not labelled. A unit
            that nobody finished is missing, and so is one whose prelabel nobody confirmed.
        notes: what a person should know about them (cut, overlapping, ignored, with counts), whole sentences.
    """

    labels: Mapping[int, np.ndarray]
    notes: Sequence[str] = field(default_factory=tuple)
