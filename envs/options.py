"""The options of a game."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from ralseg.envs.candidates import Draw, Redraw
from ralseg.envs.credit import CreditLoss
from ralseg.envs.ledger import Measure
from ralseg.foundation import Count, Positive, PositiveShare, RalsegError, Range, Settings

RewardSet = Literal["reward", "mixed"]
RewardOf = Literal["all", "worst"]
Reference = Literal["class_truth", "reducible_loss", "look_ahead"]


@dataclass(frozen=True)
class GameOptions(Settings, group="game"):
    """What a step offers and when the game ends.

    Attributes:
        slates: K, units bought per step.
        slates_per_image: K for each image of the pool, rounded up, in the place of `slates`: 0.1 buys one unit for ten
            images.
        candidates: N, candidates in a slate.
        draw: `clustered`, `uniform`, or `pool` (one slate of all units that are left); see `draw_candidates`.
        pool_per_image: with `draw=pool`, how many units of each image are on offer at most, drawn at random; None
            offers all of them.
        redraw: with `pool_per_image`, whether others are drawn in every `turn`, or once for the whole `game`.
        offer_void: whether units without a labelled pixel are on offer.
        budget: the most that may be paid, in `budget_measure`; above 0.
        budget_measure: `units`, `units_per_image` (of the pool), `pixels`, `share` (of the pool's pixels, at most 1),
            `clicks` (one for each class of a unit) or `polygon_clicks` (`ralseg.features.clicks`). Clicks are known
            when a unit is labelled, so the last turn may take more of them than are left.
        credit: the loss on D_R that the gradient credit refers to.
        reference: the reference whose scores an agent learns from: `class_truth`, `reducible_loss`, or `look_ahead`
            (how far the loss on D_R and D_T would fall in a few steps on the unit, see `LookAhead`).
        look_ahead_steps: the number of these steps.
        informed_steps: optimiser steps of the network that `reducible_loss` compares the learner with; see
            `World.informed`.
        reward_set: the images that reward and credit are measured on: `reward` (D_R), or `mixed` (D_R and D_T together;
            all their labels are known while a policy is trained, and no single clip decides what it learns).
        reward_share: the share of these images that is measured, above 0 and at most 1; see `World.rewarded`.
        reward_of: whether the reward is the gain in mIoU over `all` of these images or over the `worst` of their groups
            (clips, cities).

    Raises:
        RalsegError: if a value is out of range.
    """

    slates: Count = 24
    slates_per_image: Positive | None = None
    candidates: Count = 20
    draw: Draw = "clustered"
    pool_per_image: Count | None = None
    redraw: Redraw = "turn"
    offer_void: bool = False
    budget: Annotated[float, Range(0, above=True, below=True)] = 480
    budget_measure: Measure = "units"
    credit: CreditLoss = "balanced_cross_entropy"
    reference: Reference = "class_truth"
    look_ahead_steps: Count = 6
    informed_steps: Count = 1200
    reward_set: RewardSet = "reward"
    reward_share: PositiveShare = 1.0
    reward_of: RewardOf = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budget_measure == "share" and self.budget > 1:
            raise RalsegError(f"budget={self.budget} is out of range; as a share of the pool it must be at most 1")
        if self.redraw == "game" and (self.draw != "pool" or self.pool_per_image is None):
            raise RalsegError("redraw=game is for units drawn from the pool; set draw=pool and pool_per_image, too")

    def on(self, images: int) -> "GameOptions":
        """The options of a game on a pool of so many images."""
        if self.slates_per_image is None:
            return self
        return replace(self, slates=math.ceil(self.slates_per_image * images * (1 - 1e-12)), slates_per_image=None)
