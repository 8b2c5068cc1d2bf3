"""The annotation game: who offers, who answers, who learns, and what it was worth."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ralseg.envs.candidates import draw_candidates
from ralseg.envs.hindsight import Hindsight
from ralseg.envs.ledger import Ledger
from ralseg.envs.observer import Observer
from ralseg.envs.options import GameOptions
from ralseg.envs.oracle import GroundTruth, Oracle
from ralseg.envs.pool import Pool
from ralseg.envs.reducers import UnitReducer, of_asked, only_asked, predicted
from ralseg.envs.true_counts import TrueCounts
from ralseg.envs.view import CandidatesView
from ralseg.features import ObservationSpec
from ralseg.features.prediction import FEATURE_NOISE
from ralseg.foundation import RalsegError, generator, integer
from ralseg.segmentation.evaluation import Evaluator
from ralseg.segmentation.labels import PartialLabels, revealed
from ralseg.segmentation.learners import Learner, SupervisedLearner, TrainingSet, taught


@dataclass(frozen=True)
class Turn:
    """What one step did.

    Attributes:
        units: (n,) int64 flat numbers of the units bought.
        refused: choices that bought nothing.
        class_counts: (C,) int64 true pixels per class that were bought.
        loss: the learner's mean loss of the turn, a 0-d tensor on its device.
    """

    units: np.ndarray
    refused: int
    class_counts: np.ndarray
    loss: torch.Tensor


class Game:
    """One game at a time on one pool, with one learner.

    Args:
        learner: trained by what is bought; starts each game from theta_0.
        pool: D_T while a policy is learned, D_V while policies are compared.
        state: D_S, indices in the store.
        reward: D_R, or a part of it, indices in the store.
        spec: what an observation holds; None where nobody observes. It may be set between games.
        options: see `GameOptions`.
        oracle: who answers; default: ground truth.
        credit: whether candidates get gradient credit, in learning only: labels of the pool are read for it, and D_R's
            gradient is taken after every turn.
        reference: whether candidates get the score of `options.reference`, in learning only: it reads the pool's
            labels.
        informed: see `Hindsight`.
        known: see `Hindsight`.
    """

    def __init__(
        self,
        learner: SupervisedLearner,
        pool: Pool,
        state: Sequence[int],
        reward: Sequence[int],
        spec: ObservationSpec | None,
        options: GameOptions,
        oracle: Oracle | None = None,
        credit: bool = False,
        reference: bool = False,
        informed: Callable[[], Learner] | None = None,
        known: Sequence[int] = (),
    ) -> None:
        self.learner, self.pool, self.options, self.spec = learner, pool, options, spec
        self.state, self.reward = list(state), list(reward)
        self.store, self.evaluator = pool.store, Evaluator(pool.store, learner.classes)
        self.oracle = oracle or GroundTruth(self.store)
        self.state_units = sum(len(pool.grid(i)) for i in self.state)
        hindsight = {"credit": credit, "reference": reference, "informed": informed, "known": known}
        self._hindsight, self._observer = Hindsight(self, **hindsight), Observer(self)
        self._rewarded = self._by_group(self.reward) if options.reward_of == "worst" else [self.reward]
        self._true_counts = TrueCounts(pool, learner.classes)
        self._started, self._first = False, None

    def reset(self, seed: int) -> None:
        """Start a game: nothing is labelled, the learner is at theta_0.

        Args:
            seed: of draws, training and noisy predictions of this game.
        """
        self.seed, self.turn, self._started = seed, 0, True
        self.learner.reset()
        self.pool.reset()
        self.ledger = Ledger(self.pool.pixels)
        rehearse = self.learner.options.rehearse
        self.labels = revealed(self.store, self.state) if rehearse else PartialLabels(self.learner.classes)
        self.bought_counts = np.zeros(self.learner.classes, np.int64)
        self._observer.reset()
        self._touched: set[int] = set()
        self._draw()

    @property
    def over(self) -> bool:
        """Whether nothing can be bought any more: the budget is spent or no candidate is left."""
        return not self.mask.any()

    @property
    def whole(self) -> bool:
        """Whether the whole pool is on offer, as one slate."""
        return self.options.draw == "pool"

    @property
    def can_pay(self) -> int:
        """Units of the smallest size on offer that the budget still pays."""
        measure = self.options.budget_measure
        prices = self.ledger.prices(self.pool.areas(self.units[self.units >= 0]), measure)
        return self.ledger.left(self.options.budget, measure) // int(prices.min()) if len(prices) else 0

    def view(self, reducers: Sequence[UnitReducer] = (), observed: bool = True) -> CandidatesView:
        """What is offered now; see `CandidatesView`.

        Raises:
            RalsegError: if it is to be observed, and the game has no `spec`.
        """
        if observed and self.spec is None:
            raise RalsegError("an observation is asked for and the game has no spec of one; set game.spec")
        choices = min(self.options.slates, self.can_pay, int(self.mask.sum())) if self.whole else None
        return CandidatesView(self, self.units, self.mask, self.bought_counts.copy(), reducers, observed, choices)

    def step(self, choice: np.ndarray) -> Turn:
        """Buy the chosen units and learn from them.

        Args:
            choice: (K,) integers, one index into each slate, or all into the one slate of a whole pool; -1, a masked
                index, or one for the second time buys nothing.

        Raises:
            RalsegError: if the choice has another shape or an index is out of range, or the game was not reset.
        """
        if not self._started:
            raise RalsegError("the game has not begun; call reset(seed) first")
        choice = np.asarray(choice)
        slates, size = self.options.slates, self.units.shape[1]
        fits = choice.ndim == 1 and (len(choice) <= slates if self.whole else len(choice) == slates)
        if not fits or not np.issubdtype(choice.dtype, np.integer):
            what = f"at most {slates} integers" if self.whole else f"{slates} integers, one for each slate"
            raise RalsegError(f"a choice is {what}; got {choice.dtype} {choice.shape}")
        if len(choice) and (choice.min() < -1 or choice.max() >= size):
            raise RalsegError(
                f"choice {choice.min() if choice.min() < -1 else choice.max()} is out of range -1 to {size - 1}"
            )
        slate = np.zeros(len(choice), np.int64) if self.whole else np.arange(slates)
        slate, choice, asked = slate[choice >= 0], choice[choice >= 0], len(choice)
        units = self.units[slate, choice][self.mask[slate, choice]]
        units = self._affordable(units[np.sort(np.unique(units, return_index=True)[1])])
        new, counts = self._reveal(units)
        data = TrainingSet(self.labels, new, self.pool.images.tolist())
        loss = taught(self.learner, data, generator(self.seed, "training", self.turn))
        self.turn += 1
        self._draw()
        return Turn(units, asked - len(units), counts.sum(0), loss)

    def evaluate_reward(self) -> float:
        """MIoU on D_R, or on its worst group, in percent; with credit, D_R's gradient comes from the same passes."""
        gradient = self._hindsight.gradient
        observer = None if gradient is None else gradient.observe
        found = [self.evaluator(self.learner, images, observer).miou for images in self._rewarded]
        if gradient is not None:
            gradient.finish()
        return min(found)

    def first_miou(self) -> float:
        """`evaluate_reward` at theta_0, where all games begin: looked up where a game has asked for it before."""
        if self._first is None or self._hindsight.gradient is not None:
            self._first = self.evaluate_reward()
        return self._first

    def credit(self, view: CandidatesView) -> dict[str, np.ndarray]:
        """What each candidate was worth, as far as the game was asked for it: (K, N) float32, 0 where masked.

        Args:
            view: made with `credit_reducers`, at the weights that `evaluate_reward` saw last.

        Returns:
            `credit` (gradient credit) and `reference` (the score of `options.reference`), each only where the game has
            it.
        """
        return self._hindsight.of(view)

    @property
    def credit_reducers(self) -> tuple[UnitReducer, ...]:
        """What a view must reduce so that `credit` can be read from it."""
        return self._hindsight.reducers

    @property
    def bought(self) -> np.ndarray:
        """See `CandidatesSource`."""
        return self.pool.bought

    def images_of(self, units: np.ndarray) -> np.ndarray:
        """See `CandidatesSource`."""
        return self.pool.images[self.pool.locate(units)[0]]

    def groups_of(self, units: np.ndarray) -> np.ndarray:
        """See `CandidatesSource`."""
        groups, store = self.store.dataset.groups, self.store
        numbers = {group: number for number, group in enumerate(sorted(set(groups.values())))}
        of_places = np.array([numbers[groups[store.names[image]]] for image in self.pool.images])
        return of_places[self.pool.locate(units)[0]]

    def boxes_of(self, units: np.ndarray) -> np.ndarray:
        """See `CandidatesSource`."""
        return self.pool.boxes(units)

    def reduce_candidates(
        self, units: np.ndarray, reducers: Sequence[UnitReducer], observed: bool = False
    ) -> dict[str, np.ndarray]:
        """See `CandidatesSource`; with the observation's features if `observed`."""
        if not len(units) or not (reducers or observed):
            return {}
        order, images, local = self.pool.by_image(units)
        asked = dict(zip(images, local, strict=True))
        noises = list(dict.fromkeys(reducer.noise for reducer in reducers if reducer.noise))
        if observed and "disagreement" in self.spec.needs:
            noises = list(dict.fromkeys([*noises, FEATURE_NOISE]))
        generator_ = torch.Generator(self.learner.device) if noises else None
        if noises:
            generator_.manual_seed(integer(self.seed, "noise", self.turn, images[0]))
        every = [of_asked(self._hindsight.provided(reducer), self.pool, asked) for reducer in reducers]
        every += [only_asked(asked, self._observer.features)] * observed
        rows = predicted(self.learner, images, every, noises, generator_)
        return {name: np.concatenate(parts)[np.argsort(order)] for name, parts in rows.items()}

    def reduce_state(self, reducers: Sequence[UnitReducer]) -> dict[str, np.ndarray]:
        """See `CandidatesSource`."""
        asked = {image: self._observer.some_units(image) for image in self.state}
        some = [of_asked(reducer, self.pool, asked) for reducer in reducers]
        rows = predicted(self.learner, self.state, some, again=True) if some else {}
        return {name: np.concatenate(parts) for name, parts in rows.items()}

    def observe(self, units: np.ndarray, mask: np.ndarray, features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See `ViewSource`."""
        return self._observer.observe(units, mask, features)

    def true_counts(self, units: np.ndarray) -> np.ndarray:
        """See `ViewSource`."""
        return self._true_counts(units)

    def _by_group(self, images: Sequence[int]) -> list[list[int]]:
        store, found = self.store, {}
        for image in images:
            found.setdefault(store.dataset.groups[store.names[image]], []).append(image)
        return list(found.values())

    def _draw(self) -> None:
        options = self.options
        offer = options.slates, options.candidates, options.draw
        self.units = draw_candidates(self.pool, *offer, self.seed, self.turn, options.pool_per_image)
        left = self.ledger.left(options.budget, options.budget_measure)
        self.mask = self.units >= 0
        prices = self.ledger.prices(self.pool.areas(self.units[self.mask]), options.budget_measure)
        # A unit that the budget cannot pay alone is never on offer: whoever asks for it again and again would not end.
        self.mask[self.mask] = prices <= left
        self.mask[np.cumsum(self.mask.any(axis=1)) > self.can_pay] = False

    def _affordable(self, units: np.ndarray) -> np.ndarray:
        measure = self.options.budget_measure
        prices = self.ledger.prices(self.pool.areas(units), measure)
        return units[np.cumsum(prices) <= self.ledger.left(self.options.budget, measure)]

    def _reveal(self, units: np.ndarray) -> tuple[list, np.ndarray]:
        self._observer.before_purchase(units)
        self.pool.buy(units)
        places, local = self.pool.locate(units)
        new, counts = [], np.zeros((len(units), self.learner.classes), np.int64)
        for row, (image, unit) in enumerate(zip(self.pool.images[places].tolist(), local, strict=True)):
            size, box = self.store.size(image), self.pool.grid(image).boxes[unit].tolist()
            before = self.labels.class_counts.copy()
            self.labels.reveal(image, size, box, self.oracle.reveal(image, box))
            counts[row] = self.labels.class_counts - before
            new.append((image, ((box[0] + box[2] / 2) / size[0], (box[1] + box[3] / 2) / size[1])))
            self._touched.add(image)
        self._observer.after_purchase(counts)
        self.bought_counts += counts.sum(0)
        self.ledger.units += len(units)
        self.ledger.pixels += int(self.pool.areas(units).sum())
        self.ledger.clicks += int((counts > 0).sum())
        self.ledger.images = len(self._touched)
        return new, counts
