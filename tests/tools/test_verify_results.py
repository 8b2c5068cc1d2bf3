import csv
import io
import shutil
from pathlib import Path

import pytest

from ralseg.evaluation.results import ResultsStore, load_results, write_bought
from ralseg.foundation import RalsegError, write_json
from ralseg.tools.ledger import row_problems
from ralseg.tools.verify_results import main, verify, write

ROOT = Path(__file__).parents[2]
MIOU = {
    "random": [(40.0, 30.0), (44.0, 32.0)],
    "margin": [(42.0, 33.0), (46.0, 35.0)],
}
README = """# Toy

Margin is ahead of random by +2.50
[+2.50, +2.50]<!-- toy: margin - random --> in 2<!-- toy: margin, draws --> draws, on dev
by **+2.0**<!-- toy: margin - random, dev -->, at 25 %<!-- toy: margin, share --> of the pool;
3.6<!-- benchmarks/speed: ratio --> times as fast, 0.960<!-- benchmarks/speed: within_0.02 --> right. Python `3.11`.
"""
RESULTS = """# Results

<!-- results: toy
rows: random | **margin** = margin
columns: dev | mean | less random = - random
-->
| policy | dev | mean | less random |
| --- | ---: | ---: | ---: |
| random | 42.00 | 36.50 |  |
| **margin** | 44.00 | 39.00 | +2.50 [+2.50, +2.50] |
<!-- end -->

<!-- quoted: a paper -->
70.35
<!-- end -->
"""


AHEAD = "+2.50 [+2.50, +2.50] recomputed (toy: margin - random)"


@pytest.fixture
def tree(tmp_path):
    """A checkout whose documents say what its results say."""
    rows = [
        {
            "run_id": f"{policy}-{draw}", "policy": policy, "training_seed": None, "seed": draw, "game": "partial",
            "loss": "plain", "split": split, "budget_units": 4, "units": 4, "pixels": 40, "share": 0.25, "images": 2,
            "clicks": 3, "label_cost_of_policy": 0, "miou": miou, "iou_a": miou / 100, "class_entropy": 0.5,
            "seconds_choosing": 0.1, "commit": "c",
        }
        for policy, of in MIOU.items() for draw, both in enumerate(of)
        for split, miou in zip(("dev", "test"), both, strict=True)
    ]  # fmt: skip
    folder = tmp_path / "results/toy"
    ResultsStore(folder, ["a"]).put(rows)
    comparison = {"classes": ["a"], "policies": ["random", "margin"], "references": [], "splits": ["dev", "test"]}
    comparison |= {"budgets": [4], "run_ids": sorted({row["run_id"] for row in rows}), "notes": []}
    write_json(folder / "comparison.json", comparison | {"pool": {"units": 16, "class_pixels": [10]}})
    write_json(tmp_path / "benchmarks/results/speed.json", {"ratio": 3.58, "within_0.02": 0.96})
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(README)
    (tmp_path / "docs/results.md").write_text(RESULTS)
    write(verify(tmp_path))
    return tmp_path


def contents(tree):
    return {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}


def change(path, old, new):
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def change_row(tree, run_id, split, **values):
    path = tree / "results/toy/results.csv"
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    (row,) = [row for row in rows if (row["run_id"], row["split"]) == (run_id, split)]
    row.update(values)
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue())


def printed(tree, capsys, *arguments, status=1):
    """Lines on stdout but the last one, which counts."""
    assert main([str(tree), *arguments]) == status
    return capsys.readouterr().out.splitlines()[:-1]


def test_this_repository_says_what_its_results_say():
    report = verify(ROOT)
    assert [*map(str, [*report.problems, *report.differences])] == []
    assert min(report.counts[what] for what in ("numbers", "tables", "comparisons")) > 5


