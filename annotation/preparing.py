"""The next round, prepared by a process of its own while the page stays open."""

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal

from ralseg.foundation import RalsegError, owned

Wish = Literal["train", "stop"]
PATIENCE = 0.2
"""Seconds within which a wish of the page is heard, and between two figures of progress."""


@dataclass(frozen=True)
class Status:
    """What is going on besides labelling.

    Attributes:
        state: `training` while the network is trained and the next round chosen, during which the labels must not
            change; `failed` or `ended`, when nothing is left to ask for, until somebody wishes for another training.
        text: a sentence for the person.
        share: the share of the steps of the training that is done.
    """

    state: Literal["", "training", "failed", "ended"] = ""
    text: str = ""
    share: float = 0


class Preparation:
    """Trains on all labels and asks the next round in a spawned process, whenever the page wishes so.

    The process owns the project's folder while it works. It can be killed at any moment: the training goes on and
    gives the same weights, and a round that was half asked is forgotten. It ends when its parent does.

    Threads may call `status` and `ask`; `wait` and `run` are for the one that owns the project.

    Args:
        folder: the project.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._wanted, self._stopped = threading.Event(), threading.Event()
        self._status = self._result = Status()

    def status(self) -> Status:
        """What is going on."""
        return self._status

    def ask(self, wish: Wish) -> None:
        """Wish for a training, or for the end of the one that is going on."""
        if wish == "stop":
            self._stopped.set()
        elif self._status.state != "training":
            self._status = Status("training", "The network is being loaded.")
            self._stopped.clear()
            self._wanted.set()

    def fail(self, why: str) -> None:
        """Say at the next `wait` why there is no next round."""
        self._result = _failed(why)

    def wait(self) -> bool:
        """Wait until a training is wished for; returns False at Ctrl-C."""
        try:
            if not self._wanted.is_set():
                self._status = self._result
            while not self._wanted.wait(PATIENCE):
                pass
        except KeyboardInterrupt:
            print()
            return False
        return True

    def run(self, release: Callable[[], None]) -> bool:
        """Prepare the next round; its outcome is told by `status` once this thread waits again.

        Args:
            release: gives up the project's folder; called when the process is ready to take it.

        Returns:
            False at Ctrl-C. The process has ended in any case.
        """
        self._wanted.clear()
        context = get_context("spawn")
        pipe, theirs = context.Pipe()
        process = context.Process(target=_prepare, args=(self._folder, theirs), name="next round", daemon=True)
        try:
            process.start()
            theirs.close()
            self._result = self._followed(process, pipe, release)
        except KeyboardInterrupt:
            print()
            return False
        finally:
            process.terminate()
            process.join()
            pipe.close()
        if self._result.state:
            print(self._result.text, file=sys.stderr, flush=True)
        return True

    def _followed(self, process: BaseProcess, pipe: Connection, release: Callable[[], None]) -> Status:
        while not self._stopped.is_set():
            if not pipe.poll(PATIENCE):
                continue
            try:
                found = pipe.recv()
                if found is None:
                    release()
                    pipe.send(None)
                    continue
            except (EOFError, ConnectionError):
                process.join()
                why = f"its process ended with code {process.exitcode} (-9: killed, perhaps for lack of memory)"
                return _failed(why)
            if found.state != "training":
                return found
            self._status = found
        return Status()


def _failed(why: str) -> Status:
    return Status("failed", f"The next round could not be prepared: {why}. All labels are kept.")


def _prepare(folder: Path, pipe: Connection) -> None:
    """Say that all is loaded, wait until the folder is free, and prepare; in the spawned process."""
    # Ctrl-C is sent to every process of a terminal, but the parent ends this one itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        try:
            result = _prepared(folder, pipe)
        except RalsegError as error:
            result = _failed(str(error))
        except ConnectionError:
            raise
        except Exception as error:
            traceback.print_exc()
            result = _failed(f"{type(error).__name__}: {error}; the terminal says more")
        # The parent ends this process as soon as it has the result.
        sys.stdout.flush()
        pipe.send(result)
    except (EOFError, ConnectionError):
        # The parent is gone.
        pass


def _prepared(folder: Path, pipe: Connection) -> Status:
    # These load torch, which the page does without.
    from ralseg.annotation.choosing import NothingLeft
    from ralseg.annotation.learned import Networks
    from ralseg.annotation.project import Project
    from ralseg.annotation.rounds import collect
    from ralseg.annotation.steps import ask_round, show_progress, tell_settled, train_network
    from ralseg.segmentation.devices import single_thread

    single_thread()
    pipe.send(None)
    pipe.recv()
    threading.Thread(target=_end_with_parent, args=(pipe,), daemon=True).start()
    with owned(folder, "folder"):
        project = Project(folder)
        tell_settled(collect(project))
        networks = Networks(project)
        # Where all is skipped or held out, there is nothing to train on, but there may be more to ask for.
        if networks.labels.class_counts.any():
            train_network(project, _both(show_progress("training"), _shown_on_page(pipe)))
        pipe.send(Status("training", "The next round is being chosen.", 1))
        try:
            ask_round(project)
        except NothingLeft as error:
            return Status("ended", f"{error}.")
    return Status()


def _end_with_parent(pipe: Connection) -> None:
    try:
        pipe.recv()
    except (EOFError, ConnectionError):
        os._exit(1)


def _both(first: Callable[[int, int], None], second: Callable[[int, int], None]) -> Callable[[int, int], None]:
    def show(step: int, steps: int) -> None:
        first(step, steps)
        second(step, steps)

    return show


def _shown_on_page(pipe: Connection) -> Callable[[int, int], None]:
    begun, sent = time.perf_counter(), 0.0

    def show(step: int, steps: int) -> None:
        nonlocal sent
        now = time.perf_counter()
        if step < steps and now - sent < PATIENCE:
            return
        sent = now
        left = (now - begun) / step * (steps - step)
        text = f"Step {step} of {steps} of the training, about {left:.0f} seconds left."
        pipe.send(Status("training", text, step / steps))

    return show
