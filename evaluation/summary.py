"""The summary of a comparison, made from its rows: means, paired differences, ranks, whole curves."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ralseg.evaluation.collapse import collapse
from ralseg.evaluation.results import ALL, Results, Row
from ralseg.evaluation.run_arrays import (
    BILL,
    RARE,
    TWO_SET_MEAN,
    Runs,
    as_json,
    best_of,
    differences,
    identity,
    mean_of_defined,
    measured,
    resamples_of_summary,
    run_counts,
    runs_of,
)
from ralseg.evaluation.whole_curves import areas, labelled_share, labels_saved_of, penalty
from ralseg.foundation import RalsegError
from ralseg.stats import (
    Resamples,
    advantage_won,
    complete,
    interquartile_mean,
    paired_interval,
    share_of_paired_wins,
    two_set_mean,
)

BASELINES = ("random", "margin")
"""Policies that others are compared with, beside the best heuristic: chance, and what is mostly hardest to beat."""
DECIMALS = 6
"""Decimals of every figure: two more than results.csv has of a mIoU in percent."""
RARE_BELOW = 0.02
"""Share of the pool's labelled pixels below which a class is rare: five classes of CamVid, the largest 1.3 %; the next
has 4.6 %."""


def summarise(results: Results) -> dict[str, Any]:
    """The summary as JSON values, with figures rounded to `DECIMALS`.

    An *interval* is `mean`, `low`, `high`, `standard_error`, `n`, `level` and `method` (see `ralseg.stats.Interval`);
    a single run has only a mean, and None for the rest. Without any pair of runs the interval itself is None.
    A *contender* is a policy that sees no true labels; a *heuristic* is a contender other than `random` that was not
    trained. Baselines are `random`, `margin` and the best heuristic, unless they are missing or the policy itself.
    Draws are paired with the same draw, and training seeds with the same training seed; a policy that was not trained
    is paired with every training seed. docs/statistics.md explains every figure.

    Returns:
        A dictionary with these keys:

        - `notes`: sentences.
        - `supervised`: game -> split -> mIoU (the two-set mean is a split here and below).
        - `rare_classes`: `below` (share of the pool's labelled pixels) and `classes` (names) that are rarer.
        - `entries`: one for each game, budget, split and policy:
          - `game`, `budget`, `split`, `policy`;
          - `reference` (sees true labels: neither a contender nor a bound), `learned`;
          - `training_seeds`, `draws`: how many;
          - `miou`: mean over all runs, percent; `interval` of it; `iqm`: interval of the interquartile mean;
          - `rank`: mean rank among the contenders, 1 is best; None for references;
          - `best_heuristic`: its name, that with the highest `miou` here; None without heuristics;
          - `difference`: baseline -> interval of the paired difference;
          - `share_of_paired_wins`: baseline -> interval of the share of paired runs that the policy wins, 0 to 1,
            a tie being half a win;
          - `share_of_supervised`: share of the mIoU of the fully supervised network of the same training; None where
            that was not trained;
          - `share_of_reference`: None for references and `random`, else `reference` (name of the one with the highest
            `miou` here), `advantage` (interval of the reference less random) and `share` of it that the policy has won
            (interval; 1 is all; None unless the interval of the advantage is above 0);
          - `rare`: mean IoU of the rare classes, percent: `miou` (interval) and `difference` (baseline -> interval);
            None without rare classes;
          - `iou`: class -> mean percent, None where it is nowhere defined;
          - means of what was paid: `units`, `pixels`, `share`, `images`, `clicks`, `label_cost_of_policy`; and
            `class_entropy`, `seconds_choosing`.
        - `areas`: with two budgets or more, one for each game, split and policy: `game`, `split`, `policy`,
          `reference`, `learned`, `training_seeds`, `draws`, `best_heuristic` (that with the largest area), `area`
          (interval of the area under the budget curve over the range of budgets: a mean mIoU) and `difference`
          (baseline -> interval). Where budgets are labelled shares (see `labelled_share`), also `auc`: interval of the
          area itself, percent x share (AUC@B of Mittal et al., GCPR 2023).
        - `labels_saved`: as many, but for the best heuristic by area, which is the base of all (none without one):
          `game`, `split`, `policy`, `reference`, `learned`, `base`, `saved` (share of the base's budget; 0.3 is 30 %),
          `low`, `high`, `n`, `level`, `method`, and `censored`: "" or why `saved` is a bound: "at most" (the base's
          figure is not reached within the budgets), "at least" (reached at the first budget) or "flat base" (the base
          does not rise: nothing can be saved, `saved` is 0); `at_most`, `at_least`, `flat_base`: share of the resamples
          that were so. One run has None for `low`, `high`, `level` and these shares.
        - `penalty`: one for each game and split: `game`, `split`, `policies` (the contenders), `budgets` (how many),
          `matrix` (row beats column at this share of the budgets; 0 on the diagonal; None without a pair) and
          `beaten`: mean of each column over the others.
        - `collapse`: where units are images and their embedding is kept (see `write_embedding`), from
          what was bought; else the key is missing:
          - `images` in the pool; `groups`: the effective number of theirs (exp of the entropy of the groups' shares),
            None where each image is a group of its own;
          - `entries`: one for each budget and policy, whatever the game and split: `budget`, `policy`, `reference`,
            `learned`, `training_seeds`, `draws`, `images` (mean number chosen) and intervals of `spread`: the mean
            distance of a chosen image to the nearest other chosen one, over its mean for random choices of as many;
            `coverage`: the mean distance of the pool's images to the nearest of a random choice, over that to the
            nearest chosen one; and `groups`: the effective number of groups among the chosen. Below 1, spread and
            coverage are worse than chance. Where fewer than two, or all, are chosen they are not defined (None);
          - `random`: for each budget at which all runs have chosen as many: `budget`, and of each of the three figures
            `mean`, `low` and `high`, the range that 95 % of random choices are in.
    """
    comparison, rows = results.comparison, results.rows
    if "references" not in comparison:
        path = results.folder / "comparison.json"
        raise RalsegError(f'{path}: does not say which policies see true labels; add "references", a list of names')
    resamples = resamples_of_summary()
    full, rare = _supervised(rows), rare_classes(comparison)
    summary: dict[str, Any] = {
        "notes": _notes(comparison, rows),
        "supervised": full,
        "rare_classes": {"below": RARE_BELOW, "classes": rare},
    } | {key: [] for key in ("entries", "areas", "labels_saved", "penalty")}
    for game in sorted({row["game"] for row in rows if row["budget_units"] != ALL}):
        splits = runs_of(rows, comparison, game, rare)
        for number, budget in enumerate(comparison["budgets"]):
            for split, policies in splits.items():
                here = [runs.at(number) for runs in policies.values()]
                here = [runs for runs in here if np.isfinite(runs.miou).any()]
                where = {"game": game, "budget": budget, "split": split}
                supervised = full.get(game, {}).get(split)
                entries = _entries(here, comparison["classes"], supervised, resamples)
                summary["entries"] += [where | entry for entry in entries]
        for split, policies in splits.items():
            where, curves = {"game": game, "split": split}, list(policies.values())
            of_share = labelled_share(comparison.get("config", {}))
            areas_here = areas(curves, comparison["budgets"], BASELINES, resamples, of_share)
            summary["areas"] += [where | area for area in areas_here]
            saved = labels_saved_of(curves, comparison["budgets"], resamples)
            summary["labels_saved"] += [where | of for of in saved]
            summary["penalty"] += [where | matrix for matrix in penalty(curves)]
    if (collapsed := collapse(results, resamples)) is not None:
        summary["collapse"] = collapsed
    return _rounded(summary)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return round(value, DECIMALS) if isinstance(value, float) else value


def rare_classes(comparison: Mapping[str, Any]) -> list[str]:
    """Classes with fewer of the pool's labelled pixels than `RARE_BELOW` says, those that it does not hold left out."""
    pixels = np.array(comparison["pool"]["class_pixels"], dtype=np.float64)
    named = zip(comparison["classes"], pixels, strict=True)
    return [name for name, own in named if 0 < own < RARE_BELOW * pixels.sum()]


def _entries(
    policies: Sequence[Runs], classes: Sequence[str], supervised: float | None, resamples: Resamples
) -> list[dict[str, Any]]:
    """The entries of one game, budget and split; figures are (training seeds, draws)."""
    named = {runs.name: runs for runs in policies}
    best = best_of(runs for runs in policies if runs.heuristic)
    winnable = best_of(runs for runs in policies if runs.reference)
    ranks = _ranks([runs for runs in policies if not runs.reference])
    entries = []
    for runs in policies:
        less = differences(runs, named, [*BASELINES, best])
        miou = float(mean_of_defined(runs.miou))
        entries.append(
            {
                **identity(runs),
                **run_counts(runs.miou),
                "miou": miou,
                "interval": measured(paired_interval, runs.miou, resamples),
                "iqm": measured(interquartile_mean, runs.miou, resamples),
                "rank": ranks.get(runs.name),
                "best_heuristic": best,
                "difference": {base: measured(paired_interval, of["miou"], resamples) for base, of in less.items()},
                "share_of_paired_wins": {
                    base: measured(share_of_paired_wins, of["miou"], resamples) for base, of in less.items()
                },
                "share_of_supervised": None if not supervised else miou / supervised,
                "share_of_reference": _share_of_reference(runs, named, winnable, resamples),
                "rare": _rare(runs, less, resamples),
                "iou": {name: as_json(100 * mean_of_defined(runs.figures[f"iou_{name}"])) for name in classes},
            }
            | {key: float(mean_of_defined(runs.figures[key])) for key in BILL}
        )
    return entries


def _ranks(contenders: Sequence[Runs]) -> dict[str, float | None]:
    """Mean rank of each policy: 1 and the chance that each of the others is better, over the runs that both played.

    Where all have played all runs that is the mean of the ranks in each run, ties sharing theirs.
    """
    ranks: dict[str, float | None] = {}
    for runs in contenders:
        less = (complete(other.miou - runs.miou) for other in contenders if other is not runs)
        beaten = [(np.sign(values) + 1).mean() / 2 if values.size else np.nan for values in less]
        ranks[runs.name] = as_json(1 + sum(beaten))
    return ranks


def _share_of_reference(
    runs: Runs, policies: Mapping[str, Runs], reference: str | None, resamples: Resamples
) -> dict[str, Any] | None:
    if reference is None or "random" not in policies or runs.reference or runs.name == "random":
        return None
    three = [runs.miou, policies["random"].miou, policies[reference].miou]
    own, base, best = np.moveaxis(complete(np.stack(np.broadcast_arrays(*three), axis=-1)), -1, 0)
    # What was not trained is the same for every training seed of the policy.
    base, best = base[:1], best[:1]
    found = {"reference": reference, "advantage": measured(paired_interval, best - base, resamples), "share": None}
    if best.size > 1:
        share = advantage_won(own, base, best, resamples).share
        found["share"] = None if share is None else asdict(share)
    return found


def _rare(runs: Runs, less: Mapping[str, Mapping[str, np.ndarray]], resamples: Resamples) -> dict[str, Any] | None:
    if RARE not in runs.figures:
        return None
    return {
        "miou": measured(paired_interval, runs.figures[RARE], resamples),
        "difference": {base: measured(paired_interval, of[RARE], resamples) for base, of in less.items()},
    }


def _notes(comparison: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    commits = len({row["commit"] for row in rows})
    return [*comparison["notes"], *[f"the runs were played by {commits} versions of the code"] * (commits > 1)]


def _supervised(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    full: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["budget_units"] == ALL:
            full.setdefault(row["game"], {})[row["split"]] = row["miou"]
    for splits in full.values():
        if {"dev", "test"} <= splits.keys():
            splits[TWO_SET_MEAN] = float(two_set_mean(np.array(splits["dev"]), np.array(splits["test"])))
    return full
