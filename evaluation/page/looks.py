"""How a policy looks on the page: one colour and marker in every figure, dashed where it sees true labels."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ralseg.evaluation.pictures import style_of


@dataclass(frozen=True)
class Look:
    """One policy.

    Attributes:
        name: of the policy.
        number: its place, which names its colour: class `p0`, `p1`, ...
        colour: of its curve on a light page, as in the PNG.
        marker: as matplotlib names them.
        reference: whether it sees true labels.
        learned: whether it was trained.
    """

    name: str
    number: int
    colour: str
    marker: str
    reference: bool
    learned: bool

    @property
    def css(self) -> str:
        """Its class."""
        return f"p{self.number}"

    @property
    def label(self) -> str:
        """Its name, and that it sees the truth."""
        return f"{self.name} (sees truth)" if self.reference else self.name

    @property
    def line_class(self) -> str:
        """The class of its lines."""
        return "curve" + " dashed" * self.reference + " strong" * self.learned

    def outline(self, x: float, y: float, radius: float) -> str:
        """Its marker at a place of an SVG as the data of a path; "" for a circle."""
        if self.marker == "o":
            return ""
        corners = (f"{x + radius * dx:.1f},{y + radius * dy:.1f}" for dx, dy in _OUTLINES[self.marker])
        return f"M{'L'.join(corners)}Z"


def looks_of(names: Sequence[str], references: Collection[str], learned: Collection[str]) -> dict[str, Look]:
    """Policy -> look, colours as in the PNG."""
    styles = style_of(names, references)
    return {
        name: Look(name, i, styles[name]["color"], styles[name]["marker"], name in references, name in learned)
        for i, name in enumerate(names)
    }


def _regular(corners: int, turn: float, size: float) -> list[tuple[float, float]]:
    angles = [turn + 2 * math.pi * i / corners for i in range(corners)]
    return [(size * math.sin(angle), -size * math.cos(angle)) for angle in angles]


def _cross(arm: float, turn: float) -> list[tuple[float, float]]:
    plus = [(arm, -1.35), (arm, -arm), (1.35, -arm), (1.35, arm), (arm, arm), (arm, 1.35)]
    corners = plus + [(-x, -y) for x, y in plus]
    cos, sin = math.cos(turn), math.sin(turn)
    return [(x * cos - y * sin, x * sin + y * cos) for x, y in corners]


_OUTLINES = {
    "s": _regular(4, math.pi / 4, 1.25),
    "D": _regular(4, 0, 1.3),
    "^": _regular(3, 0, 1.35),
    "v": _regular(3, math.pi, 1.35),
    "P": _cross(0.5, 0),
    "X": _cross(0.5, math.pi / 4),
}
