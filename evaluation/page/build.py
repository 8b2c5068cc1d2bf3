"""The report: one HTML page that carries everything it shows."""

from collections.abc import Mapping
from typing import Any

from ralseg.evaluation.page import charts, tables, words
from ralseg.evaluation.page.looks import swatch
from ralseg.evaluation.page.markup import Markup, tag
from ralseg.evaluation.page.material import Material
from ralseg.evaluation.page.provenance import provenance, source
from ralseg.evaluation.page.scenes import gallery
from ralseg.evaluation.page.scores import scores
from ralseg.evaluation.page.style import SCRIPT, style_sheet
from ralseg.evaluation.pictures import bought_shares
from ralseg.evaluation.results import Results
from ralseg.segmentation.datasets import Dataset

PARTS = {
    "scores": "Scores",
    "classes": "Classes",
    "bought": "What was bought",
    "gallery": "Gallery",
    "origin": "How it was made",
}
NOTHING_BOUGHT = (
    "What the runs bought (bought/) does not lie beside these results, so that neither class shares nor outlines can "
    "be drawn."
)
SHARES = (
    "Share of each class in the labels that were bought; the upright stroke is the whole pool's. To the right of it, a "
    "class was bought more often than by chance."
)


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
    title = f"Which {words.unit_word(results.comparison['config'])}s are worth labelling? {many} on {dataset.name}"
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", style_sheet(material.looks.values(), material.splits)),
    ]
    made = "Made by ralseg from results.csv and what lies beside it. Nothing on this page comes from the network."
    first, *others = material.games
    body = [
        tag("a", "Skip to the figures", href="#scores", class_="skip"),
        _header(material, title),
        _bar(material),
        tag(
            "main",
            _section("scores", f"Scores: {_game_name(first)}", scores(material, first)),
            _section("classes", None, _classes(material)),
            [_section(None, f"Scores: {_game_name(game)}", scores(material, game)) for game in others],
            _section("bought", None, _bought(material)),
            _section("gallery", None, _gallery(material)),
            _section("origin", None, provenance(results, dataset.name)),
        ),
        tag("footer", made),
        tag("script", Markup(SCRIPT)),
    ]
    return f"<!doctype html>\n{tag('html', tag('head', head), tag('body', body), lang='en')}\n"


def _header(material: Material, title: str) -> Markup:
    lead = words.setting(material.summary, material.results.comparison, material.dataset.name)
    cautions = [tag("li", sentence) for sentence in words.cautions(material.summary)]
    links = [tag("a", name, href=f"#{place}") for place, name in PARTS.items()]
    return tag(
        "header",
        tag("p", "ralseg \N{MIDDLE DOT} a comparison of query policies", class_="eyebrow"),
        tag("h1", title),
        tag("div", tag("p", lead), class_="lead"),
        tag("ul", [tag("li", sentence) for sentence in words.outcome(material.summary)], class_="found"),
        tag("ul", cautions, class_="cautions") if cautions else None,
        tag("nav", links, aria_label="Parts of this page"),
    )


def _bar(material: Material) -> Markup:
    groups = []
    if len(material.splits) > 1:
        last = material.splits[-1]
        groups.append(_group("tables", [
            _choice("radio", f"split-{split}", words.split_name(split), split == last) for split in material.splits
        ]))  # fmt: skip
    looks = material.looks.values()
    chips = [_choice("checkbox", f"show-{look.css}", [swatch(look), look.label], True) for look in looks]
    groups.append(_group("policies", chips))
    return tag("div", tag("form", groups, aria_label="What is shown", autocomplete="off"), class_="bar")


def _choice(kind: str, name: str, label: Any, checked: bool) -> Markup:
    return tag("label", tag("input", type=kind, name=kind, id=name, checked=checked), label, class_="chip")


def _group(name: str, chips: list[Markup]) -> Markup:
    parts = tag("span", name, id=f"choose-{name}"), tag("div", chips, class_="chips")
    return tag("div", parts, class_="group", role="group", aria_labelledby=f"choose-{name}")


def _section(place: str | None, heading: str | None, inside: Any) -> Markup:
    return tag("section", tag("h2", heading or PARTS[place]), inside, id=place)


def _classes(material: Material) -> list[Any]:
    game = material.games[0]
    budget, rare = material.budgets(game)[-1], material.summary["rare_classes"]
    about = "Blue is above random choice in that class, orange below; full colour is ten points of IoU."
    if rare["classes"]:
        about += f" Rare classes (in italics) cover less than {100 * rare['below']:g} % of the pool each."
    made = material.by_split(
        lambda split: tables.classes(
            material.entries(game, budget, split), material.looks, material.pool, rare["classes"]
        )
    )
    origin = source(material.results, game, "Means of the columns iou_<class>.", budget_units=budget)
    return [tag("p", about, class_="about"), made, origin]


def _bought(material: Material) -> list[Any]:
    game = material.games[0]
    budget = material.budgets(game)[-1]
    shares = {material.looks[name]: 100 * own for name, own in bought_shares(material.results).items()}
    figure = [tag("p", NOTHING_BOUGHT, class_="note")]
    if shares:
        classes = material.results.comparison["classes"]
        drawn = charts.shares("shares", "Share of each class in what was bought", classes, material.pool, shares)
        figure = [
            tag("p", SHARES, class_="about"),
            tables.scrolled("Share of each class", tag("figure", drawn, class_="wide")),
        ]
    cost = tables.paid(material.entries(game, budget, material.splits[-1]), material.looks)
    return [*figure, cost, source(material.results, game, "Means over runs.", budget_units=budget)]


def _gallery(material: Material) -> list[Markup]:
    budget = material.budgets(material.games[0])[-1]
    scenes = gallery(material.results, material.dataset, material.looks, budget)
    return scenes or [tag("p", "This comparison kept no gallery: play it again to have one.", class_="note")]


def _game_name(game: str) -> str:
    cut, _, fitted = game.partition("+")
    return f"{cut} game" + ", a fresh network trained to convergence on what was bought" * bool(fitted)
