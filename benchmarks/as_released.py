"""How many of an acquisition's units its released variant chooses as well."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from ralseg.agents.acquisitions import FixedPolicy, make
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
FROZEN = "pixel, frozen features"
UNITS = {
    "region": ("game.unit=region",),
    "image": ("game.unit=image",),
    "pixel": ("game.unit=pixel", "game.pool_per_image=2000"),
    FROZEN: (
        "game=pixels", "learner=from_scratch", "source=timm", "network=pixel_mlp", "network.hidden=[128,32]",
        "theta0=untrained", "input_scale=1.0",
    ),
}  # fmt: skip
"""The last one is the game of two-stage eDALD, after a round of random pixels."""
SHARE = {"region": 0.05, "image": 0.1, "pixel": 0.004, FROZEN: 0.0007}
"""Share of the pool that is chosen; for frozen features what a round of two-stage eDALD buys."""
NOISE = {"edald": {"noise": {"kind": "noisy_image", "draws": 5}}}
"""Options of both variants on frozen features, where only these are compared."""


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """Let both variants choose from the whole of D_V, at theta_0 or after the first round.

    Args:
        overrides: of `train_agent.yaml`.
        share: above 0 and at most 1; below a half only regions are measured.
    """
    kinds = list(UNITS) if share >= 0.5 else list(UNITS)[:1]
    return {
        "variants": {
            unit: overlaps(game_of(overrides, unit), SHARE[unit], NOISE if unit == FROZEN else {}) for unit in kinds
        }
    }


def game_of(overrides: Sequence[str], unit: str) -> Game:
    """A game with the whole pool on offer: at theta_0, or on frozen features after a round of random pixels."""
    draw = () if unit == FROZEN else ("game.draw=pool",)
    game = World(configured((), [*overrides, *draw, *UNITS[unit]])).game("compare", observed=False)
    game.reset(0)
    if unit == FROZEN:
        game.step(FixedPolicy(make("random")).select(game.view(observed=False), np.random.default_rng(0)))
    return game


def overlaps(game: Game, share: float, shared: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Acquisition -> units in the pool, units chosen, share chosen by both and by chance, rank correlation.

    Args:
        game: with the whole pool on offer.
        share: of the pool that is chosen.
        shared: acquisition -> options of both variants; only these are compared, or all if it is empty.
    """
    found = {}
    for name in shared or VARIANTS:
        options = shared.get(name, {})
        published, released = make(name, **options), make(name, **options, **VARIANTS[name])
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
