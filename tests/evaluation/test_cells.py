import pytest

from ralseg.evaluation.cells import (
    ABOVE,
    BELOW,
    ONE_RUN,
    OPEN,
    Cell,
    Column,
    Row,
    Table,
    difference,
    labels_saved,
    runs,
)
from ralseg.evaluation.page.words import typeset


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (Cell(), ""),
        (Cell(word="flat base"), "flat base"),
        (Cell(34.567), "34.57"),
        (Cell(34.567, 33.0, 36.123), "34.57 [33.00, 36.12]"),
        (Cell(-0.001, -0.2, 0.1, "+.2f"), "-0.00 [-0.20, +0.10]"),
        (Cell(0.123, form=".1f", percent=True), "12.3 %"),
        (Cell(0.0, -0.004, 0.123, "+.0f", percent=True), "0 % [0, +12]"),
        (Cell(0.75, form="+.0f", percent=True, bound="at least"), "at least +75 %"),
        (Cell(1234.5, form=",.0f"), "1,234"),
        (Cell(0.060449, form=".3g"), "0.0604"),
        (Cell(2000, form=".3g"), "2,000"),
    ],
)
def test_a_cell_is_written_in_one_way(cell, text):
    assert str(cell) == text


def test_the_page_sets_the_same_text_in_its_own_signs():
    cell = Cell(-0.05, -0.3, 0.1, "+.0f", percent=True, low_bound=True, high_bound=True)
    assert str(cell) == "-5 % [<=-30, >=+10]"
    assert typeset(cell) == "\N{MINUS SIGN}5\N{NO-BREAK SPACE}% [\N{LESS-THAN OR EQUAL TO}\N{MINUS SIGN}30, " + (
        "\N{GREATER-THAN OR EQUAL TO}+10]"
    )
    assert typeset(Cell()) == "\N{EN DASH}" and typeset("5 x 8") == "5 \N{MULTIPLICATION SIGN} 8"


@pytest.mark.parametrize(
    ("other", "text"),
    [
        ({}, "+30 % [-10, +40]"),
        ({"low": 0.001, "at_most": 0.03, "at_least": 0.5}, "+30 % [<=0, >=+40]"),
        ({"at_most": 0.03, "at_least": 0.02}, "+30 % [<=-10, +40]"),
        ({"low": None, "high": None, "level": None}, "+30 %"),
        ({"saved": 0.0, "censored": "at most"}, "at most 0 %"),
        ({"censored": "at least"}, "at least +30 %"),
        ({"saved": 0.0, "censored": "flat base"}, "flat base"),
    ],
)
def test_bounds_of_labels_saved_are_marked(other, text):
    saved = {"saved": 0.3, "low": -0.1, "high": 0.404, "level": 0.95, "at_most": 0.0, "at_least": 0.0, "censored": ""}
    assert str(labels_saved(saved | other)) == text
    assert str(labels_saved(None)) == ""


def test_verdicts_follow_the_interval():
    def verdict(low, high):
        return difference({"mean": 0.0, "low": low, "high": high}).verdict

    assert verdict(-2, -0.1) == BELOW and verdict(0.1, 2) == ABOVE
    assert verdict(-0.1, 0.2) == verdict(0.0, 1.0) == OPEN
    assert verdict(None, None) == ONE_RUN


def test_a_learned_policy_says_how_many_training_seeds_it_has():
    assert str(runs({"training_seeds": 1, "draws": 20, "learned": True})) == "1 x 20"
    assert str(runs({"training_seeds": 1, "draws": 20, "learned": False})) == "20"


def test_the_page_ranks_rows_and_puts_references_last():
    rows = [Row("a", True, (Cell(9),), 9), Row("b", False, (Cell(1),), 1), Row("c", False, (Cell(5),), 5)]
    table = Table("t", (Column("x", on=("page",)),), (*rows, Row("d", False, (Cell(),), None)))
    assert [row.policy for row in table.ranked()] == ["c", "b", "a"]
    assert table.on("page") == table and table.on("terminal").columns == table.on("terminal").rows[0].cells == ()