def test_documents_that_hold_are_counted(tree, capsys):
    before = contents(tree)
    assert main([str(tree)]) == 0 and main([str(tree), "--write"]) == 0
    line = "checked 6 numbers, 1 tables, 6 cells, 1 comparisons: 0 differ, 0 to mend by hand"
    assert capsys.readouterr().out.splitlines() == [line, line]
    assert contents(tree) == before
    assert (tree / "README.md").read_text() == README and (tree / "docs/results.md").read_text() == RESULTS


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("README.md", "+2.50\n", "+2.51\n", f"3: +2.51 [+2.50, +2.50] stands, {AHEAD}"),
        ("README.md", "+2.50]<", "+2.60]<", f"3: +2.50 [+2.50, +2.60] stands, {AHEAD}"),
        ("README.md", "[+2.50,", "[-2.50,", f"3: +2.50 [-2.50, +2.50] stands, {AHEAD}"),
        ("README.md", "in 2<", "in 20<", "4: 20 stands, 2 recomputed (toy: margin, draws)"),
        ("README.md", "in 2<", "in 2 [1, 3]<", "4: 2 [1, 3] stands, 2 recomputed (toy: margin, draws)"),
        ("README.md", "[+2.50,", "[<=+2.50,", f"3: +2.50 [<=+2.50, +2.50] stands, {AHEAD}"),
        ("README.md", "**+2.0**", "**-2.0**", "5: -2.0 stands, +2.0 recomputed (toy: margin - random, dev)"),
        ("README.md", "25 %", "26 %", "5: 26 % stands, 25 % recomputed (toy: margin, share)"),
        ("README.md", "3.6<", "3.5<", "6: 3.5 stands, 3.6 recomputed (benchmarks/speed: ratio)"),
        ("README.md", "0.960", "0.970", "6: 0.970 stands, 0.960 recomputed (benchmarks/speed: within_0.02)"),
        ("docs/results.md", "| 44.00", "| 44.01", "10: **margin**, dev: 44.01 stands, 44.00 recomputed"),
        ("docs/results.md", "| 36.50 |  |", "| 36.50 | +0.10 |",
         "9: random, less random: +0.10 stands, nothing recomputed"),
        ("docs/results.md", "| 39.00 |", "|  |", "10: **margin**, mean: nothing stands, 39.00 recomputed"),
        ("docs/results.md", "| 36.50 |  |", "| 36.50 |",
         "9: random | 42.00 | 36.50 stands, random | 42.00 | 36.50 |  recomputed"),
        ("docs/results.md", "| random | 42", "| chance | 42",
         "9: chance | 42.00 | 36.50 |  stands, random | 42.00 | 36.50 |  recomputed"),
        ("results/toy/summary.md", "dev", "dv", None),
        ("benchmarks/results/speed.json", "3.58", "4.0", "6: 3.6 stands, 4.0 recomputed (benchmarks/speed: ratio)"),
    ],
)  # fmt: skip
def test_whatever_differs_is_named_and_mended(tree, capsys, file, old, new, message):
    before = contents(tree)
    path = tree / file
    path.write_text(path.read_text().replace(old, new, 1))
    assert path.read_bytes() != before[path]
    document = "README.md" if file.startswith("benchmarks") else file
    lines = printed(tree, capsys)
    expected = None if message is None else [f"{document}:{message}"]
    assert lines == expected or (expected is None and len(lines) == 1 and lines[0].startswith(f"{file}:1: "))
    printed(tree, capsys, "--write", status=0)
    after = contents(tree)
    if file.startswith("benchmarks"):
        assert "4.0<" in (tree / "README.md").read_text()
    elif "+2.50" in old + new and file == "README.md":
        assert "+2.50 [+2.50, +2.50]<" in path.read_text()
    else:
        assert after == before


