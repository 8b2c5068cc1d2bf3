"""What the page says in sentences: what was compared, what came out, what to keep in mind."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from ralseg.evaluation.alike import all_alike, claimed, contenders, remarks
from ralseg.evaluation.cells import ONE_RUN, Cell, difference, labels_saved, share_of_reference, split_name
from ralseg.evaluation.results import SUPERVISED, TWO_SET_MEAN
from ralseg.evaluation.tables import one_seed

DASH = "\N{EN DASH}"
_SIGNS = {
    "-": "\N{MINUS SIGN}",
    "<=": "\N{LESS-THAN OR EQUAL TO}",
    ">=": "\N{GREATER-THAN OR EQUAL TO}",
    # A figure is not parted from its sign at the end of a line.
    " %": "\N{NO-BREAK SPACE}%",
    " x ": " \N{MULTIPLICATION SIGN} ",
}


class Name(str):
    """A policy's name in a sentence: plain in text, bold on the page."""

    def __html__(self) -> str:
        return f"<b>{html.escape(self)}</b>"


def typeset(cell: Cell | str) -> str:
    """A cell's text in the signs of printed pages; a dash for an empty cell."""
    text = str(cell)
    for plain, sign in _SIGNS.items():
        text = text.replace(plain, sign)
    return text or DASH


def plural(count: int, word: str, many: str | None = None) -> str:
    """`1 draw`, `2 draws`."""
    return f"{count:,} {word if count == 1 else many or word + 's'}"


def listed(parts: Sequence[Sequence[str]]) -> list[str]:
    """`a`, `a and b`, `a, b and c`, each of them a list of texts."""
    found: list[str] = []
    for number, part in enumerate(parts):
        found += [" and " if number == len(parts) - 1 else ", "] * bool(number) + [*part]
    return found


def unit_word(config: Mapping[str, Any]) -> str:
    """What is bought: region, image or pixel."""
    unit = config["game"]["unit"]
    return unit if unit in ("image", "pixel") else "region"


def setting(summary: Mapping[str, Any], comparison: Mapping[str, Any], dataset: str) -> str:
    """One or two sentences on what was compared."""
    config, game, last = comparison["config"], summary["entries"][0]["game"], claimed(summary)
    policies = [name for name in comparison["policies"] if name != SUPERVISED]
    first, draws = last[0], {entry["draws"] for entry in last}
    runs = plural(max(draws), "draw") if len(draws) == 1 else f"{min(draws)} to {max(draws)} draws"
    seeds = {entry["training_seeds"] for entry in last if entry["learned"]}
    trained = (
        plural(max(seeds), "training seed")
        if len(seeds) == 1
        else f"{min(seeds, default=0)} to {max(seeds, default=0)} training seeds"
    )
    chose = "One policy chose" if len(policies) == 1 else f"{len(policies)} policies chose"
    share = typeset(Cell(first["share"], form=".1f", percent=True))
    whose = "images that nobody could buy" if len(comparison["splits"]) > 1 else "whose images nobody could buy"
    return (
        f"{chose} which {unit_word(config)}s of {dataset} to have labelled: {first['units']:,.0f} of "
        f"{comparison['pool']['units']:,} ({share} of the pixels). The same network, from the same weights, learned "
        f"from what each of them bought ({game.split('+')[0]} game, {config['loss']} loss), over {runs} that all "
        f"policies share{f' and {trained} of the learned ones' * bool(seeds)}, and was scored on "
        f"{''.join(listed([[split] for split in comparison['splits']]))}, {whose}."
    )


def outcome(summary: Mapping[str, Any]) -> list[list[str]]:
    """What came out, a sentence each: the best contender, then every learned policy, then what was within reach.

    Where all contenders are tied, that alone is said.
    """
    said = [[remark] for remark in remarks(summary)]
    contending = contenders(claimed(summary))
    if not contending or all_alike(contending):
        return said
    best = max(contending, key=lambda entry: entry["miou"])
    where = "the " * (best["split"] == TWO_SET_MEAN) + split_name(best["split"])
    cell = Cell.of(best["interval"])
    interval = typeset(f" (95 % interval {cell.ends})") if cell.ends else ""
    figure = f"{typeset(Cell(best['miou']))}{typeset(' %')}{interval}."
    tied = [[Name(entry["policy"])] for entry in contending if entry["miou"] == best["miou"]]
    have = "has" if len(tied) == 1 else "have"
    many = plural(len(contending), "contender")
    sentences = [[f"Of {many} ", *listed(tied), f" {have} the highest mIoU on {where}: {figure}"], *said]
    shown = [entry for entry in contending if entry["learned"]] or [best]
    sentences += [sentence for entry in shown if (sentence := _against(entry))] + _won(shown)
    names, here = {entry["policy"] for entry in shown}, (best["game"], best["split"])
    saved = [own for own in summary["labels_saved"] if (own["game"], own["split"]) == here and own["policy"] in names]
    return sentences + [_saved(own) for own in saved if own["censored"] != "flat base"]


def cautions(summary: Mapping[str, Any]) -> list[str]:
    """What a reader must keep in mind."""
    entries = claimed(summary)
    said = []
    if any(entry["reference"] for entry in entries):
        said.append("References see true labels (dashed, hollow marks): they are neither contenders nor bounds.")
    if names := one_seed(entries):
        said.append(
            f"Trained with one seed alone: {', '.join(names)}. Its intervals cover the draws alone, not how "
            "much training varies."
        )
    if any(entry["draws"] < 5 for entry in entries):
        said.append("Fewer than five draws: the intervals are wide, and small differences cannot be seen.")
    if any(entry["best_heuristic"] for entry in entries):
        said.append(
            "The best heuristic is the one with the highest mean in these very runs, which makes it a slightly harder "
            "bar than a heuristic chosen beforehand."
        )
    return [*said, *(f"{note[0].upper()}{note[1:]}." for note in summary["notes"])]


def _against(entry: Mapping[str, Any]) -> list[str]:
    parts = []
    for base in dict.fromkeys(("random", entry["best_heuristic"])):
        if entry["difference"].get(base) is None:
            continue
        cell = difference(entry["difference"][base])
        named = ["random choice"] if base == "random" else [Name(base), ", the best heuristic"]
        if cell.verdict == ONE_RUN:
            parts.append([f"{typeset(cell)} from ", *named, " (one run, no interval)"])
        else:
            parts.append([f"{cell.verdict} ", *named, f" ({typeset(cell)})"])
    return [Name(entry["policy"]), " is ", *listed(parts), "."] if parts else []


def _won(entries: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    won = [entry for entry in entries if share_of_reference(entry).mean is not None]
    if not won:
        return []
    first = won[0]["share_of_reference"]
    each = [[Name(entry["policy"]), f" won {typeset(share_of_reference(entry))}"] for entry in won]
    gain = typeset(difference(first["advantage"]))
    lead = f"Of what {first['reference']}, which sees true labels, gains over random ({gain}), "
    return [[lead, *listed(each), "."]]


def _saved(saved: Mapping[str, Any]) -> list[str]:
    name, base = Name(saved["policy"]), Name(saved["base"])
    if saved["censored"] == "at most":
        return [name, " does not reach what ", base, " has at the largest budget."]
    figure = typeset(labels_saved(saved))
    return ["Labels saved by ", name, " in reaching what ", base, f" has at the largest budget: {figure}."]
