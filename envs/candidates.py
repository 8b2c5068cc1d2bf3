"""The draw of the K x N unlabelled units that a step offers."""

from itertools import pairwise
from typing import Literal

import numpy as np

from ralseg.envs.pool import Pool
from ralseg.foundation import RalsegError, generator

Draw = Literal["clustered", "uniform", "pool"]
DRAWS: tuple[Draw, ...] = ("clustered", "uniform", "pool")

Redraw = Literal["turn", "game"]

LONGEST = 1 << 20
"""Numbers drawn at once."""


def draw_candidates(
    pool: Pool,
    slates: int,
    size: int,
    draw: Draw,
    seed: int,
    step: int,
    per_image: int | None = None,
    redraw: Redraw = "turn",
) -> np.ndarray:
    """The first K x N open units by a priority that depends on (seed, step, unit) alone; or the whole pool.

    Every policy of a seed therefore gets the same draws, apart from the units that it has bought. If fewer units are
    left, they are dealt evenly and slates are filled up with -1. A unit is open if it is neither asked for nor void.

    Args:
        pool: the units.
        slates: K.
        size: N, candidates in a slate.
        draw: `clustered` (whole images at random until they hold K x N open units, as released), `uniform` (over all
            open units, as published) or `pool` (one slate of all open units, from which K are chosen).
        seed: the seed of the episode.
        step: the number of the step in the episode.
        per_image: with `pool`, the most units of one image, drawn at random; None for all.
        redraw: with `per_image`, whether they are drawn in every `turn`, or once for the whole `game`; of these the
            open ones are on offer.

    Returns:
        (K, N) int64 flat unit numbers, -1 for an empty place; (1, units) with `pool`.

    Raises:
        RalsegError: for an unknown draw, or K or N below 1.
    """
    if slates < 1 or size < 1:
        raise RalsegError(f"a draw needs slates and candidates of 1 or more, not {slates} x {size}")
    if draw not in DRAWS:
        raise RalsegError(f"game.draw={draw!r} is unknown; choose from {', '.join(DRAWS)}")
    if draw == "pool":
        return (_whole(pool, per_image, seed, step) if redraw == "turn" else _once(pool, per_image, seed))[None]
    wanted = slates * size
    order = (_clustered if draw == "clustered" else _uniform)(pool, wanted, seed, step)
    dealt = np.full(wanted, -1, np.int64)
    dealt[: len(order)] = order
    return np.ascontiguousarray(dealt.reshape(size, slates).T)


def _uniform(pool: Pool, wanted: int, seed: int, step: int) -> np.ndarray:
    # Ordering units by their first occurrence in an endless random stream gives a random permutation of which only the
    # part that is needed has to be drawn.
    rng = generator(seed, "draw", step)
    found, length = np.empty(0, np.int64), wanted + wanted // 4
    while len(found) < min(wanted, pool.free.sum()):
        drawn = rng.integers(len(pool), size=length)
        pool.look(pool.locate(drawn)[0])
        drawn = np.concatenate([found, drawn[pool.open(drawn)]])
        found = drawn[np.sort(np.unique(drawn, return_index=True)[1])]
        length = min(2 * length, LONGEST)
    return found[:wanted]


def _clustered(pool: Pool, wanted: int, seed: int, step: int) -> np.ndarray:
    images = generator(seed, "draw", step).permutation(len(pool.images))
    enough = 0
    # An image's void units are known only after `look`, so more images may be needed afterwards.
    while (needed := int(np.searchsorted(np.cumsum(pool.free[images]), wanted)) + 1) > enough:
        pool.look(images[enough:needed])
        enough = min(needed, len(images))
        if enough == len(images):
            break
    units, priorities = zip(*(_prioritised(pool, int(place), seed, step) for place in images[:enough]), strict=True)
    units, priorities = np.concatenate(units), np.concatenate(priorities)
    return units[np.argsort(priorities, kind="stable")[:wanted]]


def _prioritised(pool: Pool, place: int, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Open units of one image and their priorities, in the order of units."""
    # One stream per image, so that an image's priorities do not depend on which other images take part.
    start, stop = pool.offsets[place], pool.offsets[place + 1]
    priority = generator(seed, "draw", step, "image", place).random(stop - start)
    open_ = np.flatnonzero(pool.open(slice(start, stop)))
    return start + open_, priority[open_]


def _whole(pool: Pool, per_image: int | None, seed: int, step: int) -> np.ndarray:
    pool.look(np.arange(len(pool.images)))
    if per_image is None:
        return np.flatnonzero(pool.open(slice(None)))
    drawn = (_prioritised(pool, place, seed, step) for place in range(len(pool.images)))
    return np.concatenate([units[_lowest(priority, per_image)] for units, priority in drawn])


def _once(pool: Pool, per_image: int | None, seed: int) -> np.ndarray:
    pool.look(np.arange(len(pool.images)))
    found = []
    for place, (start, stop) in enumerate(pairwise(pool.offsets.tolist())):
        units = start + np.flatnonzero(~pool.void[start:stop])
        most = len(units) if per_image is None else min(per_image, len(units))
        drawn = generator(seed, "draw", "image", place).choice(units, most, replace=False)
        found.append(np.sort(drawn[pool.open(drawn)]))
    return np.concatenate(found)


def _lowest(priority: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` lowest priorities, ascending."""
    if count >= len(priority):
        return np.arange(len(priority))
    return np.sort(np.argpartition(priority, count)[:count])
