"""The options of a game."""

from dataclasses import dataclass

from ralseg.envs.candidates import DRAWS, Draw
from ralseg.envs.credit import CREDIT_LOSSES, CreditLoss
from ralseg.envs.ledger import check_budget
from ralseg.foundation import RalsegError


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
        reward_share: of D_R's images, what reward and credit look at; see `World.rewarded`.
    """

    slates: int = 24
    candidates: int = 20
    draw: Draw = "clustered"
    pool_per_image: int | None = None
    budget: float = 480
    budget_measure: str = "units"
    credit: CreditLoss = "balanced_cross_entropy"
    reward_share: float = 1.0

    def __post_init__(self) -> None:
        for name in ("slates", "candidates", "pool_per_image"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise RalsegError(f"game.{name}={getattr(self, name)} is out of range; it must be 1 or more")
        if self.draw not in DRAWS:
            raise RalsegError(f"game.draw={self.draw!r} is unknown; choose from {', '.join(DRAWS)}")
        if self.credit not in CREDIT_LOSSES:
            raise RalsegError(f"game.credit={self.credit!r} is unknown; choose from {', '.join(CREDIT_LOSSES)}")
        if not 0 < self.reward_share <= 1:
            raise RalsegError(f"game.reward_share={self.reward_share} is out of range; it is above 0 and at most 1")
        check_budget(self.budget, self.budget_measure)
