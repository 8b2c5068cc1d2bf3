"""What is presented: tables of cells, from which the terminal, Markdown, the page and the documents are rendered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ralseg.evaluation.results import TWO_SET_MEAN

Interval = Mapping[str, Any]
"""An interval of the summary: `mean`, `low`, `high` and more; see `summarise`."""
ABOVE, BELOW, OPEN, ONE_RUN = "above", "below", "not distinguishable from", "one run"
TERMINAL, MARKDOWN, PAGE = "terminal", "markdown", "page"


@dataclass(frozen=True)
class Cell:
    """A figure with its interval, or a word in its place; an empty cell has neither.

    Attributes:
        mean: the figure.
        low: lower end of its interval; None for a single run, or where no interval is shown.
        high: upper end.
        form: how numbers are written, as a format specification; `.3g` is three significant digits.
        percent: whether the numbers are shares of one that are shown in percent.
        bound: "at most" or "at least" where the figure is only a bound.
        low_bound: whether the lower end of the interval is only a bound.
        high_bound: whether the upper end is.
        word: what stands in the place of a figure.
        compared: whether it is a difference, of which the page says what its interval says of zero.
        heat: how strongly the page colours it, -1 to 1; negative is the other colour.
        css: its class on the page.
        note: what the page shows when the pointer rests on it.
    """

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    form: str = ".2f"
    percent: bool = False
    bound: str = ""
    low_bound: bool = False
    high_bound: bool = False
    word: str = ""
    compared: bool = False
    heat: float = 0
    css: str = ""
    note: str = ""

    @classmethod
    def of(cls, interval: Interval | None, form: str = ".2f", **further: Any) -> "Cell":
        """The cell of an interval; an empty one for None."""
        if interval is None:
            return cls()
        return cls(interval["mean"], interval["low"], interval["high"], form, **further)

    @property
    def figure(self) -> str:
        """The figure without its interval, such as `at most 14 %`."""
        if self.mean is None:
            return self.word
        return f"{self.bound} {self._written(self.mean)}{' %' * self.percent}".lstrip()

    @property
    def ends(self) -> str:
        """The interval in brackets, such as `[<=0, +21]`; "" without one."""
        if self.mean is None or self.low is None or self.high is None:
            return ""
        low, high = "<=" * self.low_bound + self._written(self.low), ">=" * self.high_bound + self._written(self.high)
        return f"[{low}, {high}]"

    @property
    def verdict(self) -> str:
        """What the interval of a difference says: `ABOVE`, `BELOW`, `OPEN`, or `ONE_RUN` where there is none."""
        if self.low is None or self.high is None:
            return ONE_RUN
        return ABOVE if self.low > 0 else BELOW if self.high < 0 else OPEN

    def __str__(self) -> str:
        return f"{self.figure} {self.ends}".strip()

    def _written(self, value: float) -> str:
        value = 100 * value if self.percent else value
        if self.form.endswith("g"):
            return f"{float(f'{value:{self.form}}'):,.10g}"
        text = f"{value:{self.form}}"
        return "0" if text in ("+0", "-0") else text


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        head: its heading.
        page: its heading on the page, which has more room; "" is the same.
        level: whether it holds levels, which narrow tables show without their intervals and the page in bold.
        on: where it is shown.
        css: its class on the page.
        note: a smaller line below the heading on the page.
        policy: the policy that the column is about; with it the page can hide the column.
    """

    head: str
    page: str = ""
    level: bool = False
    on: Sequence[str] = (TERMINAL, MARKDOWN, PAGE)
    css: str = ""
    note: str = ""
    policy: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a table: one policy.

    Attributes:
        policy: its name.
        reference: whether it sees true labels.
        cells: one for each column.
        order: the page sorts rows by it, the largest first, and leaves out those that have None.
    """

    policy: str
    reference: bool
    cells: tuple[Cell, ...]
    order: float | None = 0


@dataclass(frozen=True)
class Table:
    """A table of policies.

    Attributes:
        title: above it.
        columns: behind that of the policies' names.
        rows: in the order of the comparison.
        corner: heading of the column of names.
        css: its class on the page.
        foot: heading and cells of a last row; none without.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    corner: Column = Column("policy")
    css: str = ""
    foot: tuple[str, tuple[Cell, ...]] | None = None

    def on(self, medium: str) -> "Table":
        """The table with the columns that a medium shows: `TERMINAL`, `MARKDOWN` or `PAGE`."""
        kept = [number for number, column in enumerate(self.columns) if medium in column.on]
        rows = [replace(row, cells=tuple(row.cells[number] for number in kept)) for row in self.rows]
        return replace(self, columns=tuple(self.columns[number] for number in kept), rows=tuple(rows))

    def ranked(self) -> list[Row]:
        """The rows as the page shows them: contenders, then references, each from the highest down."""
        rows = [(row.order, row) for row in self.rows if row.order is not None]
        return [row for _, row in sorted(rows, key=lambda pair: (pair[1].reference, -pair[0]))]


def difference(interval: Interval | None) -> Cell:
    """The cell of a paired difference."""
    return Cell.of(interval, "+.2f", compared=True)


def labels_saved(record: Mapping[str, Any] | None) -> Cell:
    """The cell of an entry of the summary's `labels_saved`; bounds are marked as such."""
    if record is None:
        return Cell()
    if record["censored"] == "flat base":
        return Cell(word=record["censored"])
    cell = Cell(record["saved"], form="+.0f", percent=True, bound=record["censored"])
    if record["censored"] or record["low"] is None:
        return cell
    # An end of the interval that lies among bounds is one.
    tail = (1 - record["level"]) / 2
    bounds = {"low_bound": record["at_most"] > tail, "high_bound": record["at_least"] > tail}
    return replace(cell, low=record["low"], high=record["high"], **bounds)


def share_of_reference(entry: Mapping[str, Any]) -> Cell:
    """The cell of the share of the reference's advantage that a policy has won."""
    found = entry["share_of_reference"]
    return Cell.of(found and found["share"], ".0f", percent=True)


def runs(found: Mapping[str, Any]) -> Cell:
    """How many runs stand behind an entry: draws, and of a learned policy training seeds x draws."""
    seeds = f"{found['training_seeds']} x " * found["learned"]
    return Cell(word=f"{seeds}{found['draws']}")


def split_name(split: str) -> str:
    """A split in words."""
    return "mean of dev and test" if split == TWO_SET_MEAN else split


def short_name(split: str) -> str:
    """A split in the heading of a column."""
    return "mean" if split == TWO_SET_MEAN else split
