"""The page's tables: scores with intervals and ranks, whole curves, penalties, IoU per class, what was paid."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ralseg.evaluation.page.looks import Look, swatch
from ralseg.evaluation.page.markup import Markup, tag, text
from ralseg.evaluation.page.words import (
    ABOVE,
    BELOW,
    DASH,
    ONE_RUN,
    OPEN,
    PERCENT,
    ends,
    number,
    saving,
    split_name,
    verdict,
)  # fmt: skip
from ralseg.evaluation.summary import BASELINES, TWO_SET_MEAN

Entry = Mapping[str, Any]
Looks = Mapping[str, Look]
SIGNS = {
    ABOVE: "\N{BLACK UP-POINTING TRIANGLE}",
    BELOW: "\N{BLACK DOWN-POINTING TRIANGLE}",
    OPEN: "\N{ALMOST EQUAL TO}",
}
_CSS = {ABOVE: "above", BELOW: "below", OPEN: "open", ONE_RUN: "open"}


def ordered(entries: Sequence[Entry], by: str = "miou") -> list[Entry]:
    """Contenders from the highest to the lowest, then references likewise."""
    return sorted(entries, key=lambda entry: (entry["reference"], -entry[by]))


def scores(entries: Sequence[Entry], looks: Looks) -> Markup:
    """Scores of one game and budget: mIoU on each split, rank, differences; the last split's rows order the table."""
    splits = list(dict.fromkeys(entry["split"] for entry in entries))
    by = {(entry["policy"], entry["split"]): entry for entry in entries}
    last = ordered([entry for entry in entries if entry["split"] == splits[-1]])
    bases = _bases(last)
    best = last[0]["best_heuristic"]
    supervised = any(entry["share_of_supervised"] is not None for entry in last)
    shares = [entry["share_of_reference"] for entry in last if entry["share_of_reference"]]
    reference = next((own["reference"] for own in shares if own["share"]), None)
    rare = any(entry["rare"] is not None for entry in last)
    head = [
        *(f"mIoU, {'mean' if split == TWO_SET_MEAN else split}" for split in splits),
        "rank",
        *(f"less {base}" + (", the best heuristic" if base == best else "") for base in bases),
        *[f"beats {best}"] * (best is not None),
        *["of full supervision"] * supervised,
        *["advantage won"] * (reference is not None),
        *["mIoU, rare classes"] * rare,
        "runs",
    ]
    rows = []
    for entry in last:
        own = [by[entry["policy"], split] for split in splits]
        cells = [[tag("b", number(one["miou"])), " ", _ends(one["interval"])] for one in own]
        cells.append(number(entry["rank"], ".1f"))
        cells += [_difference(entry["difference"].get(base)) for base in bases]
        if best is not None:
            cells.append(_lines(entry["probability_of_improvement"].get(best), ".0f", 100, PERCENT))
        if supervised:
            share = entry["share_of_supervised"]
            cells.append(DASH if share is None else f"{100 * share:.1f}{PERCENT}")
        if reference is not None:
            share = entry["share_of_reference"]
            cells.append(_lines(share and share["share"], ".0f", 100, PERCENT))
        if rare:
            cells.append(_lines(entry["rare"] and entry["rare"]["miou"]))
        seeds = f"{entry['training_seeds']} \N{MULTIPLICATION SIGN} " if entry["training_seeds"] > 1 else ""
        cells.append(f"{seeds}{entry['draws']}")
        rows.append((entry, cells))
    made = table(f"Scores at budget {entries[0]['budget']:g}", head, rows, looks)
    if reference is None:
        return made
    about = f"Advantage won: the share of what {reference}, which sees true labels, gains over random choice."
    return text([made, tag("p", about, class_="about")])


