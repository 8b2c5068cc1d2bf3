"""What documents can cite: figures in results/ and benchmarks/results/ by name, and tables that are made of them.

A source is the name of a folder in results/, a colon, and terms in any order, separated by commas:

- the policy (needed), as `margin`, `run:camvid` or `supervised`, the network with all labels;
- `- random`, the paired difference to another policy that has played the same draws, or the labels saved against it;
- the split `dev`, `test` or `mean` (of both); the last of these that there is, if none is named;
- the budget and the game, where there are several;
- one of `FIGURES`, `rare` being the mean IoU of the rare classes; `miou` if none is named.

`benchmarks/<file>: key/key` is a number in benchmarks/results/<file>.json.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ralseg.evaluation.cells import Cell, difference, labels_saved, share_of_reference, short_name
from ralseg.evaluation.results import SUPERVISED, load_results
from ralseg.evaluation.run_arrays import BILL, differences, measured, resamples_of_summary, runs_of
from ralseg.evaluation.summary import rare_classes, summarise
from ralseg.evaluation.whole_curves import areas, labels_saved_of
from ralseg.foundation import RalsegError, read_json
from ralseg.stats import paired_interval

FIGURES = (
    "miou", "rare", "area", "rank", "labels_saved", "share_of_supervised", "share_of_reference", "training_seeds",
    "draws", *BILL,
)  # fmt: skip
"""Names of figures in sources; `iou <class>` is another."""
_SHARES = ("share", "share_of_supervised")
_WHOLE = ("training_seeds", "draws", "units", "pixels", "images", "clicks", "label_cost_of_policy")
_FORMS: dict[str, str] = dict.fromkeys(_SHARES, ".1f")
_SETTING = re.compile(r"(?:^|[;\n])\s*(rows|columns|head)\s*:", re.M)


@dataclass(frozen=True)
class Selection:
    """Some of the terms that select a figure: `folder: policy - other, split, budget, game, figure`."""

    folder: str | None
    terms: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Selection":
        """From `folder: terms`, `folder:`, or terms alone."""
        text = " ".join(text.split())
        folder, text = found.groups() if (found := re.match(r"([\w./-]+):(?:\s+(.*))?$", text)) else (None, text)
        if folder is not None and folder.startswith("benchmarks/"):
            return cls(folder, (text or "",))
        terms = []
        for term in _outside_brackets(text or ""):
            policy, minus, other = term.strip().partition(" - ")
            terms += [policy, f"- {other.strip()}"] if minus else [term.strip()]
        return cls(folder, tuple(term for term in terms if term))


class Comparison:
    """A folder of results and its summary, made anew from the rows.

    Args:
        folder: of the comparison.

    Raises:
        RalsegError: if there is no such folder, or a file in it is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.name = f"results/{folder.name}"
        if not folder.is_dir():
            raise RalsegError(f"there is no folder {self.name}")
        self.results = load_results(folder)
        self.summary: dict[str, Any] = summarise(self.results)
        self.entries = {tuple(e[k] for k in ("game", "budget", "split", "policy")): e for e in self.summary["entries"]}
        self.splits = list(dict.fromkeys(entry["split"] for entry in self.summary["entries"]))
        self.games = list(dict.fromkeys(entry["game"] for entry in self.summary["entries"]))
        rows, comparison = self.results.rows, self.results.comparison
        self._runs = cache(lambda game: runs_of(rows, comparison, game, rare_classes(comparison)))

    def policies(self, terms: Mapping[str, Any]) -> list[str]:
        """The policies that have played what the terms select, in the order of the comparison."""
        played = {policy for game, _, _, policy in self.entries if game == self._game(terms)}
        return [name for name in self.results.comparison["policies"] if name in played]

    def classify(self, term: str) -> tuple[str, Any]:
        """What a term selects, and which.

        Raises:
            RalsegError: if it is nothing that the comparison has.
        """
        comparison, splits = self.results.comparison, {short_name(split): split for split in self.splits}
        if term.startswith("- ") and term[2:] in comparison["policies"]:
            return "less", term[2:]
        if term in splits:
            return "split", splits[term]
        if term in comparison["policies"]:
            return "policy", term
        if re.fullmatch(r"\d+(\.\d+)?", term) and float(term) in comparison["budgets"]:
            return "budget", float(term)
        if term in self.games:
            return "game", term
        if term in FIGURES or (term.startswith("iou ") and term[4:] in comparison["classes"]):
            return "figure", term
        has = {"policies": comparison["policies"], "splits": splits, "budgets": comparison["budgets"]}
        has |= {"games": self.games, "figures": FIGURES}
        listed = "; ".join(f"{kind} {', '.join(map(str, names))}" for kind, names in has.items())
        raise RalsegError(f"{self.name} has no {term!r}; it has {listed}")

    def figure(self, terms: Mapping[str, Any]) -> Cell:
        """The figure that the terms select; an empty cell where the policy has not played that.

        Raises:
            RalsegError: if something is not said that has to be, or the figure has no difference.
        """
        if "policy" not in terms:
            raise RalsegError(f"{self.name}: no policy is named")
        name, less = terms.get("figure", "miou"), terms.get("less")
        if terms["policy"] == SUPERVISED:
            full, game = self.summary["supervised"], self._game(terms)
            levels = full.get(game) or full.get(f"{game}+fit", {})
            return Cell(levels.get(terms.get("split", self.splits[-1])) if name == "miou" and not less else None)
        record = self._record(terms)
        if record is None or less == terms["policy"]:
            return Cell()
        if less:
            return self._difference(record, name, less)
        if name == "labels_saved":
            return labels_saved(record)
        if name == "share_of_reference":
            return share_of_reference(record)
        value = record["iou"][name.removeprefix("iou ")] if name.startswith("iou ") else record[name]
        # Of rare classes the summary has the mIoU, of an area an interval, of which a level shows the mean alone.
        value = value["miou"] if name == "rare" and value else value
        value = value["mean"] if isinstance(value, dict) else value
        return Cell(value, form=_FORMS.get(name, ".0f" if name in _WHOLE else ".2f"), percent=name in _SHARES)

    def _difference(self, record: Mapping[str, Any], name: str, less: str) -> Cell:
        """A paired difference: as the summary has it, or made in the same way for another pair."""
        runs, budgets = self._runs(record["game"])[record["split"]], self.results.comparison["budgets"]
        if name == "area":
            against = areas(list(runs.values()), budgets, [less], resamples_of_summary())
            own = next(own for own in against if own["policy"] == record["policy"])
            return difference(own["difference"].get(less))
        if name == "labels_saved":
            saved = labels_saved_of(list(runs.values()), budgets, resamples_of_summary(), less)
            return labels_saved(next((own for own in saved if own["policy"] == record["policy"]), None))
        if name not in ("miou", "rare"):
            raise RalsegError(f"{name} has no paired difference; miou, rare and area have")
        at = budgets.index(record["budget"])
        values = differences(runs[record["policy"]], runs, [less]).get(less)
        if values is None:
            return Cell()
        return difference(measured(paired_interval, values[name][..., at], resamples_of_summary()))

    def _record(self, terms: Mapping[str, Any]) -> Any:
        game, split, policy = self._game(terms), terms.get("split", self.splits[-1]), terms["policy"]
        # What is saved against a named policy is not in the summary, which compares with the best heuristic alone.
        saved = "areas" if "less" in terms else "labels_saved"
        kind = {"area": "areas", "labels_saved": saved}.get(terms.get("figure", "miou"))
        if kind is not None:
            wanted = (game, split, policy)
            return next((r for r in self.summary[kind] if (r["game"], r["split"], r["policy"]) == wanted), None)
        budgets = self.results.comparison["budgets"]
        if "budget" not in terms and len(budgets) > 1:
            raise RalsegError(f"{self.name} has budgets {', '.join(map(str, budgets))}; name one")
        return self.entries.get((game, terms.get("budget", budgets[0]), split, policy))

    def _game(self, terms: Mapping[str, Any]) -> str:
        played = [game for game in self.games if not game.endswith("+fit")]
        if "game" not in terms and len(played) != 1:
            raise RalsegError(f"{self.name} has games {', '.join(self.games)}; name one")
        return terms.get("game") or played[0]


