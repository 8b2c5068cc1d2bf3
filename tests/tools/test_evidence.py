import math

import pytest

from ralseg.evaluation.results import ResultsStore
from ralseg.foundation import RalsegError, write_json
from ralseg.tools.evidence import Evidence, Selection

REACH = math.tan(0.475 * math.pi)
"""Of a t interval with one degree of freedom at 95 %, in standard errors: 12.7."""
POLICIES = {
    # policy -> budget -> draw -> (dev, test)
    "random": {4: [(40.0, 30.0), (44.0, 32.0)], 8: [(42.0, 32.0), (46.0, 34.0)]},
    "margin": {4: [(41.0, 33.0), (47.0, 33.0)], 8: [(45.0, 37.0), (51.0, 37.0)]},
    "rank_sum(of=[margin, ripu], weights=[1, 2])": {4: [(41.0, 30.0), (44.0, 32.0)]},
    "run:x-*": {4: [(43.0, 35.0), (49.0, 35.0)], 8: [(45.0, 37.0), (51.0, 37.0)]},
    "class_truth": {4: [(50.0, 40.0), (54.0, 42.0)], 8: [(50.0, 40.0), (54.0, 42.0)]},
}


def row(policy, draw, split, budget, miou, game="partial"):
    return {
        "run_id": f"{policy}-{draw}-{game}", "policy": policy, "training_seed": 0 if policy.startswith("run") else None,
        "seed": draw, "game": game, "loss": "plain", "split": split, "budget_units": budget, "units": 4, "pixels": 1234,
        "share": 0.256, "images": 2, "clicks": 6, "label_cost_of_policy": 0, "miou": miou, "iou_a": miou / 50 - 0.1,
        "iou_b": 0.1, "class_entropy": 0.5, "seconds_choosing": 0.25, "commit": "c",
    }  # fmt: skip


def put_comparison(folder, policies, budgets, rows=()):
    rows = [*rows]
    for policy, of in policies.items():
        for budget in budgets:
            for draw, both in enumerate(of.get(budget, ())):
                rows += [row(policy, draw, split, budget, m) for split, m in zip(("dev", "test"), both, strict=True)]
    ResultsStore(folder, ["a", "b"]).put(rows)
    write_json(
        folder / "comparison.json",
        {
            "classes": ["a", "b"],
            "policies": [*policies, "supervised"],
            "references": ["class_truth"],
            "splits": ["dev", "test"],
            "budgets": list(budgets),
            "run_ids": sorted({row["run_id"] for row in rows}),
            "pool": {"units": 16, "class_pixels": [990, 10]},
            "notes": [],
        },
    )


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    """A comparison at one budget, with a network trained to convergence, and one at two; one benchmark."""
    root = tmp_path_factory.mktemp("tree")
    fit = [row("random", 0, split, 4, m, "partial+fit") for split, m in (("dev", 50.0), ("test", 40.0))]
    fit += [row("supervised", 0, split, "all", m, "partial+fit") for split, m in (("dev", 60.0), ("test", 50.0))]
    put_comparison(root / "results/one", POLICIES, [4], fit)
    put_comparison(root / "results/two", POLICIES, [4, 8])
    write_json(
        root / "benchmarks/results/speed.json", {"ratio": 3.58, "runs": [{"s": 1}], "within_0.02": 0.96, "x": "y"}
    )
    return Evidence(root)


@pytest.mark.parametrize(
    ("source", "cell"),
    [
        ("one: random, dev", "42.00"),
        ("one: random", "36.50"),
        ("one: random, mean, miou", "36.50"),
        ("one: dev, random", "42.00"),
        ("one: margin - random", "+2.00 [+2.00, +2.00]"),
        ("one: random - margin, mean", "-2.00 [-2.00, -2.00]"),
        ("one: margin - random, dev", f"+2.00 [{2 - REACH:+.2f}, {2 + REACH:+.2f}]"),
        # A pair that the summary does not hold.
        (
            "one: run:x-* - rank_sum(of=[margin, ripu], weights=[1, 2]), test",
            f"+4.00 [{4 - REACH:+.2f}, {4 + REACH:+.2f}]",
        ),
        ("one: random, dev, iou a", "74.00"),
        ("one: random, dev, iou b", "10.00"),
        ("one: random, dev, rare", "10.00"),
        ("one: margin - random, dev, rare", "+0.00 [+0.00, +0.00]"),
        # Behind margin and the policy in both draws, and level with ripu in one of two.
        ("one: random, dev, rank", "3.75"),
        ("one: random, share", "25.6 %"),
        ("one: random, pixels", "1234"),
        ("one: random, draws", "2"),
        ("one: random, class_entropy", "0.50"),
        ("one: random, dev, partial+fit", "50.00"),
        ("one: random, dev, partial+fit, share_of_supervised", "83.3 %"),
        ("one: supervised, test", "50.00"),
        ("one: supervised, partial+fit", "55.00"),
        # Of the 10 by which the reference is ahead of random.
        ("one: margin, share_of_reference", "20 % [20, 20]"),
        ("two: margin, 8, dev", "48.00"),
        ("two: margin, dev, area", "46.00"),
        ("two: margin - random, area", "+3.00 [+3.00, +3.00]"),
        # A pair that the summary does not hold.
        ("two: margin - class_truth, area", "-6.00 [-6.00, -6.00]"),
        # Random ends 4 below margin.
        ("two: random, labels_saved", "at most 0 %"),
        # With half of the budget it has what random ends with.
        ("two: margin - random, labels_saved", "at least +50 %"),
        ("two: random - margin, labels_saved", "at most 0 %"),
    ],
)
def test_a_source_gives_its_figure(evidence, source, cell):
    assert str(evidence.figure(Selection.parse(source))) == cell


