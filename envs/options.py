"""The options of a game."""

from dataclasses import dataclass
from typing import Literal, get_args

from ralseg.envs.candidates import DRAWS, Draw
from ralseg.envs.credit import CREDIT_LOSSES, CreditLoss
from ralseg.envs.ledger import check_budget
from ralseg.foundation import RalsegError

RewardSet = Literal["reward", "mixed"]
RewardOf = Literal["all", "worst"]
Reference = Literal["class_truth", "reducible_loss", "look_ahead"]


@dataclass(frozen=True)
class GameOptions:
    """What a step offers and when the game ends.

    Attributes:
        slates: K, units bought per step.
        candidates: N, candidates in a slate.
        draw: `clustered`, `uniform`, or `pool`: K of all units that are left.
        pool_per_image: of `pool`: at most so many units of each image are on offer, at random; None: all.
        budget: what may be paid, in `budget_measure`.
        budget_measure: `units`, `pixels` or `share` (of the pool's pixels).
        credit: loss of D_R that the gradient credit refers to.
        reference: the reference whose scores are known in learning: `class_truth`, `reducible_loss`, or `look_ahead`:
            what the loss of the unit would fall by in some steps on D_R and D_T, see `LookAhead`.
        look_ahead_steps: of it.
        informed_steps: optimiser steps of the network that `reducible_loss` compares the learner with; see
            `World.informed`.
        reward_set: the images that reward and credit look at: `reward` (D_R), or `mixed`: D_R and D_T together, whose
            labels are all known in learning, so that no single clip decides what is learned.
        reward_share: of these images, what reward and credit look at; see `World.rewarded`.
        reward_of: what the reward is the gain of: the mIoU of `all` of them, or that of the `worst` of their groups
            (clips, cities).
    """

    slates: int = 24
    candidates: int = 20
    draw: Draw = "clustered"
    pool_per_image: int | None = None
    budget: float = 480
    budget_measure: str = "units"
    credit: CreditLoss = "balanced_cross_entropy"
    reference: Reference = "class_truth"
    look_ahead_steps: int = 6
    informed_steps: int = 1200
    reward_set: RewardSet = "reward"
    reward_share: float = 1.0
    reward_of: RewardOf = "all"

    def __post_init__(self) -> None:
        for name in ("slates", "candidates", "pool_per_image", "look_ahead_steps", "informed_steps"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise RalsegError(f"game.{name}={getattr(self, name)} is out of range; it must be 1 or more")
        if self.draw not in DRAWS:
            raise RalsegError(f"game.draw={self.draw!r} is unknown; choose from {', '.join(DRAWS)}")
        if self.credit not in CREDIT_LOSSES:
            raise RalsegError(f"game.credit={self.credit!r} is unknown; choose from {', '.join(CREDIT_LOSSES)}")
        for name, known in (("reference", Reference), ("reward_set", RewardSet), ("reward_of", RewardOf)):
            if getattr(self, name) not in get_args(known):
                choices = ", ".join(get_args(known))
                raise RalsegError(f"game.{name}={getattr(self, name)!r} is unknown; choose from {choices}")
        if not 0 < self.reward_share <= 1:
            raise RalsegError(f"game.reward_share={self.reward_share} is out of range; it is above 0 and at most 1")
        check_budget(self.budget, self.budget_measure)
