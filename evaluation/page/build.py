"""The report: one HTML page that carries everything it shows."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ralseg.evaluation import tables
from ralseg.evaluation.cells import split_name
from ralseg.evaluation.page import charts, words
from ralseg.evaluation.page.choices import choices
from ralseg.evaluation.page.material import Material
from ralseg.evaluation.page.provenance import provenance
from ralseg.evaluation.page.scenes import gallery
from ralseg.evaluation.page.scores import scores
from ralseg.evaluation.pictures import bought_shares
from ralseg.evaluation.results import Results
from ralseg.segmentation.datasets import Dataset


def page(results: Results, summary: Mapping[str, Any], dataset: Dataset) -> str:
    """The report as HTML: no address in it leads to the network, and it can be read without scripts.

    Args:
        results: of the comparison; where its `bought/` or `gallery/` is not there, what needs it is left out, and the
            page says so.
        summary: of these results, see `summarise`.
        dataset: its data set, for photographs and true classes.

    Raises:
        RalsegError: if a file of the comparison is damaged.
    """
    material = Material(results, summary, dataset)
    many = words.plural(len(material.looks), "policy", "policies")
    return templates().get_template("report.html.jinja").render(
        title=f"Which {words.unit_word(results.comparison['config'])}s are worth labelling? {many} on {dataset.title}",
        setting=words.setting(summary, results.comparison, dataset.title),
        outcome=words.outcome(summary),
        cautions=words.cautions(summary),
        looks=material.looks,
        splits=material.splits,
        games=[scores(material, game) for game in material.games],
        classes=_classes(material),
        bought=_bought(material),
        choices=choices(material),
        scenes=gallery(material),
        origin=provenance(results, dataset.title),
    )  # fmt: skip


def templates() -> Environment:
    """The templates of the page, with the filters that they use; every text that is put in is escaped."""
    made = Environment(
        loader=PackageLoader("ralseg.evaluation.page"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=StrictUndefined, keep_trailing_newline=True,
    )  # fmt: skip
    made.filters |= {"at": "{:.1f}".format, "split_name": split_name, "typeset": words.typeset}
    return made


def _classes(material: Material) -> dict[str, Any]:
    game = material.games[0]
    budget, rare = material.budgets(game)[-1], material.summary["rare_classes"]
    about = "Blue is above random choice in that class, orange below; full colour is ten points of IoU."
    if rare["classes"]:
        about += f" Rare classes (in italics) cover less than {100 * rare['below']:g} % of the pool each."
    made = material.by_split(
        lambda split: tables.classes(material.entries(game, budget, split), material.pool, rare["classes"])
    )
    source = material.source(game, "Means of the columns iou_<class>.", budget)
    return {"about": about, "tables": made, "source": source}


def _bought(material: Material) -> dict[str, Any]:
    game = material.games[0]
    budget = material.budgets(game)[-1]
    shares = {material.looks[name]: 100 * own for name, own in bought_shares(material.results).items()}
    return {
        "chart": charts.shares(material.results.comparison["classes"], material.pool, shares) if shares else None,
        "bill": tables.bill(material.entries(game, budget, material.splits[-1])),
        "source": material.source(game, "Means over runs.", budget),
    }