@pytest.mark.parametrize(
    "source",
    [
        "one: margin - margin",
        "one: supervised - random",
        "one: class_truth, rank",
        "two: rank_sum(of=[margin, ripu], weights=[1, 2]), 8",
    ],
)
def test_what_is_not_defined_is_an_empty_cell(evidence, source):
    assert str(evidence.figure(Selection.parse(source))) == ""


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none: random", "there is no folder results/none"),
        ("random, dev", "no folder of results/ is named"),
        (
            "one: margine, dev",
            "results/one has no 'margine'; it has policies random, margin, .*; splits dev, test, mean",
        ),
        ("one: margin - chance", "has no '- chance'"),
        ("one: margin, val", "has no 'val'"),
        ("one: margin, 480", "has no '480'.* budgets 4"),
        ("one: margin, iou car", "has no 'iou car'"),
        ("one: margin, full", "has no 'full'.* games partial, partial\\+fit"),
        ("one: dev", "no policy is named"),
        ("two: margin, dev", "has budgets 4, 8; name one"),
        ("one: margin - random, clicks", "clicks has no paired difference"),
    ],
)
def test_a_source_that_cannot_be_found_is_named(evidence, source, message):
    with pytest.raises(RalsegError, match=message):
        evidence.figure(Selection.parse(source))


def test_numbers_of_benchmarks(evidence):
    def figure(source):
        return evidence.figure(Selection.parse(f"benchmarks/{source}"))

    assert [figure(f"speed: {key}").mean for key in ("ratio", "runs/0/s", "within_0.02")] == [3.58, 1, 0.96]
    for key, message in [
        ("speedup", "no 'speedup' in speedup; it has ratio, runs"),
        ("runs/1/s", "no '1' in runs/1/s; it has 0"),
        ("runs/a", "no 'a' in runs/a"),
        ("ratio/x", "no 'x' in ratio/x$"),
        ("x", "x is no number"),
        ("runs", "runs is no number"),
    ]:
        with pytest.raises(RalsegError, match=message):
            figure(f"speed: {key}")
    with pytest.raises(RalsegError, match=r"there is no benchmarks/results/slow\.json"):
        figure("slow: ratio")


def test_a_table_of_benchmarks_is_a_list_of_figures(evidence):
    settings = "head: a step\nrows: times as fast = benchmarks/speed: ratio | right = benchmarks/speed: within_0.02"
    assert evidence.table(settings) == [["a step", "figure"], ["times as fast", "3.58"], ["right", "0.96"]]


def test_a_row_of_one_training_seed_among_rows_of_several_says_so(tmp_path):
    rows = [
        {**row(policy, 0, split, 4, 40.0), "training_seed": seed, "run_id": f"{policy}-{seed}"}
        for policy, seeds in (("run:a", (0,)), ("run:b", (0, 1)))
        for seed in seeds
        for split in ("dev", "test")
    ] + [row("random", 0, split, 4, 40.0) for split in ("dev", "test")]
    put_comparison(tmp_path / "results/seeds", {"random": {}, "run:a": {}, "run:b": {}}, [4], rows)
    table = Evidence(tmp_path).table("seeds\nrows: random | published = run:a | run:b\ncolumns: dev")
    assert [line[0] for line in table] == ["policy", "random", "published (one training seed)", "run:b"]
    table = Evidence(tmp_path).table("seeds\nrows: random | run:a\ncolumns: dev")
    assert [line[0] for line in table] == ["policy", "random", "run:a"]


def test_a_cell_is_what_base_row_and_column_select(evidence):
    settings = "two: dev\nrows: B = 4 = 4, random | margin, 8\ncolumns: dev | t = test | - random\nhead: x"
    assert evidence.table(settings) == [
        ["x", "dev", "t", "less random"],
        ["B = 4", "42.00", "31.00", ""],
        [
            "margin, 8",
            "48.00",
            "37.00",
            f"+4.00 [{4 - REACH:+.2f}, {4 + REACH:+.2f}]",
        ],
    ]


def test_rows_may_be_of_several_folders(evidence):
    settings = "\nrows: few = one: | more = two: 8\n columns: random, dev | margin, dev"
    assert evidence.table(settings)[1:] == [["few", "42.00", "44.00"], ["more", "44.00", "48.00"]]
    with pytest.raises(RalsegError, match="a table of several folders needs rows"):
        evidence.table("columns: one: dev")


def test_a_column_counts_more_than_its_row_and_that_more_than_the_base(evidence):
    settings = "one: margin, dev\nrows: random | two: 8\ncolumns: test | two: 4, run:x-*"
    assert evidence.table(settings)[1:] == [["random", "31.00", "46.00"], ["8", "37.00", "46.00"]]


def test_of_several_games_one_must_be_named(tmp_path):
    rows = [row("random", 0, split, 4, 40.0, game) for split in ("dev", "test") for game in ("full", "partial")]
    put_comparison(tmp_path / "results/games", {"random": {}}, [4], rows)
    evidence = Evidence(tmp_path)
    with pytest.raises(RalsegError, match="results/games has games full, partial; name one"):
        evidence.figure(Selection.parse("games: random"))
    assert evidence.figure(Selection.parse("games: random, full")).figure == "40.00"


def test_without_rows_there_is_one_for_each_policy(evidence):
    names = ["`random`", "`margin`", "`rank_sum(of=[margin, ripu], weights=[1, 2])`", "`run:x-*`", "*`class_truth`*"]
    lines = evidence.table("one; columns: dev")
    assert [line[0] for line in lines] == ["policy", *names]
    assert [line[2] for line in evidence.table("one; columns: dev | iou a")][:2] == ["a", "63.00"]
    assert len(evidence.table("one: partial+fit; columns: dev")) == 2
