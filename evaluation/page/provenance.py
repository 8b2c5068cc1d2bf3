"""Where the page's figures come from: settings, seeds, commits, the command, and the rows themselves."""

import base64
import gzip
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ralseg.evaluation.page.words import plural, unit_word
from ralseg.evaluation.results import Results
from ralseg.evaluation.tables import GLOSSARY

MOST_ROWS = 600
"""Rows that can be read on the page; the file it carries has all of them."""
PLAIN_BYTES = 300_000
"""A larger table is carried compressed."""
COLUMNS = (
    "run_id", "policy", "training_seed", "seed", "game", "split", "budget_units", "units", "miou",
    "class_entropy", "commit",
)  # fmt: skip


def provenance(results: Results, dataset: str) -> dict[str, Any]:
    """The section's facts, files, glossary, configuration and rows, as its template takes them."""
    comparison, rows = results.comparison, results.rows
    config = comparison["config"]
    game = config["game"]
    trained = {(row["policy"], row["training_seed"]) for row in rows if row["training_seed"] is not None}
    learned = {name: sorted(seed for policy, seed in trained if policy == name) for name in comparison["policies"]}
    facts = {
        "data": f"{dataset}; {comparison['pool']['units']:,} {unit_word(config)}s to buy from",
        "classes": ", ".join(comparison["classes"]),
        "game": f"{game['learn']['cut']}; {game['slates']} slates of {game['candidates']} candidates a turn, draw "
        f"{game['draw']}; loss {config['loss']}; network input at {config['input_scale']:g} of the image's size",
        "network": config["network"]["_target_"].rpartition(".")[2],
        "budgets": f"{', '.join(f'{budget:g}' for budget in comparison['budgets'])} {game['budget_measure']}",
        "seeds": f"theta_0: {config['seed']}; draws: {_ranged(sorted({row['seed'] for row in rows}))}"
        + "".join(f"; training of {name}: {_ranged(seeds)}" for name, seeds in learned.items() if seeds),
    }
    shown = sorted(rows, key=lambda row: (-_size(row), row["game"], row["split"], row["policy"], row["seed"]))
    shown = shown[:MOST_ROWS]
    cut = f" The {len(shown)} of the largest budgets are below." if len(shown) < len(rows) else ""
    return {
        "facts": facts,
        "commits": {commit: plural(count, "row") for commit, count in Counter(row["commit"] for row in rows).items()},
        "command": comparison.get("command") or "not recorded",
        "carried": _carried(results),
        "glossary": GLOSSARY,
        "config": json.dumps(config, indent=2, ensure_ascii=False),
        "about": f"{plural(len(rows), 'row')}, one for each run, budget and split.{cut}",
        "columns": COLUMNS,
        "rows": [[_written(column, row[column]) for column in COLUMNS] for row in shown],
    }


def _carried(results: Results) -> dict[str, str]:
    """The rows as a file within the page, so that it can be checked wherever it is sent."""
    data, name, kind = (results.folder / "results.csv").read_bytes(), "results.csv", "text/csv"
    if len(data) > PLAIN_BYTES:
        data, name, kind = gzip.compress(data, mtime=0), "results.csv.gz", "application/gzip"
    address = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return {"name": name, "size": f"{len(data) / 1000:,.0f} kB", "address": address}


def _written(column: str, value: Any) -> str:
    if value is None:
        return ""
    if column == "commit":
        return value[:8] + "+changes" * value.endswith("+changes")
    if isinstance(value, float):
        return f"{value:.4f}" if column in ("miou", "class_entropy") else f"{value:g}"
    return str(value)


def _size(row: Mapping[str, Any]) -> float:
    return row["budget_units"] if isinstance(row["budget_units"], int | float) else float("inf")


def _ranged(seeds: Sequence[int]) -> str:
    whole = len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]} to {seeds[-1]}" if whole else ", ".join(map(str, seeds))