def whole_curves(summary: Mapping[str, Any], game: str, split: str, looks: Looks) -> Markup | None:
    """Areas under the budget curve and labels saved; None with one budget."""
    areas = [area for area in summary["areas"] if (area["game"], area["split"]) == (game, split)]
    if not areas:
        return None
    saved = {
        entry["policy"]: entry for entry in summary["labels_saved"] if (entry["game"], entry["split"]) == (game, split)
    }
    base = next((entry["base"] for entry in saved.values()), None)
    bases = _bases(areas)
    head = ["area (a mean mIoU)", *(f"less {name}" for name in bases)]
    head += [f"labels saved against {base}"] * (base is not None)
    rows = []
    # Without a run that has played all budgets there is no area.
    areas = [area for area in areas if area["area"] is not None]
    for area in sorted(areas, key=lambda area: (area["reference"], -area["area"]["mean"])):
        cells = [[tag("b", number(area["area"]["mean"])), " ", _ends(area["area"])]]
        cells += [_difference(area["difference"].get(name)) for name in bases]
        if base is not None:
            own = saved.get(area["policy"])
            cells.append(DASH if own is None else saving(own))
        rows.append((area, cells))
    return table(f"Whole curves, {split_name(split)}", head, rows, looks)


def penalties(summary: Mapping[str, Any], game: str, split: str, looks: Looks) -> Markup | None:
    """Who beats whom: the share of the budgets at which the row beats the column; None if nothing could be tested."""
    found = [entry for entry in summary["penalty"] if (entry["game"], entry["split"]) == (game, split)]
    if not found or all(share is None for share in found[0]["beaten"]):
        return None
    (penalty,) = found
    names = penalty["policies"]
    head = [tag("th", _turned(looks[name]), scope="col", class_=looks[name].css) for name in names]
    rows = []
    for name, shares in zip(names, penalty["matrix"], strict=True):
        cells = [
            tag("td", class_=f"self {looks[other].css}") if other == name else _shaded(share, looks[other].css)
            for other, share in zip(names, shares, strict=True)
        ]
        rows.append(tag("tr", _named(looks[name]), cells, class_=looks[name].css))
    foot = [_shaded(share, looks[name].css) for name, share in zip(names, penalty["beaten"], strict=True)]
    return _captioned(
        split_name(split).capitalize(),
        tag("thead", tag("tr", tag("th", "beats \N{RIGHTWARDS ARROW}", scope="col"), head)),
        tag("tbody", rows),
        tag("tfoot", tag("tr", tag("th", "is beaten, mean", scope="row"), foot)),
        css="matrix",
    )


def classes(entries: Sequence[Entry], looks: Looks, pool: np.ndarray, rare: Sequence[str]) -> Markup:
    """IoU per class on one split; the colour says how far a cell is from `random` in that class.

    Args:
        entries: of one game, budget and split.
        looks: of the policies.
        pool: (C,) shares of the pool, percent, in the order of the classes.
        rare: names of the rare classes.
    """
    names = list(entries[0]["iou"])
    order = np.argsort(-pool)
    chance = next((entry["iou"] for entry in entries if entry["policy"] == "random"), {})
    head = [
        tag("th", names[i], tag("small", f"{pool[i]:.1f} %"), scope="col", class_="rare" if names[i] in rare else None)
        for i in order
    ]
    rows: dict[bool, list[Markup]] = {}
    for entry in ordered(entries):
        cells = [_iou(entry["iou"][names[i]], chance.get(names[i])) for i in order]
        css = looks[entry["policy"]].css
        rows.setdefault(entry["reference"], []).append(tag("tr", _named(looks[entry["policy"]]), cells, class_=css))
    return _captioned(
        f"IoU per class, %, {split_name(entries[0]['split'])}",
        tag("thead", tag("tr", tag("th", "policy", tag("small", "share of the pool"), scope="col"), head)),
        _bodies(rows, len(head) + 1),
        css="classes",
    )


def paid(entries: Sequence[Entry], looks: Looks) -> Markup:
    """What was bought and what it cost, means over the runs at one budget."""
    head = [
        "class entropy, nats",
        "units",
        "images touched",
        "clicks",
        "pixels",
        "labels of its training",
        "seconds choosing",
    ]
    rows = [
        (entry, [
            number(entry["class_entropy"]), *(f"{entry[key]:,.0f}" for key in ("units", "images", "clicks", "pixels")),
            f"{entry['label_cost_of_policy']:,.0f}", f"{entry['seconds_choosing']:.1f}",
        ])
        for entry in ordered(entries, "class_entropy")
    ]  # fmt: skip
    return table("What was paid", head, rows, looks)


