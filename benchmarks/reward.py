"""What the reward tells: one turn against another from the same state, and sequences that a search finds with it."""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ralseg.agents.acquisitions import FixedPolicy, parse
from ralseg.benchmarks.measure import configured
from ralseg.envs import Game, World
from ralseg.foundation import generator
from ralseg.stats import paired_interval

DEFAULTS = ("game=frozen",)
JUDGES = ("reward", "dev")
ROLE = "compare"
PAIRS = 10
"""games in which turns are compared"""
STATES = (0, 5, 10)
"""turns before which margin and random choice go apart"""
LATER = (1, 5, 10)
"""turns after which they are compared; margin plays all but the first"""
SEARCHES = 6
"""games that are searched"""
SOFTMAX = {"margin": {"selection": {"stochastic": "softmax", "beta": 13}}}
PROPOSALS: tuple[Any, ...] = ("margin", *[SOFTMAX] * 4, "entropy", "random", "class_aware_random")
"""what the search plays from each state; the one with the highest mIoU is kept"""


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """Compare turns, then search.

    Args:
        overrides: of `train_agent.yaml`.
        share: share of the games, above 0 and at most 1; there are always two of each kind.
    """
    world = World(configured(DEFAULTS, overrides))
    game = world.game(ROLE, observed=False)
    pairs, searches = (max(2, round(share * count)) for count in (PAIRS, SEARCHES))
    turns = [row for seed in range(pairs) for row in compared_turns(world, game, seed)]
    games = [{"seed": seed, "by": "margin", **played(world, game, seed)} for seed in range(searches)]
    for judge in JUDGES:
        games += [{"seed": seed, "by": judge, **searched(world, game, seed, judge)} for seed in range(searches)]
    return {"turns": turns, "games": games}


def compared_turns(world: World, game: Game, seed: int) -> list[dict[str, Any]]:
    """The gain in mIoU after a turn of margin and after one of random choice, from the same states of a game."""
    game.reset(seed)
    rows = []
    while game.turn <= max(STATES) and not game.over:
        if game.turn in STATES:
            before = mious(world, game)
            for name in ("margin", "random"):
                branch, begun = copied(world, game), game.turn
                play_turn(branch, name)
                for later in range(1, max(LATER) + 1):
                    if later in LATER:
                        gain = {judge: miou - before[judge] for judge, miou in mious(world, branch).items()}
                        rows.append({"seed": seed, "turn": begun, "later": later, "first": name, **gain})
                    if branch.over:
                        break
                    play_turn(branch, "margin")
        play_turn(game, "margin")
    return rows


def played(world: World, game: Game, seed: int) -> dict[str, float]:
    """The mIoU on each of `JUDGES` at the end of a game of margin."""
    game.reset(seed)
    while not game.over:
        play_turn(game, "margin")
    return mious(world, game)


def searched(world: World, game: Game, seed: int, judge: str) -> dict[str, float]:
    """The same of a game in which, turn by turn, the proposal is kept that gives the highest mIoU on one of them."""
    game.reset(seed)
    while not game.over:
        branches = [copied(world, game) for _ in PROPOSALS]
        for k, (branch, proposal) in enumerate(zip(branches, PROPOSALS, strict=True)):
            play_turn(branch, proposal, k)
        game = max(branches, key=lambda branch: branch.evaluator(branch.learner, world.images(judge)).miou)
    return mious(world, game)


def play_turn(game: Game, given: Any, proposal: int = 0) -> None:
    """One turn of an acquisition; what it leaves to chance depends on game, turn and number of the proposal."""
    policy = FixedPolicy(parse(given))
    rng = generator(game.seed, "policy", game.turn, proposal)
    game.step(policy.select(game.view(policy.needs, observed=False), rng))


def mious(world: World, game: Game) -> dict[str, float]:
    """The mIoU on each of `JUDGES`, percent."""
    return {judge: game.evaluator(game.learner, world.images(judge)).miou for judge in JUDGES}


def copied(world: World, game: Game) -> Game:
    """A copy of a game that shares the images, which nobody changes."""
    return copy.deepcopy(game, {id(shared): shared for shared in (world, world.store)})


def apart(turns: Sequence[Mapping[str, Any]], later: int, judge: str) -> dict[str, float]:
    """What tells margin's turn from the random one.

    Returns:
        `mean` of the difference in gain, percent of mIoU; `paired` and `unpaired`, its standard deviation from the same
        state and between different games; `pairs` and `games`, how many of them it takes until the mean is twice its
        standard error.
    """
    gains = {
        name: np.array(
            [
                row[judge]
                for row in sorted(turns, key=lambda row: (row["seed"], row["turn"]))
                if (row["first"], row["later"]) == (name, later)
            ]
        )
        for name in ("margin", "random")
    }
    difference = gains["margin"] - gains["random"]
    paired = float(difference.std(ddof=1))
    unpaired = math.sqrt(sum(within(turns, name, later, judge) for name in gains))
    mean = float(difference.mean())
    needed = {name: (2 * sd / mean) ** 2 for name, sd in (("pairs", paired), ("games", unpaired))}
    return {
        "mean": mean,
        "error": paired / math.sqrt(len(difference)),
        "paired": paired,
        "unpaired": unpaired,
        **needed,
    }


def within(turns: Sequence[Mapping[str, Any]], name: str, later: int, judge: str) -> float:
    """The variance of the gain between games, averaged over the states: they differ in level, which no agent needs."""
    chosen = [row for row in turns if (row["first"], row["later"]) == (name, later)]
    states = sorted({row["turn"] for row in chosen})
    return float(np.mean([np.var([row[judge] for row in chosen if row["turn"] == turn], ddof=1) for turn in states]))


def rows(found: dict[str, Any]) -> list[list[Any]]:
    """Two tables: turns of margin and of random choice, and searched games less those of margin."""
    table: list[list[Any]] = [
        [
            "judged on, turns later",
            "margin less random",
            "sd paired",
            "sd unpaired",
            "pairs for 2 se",
            "unpaired for 2 se",
        ]
    ]
    for judge in JUDGES:
        for later in LATER:
            a = apart(found["turns"], later, judge)
            cells = [f"{a['mean']:+.3f} (se {a['error']:.3f})", a["paired"], a["unpaired"], a["pairs"], a["games"]]
            table.append([f"{judge}, {later}", *cells])
    table += [[], ["search by", *(f"{judge}, less margin" for judge in JUDGES)]]
    for by in JUDGES:
        cells = []
        for judge in JUDGES:
            ends = {
                name: np.array([[game[judge] for game in found["games"] if game["by"] == name]])
                for name in (by, "margin")
            }
            interval = paired_interval(ends[by] - ends["margin"])
            cells.append(f"{interval.mean:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]")
        table.append([by, *cells])
    return table
