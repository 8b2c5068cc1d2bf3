"""The campaign: pool, labels and ledger, and a record of every move that changed them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ralseg.envs.ledger import Ledger
from ralseg.envs.pool import Pool
from ralseg.envs.records import Record, decoded, encoded
from ralseg.features.clicks import unit_clicks
from ralseg.foundation import RalsegError
from ralseg.segmentation.labels import PartialLabels


class Campaign:
    """What has been asked, answered and paid.

    A unit is asked for first; once it is answered, it counts as labelled and paid. Units without an answer yet are
    `pending`: they are not offered again, and their price stays reserved in the budget. The records list the moves in
    order; `Game.restore` plays them back.

    Args:
        pool: the units.
        labels: makes the labels that are known before the first answer.
        on_record: called with each record when its move is made, e.g. `RecordsFile.append`.
        outlines: whether the ledger counts `polygon_clicks`, which takes some milliseconds a unit.

    Attributes:
        pool: the units.
        labels: all known labels, the starting labels included.
        ledger: what was paid.
        unit_counts: (m, C) int64 pixels per class of each labelled unit, in the order of buying.
        pending: flat numbers of the units that were asked for and not answered yet, in the order of asking.
        fresh: (image, centre as shares of height and width) of the units answered since the last `learn`.
        on_record: see above; it may be set before a game begins.
    """

    def __init__(
        self,
        pool: Pool,
        labels: Callable[[], PartialLabels],
        on_record: Callable[[Record], None] | None = None,
        outlines: bool = False,
    ) -> None:
        self.pool, self._labels, self.on_record, self._outlines = pool, labels, on_record, outlines

    def begin(self, seed: int) -> None:
        """Start again with nothing asked, answered or paid."""
        self.pool.reset()
        self.labels = self._labels()
        self.ledger = Ledger(self.pool.pixels, len(self.pool.images))
        self.unit_counts = np.zeros((0, self.labels.classes), np.int64)
        self.pending: list[int] = []
        self.fresh: list[tuple[int, tuple[float, float]]] = []
        self._images: set[int] = set()
        self._moves: list[_Move] = []
        self._note(_Move("begin", seed=seed))

    @property
    def class_counts(self) -> np.ndarray:
        """(C,) int64 pixels per class that were bought."""
        return self.unit_counts.sum(0)

    @property
    def records(self) -> list[Record]:
        """The moves so far, oldest first."""
        return [move.record(self.pool) for move in self._moves]

    def left(self, budget: float, measure: str) -> int:
        """What a budget still pays after the price of all pending units; see `Ledger.left`."""
        reserved = self.ledger.prices(self.pool.areas(np.array(self.pending, np.int64)), measure).sum()
        return self.ledger.left(budget, measure) - int(reserved)

    def ask(self, units: np.ndarray) -> None:
        """Ask for the labels of units (n,), flat numbers.

        Raises:
            RalsegError: if one of them was asked for before.
        """
        self.pool.ask(units)
        self.pending += units.tolist()
        self._note(_Move("ask", units))

    def withdraw(self, units: np.ndarray) -> None:
        """Withdraw the request for pending units, which are open again.

        Raises:
            RalsegError: if a unit is not pending.
        """
        self._check_pending(units)
        self.pool.withdraw(units)
        self._settle(units)
        self._note(_Move("withdraw", units))

    def answer(self, units: np.ndarray, labels: Sequence[np.ndarray]) -> np.ndarray:
        """Store the labels of units that were asked for, and pay for them.

        Args:
            units: (n,) flat numbers.
            labels: one (height, width) uint8 array per unit: class ids, 255 where not labelled.

        Returns:
            (n, C) int64 pixels per class of each unit.

        Raises:
            RalsegError: if a unit is not pending or a label does not fit it; then nothing is changed.
        """
        self._check_pending(units)
        places = self._fitting(units, labels)
        found = [self.labels.reveal(*place, label) for place, label in zip(places, labels, strict=True)]
        counts = np.array(found, np.int64).reshape(-1, self.labels.classes)
        self.pool.buy(units)
        self._settle(units)
        self._images.update(image for image, _, _ in places)
        self.unit_counts = np.concatenate([self.unit_counts, counts])
        self.ledger.units += len(units)
        self.ledger.pixels += int(self.pool.areas(units).sum())
        self.ledger.clicks += int((counts > 0).sum())
        self.ledger.images = len(self._images)
        if self._outlines:
            self.ledger.polygon_clicks += sum(map(unit_clicks, labels))
        self._note(_Move("answer", units, [np.array(label) for label in labels]))
        return counts

    def correct(self, units: np.ndarray, labels: Sequence[np.ndarray]) -> None:
        """Replace the labels of units that were answered before; a correction costs nothing.

        The units count as fresh, so that the next turn learns from them.

        Args:
            units: (n,) flat numbers.
            labels: see `answer`.

        Raises:
            RalsegError: if a unit has no label yet or a label does not fit it; then nothing is changed.
        """
        bought = self.pool.bought.tolist()
        if unknown := [unit for unit in units.tolist() if unit not in bought]:
            raise RalsegError(f"unit {self.pool.records(np.array(unknown[:1]))[0]} has no label to correct; answer it")
        places = self._fitting(units, labels)
        for unit, place, label in zip(units.tolist(), places, labels, strict=True):
            self.unit_counts[bought.index(unit)] = self.labels.correct(*place, label)
        self._note(_Move("correct", units, [np.array(label) for label in labels]))

    def replay(self, record: Record) -> None:
        """Make a recorded move again.

        Raises:
            RalsegError: if the move is unknown or belongs to another pool.
        """
        if record.get("move") == "begin":
            return self.begin(record["seed"])
        if record.get("move") == "learn":
            return self.learned()
        units = self.pool.find(record.get("units", ()))
        sides = [unit[3:] for unit in record.get("units", ())]
        labels = [decoded(runs, *side) for runs, side in zip(record.get("labels", ()), sides, strict=False)]
        match record.get("move"):
            case "ask":
                self.ask(units)
            case "withdraw":
                self.withdraw(units)
            case "answer":
                self.answer(units, labels)
            case "correct":
                self.correct(units, labels)
            case other:
                raise RalsegError(f"the records hold an unknown move {other!r}; they are of another version")
        return None

    def learned(self) -> None:
        """Record that the learner has learned from all fresh units."""
        self.fresh = []
        self._note(_Move("learn"))

    def _check_pending(self, units: np.ndarray) -> None:
        if len(set(units.tolist())) < len(units) or not set(units.tolist()) <= set(self.pending):
            named = self.pool.records(units)
            raise RalsegError(f"units {named[:3]}... are not all pending; answer what was asked for, each unit once")

    def _fitting(self, units: np.ndarray, labels: Sequence[np.ndarray]) -> list[tuple[int, tuple[int, int], list[int]]]:
        """Image, its size and the box of each unit, once all labels are known to fit; the units count as fresh then."""
        images, boxes = self.pool.images[self.pool.locate(units)[0]].tolist(), self.pool.boxes(units).tolist()
        places = [(image, self.pool.store.size(image), box) for image, box in zip(images, boxes, strict=True)]
        for place, label in zip(places, labels, strict=True):
            self.labels.check(*place, label)
        for image, (height, width), (y, x, h, w) in places:
            self.fresh.append((image, ((y + h / 2) / height, (x + w / 2) / width)))
        return places

    def _settle(self, units: np.ndarray) -> None:
        """Units are no longer pending."""
        settled = set(units.tolist())
        self.pending = [unit for unit in self.pending if unit not in settled]

    def _note(self, move: "_Move") -> None:
        self._moves.append(move)
        if self.on_record is not None:
            self.on_record(move.record(self.pool))


@dataclass(frozen=True)
class _Move:
    """A move as it is kept in memory; its labels become run lengths only when it is written."""

    move: str
    units: np.ndarray | None = None
    labels: Sequence[np.ndarray] | None = None
    seed: int | None = None

    def record(self, pool: Pool) -> Record:
        record: Record = {"move": self.move}
        if self.seed is not None:
            record["seed"] = self.seed
        if self.units is not None:
            record["units"] = pool.records(self.units)
        if self.labels is not None:
            record["labels"] = [encoded(label) for label in self.labels]
        return record
