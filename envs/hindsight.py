"""Hindsight: what each candidate was worth, known in learning, where the pool's labels are at hand."""

from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np

from ralseg.envs.credit import GradientCredit
from ralseg.envs.look_ahead import LookAhead
from ralseg.envs.options import GameOptions
from ralseg.envs.reducible_loss import ReducibleLoss
from ralseg.envs.targets import Targets
from ralseg.features import square_root_gain
from ralseg.features.units import Reducer, from_game
from ralseg.features.view import CandidatesView
from ralseg.foundation import RalsegError, generator
from ralseg.segmentation.learners import Learner, SupervisedLearner
from ralseg.segmentation.losses import Loss, class_weights
from ralseg.segmentation.store import ImageStore


class Hindsight:
    """Credit and reference of a game's candidates, as far as they are asked for.

    Args:
        learner: of the game.
        store: labels of D_R and of the pool.
        reward: D_R, indices in the store.
        options: the credit's loss, the reference, the steps of the look ahead.
        loss: of the learner.
        credit: whether candidates get gradient credit: labels of the pool are read for it, and D_R's gradient is taken
            after every turn.
        reference: whether candidates get the score of `options.reference`, which reads the pool's labels.
        informed: makes the learner that was taught with all labels of the pool, for `reducible_loss`; None: nobody will
            ask for that.
        known: the images of D_R and D_T, indices in the store, for `look_ahead`; none: nobody will ask for that.

    Attributes:
        gradient: the gradient credit, which must be shown D_R's predictions; None: nobody asked for it.

    Raises:
        RalsegError: for credit of a learner that is not derived from `SupervisedLearner`.
    """

    def __init__(
        self,
        learner: Learner,
        store: ImageStore,
        reward: Sequence[int],
        options: GameOptions,
        loss: Loss,
        *,
        credit: bool = False,
        reference: bool = False,
        informed: Callable[[], Learner] | None = None,
        known: Sequence[int] = (),
    ) -> None:
        targets = Targets(store, learner.classes, learner.device)
        self._loss: Loss = loss
        self._of_informed, self._of_ahead = ReducibleLoss(targets), ReducibleLoss(targets)
        self._informed = None if informed is None else cache(informed)
        self._ahead = None
        if known and isinstance(learner, SupervisedLearner):
            self._ahead = LookAhead(learner, store, known, options.look_ahead_steps)
        self._reference = options.reference if reference else None
        self.gradient = None
        if credit:
            if not isinstance(learner, SupervisedLearner):
                raise RalsegError(
                    "gradient credit reads the last layer of a SupervisedLearner; derive learner._target_ from it, or "
                    "set agent.signal.credit=0"
                )
            counts = store.class_counts()[list(reward)].sum(0)
            self.gradient = GradientCredit(learner, targets, counts, options.credit)

    @property
    def reducers(self) -> tuple[Reducer, ...]:
        """What a view must reduce so that `of` can be read from it."""
        asked = [] if self._reference in (None, "class_truth") else [from_game(self._reference)]
        return (*([self.gradient.reducer] if self.gradient else []), *asked)

    def references(self, class_counts: np.ndarray, seed: int, turn: int) -> dict[str, Reducer]:
        """The reducers of the references that see true labels, by name.

        Args:
            class_counts: (C,) labelled pixels per class that the learner learns from now.
            seed: of the episode.
            turn: number of the present turn.
        """
        weights, found = class_weights(class_counts, self._loss), {}
        if self._informed is not None:
            found["reducible_loss"] = self._of_informed.reducer("reducible_loss", self._informed, weights)
        if self._ahead is not None:
            ahead = partial(_taught_ahead, self._ahead, seed, turn)
            found["look_ahead"] = self._of_ahead.reducer("look_ahead", ahead, weights)
        return found

    def of(self, view: CandidatesView) -> dict[str, np.ndarray]:
        """What each candidate was worth, (K, N) float32, 0 where masked; see `Game.credit`."""
        found = {}
        if self.gradient is not None:
            found["credit"] = view.reduced(self.gradient.reducer.name)
        if self._reference == "class_truth":
            found["reference"] = square_root_gain(view.true_counts, view.labelled_counts)
        elif self._reference is not None:
            found["reference"] = view.reduced(self._reference)
        return {name: view.in_slates(part.astype(np.float32)) for name, part in found.items()}


def _taught_ahead(ahead: LookAhead, seed: int, turn: int) -> Learner:
    return ahead.at(generator(seed, "look ahead", turn))
