"""Hindsight: what each candidate was worth, known in learning, where the pool's labels are at hand."""

from collections.abc import Callable, Sequence

import numpy as np

from ralseg.envs.credit import GradientCredit
from ralseg.envs.options import GameOptions
from ralseg.envs.reducers import UnitReducer
from ralseg.envs.reducible_loss import FromGame, ReducibleLoss
from ralseg.envs.targets import Targets
from ralseg.envs.view import CandidatesView
from ralseg.features import square_root_gain
from ralseg.foundation import RalsegError
from ralseg.segmentation.learners import Predictor, SupervisedLearner


class Hindsight:
    """Credit and reference of a game's candidates, as far as they are asked for.

    Args:
        learner: of the game.
        reward: D_R, indices in the store.
        options: of the game: the credit's loss, the reference.
        credit: whether candidates get gradient credit.
        reference: whether candidates get the score of `options.reference`.
        informed: makes the informed network of `ReducibleLoss`; None: nobody will ask for that.
        class_weights: see `ReducibleLoss`.

    Attributes:
        gradient: the gradient credit, which must be shown D_R's predictions; None: nobody asked for it.
    """

    def __init__(
        self,
        learner: SupervisedLearner,
        reward: Sequence[int],
        options: GameOptions,
        *,
        credit: bool,
        reference: bool,
        informed: Callable[[], Predictor] | None,
        class_weights: Callable[[], np.ndarray],
    ) -> None:
        targets = Targets(learner)
        self.gradient = GradientCredit(learner, targets, reward, options.credit) if credit else None
        self._reducible_loss = informed and ReducibleLoss(targets, informed, class_weights)
        self._reference = options.reference if reference else None

    @property
    def reducers(self) -> tuple[UnitReducer, ...]:
        """What a view must reduce so that `of` can be read from it."""
        asked = [FromGame(ReducibleLoss.name)] if self._reference == ReducibleLoss.name else []
        return (*([self.gradient] if self.gradient else []), *asked)

    def provided(self, reducer: UnitReducer) -> UnitReducer:
        """The game's own in the place of a reducer that is asked for by name; any other as it is.

        Raises:
            RalsegError: if this game has no such reducer.
        """
        if not isinstance(reducer, FromGame):
            return reducer
        if self._reducible_loss is None or reducer.name != self._reducible_loss.name:
            raise RalsegError(f"this game knows no {reducer.name}; give it an informed network")
        return self._reducible_loss

    def of(self, view: CandidatesView) -> dict[str, np.ndarray]:
        """See `Game.credit`."""
        found = {}
        if self.gradient is not None:
            found["credit"] = view.reduced(self.gradient.name)
        if self._reference == ReducibleLoss.name:
            found["reference"] = view.reduced(ReducibleLoss.name)
        elif self._reference is not None:
            found["reference"] = square_root_gain(view.true_counts, view.labelled_counts)
        return {name: np.where(view.mask, part, 0).astype(np.float32) for name, part in found.items()}
