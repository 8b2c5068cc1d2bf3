"""Figures by name: what a marker in a document asks for, looked up in summaries of results and in benchmark files."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ralseg.evaluation.play import SUPERVISED
from ralseg.evaluation.results import Results, load_results
from ralseg.evaluation.run_arrays import TWO_SET_MEAN, Runs, differences, resamples_of_summary, runs_of, told
from ralseg.evaluation.summary import rare_classes, summarise
from ralseg.foundation import RalsegError
from ralseg.stats import paired_interval, probability_of_improvement

MEAN = "mean"
BEST = "best heuristic"
_LEVELS = {"miou": "interval", "iqm": "iqm", "rare": "rare", "area": "area"}
_COUNTS = ("training_seeds", "draws", "units", "pixels", "images", "clicks", "label_cost_of_policy")
_DECIMALS = dict.fromkeys((*_COUNTS, "improvement", "share_of_reference", "labels_saved", "beaten"), 0)
_DECIMALS |= {"share_of_supervised": 1, "share": 1}
_SHARES = ("share", "share_of_supervised", "share_of_reference", "labels_saved", "beaten", "improvement")
FIGURES = (
    *_LEVELS, "rank", "improvement", "share_of_supervised", "share_of_reference", "advantage", "labels_saved", "beaten",
    "share", "class_entropy", "seconds_choosing", *_COUNTS,
)  # fmt: skip
"""Names of figures in markers; `iou <class>` is another. See docs/doors.md."""


@dataclass(frozen=True)
class Figure:
    """A recomputed figure.

    Attributes:
        value: the mean; None where it is not defined.
        low: lower end of its interval, None without one.
        high: upper end.
        signed: whether tables show its sign: it is a difference.
        share: whether it is a share of one, which `%` shows times 100.
        decimals: in tables.
        ends: whether tables show the interval.
        bound: "at most " or "at least " if the value is a bound; what stands in the place of a value that is None.
        low_bound: "<=" if the lower end is a bound.
        high_bound: ">=" if the upper end is one.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    signed: bool = False
    share: bool = False
    decimals: int = 2
    ends: bool = False
    bound: str = ""
    low_bound: str = ""
    high_bound: str = ""

    def cell(self) -> str:
        """As tables show it."""
        if self.value is None:
            return self.bound
        scale, form = 100 if self.share else 1, f"{'+' * self.signed}.{self.decimals}f"
        ends = ""
        if self.ends and self.low is not None:
            low, high = f"{scale * self.low:{form}}", f"{scale * self.high:{form}}"
            ends = f" [{self.low_bound}{low}, {self.high_bound}{high}]"
        return f"{self.bound}{scale * self.value:{form}}{ends}{' %' * self.share}"


