"""The map of a pool of images: two principal components of their embedding, and on it what a policy chose, in order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ralseg.evaluation.pictures import STYLE, shown
from ralseg.evaluation.pool_embedding import embedding_of
from ralseg.evaluation.results import Results
from ralseg.features import PrincipalComponents

LEAST_IMAGES = 3


@dataclass(frozen=True)
class PoolMap:
    """Where the images of a pool are, and in which step each policy chose which.

    Attributes:
        at: (n, 2) float64 coordinates, in units of the embedding.
        shares: (2,) share of the embedding's variance along each, 0 to 1.
        threads: numbers of the images of each group that has two or more, in the order of their names.
        groups: how many groups there are.
        chosen: policy -> for each budget the numbers of the images that its first run bought since the one before.
    """

    at: np.ndarray
    shares: np.ndarray
    threads: list[list[int]]
    groups: int
    chosen: dict[str, list[list[int]]]


def pool_map(results: Results) -> PoolMap | None:
    """The map of a comparison; None without an embedding of the pool, or where its images are too few or all alike.

    Raises:
        RalsegError: if a file of the comparison is damaged.
    """
    pool = embedding_of(results)
    if pool is None or len(pool.images) < LEAST_IMAGES or not np.ptp(pool.points, axis=0).any():
        return None
    fitted = PrincipalComponents.fit(pool.points, 2, fewer=True)
    at = np.zeros((len(pool.points), 2))
    at[:, : len(fitted)] = fitted.transform(pool.points) * fitted.scale
    groups: dict[str, list[int]] = {}
    for number in sorted(range(len(pool.images)), key=lambda number: pool.images[number]):
        groups.setdefault(pool.groups[number], []).append(number)
    place = {name: number for number, name in enumerate(pool.images)}
    chosen = {}
    for name, (first, *_) in results.bought_runs().items():
        order, ends = [place[unit[0]] for unit in first["units"]], first["counts"]
        chosen[name] = [order[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    shares = at.var(axis=0, ddof=1) / pool.points.var(axis=0, ddof=1, dtype=np.float64).sum()
    threads = [members for members in groups.values() if len(members) > 1]
    return PoolMap(at, shares, threads, len(groups), chosen)


def step_colours(steps: int) -> list[str]:
    """A colour for each budget, from dark to light in the order of buying, apart from the grey of the pool."""
    return [to_hex(colour) for colour in matplotlib.colormaps["plasma"](np.linspace(0.1, 0.85, steps))]


def axis_names(drawn: PoolMap) -> list[str]:
    """What the two axes are."""
    return [f"component {number}, {100 * share:.0f} % of the variance" for number, share in enumerate(drawn.shares, 1)]


def map_picture(drawn: PoolMap, budgets: Sequence[Any]) -> Figure:
    """One panel for each policy: the pool in grey, its groups as threads, and what was chosen by each budget."""
    policies, of = shown(drawn.chosen)
    columns = min(len(policies), 4)
    rows = -(-len(policies) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.9 * columns, 2.7 * rows + 0.7), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for axis in axes.flat[len(policies) :]:
            axis.axis("off")
        for axis, (name, steps) in zip(axes.flat, policies.items(), strict=False):
            for thread in drawn.threads:
                axis.plot(*drawn.at[thread].T, color="#c4c8cc", lw=0.5, zorder=1)
            axis.scatter(*drawn.at.T, s=5, color="#a9aeb4", zorder=2)
            for step, budget, colour in zip(steps, budgets, step_colours(len(budgets)), strict=True):
                place = drawn.at[step].T
                axis.scatter(*place, s=14, color=colour, ec="white", lw=0.4, zorder=3, label=f"{budget:g}")
            axis.set_title(name, fontsize=9)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_aspect("equal")
        axes[-1, 0].set_xlabel(axis_names(drawn)[0], fontsize=8)
        axes[-1, 0].set_ylabel(axis_names(drawn)[1], fontsize=8)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=10, frameon=False, title="chosen by budget")
        figure.suptitle(f"The pool, and what was chosen in the first run{of}", fontsize=10)
    return figure
