"""Where everything stands in a figure: curves with bands, rows of intervals, shares on a logarithmic axis.

The templates draw it. Figures are drawn here and not by matplotlib, because each mark has a text of its own, the page
hides policies and follows the light or dark scheme of its reader, and twenty figures take as much room as one picture.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ralseg.evaluation.cells import Cell
from ralseg.evaluation.page.looks import Look
from ralseg.evaluation.page.words import typeset

WIDTH = 360
LETTER = 6.9
"""Width of a letter of a figure, at 11.5 px; labels are cut where they would be wider than `LABEL`."""
LABEL = 146
Range = tuple[float, float]
Place = Callable[[float], float]


class Line(NamedTuple):
    """A straight line, in pixels."""

    x1: float
    x2: float
    y1: float
    y2: float
    title: str = ""


class Label(NamedTuple):
    """A text; `anchor` is start, middle or end."""

    text: str
    x: float
    y: float
    anchor: str
    css: str = ""
    title: str = ""


class Mark(NamedTuple):
    """A policy's marker; `path` is empty for a circle."""

    x: float
    y: float
    radius: float
    title: str
    path: str


@dataclass
class Series:
    """What is drawn of one policy."""

    look: Look
    name: Label | None = None
    band: str = ""
    lines: list[Line] = field(default_factory=list)
    curve: str = ""
    marks: list[Mark] = field(default_factory=list)

    def mark(self, x: float, y: float, radius: float, title: str) -> None:
        """Put the policy's marker at a place."""
        self.marks.append(Mark(x, y, radius, title, self.look.outline(x, y, radius)))


@dataclass
class Chart:
    """A figure.

    Attributes:
        name: unique on the page.
        title: what is shown.
        described: all its figures as text, for screen readers.
        width: in pixels of the drawing.
        height: in pixels of the drawing.
        grid: lines behind everything.
        ticks: numbers along the axes.
        labels: of the axes.
        names: of rows.
        base: the axis.
        level: a line that everything is compared with.
        pool: strokes of the whole pool.
        series: of the policies.
    """

    name: str
    title: str
    described: str
    width: float
    height: float
    grid: list[Line]
    ticks: list[Label]
    labels: list[Label]
    series: list[Series]
    names: list[Label] = field(default_factory=list)
    base: Line | None = None
    level: Line | None = None
    pool: list[Line] = field(default_factory=list)


def reach(cells: Iterable[Cell], *also: float) -> Range:
    """The range that shows all intervals, and some air."""
    values = [v for cell in cells for v in (cell.mean, cell.low, cell.high) if v is not None and math.isfinite(v)]
    low, high = min([*values, *also]), max([*values, *also])
    air = 0.06 * (high - low) or 0.5
    return low - air, high + air


def union(ranges: Sequence[Range]) -> Range:
    """The range that holds all ranges."""
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def same_span(ranges: Sequence[Range]) -> list[Range]:
    """The ranges widened to one span, so that a slope means the same in each."""
    span = max(high - low for low, high in ranges)
    return [((low + high - span) / 2, (low + high + span) / 2) for low, high in ranges]


def ticks(low: float, high: float, most: int = 6) -> np.ndarray:
    """Round numbers within a range, `most` at most."""
    step = 10 ** math.floor(math.log10((high - low) / most))
    step = next(step * nice for nice in (1, 2, 5, 10, 20) if (high - low) / (step * nice) <= most)
    return np.arange(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1) * step


def lines(
    name: str, title: str, curves: Mapping[Look, Sequence[tuple[float, Cell]]], span: Range, label: str,
    across: str, level: tuple[float, str] | None = None,
) -> Chart:  # fmt: skip
    """Curves over the budget, with bands where there are intervals.

    Args:
        name: unique on the page.
        title: what is shown.
        curves: look -> [(x, figure), ...].
        span: of the vertical axis.
        label: of the vertical axis.
        across: label of the horizontal axis.
        level: a horizontal line and what it is.
    """
    height, left, right, top, bottom = 256, 42, 10, 24, 38
    xs = sorted({x for curve in curves.values() for x, _ in curve})
    x = _scale((xs[0], xs[-1]), (left + 8, WIDTH - right - 8))
    y = _scale(span, (height - bottom, top))
    foot = height - bottom
    places = xs if len(xs) <= 6 else ticks(xs[0], xs[-1])
    return Chart(
        name,
        title,
        "; ".join(
            f"{look.label}: " + ", ".join(f"{typeset(cell)} at {b:g}" for b, cell in curve)
            for look, curve in curves.items()
        ),
        WIDTH,
        height,
        grid=[Line(left, WIDTH - right, y(v), y(v)) for v in ticks(*span)],
        ticks=[Label(_number(v), left - 6, y(v) + 4, "end") for v in ticks(*span)]
        + [Label(_number(v), x(v), foot + 16, "middle") for v in places],
        labels=[
            Label(across, (left + WIDTH - right) / 2, height - 4, "middle", "label"),
            Label(label, left - 36, top - 14, "start", "label"),
        ],
        series=[_curve(look, curve, x, y) for look, curve in curves.items()],
        base=Line(left, WIDTH - right, foot, foot),
        level=_level(level, span, lambda v, what: Line(left, WIDTH - right, y(v), y(v), what)),
    )


