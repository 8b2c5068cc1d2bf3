"""The annotation game in three moves: ask for labels, take the answers, learn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ralseg.envs.campaign import Campaign
from ralseg.envs.hindsight import Hindsight
from ralseg.envs.ledger import Ledger
from ralseg.envs.observer import Observer, observed_units
from ralseg.envs.offer import chosen_units, draw_offer
from ralseg.envs.options import GameOptions
from ralseg.envs.oracle import GroundTruth, Oracle
from ralseg.envs.pool import Pool
from ralseg.envs.reader import PoolReader
from ralseg.envs.records import Record
from ralseg.envs.true_counts import TrueCounts
from ralseg.features import ObservationSpec
from ralseg.features.units import Reducer
from ralseg.features.view import CandidatesView
from ralseg.foundation import RalsegError, generator
from ralseg.segmentation.evaluation import Evaluator
from ralseg.segmentation.labels import FullLabels, PartialLabels, revealed
from ralseg.segmentation.learners import Learner, TrainingSet, taught


@dataclass(frozen=True)
class Turn:
    """The outcome of one step.

    Attributes:
        units: (n,) int64 flat numbers of the units that were answered, and so bought.
        refused: number of choices that asked for nothing.
        class_counts: (C,) int64 true pixels per class that were bought.
        loss: the learner's mean loss in this turn, a 0-d tensor on its device.
    """

    units: np.ndarray
    refused: int
    class_counts: np.ndarray
    loss: torch.Tensor


class Game:
    """One game at a time on one pool, with one learner.

    A step consists of three moves: `ask` for the chosen units, `collect` (or `answer`) the oracle's labels, `learn`.
    Answers may come in a later step, in another process, or never.

    Args:
        learner: trained with the labels that are bought; starts each game from theta_0.
        pool: D_T while a policy is trained, D_V while policies are compared.
        state: store indices of D_S.
        reward: store indices of D_R or of a part of it.
        spec: what an observation holds; None if the game is not observed. It may be set between games.
        options: see `GameOptions`.
        oracle: answers the requests; ground truth by default.
        hindsight: computes what candidates were worth, for the training of a policy; None if that is not needed.
        rehearse: whether the learner also learns from D_S, whose units then count as labelled for acquisitions, too.
        source_domain: labels of another domain, which learners may learn from, too; None without one.

    Attributes:
        campaign: pool, labels, ledger and records.
        offer: the units offered in the present turn.
        turn: number of turns that the learner has learned from.
    """

    def __init__(
        self,
        learner: Learner,
        pool: Pool,
        state: Sequence[int],
        reward: Sequence[int],
        spec: ObservationSpec | None,
        options: GameOptions,
        *,
        oracle: Oracle | None = None,
        hindsight: Hindsight | None = None,
        rehearse: bool = True,
        source_domain: FullLabels | None = None,
    ) -> None:
        self.learner, self.pool, self.options = learner, pool, options
        self.state, self.reward = list(state), list(reward)
        self.oracle = oracle or GroundTruth(pool.store)
        self.evaluator = Evaluator(pool.store, learner.classes)
        self._known, self._source_domain = self.state if rehearse else [], source_domain
        outlines = options.budget_measure == "polygon_clicks"
        self.campaign = Campaign(pool, lambda: revealed(pool.store, self._known), outlines=outlines)
        self.state_units = sum(len(observed_units(pool, i)) for i in self.state)
        self._hindsight = hindsight
        self._rewarded = self._by_group(self.reward) if options.reward_of == "worst" else [self.reward]
        self._true_counts = TrueCounts(pool, learner.classes)
        self._started, self._first = False, None
        self.spec = spec

    @property
    def spec(self) -> ObservationSpec | None:
        """What an observation holds."""
        return None if self._observer is None else self._observer.spec

    @spec.setter
    def spec(self, spec: ObservationSpec | None) -> None:
        given = self.learner, self.evaluator, self.campaign, self.state
        self._observer = None if spec is None else Observer(*given, spec)

    def reset(self, seed: int) -> None:
        """Start a game with nothing labelled and the learner at theta_0.

        Args:
            seed: determines the draws, the training and the noisy predictions of this game.
        """
        self.seed, self.turn, self._started = seed, 0, True
        self.learner.reset()
        self.campaign.begin(seed)
        if self._observer is not None:
            self._observer.forget()
        self._draw()

    def restore(self, records: Sequence[Record]) -> None:
        """Restore a game from its records; it continues bit for bit like the recorded one.

        Args:
            records: the records of a game with the same configuration, see `Campaign.records`.

        Raises:
            RalsegError: if the first record is not `begin`, or the records belong to another pool.
        """
        if not records or records[0].get("move") != "begin":
            raise RalsegError("these records do not begin a game; give all of them, in their order")
        # They are written down already.
        on_record, self.campaign.on_record = self.campaign.on_record, None
        try:
            self.reset(records[0]["seed"])
            for record in records[1:]:
                self._replay(record)
        finally:
            self.campaign.on_record = on_record

    def _replay(self, record: Record) -> None:
        match record["move"]:
            case "ask":
                self._ask(self.pool.find(record["units"]))
            case "learn":
                self.learn()
            case _:
                self.campaign.replay(record)

    @property
    def labels(self) -> PartialLabels:
        """All known labels, with those of D_S if it is rehearsed."""
        return self.campaign.labels

    @property
    def ledger(self) -> Ledger:
        """What was paid."""
        return self.campaign.ledger

    @property
    def bought_counts(self) -> np.ndarray:
        """(C,) int64 pixels per class that were bought."""
        return self.campaign.class_counts

    @property
    def over(self) -> bool:
        """Whether the game has ended: the budget is spent or no candidate is left."""
        return not self.offer.mask.any()

    def view(self, reducers: Sequence[Reducer] = (), observed: bool = True) -> CandidatesView:
        """A view of the present offer.

        Args:
            reducers: all reducers that will be used, so that one forward pass serves them together.
            observed: whether the observation will be used, too.

        Raises:
            RalsegError: if `observed` is set and the game has no `spec`.
        """
        if observed:
            if self._observer is None:
                raise RalsegError("the game cannot be observed because it has no spec; set game.spec")
            reducers = (*reducers, *self._observer.reducers)
        named = {reducer.name: reducer for reducer in reducers}
        return CandidatesView(self._reader(), self.offer, self.bought_counts.copy(), tuple(named.values()))

    def step(self, choice: np.ndarray) -> Turn:
        """Ask for the chosen units, collect the oracle's answers, and learn.

        Args:
            choice: (K,) integers, one index into each slate, or all into the one slate of a whole pool; -1, a masked
                index or a repeated one asks for nothing.

        Raises:
            RalsegError: see `ask`.
        """
        asked = self.ask(choice)
        units, counts = self.collect()
        return Turn(units, len(choice) - len(asked), counts.sum(0), self.learn())

    def ask(self, choice: np.ndarray) -> np.ndarray:
        """Ask for the labels of chosen units.

        Args:
            choice: see `step`.

        Returns:
            (n,) int64 flat numbers of the units that were asked for.

        Raises:
            RalsegError: if the choice has a wrong shape, an index is out of range, or the game was not reset.
        """
        if not self._started:
            raise RalsegError("the game has not begun; call reset(seed) first")
        units = chosen_units(self.offer, choice, self.options)
        units = units[: self._affordable(units)]
        self._ask(units)
        return units

    def collect(self) -> tuple[np.ndarray, np.ndarray]:
        """Ask the oracle for all pending units and store its answers.

        Returns:
            (n,) int64 flat numbers of the answered units, and (n, C) int64 their pixels per class.
        """
        pending = np.array(self.campaign.pending, np.int64)
        labels = self.oracle.answer(self.pool.records(pending)) if len(pending) else ()
        given = [(unit, label) for unit, label in zip(pending, labels, strict=True) if label is not None]
        units = np.array([unit for unit, _ in given], np.int64)
        return units, self.answer(units, [label for _, label in given])

    def answer(self, units: np.ndarray, labels: Sequence[np.ndarray]) -> np.ndarray:
        """Store the labels of units that were asked for; see `Campaign.answer`."""
        return self.campaign.answer(units, labels)

    def learn(self) -> torch.Tensor:
        """Learn from the answers since the last call, and draw the next offer.

        Returns:
            The learner's mean loss, a 0-d tensor on its device; 0 if nothing is new.
        """
        data = TrainingSet(self.labels, self.campaign.fresh, self.pool.unlabelled_images, self._source_domain)
        loss = taught(self.learner, data, generator(self.seed, "training", self.turn))
        self.campaign.learned()
        self.turn += 1
        self._draw()
        return loss

    def evaluate_reward(self) -> float:
        """MIoU on D_R, or on its worst group, in percent; the same passes give D_R's gradient for the credit."""
        gradient = None if self._hindsight is None else self._hindsight.gradient
        observer = None if gradient is None else gradient.observe
        found = [self.evaluator(self.learner, images, observer).miou for images in self._rewarded]
        if gradient is not None:
            gradient.finish()
        return min(found)

    def first_miou(self) -> float:
        """`evaluate_reward` at theta_0, where every game begins; computed once unless the credit needs the passes."""
        if self._first is None or (self._hindsight is not None and self._hindsight.gradient is not None):
            self._first = self.evaluate_reward()
        return self._first

    def credit(self, view: CandidatesView) -> dict[str, np.ndarray]:
        """What each candidate was worth: (K, N) float32, 0 where masked.

        Args:
            view: made with `credit_reducers` at the weights of the last `evaluate_reward`.

        Returns:
            `credit` (gradient credit) and `reference` (the score of `options.reference`), each only if the game was
            made with it.
        """
        return {} if self._hindsight is None else self._hindsight.of(view)

    @property
    def credit_reducers(self) -> tuple[Reducer, ...]:
        """The reducers that `credit` needs in its view."""
        return () if self._hindsight is None else self._hindsight.reducers

    def _ask(self, units: np.ndarray) -> None:
        if self._observer is not None and len(units):
            if not self._observer.remembers_offer:
                # The policy has not observed this turn's candidates.
                _ = self.view().observation
            self._observer.remember(units)
        self.campaign.ask(units)

    def _reader(self) -> PoolReader:
        references = {}
        if self._hindsight is not None:
            references = self._hindsight.references(self.labels.class_counts, self.seed, self.turn)
        return PoolReader(
            self.learner, self.pool, self._known, self._true_counts, self.seed, self.turn, self._observer, references
        )

    def _by_group(self, images: Sequence[int]) -> list[list[int]]:
        store, found = self.pool.store, {}
        for image in images:
            found.setdefault(store.dataset.groups[store.names[image]], []).append(image)
        return list(found.values())

    def _affordable(self, units: np.ndarray) -> int:
        """How many of these units, in this order, the budget pays."""
        measure = self.options.budget_measure
        prices = self.ledger.prices(self.pool.areas(units), measure)
        return int((np.cumsum(prices) <= self.campaign.left(self.options.budget, measure)).sum())

    def _draw(self) -> None:
        self.offer = draw_offer(self.campaign, self.options, self.seed, self.turn)
