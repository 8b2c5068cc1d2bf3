"""Where a Markdown document says what its numbers come from: markers are HTML comments, which no reader sees.

A comment directly behind a number names its source, `+0.80 [+0.51, +1.09]<!-- camvid: margin - random, test -->`. What
stands between `<!-- results: ... -->` and `<!-- end -->` is a table that is made from results as a whole. What stands
between `<!-- quoted: ... -->` and `<!-- end -->`, or directly before an inline one, is taken from elsewhere. Comments
without a colon, and whatever is code, are no markers.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

_NUMBER = r"[+-]?\d+(?:\.\d+)?"
_TOKEN = re.compile(
    r"^[ ]*(?P<fence>`{3,}|~{3,}).*?^[ ]*(?P=fence)[`~]*[ \t]*$"
    r"|<!--(?P<comment>.*?)-->"
    r"|(?P<ticks>`+)(?!`)(?:(?!\n\s*\n).)+?(?<!`)(?P=ticks)(?!`)",
    re.M | re.S,
)
_BEFORE = re.compile(
    rf"(?<![\w.])(?<!\d,)(?P<mean>{_NUMBER})(?:\s+\[(?P<low_bound><=)?(?P<low>{_NUMBER}),\s+(?P<high_bound>>=)?(?P<high>{_NUMBER})\])?"
    rf"(?:\s±\s{_NUMBER})?(?P<percent>\s?%)?[*_]{{0,3}}\Z"
)
_MARKER = re.compile(r"([\w./-]+):(?:\s+(.*)|$)", re.S)
_DECIMAL = re.compile(r"(?<![\w.])\d+\.\d+(?!\.?\d)")
_TARGET = re.compile(r"\]\([^)\s]*\)|<?https?://\S+")


@dataclass(frozen=True)
class Problem:
    """Something that a document says and that does not hold; printed as file:line: message."""

    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True)
class Number:
    """A number in prose and its source.

    Attributes:
        line: where the number stands, from 1.
        source: what the marker says, white space made single.
        written: the match of the number; groups `mean`, `low`, `high` (None without an interval), `low_bound`,
            `high_bound` and `percent`.
        start: of the number in the text; the match counts from `offset`.
        offset: what is added to positions in the match.
    """

    line: int
    source: str
    written: re.Match
    offset: int

    def span(self, group: str) -> tuple[int, int]:
        """Where a group of the number stands in the text."""
        return self.written.start(group) + self.offset, self.written.end(group) + self.offset


@dataclass(frozen=True)
class Selection:
    """Some of the terms that select a figure, as they are written: `folder: policy - other, split, budget, figure`."""

    folder: str | None
    terms: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, bare_folder: bool = False) -> "Selection":
        """From what stands in a marker.

        Args:
            text: `folder: terms`, or terms alone.
            bare_folder: whether a text without a colon is a folder.
        """
        text = " ".join(text.split())
        if bare_folder and text and not re.search(r":(\s|$)", text):
            return cls(text, ())
        folder, text = found.groups() if (found := re.match(r"([\w./-]+):(?:\s+(.*))?$", text)) else (None, text)
        terms = []
        for term in _outside_brackets(text or ""):
            policy, minus, other = term.strip().partition(" - ")
            terms += [policy, f"- {other.strip()}"] if minus else [term.strip()]
        return cls(folder, tuple(term for term in terms if term))


@dataclass(frozen=True)
class Table:
    """A generated table.

    Attributes:
        line: of the opening marker.
        first: line of the table's header.
        settings: what stands behind `results:`, as it is written.
        start: of the table in the text, behind the opening marker.
        end: of the table, before `<!-- end -->`.
    """

    line: int
    first: int
    settings: str
    start: int
    end: int


@dataclass
class Document:
    """The markers of a document.

    Attributes:
        path: as it is printed.
        text: of the document.
        numbers: in prose, with their sources.
        tables: that are generated.
        uncovered: (line, number) of decimal numbers that no marker covers, outside code and link targets.
        problems: markers that make no sense where they stand.
    """

    path: Path
    text: str
    numbers: list[Number] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    uncovered: list[tuple[int, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def line_of(self, position: int) -> int:
        """The line of a position in the text, from 1."""
        return self.text.count("\n", 0, position) + 1


def read_document(path: Path, text: str) -> Document:
    """Find the markers of a Markdown text."""
    document = Document(path, text)
    covered: list[tuple[int, int]] = []
    opened: re.Match | None = None
    for token in _TOKEN.finditer(text):
        covered.append(token.span())
        body = token["comment"]
        if body is None:
            continue
        body, line = body.strip(), document.line_of(token.start())
        if body == "end":
            if opened is None:
                document.problems.append(Problem(path, line, "<!-- end --> ends nothing; a table or a quotation opens"))
                continue
            _close(document, opened, token)
            covered.append((opened.start(), token.end()))
            opened = None
        elif marker := _MARKER.match(body):
            if opened is not None:
                if marker[1] not in ("results", "quoted"):
                    document.problems.append(Problem(path, line, f"{body!r} stands in a block; numbers in it have one"))
                    continue
                _unended(document, opened)
            opened = token if _opens(marker[1], token, text) else None
            if opened is None:
                covered += _inline(document, marker, token)
    if opened is not None:
        _unended(document, opened)
    covered += [match.span() for match in _TARGET.finditer(text)]
    document.uncovered = [
        (document.line_of(match.start()), match[0])
        for match in _DECIMAL.finditer(text)
        if not any(start <= match.start() < end for start, end in covered)
    ]
    return document


def _opens(kind: str, token: re.Match, text: str) -> bool:
    """Whether a marker opens a block: tables always do, quotations where they have a line to themselves."""
    beside = text[: token.start()].rpartition("\n")[2] + text[token.end() :].partition("\n")[0]
    return kind == "results" or (kind == "quoted" and not beside.strip())


def _close(document: Document, opened: re.Match, end: re.Match) -> None:
    body = opened["comment"].strip()
    if body.startswith("results:"):
        line = document.line_of(opened.start())
        first = document.line_of(opened.end()) + 1
        table = Table(line, first, body.removeprefix("results:").strip(), opened.end(), end.start())
        document.tables.append(table)


def _unended(document: Document, opened: re.Match) -> None:
    line = document.line_of(opened.start())
    document.problems.append(Problem(document.path, line, "a block is opened and not ended; add <!-- end -->"))


def _inline(document: Document, marker: re.Match, token: re.Match) -> list[tuple[int, int]]:
    """Take a marker in prose; returns what it covers."""
    offset = max(token.start() - 200, 0)
    found = _BEFORE.search(document.text[offset : token.start()])
    line = document.line_of(token.start())
    if found is None:
        message = f"{marker[0]!r} does not follow a number; put it directly behind one, without a space"
        document.problems.append(Problem(document.path, line, message))
        return []
    if marker[1] != "quoted":
        source = " ".join(marker[0].split())
        document.numbers.append(Number(document.line_of(found.start() + offset), source, found, offset))
    return [(found.start() + offset, token.end())]


def _outside_brackets(text: str) -> list[str]:
    """Parts between commas; the options in a policy's name, rank_sum(of=[margin, ripu]), hold commas of their own."""
    parts, depth = [""], 0
    for sign in text:
        depth += (sign in "([") - (sign in ")]")
        if sign == "," and not depth:
            parts.append("")
        else:
            parts[-1] += sign
    return parts