def test_a_changed_row_shows_wherever_it_is_cited(tree, capsys):
    change_row(tree, "margin-0", "dev", miou="62.0", iou_a="0.62")
    lines = printed(tree, capsys)
    assert [line.split(" ")[0] for line in lines] == [
        "results/toy/summary.md:1:", "README.md:3:", "README.md:5:",
        *["docs/results.md:10:"] * 3,
    ]  # fmt: skip
    assert "+2.0 stands, +12.0 recomputed" in lines[2] and "**margin**, dev: 44.00 stands, 54.00 recomputed" in lines[3]
    printed(tree, capsys, "--write", status=0)
    text = (tree / "docs/results.md").read_text()
    assert "| **margin** | 54.00 | 44.00 | +7.50 [-56.03, +71.03] |" in text and "70.35" in text
    # Differences of 12.5 and 2.5: 12.7 standard errors of 5 around 7.5.
    text = README.replace("+2.50\n[+2.50, +2.50]", "+7.50 [-56.03, +71.03]").replace("+2.0", "+12.0")
    assert (tree / "README.md").read_text() == text
    assert main([str(tree)]) == 0


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("docs/results.md", "# Results", "# Results\n\nAnd 3.14 of it.", "3: 3.14 has no source; put it into a block"),
        ("README.md", "`3.11`", "3.11", "6: 3.11 has no source"),
        ("README.md", "margin - random -->", "margine - random -->",
         "3: results/toy has no 'margine'; it has policies random, margin;"),
        ("README.md", "toy: margin, draws", "tools: margin, draws", "4: there is no folder results/tools"),
        ("README.md", "speed: ratio", "speed: ration",
         "6: benchmarks/results/speed.json: no 'ration' in ration; it has ratio"),
        ("README.md", "toy: margin, draws", "toy: margin - margin",
         "4: toy: margin - margin: the results do not hold this figure"),
        ("docs/results.md", "rows: random", "rows: chance", "6: results/toy has no 'chance'"),
        ("docs/results.md", "columns: dev", "columns: val", "6: results/toy has no 'val'"),
        ("docs/results.md", "columns:", "column:", "6: results/toy has no 'margin column: dev'"),
        ("docs/results.md", "70.35\n<!-- end -->", "70.35", "13: a block is opened and not ended"),
    ],
)  # fmt: skip
def test_what_cannot_be_recomputed_is_named_and_nothing_is_written(tree, capsys, file, old, new, message):
    change(tree / file, old, new)
    change(tree / "README.md", "25 %", "26 %")
    before = contents(tree)
    lines = printed(tree, capsys)
    assert lines[0].startswith(f"{file}:{message}"), lines
    assert main([str(tree), "--write"]) == 1
    assert "nothing was written; mend what is named above first" in capsys.readouterr().err
    assert contents(tree) == before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"clicks": "503"}, "clicks is 503, more than a click for each class in each unit"),
        ({"clicks": "2"}, "clicks is 3, but 2 on dev"),
        ({"pixels": "41"}, "pixels is 40, which is not the share 0.25 of the pool"),
        ({"images": "1"}, "images is 2, but 1 on dev"),
        ({"class_entropy": "0.4"}, "class_entropy is 0.5, but 0.4 on dev"),
        ({"label_cost_of_policy": "9"}, "label_cost_of_policy is 0, but 9 on dev"),
    ],
)
def test_columns_that_no_table_prints_are_checked_too(tree, capsys, values, message):
    change_row(tree, "margin-0", "dev", **values)
    assert any(line.startswith("results/toy/results.csv:1: margin-0") and message in line
               for line in printed(tree, capsys))  # fmt: skip


def test_a_miou_that_contradicts_its_ious_is_told(tree, capsys):
    change_row(tree, "margin-0", "dev", miou="41.0")
    first, *_ = printed(tree, capsys)
    message = "results.csv line 2: miou is 41.0, but the mean of its iou columns is 42.0000; restore the file"
    assert first.startswith("results/toy/summary.md:1: ") and message in first


def test_rows_are_checked_against_the_units_bought(tree):
    units = [["one", 0, 0, 2, 5], ["two", 0, 0, 2, 5], ["one", 0, 5, 2, 5], ["two", 0, 5, 2, 5]]
    bought = {"units": units, "counts": [4], "clicks": [3], "class_pixels": [[20, 20]]}
    write_bought(tree / "results/toy", "margin-0", bought)
    (found,) = row_problems(load_results(tree / "results/toy"))
    assert found == "margin-0, budget 4: class_entropy is 0.5, but 0.6931 by bought/"
    write_bought(tree / "results/toy", "margin-0", bought | {"units": [*units[:3], ["six", 0, 0, 2, 6]]})
    found = [*row_problems(load_results(tree / "results/toy"))]
    assert found[0] == "margin-0, budget 4: pixels is 40, but 42 by bought/"
    assert found[1] == "margin-0, budget 4: images is 2, but 3 by bought/" and len(found) == 3