def table(caption: str, head: Sequence[str], rows: Sequence[tuple[Entry, Sequence[Any]]], looks: Looks) -> Markup:
    """A table of policies: the references in a part of their own."""
    parts: dict[bool, list[Markup]] = {}
    for entry, cells in rows:
        look = looks[entry["policy"]]
        line = tag("tr", _named(look), [tag("td", cell) for cell in cells], class_=look.css)
        parts.setdefault(entry["reference"], []).append(line)
    header = tag("tr", tag("th", "policy", scope="col"), [tag("th", words, scope="col") for words in head])
    return _captioned(caption, tag("thead", header), _bodies(parts, len(head) + 1))


def scrolled(name: str, inside: Markup) -> Markup:
    """What may be wider than the page scrolls within itself; the keyboard reaches it, so that all of it can be seen."""
    return tag("div", inside, class_="scroll", tabindex=0, role="region", aria_label=name)


def _captioned(caption: str, *parts: Any, css: str | None = None) -> Markup:
    return scrolled(caption, tag("table", tag("caption", caption), parts, class_=css))


def _bodies(parts: Mapping[bool, list[Markup]], columns: int) -> list[Markup]:
    made = [tag("tbody", parts[False])] if parts.get(False) else []
    if parts.get(True):
        words = "see true labels: neither contenders nor bounds"
        aside = tag("tr", tag("th", words, colspan=columns, scope="rowgroup", class_="aside"))
        made.append(tag("tbody", aside, parts[True], class_="references"))
    return made


def _named(look: Look) -> Markup:
    return tag("th", tag("span", swatch(look), tag("span", look.name), class_="who"), scope="row", title=look.label)


def _turned(look: Look) -> Markup:
    return tag("span", look.name, class_="turned")


def _ends(interval: Mapping[str, Any] | None) -> Markup:
    return tag("small", ends(interval))


def _bases(entries: Sequence[Entry]) -> list[str]:
    """What others are compared with, `BASELINES` first."""
    found = list(dict.fromkeys(base for entry in entries for base in entry["difference"]))
    return sorted(found, key=lambda base: BASELINES.index(base) if base in BASELINES else len(BASELINES))


def _lines(interval: Mapping[str, Any] | None, form: str = ".2f", scale: float = 1, unit: str = "") -> list[Any]:
    """A figure, and its interval on a line of its own."""
    if interval is None:
        return [DASH]
    return [number(scale * interval["mean"], form), unit, " ", tag("small", ends(interval, form, scale))]


def _difference(interval: Mapping[str, Any] | None) -> Markup:
    if interval is None:
        return tag("span", DASH, class_="none")
    said = verdict(interval)
    sign = tag("i", SIGNS[said], role="img", aria_label=said) if said in SIGNS else None
    inside = [sign, " ", number(interval["mean"], "+.2f"), " ", tag("small", ends(interval, "+.2f"))]
    return tag("span", inside, class_=_CSS[said])


def _shaded(share: float | None, css: str) -> Markup:
    words = DASH if share is None else f"{share:.2f}".rstrip("0").rstrip(".")
    return tag("td", words, class_=css, style=None if not share else f"--heat:{50 * share:.0f}%")


def _iou(value: float | None, chance: float | None) -> Markup:
    if value is None or chance is None:
        return tag("td", number(value, ".1f"))
    gain = value - chance
    # Ten points of IoU are full colour.
    heat = min(abs(gain) / 10, 1) * 45
    style = f"--heat:{heat:.0f}%" if heat >= 1 else None
    return tag("td", number(value, ".1f"), class_="less" if gain < 0 else "more", style=style,
               title=f"{number(gain, '+.1f')} against random")  # fmt: skip
