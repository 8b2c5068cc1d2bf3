"""Where a Markdown document says what its numbers come from, in HTML comments, which no reader sees.

- A block, `<!-- results: ... -->` to `<!-- end -->`, is a table that is made from results as a whole.
- A block, `<!-- quoted: where -->` to `<!-- end -->`, holds numbers that are taken from elsewhere.
- Directly behind a number in prose, `1.50<!-- quoted: where -->` or `+0.80 [+0.51, +1.09]<!-- folder: terms -->`.

Comments without a colon, and whatever is code, say nothing of numbers.
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
_WRITTEN = re.compile(
    rf"(?<![\w.])(?<!\d,)(?P<number>{_NUMBER}(?:\s?%)?(?:\s+\[(?:<=)?{_NUMBER},\s+(?:>=)?{_NUMBER}\])?"
    rf"(?:\s±\s{_NUMBER})?(?:\s?%)?)[*_]{{0,3}}\Z"
)
_SOURCE = re.compile(r"([\w./-]+):(?:\s|$)")
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
class Passage:
    """A number in prose with its source, or the inside of a block with its settings.

    Attributes:
        start: of the number or the inside in the text.
        end: behind it.
        source: what the comment says; white space made single in prose, as it is written in a block.
    """

    start: int
    end: int
    source: str


@dataclass
class Document:
    """A document and what it says of its numbers.

    Attributes:
        path: as it is printed.
        text: of the document.
        numbers: in prose, with their sources in results.
        tables: that are made from results.
        uncovered: (line, number) of decimal numbers without a source, outside code and link targets.
        problems: comments that make no sense where they stand.
    """

    path: Path
    text: str
    numbers: list[Passage] = field(default_factory=list)
    tables: list[Passage] = field(default_factory=list)
    uncovered: list[tuple[int, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def line_of(self, position: int) -> int:
        """The line of a position in the text, from 1."""
        return self.text.count("\n", 0, position) + 1

    def problem(self, position: int, message: str) -> Problem:
        """A problem at a position in the text."""
        return Problem(self.path, self.line_of(position), message)


def read_document(path: Path, text: str) -> Document:
    """Find the sources in a Markdown text."""
    document, covered, opened = Document(path, text), [], None
    for token in _TOKEN.finditer(text):
        covered.append(token.span())
        body = (token["comment"] or "").strip()
        if body == "end" and opened is None:
            document.problems.append(document.problem(token.start(), "<!-- end --> ends nothing"))
        elif body == "end" and opened is not None:
            covered.append((opened.start(), token.end()))
            kind, _, settings = opened["comment"].strip().partition(":")
            if kind == "results":
                document.tables.append(Passage(opened.end(), token.start(), settings.strip()))
            opened = None
        elif source := _SOURCE.match(body):
            if opened is not None:
                document.problems.append(_unended(document, opened))
                opened = None
            if source[1] == "results" or (source[1] == "quoted" and _alone(text, token)):
                opened = token
            else:
                covered += _inline(document, token, " ".join(body.split()))
    if opened is not None:
        document.problems.append(_unended(document, opened))
    covered += [match.span() for match in _TARGET.finditer(text)]
    document.uncovered = [
        (document.line_of(match.start()), match[0])
        for match in _DECIMAL.finditer(text)
        if not any(start <= match.start() < end for start, end in covered)
    ]
    return document


def _inline(document: Document, token: re.Match, source: str) -> list[tuple[int, int]]:
    """Take a comment in prose; returns what it covers."""
    offset = max(token.start() - 200, 0)
    found = _WRITTEN.search(document.text[offset : token.start()])
    if found is None:
        message = f"{source!r} does not follow a number; put it directly behind one, without a space"
        document.problems.append(document.problem(token.start(), message))
        return []
    start, end = (offset + position for position in found.span("number"))
    if not source.startswith("quoted:"):
        document.numbers.append(Passage(start, end, source))
    return [(start, token.end())]


def _alone(text: str, token: re.Match) -> bool:
    """Whether a comment has its lines to itself."""
    return not (text[: token.start()].rpartition("\n")[2] + text[token.end() :].partition("\n")[0]).strip()


def _unended(document: Document, opened: re.Match) -> Problem:
    return document.problem(opened.start(), "a block is opened and not ended; add <!-- end -->")