def test_clicks_are_checked_against_those_of_the_run(tree):
    units = [["one", 0, 0, 2, 5], ["two", 0, 0, 2, 5], ["one", 0, 5, 2, 5], ["two", 0, 5, 2, 5]]
    bought = {"units": units, "counts": [4], "class_pixels": [[40]]}
    for split in ("dev", "test"):
        change_row(tree, "margin-0", split, clicks="4", class_entropy="0.0")
    # Four clicks are possible with four units of one class: alone the rows do not contradict themselves.
    write_bought(tree / "results/toy", "margin-0", bought)
    assert [*row_problems(load_results(tree / "results/toy"))] == []
    write_bought(tree / "results/toy", "margin-0", bought | {"clicks": [3]})
    assert [*row_problems(load_results(tree / "results/toy"))] == ["margin-0, budget 4: clicks is 4, but 3 by bought/"]


def test_a_larger_budget_has_not_paid_less(tree):
    store = ResultsStore(tree / "results/toy", ["a"])
    store.put([row | {"budget_units": 8, "images": 1} for row in list(store.rows.values())])
    assert "margin-0, budget 8: images is 1, less than at a smaller budget" in [
        *row_problems(load_results(tree / "results/toy"))
    ]


def test_cards_of_policies_are_checked_too(tree, capsys):
    card = tree / "policies/x/README.md"
    card.parent.mkdir(parents=True)
    card.write_text("# x\n\nAhead by +2.40<!-- toy: margin - random -->.\n")
    assert printed(tree, capsys) == ["policies/x/README.md:3: +2.40 stands, +2.50 recomputed (toy: margin - random)"]
    printed(tree, capsys, "--write", status=0)
    assert "+2.50<!--" in card.read_text()
    card.write_text("Ahead by 2.5.\n")
    (line,) = printed(tree, capsys)
    assert line.startswith("policies/x/README.md:1: 2.5 has no source")


def test_missing_files_of_a_comparison_are_named(tree, capsys):
    (tree / "results/toy/comparison.json").unlink()
    lines = printed(tree, capsys)
    assert lines[0].startswith("results/toy/summary.md:1: ") and "comparison.json: no such file" in lines[0]
    assert len(lines) == 6 and lines[1] == "README.md:3: results/toy cannot be read"
    shutil.rmtree(tree / "results/toy")
    lines = printed(tree, capsys)
    assert lines[0] == "README.md:3: there is no folder results/toy" and len(lines) == 5


def test_a_bound_must_be_called_one(tree, capsys):
    # With a second budget at which margin is as good as random the base is not reached.
    path = tree / "results/toy"
    store = ResultsStore(path, ["a"])
    for row in list(store.rows.values()):
        store.put([row | {"budget_units": 8, "miou": row["miou"] + 1, "iou_a": row["iou_a"] + 0.01}])
    change(path / "comparison.json", "4\n  ]", "4,\n    8\n  ]")
    source = "<!-- toy: random, labels_saved -->"
    (tree / "README.md").write_text(f"It saves 0 %{source} here.\n")
    (tree / "docs/results.md").unlink()
    assert (
        printed(tree, capsys)[0]
        == "README.md:1: toy: random, labels_saved: this figure is a bound; write 'at most' before it"
    )
    (tree / "README.md").write_text(f"It saves at\nmost 0 %{source} here.\n")
    printed(tree, capsys, "--write", status=0)
    assert main([str(tree)]) == 0


def test_other_documents_need_no_markers_but_those_they_have_must_hold(tree, capsys):
    (tree / "docs/other.md").write_text("3.14 of it, 7<!-- toy: random, draws --> draws\n")
    assert printed(tree, capsys) == ["docs/other.md:1: 7 stands, 2 recomputed (toy: random, draws)"]


def test_an_empty_table_is_filled(tree, capsys):
    (tree / "docs/new.md").write_text("<!-- results: toy\ncolumns: dev -->\n<!-- end -->\n")
    lines = printed(tree, capsys, "--write", status=0)
    assert lines[0] == "docs/new.md:3: no row stands, policy | dev recomputed"
    table = "| policy | dev |\n| --- | ---: |\n| `random` | 42.00 |\n| `margin` | 44.00 |\n"
    assert (tree / "docs/new.md").read_text() == f"<!-- results: toy\ncolumns: dev -->\n{table}<!-- end -->\n"


def test_a_folder_without_results_is_refused(tmp_path, capsys):
    with pytest.raises(RalsegError, match="holds no folder results"):
        verify(tmp_path)
    assert main([str(tmp_path)]) == 2 and "holds no folder results" in capsys.readouterr().err
