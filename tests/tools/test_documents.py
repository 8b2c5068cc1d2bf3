from pathlib import Path

import pytest

from ralseg.tools.documents import read_document


def read(text):
    return read_document(Path("page.md"), text)


def messages(document):
    return [str(problem) for problem in document.problems]


def test_a_number_is_what_stands_directly_before_its_marker():
    text = "From 12.5 to\n**+0.80\n[+0.51, -1.09]**<!-- toy: a - b,\n test --> points."
    document = read(text)
    (number,) = document.numbers
    assert (document.line_of(number.start), number.source) == (2, "toy: a - b, test")
    assert text[number.start : number.end] == "+0.80\n[+0.51, -1.09]"
    assert document.uncovered == [(1, "12.5")]


@pytest.mark.parametrize(
    "text", ["96 %<!-- benchmarks/x: y -->", "about -96%<!-- benchmarks/x: y -->", "(96.0 %*<!-- a: b -->"]
)
def test_percent_belongs_to_the_number(text):
    (number,) = read(text).numbers
    assert text[number.start : number.end].lstrip("-").startswith("96") and text[: number.end].endswith("%")


@pytest.mark.parametrize("written", ["+11 [<=+5, +17] %", "+11 % [+5, >=+17]", "+11 % [<=+5, >=+17]", "+11 [+5, +17]"])
def test_ends_may_be_bounds(written):
    text = f"saves **{written}**<!-- toy: a, labels_saved -->"
    (number,) = read(text).numbers
    assert text[number.start : number.end] == written


def test_positions_hold_far_into_a_document():
    text = "word " * 500 + "0.25<!-- toy: a -->"
    (number,) = read(text).numbers
    assert text[number.start : number.end] == "0.25"


@pytest.mark.parametrize("before", ["word", "1.5 ", "1.5\n", "v1.2.", "25,600", ""])
def test_a_marker_that_follows_no_number_is_named(before):
    document = read(f"one\ntwo {before}<!-- toy: a -->")
    line = 3 if before.endswith("\n") else 2
    assert not document.numbers
    assert messages(document) == [
        f"page.md:{line}: 'toy: a' does not follow a number; put it directly behind one, without a space"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "`1.5<!-- toy: a -->`",
        "``a ` 1.5<!-- toy: a -->``",
        "```\n1.5<!-- toy: a -->\n```",
        "````md\n```\n1.5<!-- toy: a -->\n```\n<!-- end -->\n````",
        "~~~\n1.5<!-- results: a -->\n~~~",
        "  ```\n  1.5\n  ```",
        "<!-- a note without the sign, 1.5 -->",
        "[page](v1.5/page.md) https://example.org/1.5",
        "version 1.2.3, 10 %, E.2, a1.5",
    ],
)
def test_code_notes_and_addresses_hold_neither_markers_nor_numbers(text):
    document = read(text)
    assert not (document.numbers or document.tables or document.problems or document.uncovered)


def test_a_lone_backtick_hides_nothing_beyond_its_paragraph():
    document = read("a ` b\n\n1.5<!-- toy: a --> and 2.5 `code`")
    assert len(document.numbers) == 1 and document.uncovered == [(3, "2.5")]


def test_a_table_stands_between_its_markers():
    text = "# T\n\n<!-- results: toy\nrows: a | b\ncolumns: dev -->\n| x | 1.5 |\n<!-- end -->\nand 2.5\n"
    document = read(text)
    (table,) = document.tables
    assert table.source == "toy\nrows: a | b\ncolumns: dev"
    assert text[table.start : table.end] == "\n| x | 1.5 |\n"
    assert document.uncovered == [(8, "2.5")]


def test_quotations_cover_a_block_or_the_number_before_them():
    text = "<!-- quoted: P, Table 1 -->\n1.5 and\n\n2.5\n<!-- end -->\n3.5 ± 0.1<!-- quoted: P --> not 4.5\n"
    document = read(text)
    assert document.uncovered == [(6, "4.5")] and not document.numbers and not document.problems


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n<!-- end -->", "2: <!-- end --> ends nothing"),
        ("<!-- results: toy\ncolumns: dev -->\n| a |", "1: a block is opened and not ended"),
        ("<!-- quoted: x -->\n1.5\n<!-- results: toy\ncolumns: dev -->\n<!-- end -->", "1: a block is opened and not"),
        ("<!-- quoted: x -->\n1.5<!-- toy: a -->\n<!-- end -->", "1: a block is opened and not"),
    ],
)
def test_blocks_that_do_not_fit_are_named(text, message):
    found = messages(read(text))[0]
    assert found.startswith(f"page.md:{message}")