class Comparison:
    """A folder of results and its summary, made anew from the rows.

    Args:
        name: as in markers.
        folder: of the comparison.

    Raises:
        RalsegError: if there is no such folder, or a file in it is missing or damaged.
    """

    def __init__(self, name: str, folder: Path) -> None:
        if not folder.is_dir():
            raise RalsegError(f"there is no folder results/{name}")
        self.name = name
        self.results: Results = load_results(folder)
        self.summary: dict[str, Any] = summarise(self.results)
        self._games: dict[str, Mapping[str, Mapping[str, Runs]]] = {}

    @cached_property
    def _entries(self) -> dict[tuple, Mapping[str, Any]]:
        return {tuple(e[key] for key in ("game", "budget", "split", "policy")): e for e in self.summary["entries"]}

    @cached_property
    def splits(self) -> list[str]:
        """Its splits, the two-set mean last where it has both."""
        splits = list(self.results.comparison["splits"])
        return [*splits, TWO_SET_MEAN] if len(splits) == 2 else splits

    @cached_property
    def games(self) -> list[str]:
        """The games in it, those to convergence last."""
        return sorted({e["game"] for e in self.summary["entries"]} | set(self.summary["supervised"]), key=_fit_last)

    def policies(self, terms: Mapping[str, Any]) -> list[str]:
        """The policies that have played what the terms select, in the order of the comparison."""
        game = self._game(terms)
        played = {e["policy"] for e in self.summary["entries"] if e["game"] == game}
        return [name for name in self.results.comparison["policies"] if name in played]

    def sees_truth(self, policy: str) -> bool:
        """Whether it is a reference."""
        return policy in self.results.comparison["references"]

    def classify(self, term: str) -> tuple[str, Any]:
        """What a term selects, and which.

        Raises:
            RalsegError: if it is nothing that the comparison has.
        """
        splits = {MEAN if split == TWO_SET_MEAN else split: split for split in self.splits}
        policies, budgets = self.results.comparison["policies"], self.results.comparison["budgets"]
        if term.startswith("- ") and (term[2:] in policies or term[2:] == BEST):
            return "less", term[2:]
        if term in splits:
            return "split", splits[term]
        if term in policies or term == BEST:
            return "policy", term
        if re.fullmatch(r"\d+(\.\d+)?", term) and float(term) in budgets:
            return "budget", float(term)
        if term in self.games:
            return "game", term
        if term in FIGURES or (term.startswith("iou ") and term[4:] in self.results.comparison["classes"]):
            return "figure", term
        if term == "interval":
            return "interval", True
        has = {"policies": policies, "splits": splits, "budgets": budgets, "games": self.games, "figures": FIGURES}
        listed = "; ".join(f"{kind} {', '.join(map(str, names))}" for kind, names in has.items())
        raise RalsegError(f"results/{self.name} has no {term!r}; it has {listed}")

    def figure(self, terms: Mapping[str, Any]) -> Figure | None:
        """The figure that the terms select; None where the policy has not played that.

        Raises:
            RalsegError: if something is not said that has to be, or the figure is not there.
        """
        if "policy" not in terms:
            raise RalsegError(f"results/{self.name}: no policy is named")
        name, game = terms.get("figure", "miou"), self._game(terms)
        split = terms.get("split", self.splits[-1])
        policy, less = terms["policy"], terms.get("less")
        if policy == SUPERVISED:
            return self._supervised(game, split, name, less)
        kind = {"area": "areas", "labels_saved": "labels_saved", "beaten": "penalty"}.get(name, "entries")
        if kind == "penalty":
            return self._beaten(game, split, policy)
        record = self._record(kind, game, split, policy, terms)
        if record is None:
            return None
        if less == BEST:
            less = record["best_heuristic"]
        if less == policy:
            return None
        if not less:
            return _level(record, name, terms.get("interval", False))
        interval = self._difference(record, name, less)
        share, decimals = name in _SHARES, _DECIMALS.get(name, 2)
        mean = interval and interval["mean"]
        return Figure(mean, *_ends(interval), signed=not share, share=share, decimals=decimals, ends=True)

    def _difference(self, record: Mapping[str, Any], name: str, less: str) -> Mapping[str, Any] | None:
        """Interval of a paired difference: as the summary has it, or made likewise for another pair."""
        if name == "area":
            if less not in record["difference"]:
                there = ", ".join(record["difference"])
                raise RalsegError(f"results/{self.name}: areas are compared with {there} alone, not with {less}")
            return record["difference"][less]
        statistic = probability_of_improvement if name == "improvement" else paired_interval
        figure = "miou" if name == "improvement" else name
        if name not in ("miou", "rare", "improvement"):
            raise RalsegError(f"{name} has no paired difference; miou, rare, area and improvement have")
        runs = self._runs(record["game"])[record["split"]]
        at = self.results.comparison["budgets"].index(record["budget"])
        values = differences(runs[record["policy"]], runs, [less]).get(less)
        if values is None:
            return None
        return told(statistic, values[figure][..., at], resamples_of_summary())

    def _runs(self, game: str) -> Mapping[str, Mapping[str, Runs]]:
        if game not in self._games:
            comparison = self.results.comparison
            self._games[game] = runs_of(self.results.rows, comparison, game, rare_classes(comparison))
        return self._games[game]

    def _record(self, kind: str, game: str, split: str, policy: str, terms: Mapping[str, Any]) -> Any:
        if kind != "entries":
            found = [r for r in self.summary[kind] if (r["game"], r["split"]) == (game, split)]
            policy = found[0]["best_heuristic"] if policy == BEST and found else policy
            return next((r for r in found if r["policy"] == policy), None)
        budgets = self.results.comparison["budgets"]
        if "budget" not in terms and len(budgets) > 1:
            raise RalsegError(f"results/{self.name} has budgets {', '.join(map(str, budgets))}; name one")
        where = game, terms.get("budget", budgets[0]), split
        if policy == BEST:
            policy = next((e["best_heuristic"] for key, e in self._entries.items() if key[:3] == where), None)
        return self._entries.get((*where, policy))

    def _game(self, terms: Mapping[str, Any]) -> str:
        if "game" in terms:
            return terms["game"]
        cuts = [game for game in self.games if not _fit_last(game)[0]]
        if len(cuts) != 1:
            raise RalsegError(f"results/{self.name} has games {', '.join(self.games)}; name one")
        return cuts[0]

    def _supervised(self, game: str, split: str, name: str, less: str | None) -> Figure | None:
        full = self.summary["supervised"].get(game, self.summary["supervised"].get(f"{game}+fit", {}))
        return Figure(full[split]) if name == "miou" and not less and split in full else None

    def _beaten(self, game: str, split: str, policy: str) -> Figure | None:
        for record in self.summary["penalty"]:
            if (record["game"], record["split"]) == (game, split) and policy in record["policies"]:
                return Figure(
                    record["beaten"][record["policies"].index(policy)], share=True, decimals=_DECIMALS["beaten"]
                )
        return None


