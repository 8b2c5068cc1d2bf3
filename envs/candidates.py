"""The draw: which K x N unlabelled units a step offers."""

from typing import Literal

import numpy as np

from ralseg.envs.pool import Pool
from ralseg.foundation import RalsegError, generator

Draw = Literal["clustered", "uniform"]
DRAWS: tuple[Draw, ...] = ("clustered", "uniform")

LONGEST = 1 << 20
"""Numbers drawn at once."""


def draw_candidates(pool: Pool, slates: int, size: int, draw: Draw, seed: int, step: int) -> np.ndarray:
    """The first K x N unlabelled units by a priority that depends on (seed, step, unit) alone.

    Every policy of a seed therefore meets the same draws, up to what it has bought. Where fewer units are left they are
    dealt evenly, and slates are filled with -1.

    Args:
        pool: the units.
        slates: K.
        size: N, candidates in a slate.
        draw: `clustered` (whole images at random until they hold K x N unlabelled units, as released) or `uniform`
            (over all unlabelled units, as published).
        seed: of the episode.
        step: number of the step in it.

    Returns:
        (K, N) int64 flat unit numbers, -1 where there is none.

    Raises:
        RalsegError: for an unknown draw, or K or N below 1.
    """
    if slates < 1 or size < 1:
        raise RalsegError(f"a draw needs slates and candidates of 1 or more, not {slates} x {size}")
    if draw not in DRAWS:
        raise RalsegError(f"game.draw={draw!r} is unknown; choose from {', '.join(DRAWS)}")
    wanted = slates * size
    order = (_clustered if draw == "clustered" else _uniform)(pool, wanted, seed, step)
    dealt = np.full(wanted, -1, np.int64)
    dealt[: len(order)] = order
    return np.ascontiguousarray(dealt.reshape(size, slates).T)


def _uniform(pool: Pool, wanted: int, seed: int, step: int) -> np.ndarray:
    # Units in the order in which an endless stream of numbers first names them: a random order of all units, of which
    # only as much is drawn as is needed.
    rng = generator(seed, "draw", step)
    found, length = np.empty(0, np.int64), wanted + wanted // 4
    while len(found) < min(wanted, pool.free.sum()):
        drawn = rng.integers(len(pool), size=length)
        drawn = np.concatenate([found, drawn[~pool.labelled[drawn]]])
        found = drawn[np.sort(np.unique(drawn, return_index=True)[1])]
        length = min(2 * length, LONGEST)
    return found[:wanted]


def _clustered(pool: Pool, wanted: int, seed: int, step: int) -> np.ndarray:
    images = generator(seed, "draw", step).permutation(len(pool.images))
    enough = int(np.searchsorted(np.cumsum(pool.free[images]), wanted)) + 1
    units, priorities = [], []
    for place in images[:enough]:
        # One stream per image: which other images take part must not change an image's priorities.
        start, stop = pool.offsets[place], pool.offsets[place + 1]
        priority = generator(seed, "draw", step, "image", int(place)).random(stop - start)
        unlabelled = np.flatnonzero(~pool.labelled[start:stop])
        units.append(start + unlabelled)
        priorities.append(priority[unlabelled])
    units, priorities = np.concatenate(units), np.concatenate(priorities)
    return units[np.argsort(priorities, kind="stable")[:wanted]]
