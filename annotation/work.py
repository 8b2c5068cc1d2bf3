"""The work folder of a round: what people have labelled so far, on disk after every stroke."""

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from ralseg.annotation.events import ACCEPTED, WITH_LABEL, Event, clicks, seconds
from ralseg.annotation.label_files import read_label, write_png
from ralseg.annotation.query import NOT_LABELLED, Answers, Query
from ralseg.foundation import RalsegError, read_file, read_json, unwritable, write_json

State = Literal["open", "accepted", "skipped"]
LARGEST_EVENTS = 1 << 28
"""Bytes of events that are read at most: about two million events."""


class StaleEvent(RalsegError):
    """An event that does not follow the last one: another page has gone on with the round."""


class WorkFolder:
    """The work on one round, in plain files: drafts and events, of which states, clicks and seconds follow.

    `work.json` says whose query it is, `events.jsonl` has one line for each event, and `labels/<unit>-<n>.png` is the
    label of a unit (its place in the query) as event n left it. A label is written before the line of its event, and
    only labels that a line names count: whenever a process is killed, the work is what the last whole line says.

    The folder is read when the object is made; nothing is written before the first event. Threads may share an object.
    Two processes must not record in one folder: hold it with `ralseg.foundation.owned`.

    Args:
        folder: the folder; made with the first event.
        query: the query of the round.

    Raises:
        RalsegError: if the folder holds the work on another query, or is damaged.
    """

    def __init__(self, folder: str | Path, query: Query) -> None:
        self.folder, self.query = Path(folder), query
        self._note, self._lines = self.folder / "work.json", self.folder / "events.jsonl"
        self._lock = threading.Lock()
        self._states: list[State] = ["open"] * len(query.units)
        self._drafts: dict[int, int] = {}
        self._events: list[Event] = []
        self._end = 0
        if self._note.exists() or self._lines.exists():
            found = read_json(self._note)
            if not isinstance(found, dict) or found.get("digest") != query.digest:
                raise RalsegError(f"{self.folder} holds the work on another query; choose another folder")
            for event, end in self._read():
                self._count(event)
                self._end = end

    @property
    def events(self) -> Sequence[Event]:
        """All events, oldest first."""
        with self._lock:
            return tuple(self._events)

    @property
    def states(self) -> Sequence[State]:
        """The state of each unit: `accepted` or `skipped` until somebody changes its label, otherwise `open`."""
        with self._lock:
            return tuple(self._states)

    @property
    def counts(self) -> dict[State, int]:
        """Number of units in each state."""
        found = Counter(self.states)
        return {state: found[state] for state in get_args(State)}

    @property
    def clicks(self) -> dict[int, int]:
        """Place of a unit -> number of clicks on its picture, see `ralseg.annotation.events.clicks`."""
        return clicks(self.events)

    @property
    def seconds(self) -> dict[int, float]:
        """Place of a unit -> seconds of work on it, see `ralseg.annotation.events.seconds`."""
        return seconds(self.events)

    def label(self, unit: int) -> np.ndarray | None:
        """The label of a unit as it is now, accepted or not; None if nobody has changed or accepted anything in it.

        Args:
            unit: its place in the query.

        Returns:
            (height, width) uint8 of class ids, 255 where not labelled.

        Raises:
            RalsegError: if its file is missing or damaged.
        """
        with self._lock:
            n = self._drafts.get(unit)
            # Within the lock, or a stroke may remove the file before it is read.
            return None if n is None else self._load(unit, n)

    def answers(self) -> Answers:
        """The labels of the accepted units.

        Raises:
            RalsegError: if a file is missing or damaged.
        """
        with self._lock:
            accepted = {unit: n for unit, n in self._drafts.items() if self._states[unit] == "accepted"}
            labels = {unit: self._load(unit, n) for unit, n in sorted(accepted.items())}
            begun = sum(self._states[unit] == "open" for unit in self._drafts)
            skipped, total = self._states.count("skipped"), len(self._states)
        notes = [f"Skipped, and left out: {skipped} of {total} units."] if skipped else []
        notes += [f"Begun but not accepted, and left out: {begun} of {total} units."] if begun else []
        return Answers(labels, tuple(notes))

    def record(self, event: Event, label: np.ndarray | None = None) -> None:
        """Write down an event; it is on disk when this returns.

        An event that was recorded before is ignored: its page did not hear that it was.

        Args:
            event: the event, with the number that follows the last one.
            label: the unit's label after the event, (height, width) uint8 of class ids and 255; for the kinds in
                `ralseg.annotation.events.WITH_LABEL`, and for no other.

        Raises:
            StaleEvent: if its number is not the next one. Nothing is written.
            RalsegError: if the label does not fit the unit, the query or the kind, or the folder cannot be written.
        """
        self.check(event, label)
        with self._lock:
            if event.n <= len(self._events) and self._events[event.n - 1] == event:
                return
            if event.n != len(self._events) + 1:
                raise StaleEvent(f"event {event.n} does not follow event {len(self._events)}; load the page again")
            if not self._events:
                write_json(self._note, {"digest": self.query.digest})
            if label is not None:
                write_png(self._file(event.unit, event.n), label)
            before = self._drafts.get(event.unit)
            self._append(event)
            if label is not None and before is not None:
                with suppress(OSError):
                    self._file(event.unit, before).unlink()

    def check(self, event: Event, label: np.ndarray | None) -> None:
        """Refuse an event whose label does not fit the unit, the query or the kind; `record` does so, too.

        Args:
            event: the event.
            label: see `record`.

        Raises:
            RalsegError: if it does not fit.
        """
        if (label is not None) != (event.kind in WITH_LABEL):
            raise RalsegError(f"an event {event.kind} comes {'with' if label is None else 'without'} a label")
        if label is None:
            return
        size = self.query.units[event.unit][3:]
        if label.dtype != np.uint8 or label.shape != size:
            raise RalsegError(f"a label of {label.shape} {label.dtype} for a unit of {size}; give uint8 of its size")
        # Sorting the pixels of a whole image would take ten times as long.
        found = np.flatnonzero(np.bincount(label.ravel()))
        unknown = found[(found >= len(self.query.classes)) & (found != NOT_LABELLED)]
        if len(unknown):
            raise RalsegError(f"unknown class {unknown[0]}: classes are 0 to {len(self.query.classes) - 1}, and 255")

    def _append(self, event: Event) -> None:
        line = json.dumps(asdict(event), separators=(",", ":")).encode() + b"\n"
        with _named(self._lines), open(self._lines, "ab") as file:
            if file.tell() < self._end:
                raise RalsegError(f"{self._lines}: another process has shortened it; restore it and start again")
            # What a killed process or a full disk left of a line.
            file.truncate(self._end)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._end += len(line)
        self._count(event)

    def _count(self, event: Event) -> None:
        self._events.append(event)
        if event.kind in WITH_LABEL:
            self._drafts[event.unit] = event.n
            self._states[event.unit] = "accepted" if event.kind in ACCEPTED else "open"
        elif event.kind == "skip":
            self._states[event.unit] = "skipped"

    def _read(self) -> Iterator[tuple[Event, int]]:
        """Each event on disk and where its line ends. Half a line at the end was never answered, and is left out."""
        text = read_file(self._lines, LARGEST_EVENTS) if self._lines.exists() else b""
        end = 0
        for number, line in enumerate(text[: text.rfind(b"\n") + 1].splitlines(keepends=True), start=1):
            end += len(line)
            try:
                event = Event.read(json.loads(line), self.query)
            except (ValueError, RecursionError) as error:
                raise RalsegError(f"{self._lines}, line {number}: {error}; restore the file") from error
            if event.n != number:
                raise RalsegError(f"{self._lines}, line {number}: it is of event {event.n}; restore the file")
            yield event, end

    def _file(self, unit: int, n: int) -> Path:
        return self.folder / "labels" / f"{unit:05d}-{n}.png"

    def _load(self, unit: int, n: int) -> np.ndarray:
        return read_label(self._file(unit, n), self.query.units[unit][3:])


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error
