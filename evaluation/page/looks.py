"""How a policy looks on the page: one colour and marker in every figure, dashed where it sees true labels."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ralseg.evaluation.page.markup import Markup, tag
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

    def line_class(self) -> str:
        """The class of its lines."""
        return "curve" + " dashed" * self.reference + " strong" * self.learned


def looks_of(names: Sequence[str], references: Collection[str], learned: Collection[str]) -> dict[str, Look]:
    """Policy -> look, colours as in the PNG."""
    styles = style_of(names, references)
    return {
        name: Look(name, i, styles[name]["color"], styles[name]["marker"], name in references, name in learned)
        for i, name in enumerate(names)
    }


def marker(look: Look, x: float, y: float, radius: float = 3.6, title: str | None = None) -> Markup:
    """The policy's mark at a place of an SVG; hollow for references."""
    css = "mark" + " hollow" * look.reference
    told = tag("title", title) if title else None
    if look.marker == "o":
        return tag("circle", told, cx=_short(x), cy=_short(y), r=radius, class_=css)
    d = "M" + "L".join(f"{_short(x + radius * dx)},{_short(y + radius * dy)}" for dx, dy in _OUTLINES[look.marker])
    return tag("path", told, d=d + "Z", class_=css)


def swatch(look: Look) -> Markup:
    """A piece of the policy's curve, for legends."""
    line = tag("line", x1=1, x2=25, y1=7, y2=7, class_=look.line_class())
    parts = [line, marker(look, 13, 7)]
    return tag("svg", parts, class_=f"swatch {look.css}", viewBox="0 0 26 14", width=26, height=14, aria_hidden="true")


def _short(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


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
