"""What the page says in words and numbers: signed figures with intervals, verdicts, the opening paragraph."""

from collections.abc import Mapping, Sequence
from typing import Any

from ralseg.evaluation.page.markup import Markup, tag, text
from ralseg.evaluation.results import SUPERVISED
from ralseg.evaluation.summary import TWO_SET_MEAN

Interval = Mapping[str, Any]
MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"
PERCENT = "\N{NO-BREAK SPACE}%"
"""A figure is not parted from its sign at the end of a line."""
ABOVE, BELOW, OPEN, ONE_RUN = "above", "below", "not distinguishable from", "one run"


def number(value: float | None, form: str = ".2f") -> str:
    """A number with a real minus sign; a dash for None."""
    return DASH if value is None else f"{value:{form}}".replace("-", MINUS)


def ends(interval: Interval | None, form: str = ".2f", scale: float = 1) -> str:
    """The interval's ends in brackets; nothing for a single run or none."""
    if interval is None or interval["low"] is None:
        return ""
    return f"[{number(scale * interval['low'], form)}, {number(scale * interval['high'], form)}]"


def with_ends(interval: Interval | None, form: str = ".2f", scale: float = 1, unit: str = "") -> str:
    """A figure and its interval, on one line."""
    if interval is None:
        return DASH
    return f"{number(scale * interval['mean'], form)}{unit} {ends(interval, form, scale)}".strip()


def verdict(difference: Interval) -> str:
    """What an interval of a difference says: `ABOVE`, `BELOW`, `OPEN`, or `ONE_RUN` where there is no interval."""
    if difference["low"] is None:
        return ONE_RUN
    return ABOVE if difference["low"] > 0 else BELOW if difference["high"] < 0 else OPEN


def split_name(split: str) -> str:
    """A split in words."""
    return "mean of dev and test" if split == TWO_SET_MEAN else split


def plural(count: int, word: str, many: str | None = None) -> str:
    """`1 draw`, `2 draws`."""
    return f"{count:,} {word if count == 1 else many or word + 's'}"


def listed(words: Sequence[Any]) -> Markup:
    """`a`, `a and b`, `a, b and c`; texts or markup."""
    words = [text(word) for word in words]
    return Markup(" and ".join([", ".join(words[:-1])] * (len(words) > 1) + list(words[-1:])))


def unit_word(config: Mapping[str, Any]) -> str:
    """What is bought: region, image or pixel."""
    unit = config["game"]["unit"]
    return unit if unit in ("image", "pixel") else "region"


def setting(summary: Mapping[str, Any], comparison: Mapping[str, Any], dataset: str) -> list[Any]:
    """One or two sentences on what was compared."""
    config, game, last = comparison["config"], summary["entries"][0]["game"], _last(summary)
    policies = [name for name in comparison["policies"] if name != SUPERVISED]
    word, first = unit_word(config), last[0]
    draws = {entry["draws"] for entry in last}
    runs = plural(max(draws), "draw") if len(draws) == 1 else f"{min(draws)} to {max(draws)} draws"
    seeds = max(entry["training_seeds"] for entry in last)
    sets = listed(comparison["splits"])
    chose = "One policy chose" if len(policies) == 1 else f"{len(policies)} policies chose"
    return [
        f"{chose} which {word}s of {dataset} to have labelled: {first['units']:,.0f} of {comparison['pool']['units']:,}"
        f" ({100 * first['share']:.1f}{PERCENT} of the pixels). The same network, from the same weights, learned from"
        f" what each of them bought ({game.split('+')[0]} game, {config['loss']} loss), over {runs} that all policies"
        " share",
        f" and up to {plural(seeds, 'training seed')} of the learned ones" if seeds > 1 else "",
        ", and was scored on ",
        sets,
        ", images that nobody could buy." if len(comparison["splits"]) > 1 else ", whose images nobody could buy.",
    ]


def outcome(summary: Mapping[str, Any]) -> list[list[Any]]:
    """What came out, a sentence each: the best contender, then every learned policy, then what was within reach."""
    entries = _last(summary)
    contenders = [entry for entry in entries if not entry["reference"]]
    if not contenders:
        return []
    best = max(contenders, key=lambda entry: entry["miou"])
    where = "the " * (best["split"] == TWO_SET_MEAN) + split_name(best["split"])
    figure = f": {number(best['miou'])}{PERCENT}{_bracketed(best['interval'])}."
    many = plural(len(contenders), "contender")
    sentences = [[f"Of {many} ", _policy(best["policy"]), f" has the highest mIoU on {where}", figure]]
    told = [entry for entry in contenders if entry["learned"]] or [best]
    sentences += [sentence for entry in told if (sentence := _against(entry))]
    sentences += _won(told)
    names = {entry["policy"] for entry in told}
    here = (best["game"], best["split"])
    saved = [own for own in summary["labels_saved"] if (own["game"], own["split"]) == here and own["policy"] in names]
    return sentences + [_saved(own) for own in saved if own["censored"] != "flat base"]


