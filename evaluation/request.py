"""What is asked of a comparison, and whether it can be played; seen before anything is trained or written."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ralseg.agents.query_policy import QueryPolicy
from ralseg.envs import Pool, World
from ralseg.evaluation.policies import NamedPolicy, check_policies
from ralseg.features import spec_from_config
from ralseg.foundation import RalsegError
from ralseg.foundation.torchrun import started

SPLITS = ("dev", "test")


@dataclass(frozen=True)
class Request:
    """A comparison that can be played.

    Attributes:
        config: the configuration; its game.budget is the largest of the budgets.
        world: of the configuration.
        pool: of D_V.
        budgets: ascending.
        splits: that are evaluated.
        notes: on splits that are left out.
    """

    config: Mapping[str, Any]
    world: World
    pool: Pool
    budgets: tuple[float, ...]
    splits: tuple[str, ...]
    notes: list[str]


def checked_request(
    config: Mapping[str, Any],
    policies: Sequence[NamedPolicy],
    *,
    draws: int,
    budgets: Sequence[float] | None,
    splits: Sequence[str],
    processes: int,
    fit_draws: int,
    where: str = "",
) -> Request:
    """Check what is asked of a comparison.

    Args:
        config: see `compare`, as for all that follow but the last.
        policies: made already.
        draws: runs of every policy.
        budgets: where the network is evaluated.
        splits: what it is evaluated on.
        processes: how many play at once.
        fit_draws: runs that are trained to convergence.
        where: what comes before the settings' names in messages, e.g. "comparison.".

    Raises:
        RalsegError: for the first thing that cannot be.
    """
    for name, value, least in (("draws", draws, 1), ("processes", processes, 1), ("fit.draws", fit_draws, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise RalsegError(f"{where}{name}={value!r} is out of range; it is a whole number, {least} or more")
    if processes > 1 and started() > 1:
        raise RalsegError(
            f"{where}processes={processes} plays several runs at once, but the {started()} processes that torchrun "
            f"started train together in one run after the other; set {where}processes=1"
        )
    budgets = _budgets(config["game"]["budget"] if budgets is None else budgets, where, given=budgets is not None)
    # A game of no turns needs a budget nevertheless, and never reaches it.
    config = {**config, "game": {**config["game"], "budget": budgets[-1] or config["game"]["budget"]}}
    check_policies(policies, config)
    world = World(config)
    world.check(observed=False)
    world.check_noises(reducer.noise for entry in policies for reducer in entry.policy.needs)
    kept, notes = _playable(world, splits, where)
    pool = Pool(world.store, world.images("compare"), world.unit)
    _check_budgets(world, pool, budgets, where)
    for entry in policies:
        _check_sizes(entry, world)
        _check_unseen(entry, world, kept)
    return Request(config, world, pool, budgets, kept, notes)


def _budgets(budgets: Any, where: str, given: bool) -> tuple[float, ...]:
    if not given:
        return (budgets,)
    listed = budgets if isinstance(budgets, Sequence) and not isinstance(budgets, str) else []
    if not listed or not all(_is_budget(budget) for budget in listed):
        shown = f"{where}budgets={budgets}"
        raise RalsegError(f"{shown} is not a list of numbers, 0 or more; give e.g. {where}budgets=[240,480]")
    return tuple(sorted(set(listed)))


def _is_budget(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _check_budgets(world: World, pool: Pool, budgets: Sequence[float], where: str) -> None:
    options = world.game_options
    offered = pool if options.offer_void else Pool(world.store, world.labelled("compare"), world.unit)
    measure = options.budget_measure
    per_image = len(offered) / len(pool.images)
    shares = {"units_per_image": per_image, "pixels": offered.pixels, "share": offered.pixels / pool.pixels}
    most = ({"units": len(offered)} | shares).get(measure, math.inf)
    if budgets[-1] > most:
        raise RalsegError(
            f"budget {budgets[-1]} is more than D_V has to offer in images with a label, {most:.9g} {measure}; lower "
            f"{where}budgets or game.budget"
        )
    slates = options.on(len(pool.images)).slates
    uneven = [budget for budget in budgets[:-1] if budget % slates]
    if options.budget_measure == "units" and uneven:
        raise RalsegError(
            f"budget {uneven[0]} is no multiple of game.slates={slates}, the units that a turn buys; only the "
            f"largest of {where}budgets may be uneven"
        )


def _playable(world: World, splits: Any, where: str) -> tuple[tuple[str, ...], list[str]]:
    """The splits that the protocol has, of those asked for, and a note on each that is left out."""
    known = isinstance(splits, Sequence) and not isinstance(splits, str) and all(split in SPLITS for split in splits)
    if not known or not splits:
        raise RalsegError(f"{where}splits={splits} is unknown; choose from [{', '.join(SPLITS)}]")
    kept = tuple(split for split in SPLITS if split in splits and world.images(split))
    if not kept:
        raise RalsegError(f"{where}splits=[dev], but the protocol has no dev; add test or choose another protocol")
    return kept, [f"the protocol has no {split}; it is left out" for split in splits if split not in kept]


def _check_sizes(entry: NamedPolicy, world: World) -> None:
    """Refuse a policy whose network reads observations of other sizes than those of its own features in this game."""
    if entry.training is None or not isinstance(entry.policy, QueryPolicy):
        return
    spec = spec_from_config(entry.training.config["features"], len(world.dataset.classes))
    try:
        entry.policy.check_sizes(state_features=spec.state_width, candidate_features=spec.candidate_width)
    except RalsegError as error:
        raise RalsegError(f"{entry.name}: {error}") from error


def _check_unseen(entry: NamedPolicy, world: World, played: Sequence[str]) -> None:
    """Refuse a policy that would buy, or be judged on, an image that it learned on."""
    if entry.training is None or not entry.training.shares_images_with(world.config):
        return
    judging = {name for role in ("compare", *played) for name in getattr(world.splits, role)}
    if seen := entry.training.learned_on & judging:
        raise RalsegError(
            f"{entry.name} learned on {len(seen)} images that it would be judged on, e.g. {min(seen)!r}; "
            "set protocol as in its training"
        )
