"""Figures as inline SVG, one panel each: curves with bands, rows of intervals, shares on a logarithmic axis."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ralseg.evaluation.page.looks import Look, marker
from ralseg.evaluation.page.markup import Markup, tag

WIDTH = 360
LETTER = 6.9
"""Width of a letter of a figure, at 11.5 px; labels are cut where they would be wider than `LABEL`."""
LABEL = 146
Range = tuple[float, float]


class Point(NamedTuple):
    """A mean and its interval; the ends are None for a single run."""

    mean: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        ends = "" if self.low is None else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.mean:.2f}{ends}".replace("-", "\N{MINUS SIGN}")


def reach(points: Iterable[Point], *also: float) -> Range:
    """The range that shows all intervals, and some air."""
    values = [v for point in points for v in point if v is not None and math.isfinite(v)] + list(also)
    low, high = min(values), max(values)
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
    name: str, title: str, curves: Sequence[tuple[Look, Sequence[tuple[float, Point]]]], span: Range, label: str,
    across: str, level: tuple[float, str] | None = None,
) -> Markup:  # fmt: skip
    """Curves over the budget, with bands where there are intervals.

    Args:
        name: unique on the page.
        title: what is shown.
        curves: (look, [(x, point), ...]).
        span: of the vertical axis.
        label: of the vertical axis.
        across: label of the horizontal axis.
        level: a horizontal line and what it is.
    """
    height, left, right, top, bottom = 256, 42, 10, 24, 38
    xs = sorted({x for _, curve in curves for x, _ in curve})
    x = _scale((xs[0], xs[-1]), (left + 8, WIDTH - right - 8))
    y = _scale(span, (height - bottom, top))
    parts = [
        tag("g", [_line(left, WIDTH - right, y(v), y(v)) for v in ticks(*span)], class_="grid"),
        tag("g", [_words(_number(v), left - 6, y(v) + 4, "end") for v in ticks(*span)], class_="ticks"),
        _x_axis(xs, x, height - bottom, (left, WIDTH - right)),
        _words(across, (left + WIDTH - right) / 2, height - 4, "middle", "label"),
        _words(label, left - 36, top - 14, "start", "label"),
        _level(level, span, lambda v: ((left, y(v)), (WIDTH - right, y(v)))),
    ]
    parts += [tag("g", _curve(look, [(x(b), b, p) for b, p in curve], y), class_=look.css) for look, curve in curves]
    described = "; ".join(f"{look.label}: " + ", ".join(f"{p} at {b:g}" for b, p in curve) for look, curve in curves)
    return _figure(name, title, described, parts, height)


def dots(
    name: str, title: str, rows: Sequence[tuple[Look, Point | None]], span: Range, label: str,
    level: tuple[float, str] | None = None,
) -> Markup:  # fmt: skip
    """One row for each policy: its mean and its interval.

    Args:
        name: unique on the page.
        title: what is shown.
        rows: (look, point), a policy that has none keeps its row.
        span: of the axis.
        label: of the axis.
        level: a vertical line and what it is.
    """
    pitch, top, bottom, right = 24, 8, 38, 12
    left = min(LABEL, LETTER * max(len(look.name) for look, _ in rows)) + 12
    height = top + pitch * len(rows) + bottom
    x = _scale(span, (left, WIDTH - right))
    marks = ticks(*span, most=5)
    parts = [
        tag("g", [_line(x(v), x(v), top, height - bottom) for v in marks], class_="grid"),
        tag("g", [_words(_number(v), x(v), height - bottom + 16, "middle") for v in marks], class_="ticks"),
        _words(label, (left + WIDTH - right) / 2, height - 4, "middle", "label"),
        _level(level, span, lambda v: ((x(v), top), (x(v), height - bottom))),
    ]
    for i, (look, point) in enumerate(rows):
        y = top + pitch * (i + 0.5)
        row = [_name(look, left - 8, y + 4)]
        if point is not None:
            row += [] if point.low is None else [_line(x(point.low), x(point.high), y, y, look.line_class())]
            row.append(marker(look, x(point.mean), y, 4, f"{look.label}: {point}"))
        parts.append(tag("g", row, class_=look.css))
    described = "; ".join(f"{look.label}: {point}" for look, point in rows if point is not None)
    return _figure(name, title, described, parts, height)


def shares(name: str, title: str, classes: Sequence[str], pool: np.ndarray, bought: dict[Look, np.ndarray]) -> Markup:
    """Share of each class in what each policy bought, on a logarithmic axis, beside the pool's.

    Args:
        name: unique on the page.
        title: what is shown.
        classes: their names.
        pool: (C,) shares of the whole pool, percent.
        bought: look -> (C,) shares, percent.
    """
    width, pitch, top, bottom, right = 720, 26, 8, 38, 14
    left = min(LABEL, LETTER * max(map(len, classes))) + 14
    height = top + pitch * len(classes) + bottom
    above = np.concatenate([pool, *bought.values()])
    low, high = above[above > 0].min(), above.max()
    log = _scale((math.log10(low / 1.3), math.log10(high * 1.3)), (left, width - right))
    marks = [v for v in (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100) if low / 1.3 <= v <= high * 1.3]
    rows = np.argsort(-pool)
    place = {int(c): top + pitch * (i + 0.5) for i, c in enumerate(rows)}
    axis = [_words(_number(v), log(math.log10(v)), height - bottom + 16, "middle") for v in marks]
    grid = [_line(log(math.log10(v)), log(math.log10(v)), top, height - bottom) for v in marks]
    parts = [
        tag("g", grid, class_="grid"),
        tag("g", axis, class_="ticks"),
        tag("g", [_words(classes[c], left - 10, y + 4, "end") for c, y in place.items()], class_="names"),
        _words(
            "share of the labelled pixels, % (logarithmic)", (left + width - right) / 2, height - 4, "middle", "label"
        ),
    ]
    at = {c: log(math.log10(pool[c])) for c in place if pool[c] > 0}
    parts.append(tag("g", [_line(x, x, place[c] - 9, place[c] + 9) for c, x in at.items()], class_="pool"))
    for i, (look, found) in enumerate(bought.items()):
        # Side by side within the row, so that equal shares do not hide each other.
        shift = 14 * ((i + 0.5) / len(bought) - 0.5)
        drawn = [
            marker(look, log(math.log10(found[c])), y + shift, 3.4, f"{look.label}, {classes[c]}: {found[c]:.2f} %")
            for c, y in place.items()
            if found[c] > 0
        ]
        parts.append(tag("g", drawn, class_=look.css))
    described = "; ".join(f"{classes[c]}: {pool[c]:.2f} % of the pool" for c in place)
    return _figure(name, title, described, parts, height, width)


def _figure(name: str, title: str, described: str, parts: list, height: float, width: float = WIDTH) -> Markup:
    told = [tag("title", title, id=f"{name}-title"), tag("desc", described, id=f"{name}-desc")]
    return tag(
        "svg", told, parts, class_="chart", id=name, viewBox=f"0 0 {width:g} {height:g}", role="img",
        aria_labelledby=f"{name}-title {name}-desc",
    )  # fmt: skip


def _curve(look: Look, points: Sequence[tuple[float, float, Point]], y) -> list[Markup]:
    band = [(x, point) for x, _, point in points if point.low is not None]
    drawn = []
    if len(band) > 1:
        edge = [(x, p.high) for x, p in band] + [(x, p.low) for x, p in reversed(band)]
        drawn.append(tag("path", d=_path([(x, y(v)) for x, v in edge]) + "Z", class_="band"))
    elif band:
        ((x, point),) = band
        drawn.append(_line(x, x, y(point.low), y(point.high), look.line_class()))
    drawn.append(tag("path", d=_path([(x, y(p.mean)) for x, _, p in points]), class_=look.line_class()))
    return drawn + [marker(look, x, y(p.mean), 3.2, f"{look.label} at {b:g}: {p}") for x, b, p in points]


def _level(level: tuple[float, str] | None, span: Range, ends) -> Markup | None:
    if level is None or not span[0] <= level[0] <= span[1]:
        return None
    (x1, y1), (x2, y2) = ends(level[0])
    line = tag("line", tag("title", level[1]), x1=f"{x1:.1f}", x2=f"{x2:.1f}", y1=f"{y1:.1f}", y2=f"{y2:.1f}")
    return tag("g", line, class_="level")


def _x_axis(xs: Sequence[float], x, bottom: float, ends: Range) -> Markup:
    places = xs if len(xs) <= 6 else ticks(xs[0], xs[-1])
    words = [_words(_number(v), x(v), bottom + 16, "middle") for v in places]
    return tag("g", _line(*ends, bottom, bottom, "base"), words, class_="ticks")


def _name(look: Look, x: float, y: float) -> Markup:
    most = int(LABEL / LETTER)
    cut = look.name if len(look.name) <= most else look.name[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
    css = "name" + " strong" * look.learned + " aside" * look.reference
    return tag("text", tag("title", look.label), cut, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor="end", class_=css)


def _words(words: str, x: float, y: float, anchor: str, css: str | None = None) -> Markup:
    return tag("text", words, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_=css)


def _line(x1: float, x2: float, y1: float, y2: float, css: str | None = None) -> Markup:
    return tag("line", x1=f"{x1:.1f}", x2=f"{x2:.1f}", y1=f"{y1:.1f}", y2=f"{y2:.1f}", class_=css)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _scale(span: Range, ends: Range):
    (low, high), (start, end) = span, ends
    return lambda value: start + (value - low) / ((high - low) or 1) * (end - start)


def _number(value: float) -> str:
    return f"{value + 0.0:.6g}".replace("-", "\N{MINUS SIGN}")