def saving(saved: Mapping[str, Any]) -> str:
    """Labels saved, percent, with their interval; what is only a bound is said to be one, ends included."""
    if saved["censored"] == "flat base":
        return "the base does not rise"
    figure = f"{saved['censored']} {_percent(saved['saved'])}{PERCENT}".strip()
    if saved["censored"] or saved["low"] is None:
        return figure
    tail = (1 - saved["level"]) / 2
    low = "\N{LESS-THAN OR EQUAL TO}" * (saved["at_most"] > tail) + _percent(saved["low"])
    high = "\N{GREATER-THAN OR EQUAL TO}" * (saved["at_least"] > tail) + _percent(saved["high"])
    return f"{figure} [{low}, {high}]"


def cautions(summary: Mapping[str, Any]) -> list[str]:
    """What a reader must keep in mind."""
    entries = _last(summary)
    said = []
    if any(entry["reference"] for entry in entries):
        said.append("References see true labels (dashed, hollow marks): they are neither contenders nor bounds.")
    if any(entry["learned"] and entry["training_seeds"] == 1 for entry in entries):
        said.append(
            "A policy with one training seed: its intervals know of the draws alone, not of how much training varies."
        )
    if any(entry["draws"] < 5 for entry in entries):
        said.append("Fewer than five draws: the intervals are wide, and small differences cannot be seen.")
    if any(entry["best_heuristic"] for entry in entries):
        said.append(
            "The best heuristic is the one with the highest mean in these very runs, which makes it a slightly harder "
            "bar than a heuristic chosen beforehand."
        )
    return [*said, *(f"{note[0].upper()}{note[1:]}." for note in summary["notes"])]


def _last(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The entries that claims are made on: first game, largest budget, two-set mean where it is there."""
    game = summary["entries"][0]["game"]
    own = [entry for entry in summary["entries"] if entry["game"] == game]
    largest, split = max(entry["budget"] for entry in own), own[-1]["split"]
    return [entry for entry in own if entry["budget"] == largest and entry["split"] == split]


def _against(entry: Mapping[str, Any]) -> list[Any] | None:
    parts = []
    for base in dict.fromkeys(("random", entry["best_heuristic"])):
        found = entry["difference"].get(base)
        if found is not None:
            named = "random choice" if base == "random" else [_policy(base), ", the best heuristic"]
            said, figure = verdict(found), with_ends(found, "+.2f")
            one = [f"{figure} from ", named, " (one run, no interval)"]
            parts.append(one if said == ONE_RUN else [f"{said} ", named, f" ({figure})"])
    return [_policy(entry["policy"]), " is ", listed(parts), "."] if parts else None


def _bracketed(interval: Interval | None) -> str:
    found = ends(interval)
    return f" (95{PERCENT} interval {found})" if found else ""


def _won(entries: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    won = {entry["policy"]: entry["share_of_reference"] for entry in entries if entry["share_of_reference"]}
    won = {name: own for name, own in won.items() if own["share"]}
    if not won:
        return []
    first = next(iter(won.values()))
    gain = with_ends(first["advantage"], "+.2f")
    each = [[_policy(name), f" won {with_ends(own['share'], '.0f', 100, PERCENT)}"] for name, own in won.items()]
    return [[f"Of what {first['reference']}, which sees true labels, gains over random ({gain}), ", listed(each), "."]]


def _saved(saved: Mapping[str, Any]) -> list[Any]:
    name, base = _policy(saved["policy"]), _policy(saved["base"])
    if saved["censored"] == "at most":
        return [name, " does not reach what ", base, " has at the largest budget."]
    # More labels are a saving below nought.
    return ["Labels saved by ", name, " in reaching what ", base, f" has at the largest budget: {saving(saved)}."]


def _percent(share: float) -> str:
    return f"{round(100 * share):+d}".replace("+0", "0").replace("-", MINUS)


def _policy(name: str) -> Markup:
    return tag("b", name)