def _level(record: Mapping[str, Any], name: str, ends: bool) -> Figure:
    share, decimals = name in _SHARES, _DECIMALS.get(name, 2)
    if name in _LEVELS:
        interval = record[_LEVELS[name]]
        interval = interval and interval["miou"] if name == "rare" else interval
        value = record["miou"] if name == "miou" else interval and interval["mean"]
        return Figure(value, *_ends(interval), ends=ends)
    if name == "share_of_reference":
        interval = record[name] and record[name]["share"]
        return Figure(interval and interval["mean"], *_ends(interval), share=True, decimals=decimals, ends=True)
    if name == "advantage":
        interval = record["share_of_reference"] and record["share_of_reference"]["advantage"]
        return Figure(interval and interval["mean"], *_ends(interval), signed=True, ends=True)
    if name == "labels_saved":
        return _saved(record)
    if name == "improvement":
        raise RalsegError("improvement is over another policy; write `- random` with it")
    value = record["iou"][name.removeprefix("iou ")] if name.startswith("iou ") else record[name]
    return Figure(value, share=share, decimals=decimals)


def _saved(record: Mapping[str, Any]) -> Figure:
    if record["censored"] == "flat base":
        return Figure(None, bound=record["censored"])
    form = {"signed": True, "share": True, "decimals": _DECIMALS["labels_saved"]}
    if record["censored"] or record["low"] is None:
        return Figure(record["saved"], bound=f"{record['censored']} ".lstrip(), **form)
    # An end of the interval that lies among bounds is one.
    tail = (1 - record["level"]) / 2
    low, high = "<=" * (record["at_most"] > tail), ">=" * (record["at_least"] > tail)
    return Figure(record["saved"], *_ends(record), ends=True, low_bound=low, high_bound=high, **form)


def _ends(interval: Mapping[str, Any] | None) -> tuple[float | None, float | None]:
    return (interval["low"], interval["high"]) if interval else (None, None)


def _fit_last(game: str) -> tuple[bool, str]:
    return game.endswith("+fit"), game
