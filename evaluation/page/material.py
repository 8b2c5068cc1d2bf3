"""What every part of the page is made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ralseg.evaluation.cells import Table
from ralseg.evaluation.page.looks import Look, looks_of
from ralseg.evaluation.page.words import plural
from ralseg.evaluation.results import SUPERVISED, Results
from ralseg.evaluation.whole_curves import labelled_share
from ralseg.segmentation.datasets import Dataset

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Material:
    """A comparison, and what the parts of the page often need of it.

    Attributes:
        results: of the comparison.
        summary: see `summarise`.
        dataset: its data set.
    """

    results: Results
    summary: Mapping[str, Any]
    dataset: Dataset

    @cached_property
    def games(self) -> list[str]:
        """The games; the first is the one that claims are made on."""
        return list(dict.fromkeys(entry["game"] for entry in self.summary["entries"]))

    @cached_property
    def splits(self) -> list[str]:
        """The splits; the last is the one that claims are made on."""
        return list(dict.fromkeys(entry["split"] for entry in self.summary["entries"]))

    @cached_property
    def looks(self) -> dict[str, Look]:
        """Policy -> look."""
        names = [name for name in self.results.comparison["policies"] if name != SUPERVISED]
        learned = {entry["policy"] for entry in self.summary["entries"] if entry["learned"]}
        return looks_of(names, self.results.comparison["references"], learned)

    @cached_property
    def pool(self) -> np.ndarray:
        """Share of each class in the pool, percent, (C,) float64."""
        pixels = np.array(self.results.comparison["pool"]["class_pixels"])
        return 100 * pixels / max(pixels.sum(), 1)

    @property
    def across(self) -> str:
        """The label of an axis of budgets."""
        config = self.results.comparison["config"]
        if labelled_share(config):
            return f"labelled share of the {'images' if config['game']['unit'] == 'image' else 'pixels'}"
        return f"budget, {config['game']['budget_measure']}"

    def budgets(self, game: str) -> list[float]:
        """The budgets at which a game was scored, ascending."""
        return sorted({entry["budget"] for entry in self.summary["entries"] if entry["game"] == game})

    def entries(self, game: str, budget: float | None = None, split: str | None = None) -> list[Entry]:
        """The summary's entries of a game, a budget and a split; None: of all."""
        return [
            entry
            for entry in self.summary["entries"]
            if entry["game"] == game and budget in (None, entry["budget"]) and split in (None, entry["split"])
        ]

    def by_split(self, made: Callable[[str], Table | None]) -> dict[str, Table]:
        """A table for each split that has one; the reader sees that of the split chosen in the bar."""
        found = {split: made(split) for split in self.splits}
        return {split: table for split, table in found.items() if table is not None}

    def source(self, game: str, what: str, budget: float | None = None) -> dict[str, str]:
        """From how many rows of results.csv a figure is made, and which.

        Args:
            game: of the rows.
            what: how the figure is made of them, a sentence.
            budget: of the rows; None: of all budgets.
        """
        rows = [r for r in self.results.rows if r["game"] == game and budget in (None, r["budget_units"])]
        named, words = f"game {game}", f"game={game}"
        if budget is not None:
            named, words = f"{named}, budget {budget:g}", f"{words} budget_units={budget}"
        return {"what": what, "rows": plural(len(rows), "row"), "named": named, "filter": words}
