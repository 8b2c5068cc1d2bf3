"""How many of an acquisition's units its released variant chooses as well."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from ralseg.agents.acquisitions import make
from ralseg.agents.acquisitions.base import Scored
from ralseg.benchmarks.measure import configured
from ralseg.envs import Game, World

VARIANTS = {
    "entropy": {"as_released": True},
    "edald": {"as_released": True},
    "equal": {"as_released": True},
    "coreset": {"embedding": "2x2"},
}
"""Acquisition -> the options that make it the variant of the released code."""
UNITS = {
    "region": ("game.unit=region",),
    "image": ("game.unit=image",),
    "pixel": ("game.unit=pixel", "game.pool_per_image=2000"),
}
SHARE = {"region": 0.05, "image": 0.1, "pixel": 0.004}
"""Share of the pool that is chosen; for pixels about what a round of eDALD buys."""


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """Let both variants choose from the whole of D_V at theta_0.

    Args:
        overrides: of `train_agent.yaml`.
        share: above 0 and at most 1; below a half only regions are measured.
    """
    kinds = list(UNITS) if share >= 0.5 else list(UNITS)[:1]
    return {"variants": {unit: overlaps(game_of(overrides, unit), SHARE[unit]) for unit in kinds}}


def game_of(overrides: Sequence[str], unit: str) -> Game:
    """A game after its reset, at theta_0, with the whole pool on offer."""
    game = World(configured((), [*overrides, "game.draw=pool", *UNITS[unit]])).game("compare", observed=False)
    game.reset(0)
    return game


def overlaps(game: Game, share: float) -> dict[str, dict[str, Any]]:
    """Acquisition -> units in the pool, units chosen, share chosen by both and by chance, rank correlation."""
    found = {}
    for name, options in VARIANTS.items():
        published, released = make(name), make(name, **options)
        candidates = game.view((*published.needs, *released.needs), observed=False)
        count = max(1, round(share * len(candidates)))
        first, second = (
            variant.select(candidates, count, np.random.default_rng(0)) for variant in (published, released)
        )
        correlation = None
        if isinstance(published, Scored) and isinstance(released, Scored):
            ranks = spearmanr(published.score(candidates), released.score(candidates))
            correlation = float(ranks.statistic)  # pyright: ignore[reportAttributeAccessIssue]
        found[name] = {
            "units": len(candidates),
            "chosen": count,
            "in_common": len(np.intersect1d(first, second)) / count,
            "by_chance": count / len(candidates),
            "rank_correlation": correlation,
        }
    return found


def rows(found: dict[str, Any]) -> list[list[Any]]:
    """One line for each kind of unit and acquisition."""
    table = [["unit", "acquisition", "units", "chosen", "in common, %", "by chance, %", "rank correlation"]]
    for unit, acquisitions in found["variants"].items():
        for name, at in acquisitions.items():
            correlation = "" if at["rank_correlation"] is None else round(at["rank_correlation"], 3)
            shares = (round(100 * at[key], 1) for key in ("in_common", "by_chance"))
            table.append([unit, name, at["units"], at["chosen"], *shares, correlation])
    return table
