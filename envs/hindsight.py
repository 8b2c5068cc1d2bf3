"""Hindsight: what each candidate was worth, for the training of a policy, where the pool's labels are known."""

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
    """Credit and reference scores of a game's candidates.

    Args:
        learner: the learner of the game.
        store: holds the labels of D_R and of the pool.
        reward: store indices of D_R.
        options: the loss of the credit, the reference, the steps of the look-ahead.
        loss: the loss of the learner.
        credit: whether candidates get gradient credit, which reads labels of the pool and takes the gradient of D_R
            after every turn.
        reference: whether candidates get the score of `options.reference`, which reads labels of the pool.
        informed: makes the learner that was trained on all labels of the pool; needed for `reducible_loss` alone.
        known: store indices of the images of D_R and D_T; needed for `look_ahead` alone.

    Attributes:
        gradient: the gradient credit, which has to observe the predictions of D_R; None without `credit`.

    Raises:
        RalsegError: if gradient credit is wanted from a learner that is not derived from `SupervisedLearner`.
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
        """The reducers that `of` needs in its view."""
        asked = [] if self._reference in (None, "class_truth") else [from_game(self._reference)]
        return (*([self.gradient.reducer] if self.gradient else []), *asked)

    def references(self, class_counts: np.ndarray, seed: int, turn: int) -> dict[str, Reducer]:
        """The reducers of the references that see true labels, by name.

        Args:
            class_counts: (C,) labelled pixels per class that the learner has at present.
            seed: the seed of the episode.
            turn: the number of the present turn.
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
