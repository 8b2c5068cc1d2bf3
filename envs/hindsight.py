"""Hindsight: what each candidate was worth, known in learning, where the pool's labels are at hand."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Protocol

import numpy as np

from ralseg.envs.credit import GradientCredit
from ralseg.envs.look_ahead import LookAhead
from ralseg.envs.options import GameOptions
from ralseg.envs.pool import Pool
from ralseg.envs.reducers import UnitReducer
from ralseg.envs.reducible_loss import FromGame, ReducibleLoss
from ralseg.envs.targets import Targets
from ralseg.envs.view import CandidatesView
from ralseg.features import square_root_gain
from ralseg.foundation import RalsegError, generator
from ralseg.segmentation.labels import PartialLabels
from ralseg.segmentation.learners import Learner, SupervisedLearner
from ralseg.segmentation.losses import class_weights


class Played(Protocol):
    """The part of a game that hindsight looks at.

    Attributes:
        learner: of the game.
        pool: of the game.
        reward: D_R, indices in the store.
        options: the credit's loss, the reference, the steps of the look ahead.
        labels: what the learner may learn from.
        seed: of the episode.
        turn: number of the present turn.
    """

    learner: SupervisedLearner
    pool: Pool
    reward: list[int]
    options: GameOptions
    labels: PartialLabels
    seed: int
    turn: int


class Hindsight:
    """Credit and reference of a game's candidates, as far as they are asked for.

    Args:
        game: whose candidates are meant.
        credit: whether candidates get gradient credit.
        reference: whether candidates get the score of `options.reference`.
        informed: makes the network that was taught with all labels of the pool, for `reducible_loss`; None: nobody will
            ask for that.
        known: the images of D_R and D_T, indices in the store, for `look_ahead`; none: nobody will ask for that.

    Attributes:
        gradient: the gradient credit, which must be shown D_R's predictions; None: nobody asked for it.
    """

    def __init__(
        self,
        game: Played,
        *,
        credit: bool,
        reference: bool,
        informed: Callable[[], Learner] | None,
        known: Sequence[int],
    ) -> None:
        learner, options = game.learner, game.options
        targets, networks = Targets(learner, game.pool.store), {}
        if informed is not None:
            networks["reducible_loss"] = cache(informed)
        if known:
            steps = options.look_ahead_steps
            networks["look_ahead"] = LookAhead(
                learner, game.pool.store, known, steps, lambda: generator(game.seed, "look ahead", game.turn)
            )

        def class_weights_now() -> np.ndarray:
            return class_weights(game.labels.class_counts, learner.options.loss)

        self.gradient = GradientCredit(learner, targets, game.reward, options.credit) if credit else None
        self._losses = {name: ReducibleLoss(name, targets, of, class_weights_now) for name, of in networks.items()}
        self._reference = options.reference if reference else None

    @property
    def reducers(self) -> tuple[UnitReducer, ...]:
        """What a view must reduce so that `of` can be read from it."""
        asked = [] if self._reference in (None, "class_truth") else [FromGame(self._reference)]
        return (*([self.gradient] if self.gradient else []), *asked)

    def provided(self, reducer: UnitReducer) -> UnitReducer:
        """The game's own in the place of a reducer that is asked for by name; any other as it is.

        Raises:
            RalsegError: if this game has no such reducer.
        """
        if not isinstance(reducer, FromGame):
            return reducer
        if reducer.name not in self._losses:
            raise RalsegError(f"this game knows no {reducer.name}; give it an informed network of that name")
        return self._losses[reducer.name]

    def of(self, view: CandidatesView) -> dict[str, np.ndarray]:
        """See `Game.credit`."""
        found = {}
        if self.gradient is not None:
            found["credit"] = view.reduced(self.gradient.name)
        if self._reference == "class_truth":
            found["reference"] = square_root_gain(view.true_counts, view.labelled_counts)
        elif self._reference is not None:
            found["reference"] = view.reduced(self._reference)
        return {name: np.where(view.mask, part, 0).astype(np.float32) for name, part in found.items()}