class Evidence:
    """All results and benchmark files below a folder; each is read when it is first asked for.

    Args:
        root: holds results/ and benchmarks/results/.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._comparisons: dict[str, Comparison | RalsegError] = {}

    def comparison(self, name: str) -> Comparison:
        """A comparison by the name of its folder in results/.

        Raises:
            RalsegError: if it cannot be read; in full once, for a document cites a folder many times.
        """
        if name not in self._comparisons:
            folder = self.root / "results" / name
            try:
                self._comparisons[name] = Comparison(folder)
            except RalsegError as error:
                there = folder.is_dir()
                self._comparisons[name] = RalsegError(f"results/{name} cannot be read") if there else error
                raise
        if isinstance(found := self._comparisons[name], RalsegError):
            raise found
        return found

    def figure(self, *selections: Selection) -> Cell:
        """The figure that selections give together, later ones first; an empty cell where there is none.

        Raises:
            RalsegError: if no folder is named, or a term is unknown.
        """
        folder = next((s.folder for s in reversed(selections) if s.folder), None)
        if folder is None:
            raise RalsegError("no folder of results/ is named; write its name and a colon first")
        terms = [term for selection in selections for term in selection.terms]
        if folder.startswith("benchmarks/"):
            return self._benchmark(folder, next(iter(terms), ""))
        comparison = self.comparison(folder)
        return comparison.figure(dict(map(comparison.classify, terms)))

    def _benchmark(self, name: str, key: str) -> Cell:
        """A number in benchmarks/results/<file>.json by its keys, or positions in a list, joined by `/`."""
        path = self.root / "benchmarks/results" / f"{name.removeprefix('benchmarks/')}.json"
        if not path.exists():
            raise RalsegError(f"there is no {path.relative_to(self.root)}")
        value = read_json(path)
        for part in key.split("/"):
            inner = {str(i): own for i, own in enumerate(value)} if isinstance(value, list) else value
            if not isinstance(inner, dict) or part not in inner:
                has = f"; it has {', '.join(inner)}" if isinstance(inner, dict) else ""
                raise RalsegError(f"{path.relative_to(self.root)}: no {part!r} in {key}{has}")
            value = inner[part]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RalsegError(f"{path.relative_to(self.root)}: {key} is no number")
        return Cell(value, form=".3g")

    def table(self, settings: str) -> list[list[str]]:
        """Header and rows of a table, as cells.

        Args:
            settings: what stands behind `results:`: what holds for all cells, `rows:`, `columns:` and `head:`, the
                heading of the first column. A cell is what these select together, a column before its row. Without
                columns there is one, `figure`; without rows the policies of the folder.

        Raises:
            RalsegError: if something in it cannot be found.
        """
        base, *parts = _SETTING.split(settings)
        given = {key: " ".join(value.split()) for key, value in zip(parts[::2], parts[1::2], strict=True)}
        base = base.strip()
        everywhere = Selection.parse(base if ":" in base or not base else f"{base}:")
        columns = _labelled(given.get("columns", ""))
        rows = _labelled(given.get("rows", "")) or self._all_rows(everywhere)
        columns = columns or [("figure", Selection(None, ()))]
        lines = [[given.get("head", "policy"), *(label or _heading(column) for label, column in columns)]]
        seeds = [self._training_seeds(everywhere, row) for _, row in rows]
        for (label, row), own in zip(rows, seeds, strict=True):
            cells = [self.figure(everywhere, row, column) for _, column in columns]
            # Among rows of several training seeds, one of a single seed says so.
            alone = own == 1 and max(seeds) > 1 and "training seed" not in label
            lines.append([(label or ", ".join(row.terms)) + " (one training seed)" * alone, *map(str, cells)])
        return lines

    def _all_rows(self, base: Selection) -> list[tuple[str, Selection]]:
        if base.folder is None:
            raise RalsegError("a table of several folders needs rows; write `rows: random | margin`")
        comparison = self.comparison(base.folder)
        names = comparison.policies(dict(map(comparison.classify, base.terms)))
        marks = {name: "*" * (name in comparison.results.comparison["references"]) for name in names}
        return [(f"{marks[name]}`{name}`{marks[name]}", Selection(None, (name,))) for name in names]

    def _training_seeds(self, base: Selection, row: Selection) -> int:
        """Training seeds of the policy of a row; 0 of one that was not trained, or without a policy."""
        folder = row.folder or base.folder
        if folder is None or folder.startswith("benchmarks/"):
            return 0
        comparison = self.comparison(folder)
        policy = dict(map(comparison.classify, (*base.terms, *row.terms))).get("policy")
        played = [entry for entry in comparison.entries.values() if entry["policy"] == policy]
        return max((entry["training_seeds"] * entry["learned"] for entry in played), default=0)


def _outside_brackets(text: str) -> list[str]:
    """Parts between commas; the options in a policy's name, rank_sum(of=[margin, ripu]), hold commas of their own."""
    parts, depth = [""], 0
    for sign in text:
        depth += (sign in "([") - (sign in ")]")
        parts = [*parts, ""] if sign == "," and not depth else [*parts[:-1], parts[-1] + sign]
    return parts


def _labelled(text: str) -> list[tuple[str, Selection]]:
    found = []
    for part in filter(None, (part.strip() for part in text.split("|"))):
        label, _, selection = part.rpartition(" = ")
        found.append((label.strip(), Selection.parse(selection)))
    return found


def _heading(column: Selection) -> str:
    words = (f"less {term[2:]}" if term.startswith("- ") else term.removeprefix("iou ") for term in column.terms)
    return ", ".join(words).replace("_", " ")
