"""Where the page's figures come from: settings, seeds, commits, the command, and the rows themselves."""

import base64
import gzip
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ralseg.evaluation.page.markup import Markup, tag
from ralseg.evaluation.page.words import listed, number, plural, unit_word
from ralseg.evaluation.results import Results, Row

MOST_ROWS = 600
"""Rows that can be read on the page; the file it carries has all of them."""
PLAIN_BYTES = 300_000
"""A larger table is carried compressed."""
COLUMNS = (
    "run_id", "policy", "training_seed", "seed", "game", "split", "budget_units", "units", "miou",
    "class_entropy", "commit",
)  # fmt: skip
GLOSSARY = {
    "mIoU": "intersection over union of predicted and true pixels, percent, averaged over the classes",
    "interval": "95 %, paired: run i of every policy meets the same draws, and differences are taken run by run. From "
    "five training seeds a bootstrap over seeds and draws, from two to four a t interval over the seeds' means, with "
    "one a t interval over its draws",
    "rank": "mean place among the contenders in the same run, 1 is best",
    "beats": "share of the paired runs in which the policy's mIoU is the higher one, ties half",
    "area": "area under the budget curve over the range of budgets, which makes it a mean mIoU",
    "labels saved": "share of the labels that the policy does not need to reach what the best heuristic (by area) ends "
    "with, on curves made non-decreasing; at most, at least, \N{LESS-THAN OR EQUAL TO} and "
    "\N{GREATER-THAN OR EQUAL TO} mark bounds, where the measured budgets do not tell",
    "who beats whom": "share of the budgets at which the row is above the column by a one-sided paired t test, "
    "Holm-corrected over all pairs of a budget (Ash et al. 2020); equal is not shown, only not different",
    "reference": "a policy that sees true labels; the share of its advantage over random says how much of what choice "
    "could win has been won",
    "class entropy": "of the class pixels that were bought, in nats; 0 is one class alone",
    "click": "one class in one unit",
    "labels of its training": "units whose labels a learned policy was trained with, on other images",
}


def source(results: Results, game: str, what: str, **wanted: Any) -> Markup:
    """From how many rows of results.csv a figure is made, and which.

    Args:
        results: of the comparison.
        game: of the rows.
        what: how the figure is made of them.
        **wanted: further columns and their values.
    """
    rows = [
        row for row in results.rows if row["game"] == game and all(row[key] == value for key, value in wanted.items())
    ]
    named = ", ".join([f"game {game}", *(f"{key.removesuffix('_units')} {value:g}" for key, value in wanted.items())])
    words = " ".join([f"game={game}", *(f"{key}={_cell(key, value)}" for key, value in wanted.items())])
    link = tag("a", f"{plural(len(rows), 'row')} of results.csv", href="#rows", data_filter=words)
    return tag("p", what, " From ", link, f" ({named}).", class_="source")


def provenance(results: Results, dataset: str) -> list[Markup]:
    """The section: facts, files, glossary, configuration, rows."""
    comparison, rows = results.comparison, results.rows
    config, policies = comparison["config"], comparison["policies"]
    word = unit_word(config)
    trained = {(row["policy"], row["training_seed"]) for row in rows if row["training_seed"] is not None}
    learned = {name: sorted(seed for policy, seed in trained if policy == name) for name in policies}
    draws = sorted({row["seed"] for row in rows})
    commits = Counter(row["commit"] for row in rows)
    facts = {
        "data": f"{dataset}; {comparison['pool']['units']:,} {word}s to buy from",
        "classes": ", ".join(comparison["classes"]),
        "game": f"{config['game']['learn']['cut']}; {config['game']['slates']} slates of {config['game']['candidates']}"
        f" candidates a turn, draw {config['game']['draw']}; loss {config['loss']}; network input at"
        f" {config['input_scale']:g} of the image's size",
        "network": config["network"]["_target_"].rpartition(".")[2],
        "budgets": ", ".join(f"{budget:g}" for budget in comparison["budgets"])
        + f" {config['game']['budget_measure']}",
        "seeds": f"theta_0: {config['seed']}; draws: {_ranged(draws)}"
        + "".join(f"; training of {name}: {_ranged(seeds)}" for name, seeds in learned.items() if seeds),
        "code": listed([[tag("code", commit), f" ({plural(count, 'row')})"] for commit, count in commits.items()]),
        "command": tag("code", comparison.get("command") or "not recorded"),
        "files beside this page": listed(
            [tag("a", name, href=name) for name in ("results.csv", "comparison.json", "summary.json", "summary.md")]
        ),
        "in this page": _carried(results),
    }
    shown = json.dumps(config, indent=2, ensure_ascii=False)
    return [
        tag("dl", [[tag("dt", key), tag("dd", value)] for key, value in facts.items()]),
        tag("h3", "What the figures are"),
        tag("dl", [[tag("dt", key), tag("dd", value)] for key, value in GLOSSARY.items()]),
        tag("details", tag("summary", "The whole configuration"), tag("pre", shown, tabindex=0)),
        tag("h3", "Rows", id="rows"),
        *_rows(rows),
    ]


def _rows(rows: Sequence[Row]) -> list[Markup]:
    shown = sorted(rows, key=lambda row: (-_size(row), row["game"], row["split"], row["policy"], row["seed"]))[
        :MOST_ROWS
    ]
    cut = f" The {len(shown)} of the largest budgets are below." if len(shown) < len(rows) else ""
    head = tag("tr", [tag("th", column, scope="col") for column in COLUMNS])
    body = [
        tag(
            "tr",
            tag("th", row["run_id"], scope="row"),
            [tag("td", _cell(column, row[column])) for column in COLUMNS[1:]],
        )
        for row in shown
    ]
    field = tag(
        "input",
        type="search",
        id="filter",
        aria_controls="row-table",
        placeholder="margin split=dev seed=0",
        autocomplete="off",
    )
    label = tag("label", "Rows that hold these words", for_="filter")
    box = tag("table", tag("thead", head), tag("tbody", body), id="row-table")
    return [
        tag("p", f"{plural(len(rows), 'row')}, one for each run, budget and split.{cut}", class_="about"),
        tag("form", label, field, tag("output", for_="filter"), class_="filter", onsubmit="return false"),
        tag("div", box, class_="scroll rows", tabindex=0, role="region", aria_label="Rows of results.csv"),
    ]


def _carried(results: Results) -> Markup:
    """The rows as a file within the page, so that it can be checked wherever it is sent."""
    data, name, kind = (results.folder / "results.csv").read_bytes(), "results.csv", "text/csv"
    if len(data) > PLAIN_BYTES:
        data, name, kind = gzip.compress(data, mtime=0), "results.csv.gz", "application/gzip"
    address = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return tag("a", f"{name}, {len(data) / 1000:,.0f} kB", href=address, download=name)


def _cell(column: str, value: Any) -> str:
    if value is None:
        return ""
    if column == "commit":
        return value[:8] + "+changes" * value.endswith("+changes")
    if isinstance(value, float):
        return number(value, ".4f" if column in ("miou", "class_entropy") else "g")
    return str(value)


def _size(row: Mapping[str, Any]) -> float:
    return row["budget_units"] if isinstance(row["budget_units"], int | float) else float("inf")


def _ranged(seeds: Sequence[int]) -> str:
    whole = len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]} to {seeds[-1]}" if whole else ", ".join(map(str, seeds))
