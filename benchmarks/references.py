"""What true labels are worth: references beside margin and random choice, on both pools, judged on D_R and on dev."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ralseg.agents.acquisitions import FixedPolicy, parse
from ralseg.agents.policy import Policy
from ralseg.benchmarks.measure import configured
from ralseg.envs import Game, GradientCredit, World
from ralseg.envs.targets import Targets
from ralseg.features.units import Reducer
from ralseg.features.view import CandidatesView
from ralseg.foundation import generator
from ralseg.segmentation.learners import SupervisedLearner
from ralseg.stats import Interval, paired_interval

DEFAULTS = ("game=frozen",)
ROLES = ("train", "compare")
JUDGES = ("reward", "dev")
DRAWS = 10
BASE = "margin"
ACQUISITIONS: dict[str, Any] = {
    "random": "random",
    "margin": "margin",
    "class_truth": "class_truth",
    "reducible_loss": "reducible_loss",
    "look_ahead": "look_ahead",
    "margin + class_truth": {"rank_sum": {"of": ["margin", "class_truth"]}},
    "margin + reducible_loss": {"rank_sum": {"of": ["margin", "reducible_loss"]}},
    "margin + look_ahead": {"rank_sum": {"of": ["margin", "look_ahead"]}},
}
CREDITED = {"credit of D_R": "reward", "credit of D_T": "train", "credit of dev": "dev"}
"""Policies that take, in each slate, what lowers the soft IoU loss on the images of this role most."""


@dataclass(frozen=True)
class ByCredit:
    """Takes the candidate of each slate with the highest gradient credit.

    Attributes:
        credit: the credit; it must have seen its images at the present weights.
        images: store indices of these images.
    """

    credit: GradientCredit
    images: Sequence[int]
    needs_observation = dropout = False

    @property
    def needs(self) -> tuple[Reducer, ...]:
        """See `Policy.needs`."""
        return (self.credit.reducer,)

    def select(self, view: CandidatesView, rng: np.random.Generator) -> np.ndarray:
        """See `Policy.select`."""
        assert view.slates is not None
        choice = np.full(view.choices, -1, np.int64)
        ascending = np.argsort(view.reduced(self.credit.reducer.name))
        choice[view.slates[ascending]] = view.places[ascending]
        return choice


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """Play all policies with the same draws.

    Args:
        overrides: of `train_agent.yaml`; the budgets are half of `game.budget` and all of it.
        share: share of the draws, above 0 and at most 1; there are always two.
    """
    world, draws = World(configured(DEFAULTS, overrides)), max(2, round(share * DRAWS))
    runs = []
    for role in ROLES:
        game = world.game(role, observed=False)
        policies = {name: FixedPolicy(parse(given)) for name, given in ACQUISITIONS.items()}
        policies |= {name: by_credit(world, game, of) for name, of in CREDITED.items()}
        for name, policy in policies.items():
            for seed in range(draws):
                runs += [
                    {"pool": role, "policy": name, "seed": seed, **row} for row in played(world, game, policy, seed)
                ]
    return {"draws": draws, "runs": runs}


def by_credit(world: World, game: Game, role: str) -> ByCredit:
    """The policy that follows the credit of the images of a role."""
    learner, images = game.learner, world.images(role)
    assert isinstance(learner, SupervisedLearner)
    targets = Targets(world.store, learner.classes, learner.device)
    counts = world.store.class_counts()[images].sum(0)
    return ByCredit(GradientCredit(learner, targets, counts, "soft_iou"), images)


def played(world: World, game: Game, policy: Policy, seed: int) -> list[dict[str, Any]]:
    """One game: units bought and mIoU on each of `JUDGES`, percent, at half of the budget and at its end."""
    game.reset(seed)
    rows = []
    for budget in (world.game_options.budget / 2, world.game_options.budget):
        while not game.over and game.ledger.paid(world.game_options.budget_measure) < budget:
            if isinstance(policy, ByCredit):
                for prediction in game.learner.predict(policy.images):
                    policy.credit.observe(prediction)
                policy.credit.finish()
            game.step(policy.select(game.view(policy.needs, observed=False), generator(seed, "policy", game.turn)))
        mious = {role: game.evaluator(game.learner, world.images(role)).miou for role in JUDGES}
        rows.append({"budget": budget, "units": game.ledger.units, **mious})
    return rows


def less(runs: Sequence[dict[str, Any]], pool: str, policy: str, budget: float, judge: str) -> Interval:
    """The paired interval of a policy less margin."""

    def values(name: str) -> np.ndarray:
        rows = [r for r in runs if (r["pool"], r["policy"], r["budget"]) == (pool, name, budget)]
        return np.array([[row[judge] for row in sorted(rows, key=lambda row: row["seed"])]])

    return paired_interval(values(policy) - values(BASE))


def rows(found: dict[str, Any]) -> list[list[Any]]:
    """For each pool, policy by policy: mIoU on D_R and dev less that of margin, with intervals."""
    runs, table = found["runs"], []
    for pool in ROLES:
        budgets = sorted({run["budget"] for run in runs})
        table += [[]] * bool(table)
        table.append([f"less margin, pool {pool}", *(f"{judge}, {b:g}" for judge in JUDGES for b in budgets)])
        for policy in (*ACQUISITIONS, *CREDITED):
            cells = [less(runs, pool, policy, budget, judge) for judge in JUDGES for budget in budgets]
            table.append([policy, *(f"{cell.mean:+.2f} [{cell.low:+.2f}, {cell.high:+.2f}]" for cell in cells)])
    return table