def dots(
    name: str, title: str, rows: Mapping[Look, Cell | None], span: Range, label: str,
    level: tuple[float, str] | None = None,
) -> Chart:  # fmt: skip
    """One row for each policy: its mean and its interval.

    Args:
        name: unique on the page.
        title: what is shown.
        rows: look -> figure; a policy that has none keeps its row.
        span: of the axis.
        label: of the axis.
        level: a vertical line and what it is.
    """
    pitch, top, bottom, right = 24, 8, 38, 12
    left = min(LABEL, LETTER * max(len(look.name) for look in rows)) + 12
    height = top + pitch * len(rows) + bottom
    x = _scale(span, (left, WIDTH - right))
    marks = ticks(*span, most=5)
    drawn = []
    for i, (look, cell) in enumerate(rows.items()):
        y = top + pitch * (i + 0.5)
        series = Series(look, _name(look, left - 8, y + 4))
        if cell is not None and cell.mean is not None:
            if cell.low is not None and cell.high is not None:
                series.lines.append(Line(x(cell.low), x(cell.high), y, y))
            series.mark(x(cell.mean), y, 4, f"{look.label}: {typeset(cell)}")
        drawn.append(series)
    return Chart(
        name,
        title,
        "; ".join(f"{look.label}: {typeset(cell)}" for look, cell in rows.items() if cell is not None),
        WIDTH,
        height,
        grid=[Line(x(v), x(v), top, height - bottom) for v in marks],
        ticks=[Label(_number(v), x(v), height - bottom + 16, "middle") for v in marks],
        labels=[Label(label, (left + WIDTH - right) / 2, height - 4, "middle", "label")],
        series=drawn,
        level=_level(level, span, lambda v, what: Line(x(v), x(v), top, height - bottom, what)),
    )


def shares(classes: Sequence[str], pool: np.ndarray, bought: Mapping[Look, np.ndarray]) -> Chart:
    """Share of each class in what each policy bought, on a logarithmic axis, beside the pool's.

    Args:
        classes: their names.
        pool: (C,) shares of the whole pool, percent.
        bought: look -> (C,) shares, percent.
    """
    width, pitch, top, bottom, right = 720, 26, 8, 38, 14
    left = min(LABEL, LETTER * max(map(len, classes))) + 14
    height = top + pitch * len(classes) + bottom
    above = np.concatenate([pool, *bought.values()])
    low, high = above[above > 0].min(), above.max()
    scale = _scale((math.log10(low / 1.3), math.log10(high * 1.3)), (left, width - right))
    marks = [v for v in (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100) if low / 1.3 <= v <= high * 1.3]
    place = {int(c): top + pitch * (i + 0.5) for i, c in enumerate(np.argsort(-pool))}
    drawn = []
    for i, (look, found) in enumerate(bought.items()):
        series = Series(look)
        # Side by side within the row, so that equal shares do not hide each other.
        shift = 14 * ((i + 0.5) / len(bought) - 0.5)
        for c, y in place.items():
            if found[c] > 0:
                title = f"{look.label}, {classes[c]}: {found[c]:.2f} %"
                series.mark(scale(math.log10(found[c])), y + shift, 3.4, title)
        drawn.append(series)
    strokes = [(scale(math.log10(pool[c])), y) for c, y in place.items() if pool[c] > 0]
    across = "share of the labelled pixels, % (logarithmic)"
    return Chart(
        "shares",
        "Share of each class in what was bought",
        "; ".join(f"{classes[c]}: {pool[c]:.2f} % of the pool" for c in place),
        width,
        height,
        grid=[Line(at, at, top, height - bottom) for at in (scale(math.log10(v)) for v in marks)],
        ticks=[Label(_number(v), scale(math.log10(v)), height - bottom + 16, "middle") for v in marks],
        labels=[Label(across, (left + width - right) / 2, height - 4, "middle", "label")],
        series=drawn,
        names=[Label(classes[c], left - 10, y + 4, "end") for c, y in place.items()],
        pool=[Line(x, x, y - 9, y + 9) for x, y in strokes],
    )


def _curve(look: Look, curve: Sequence[tuple[float, Cell]], x: Place, y: Place) -> Series:
    series = Series(look)
    points = [(x(b), b, cell, cell.mean) for b, cell in curve if cell.mean is not None]
    band = [(at, c.low, c.high) for at, _, c, _ in points if c.low is not None and c.high is not None]
    if len(band) > 1:
        edge = [(at, y(high)) for at, _, high in band] + [(at, y(low)) for at, low, _ in reversed(band)]
        series.band = f"{_path(edge)}Z"
    elif band:
        series.lines.append(Line(band[0][0], band[0][0], y(band[0][1]), y(band[0][2])))
    series.curve = _path([(at, y(mean)) for at, _, _, mean in points])
    for at, b, cell, mean in points:
        series.mark(at, y(mean), 3.2, f"{look.label} at {b:g}: {typeset(cell)}")
    return series


def _level(level: tuple[float, str] | None, span: Range, drawn: Callable[[float, str], Line]) -> Line | None:
    return drawn(*level) if level is not None and span[0] <= level[0] <= span[1] else None


def _name(look: Look, x: float, y: float) -> Label:
    most = int(LABEL / LETTER)
    cut = look.name if len(look.name) <= most else look.name[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
    css = "name" + " strong" * look.learned + " aside" * look.reference
    return Label(cut, x, y, "end", css, look.label)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _scale(span: Range, ends: Range) -> Place:
    (low, high), (start, end) = span, ends
    return lambda value: start + (value - low) / ((high - low) or 1) * (end - start)


def _number(value: float) -> str:
    return typeset(f"{value + 0.0:.6g}")
