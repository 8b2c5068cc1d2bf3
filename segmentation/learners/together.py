"""Training on the processes that torchrun starts: the first one runs the command, the others train along.

The first process decides, predicts, evaluates and writes, as if it were alone. When a learner trains, it sends the
others all that the training depends on; they do the same and forget what comes out. So files, caches and checkpoints
are those of one process, and nothing but the length of a training depends on the number of processes.

What is sent is pickled, as between the processes of a comparison; no file is.
"""

import io
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, distributed

from ralseg.foundation import RalsegError
from ralseg.foundation.torchrun import GRACE, follows, started
from ralseg.segmentation.collectives import alone
from ralseg.segmentation.devices import single_thread
from ralseg.segmentation.learners.checkpoint import FitCheckpoint
from ralseg.segmentation.learners.launch import connect
from ralseg.segmentation.learners.options import FitOptions
from ralseg.segmentation.learners.protocol import Learner, TrainingSet
from ralseg.segmentation.learners.trained import Trained


@dataclass(frozen=True)
class Training:
    """What a training depends on, beside the learner.

    Attributes:
        data: labels and images.
        rng: the generator of all draws.
        options: those of `fit`; None for `learn`.
        validates: whether `fit` validates.
        kept: what a checkpoint holds, from which `fit` goes on.
    """

    data: TrainingSet
    rng: np.random.Generator
    options: FitOptions | None = None
    validates: bool = False
    kept: tuple[dict[str, Tensor], dict[str, Any]] | None = None


@dataclass(frozen=True)
class Message:
    """What the first process sends.

    Attributes:
        number: of the learner.
        training: what it is trained with.
        made: class and arguments of the learner, the first time.
        theta0: see `Trained.theta0`; None where the others have the same learner in the same state.
        state: see `Learner.state`.
        gone: numbers of learners that are no more.
    """

    number: int
    training: Training
    made: tuple[type[Trained], tuple[Any, ...], Mapping[str, Any]] | None
    theta0: dict[str, Tensor] | None
    state: dict[str, Tensor] | None
    gone: tuple[int, ...]


def run_together(device: str, run: Callable[[], Any]) -> None:
    """Run a command on the processes that torchrun started, or on this one.

    Args:
        device: the device of the computations.
        run: the command, which the first process runs.

    Raises:
        RalsegError: what the command raises; if Lightning Fabric is not installed or the device is not there for each
            process; or if a process that trains along fails.
    """
    if started() == 1:
        run()
        return
    if follows():
        _follow(device)
        return
    connect(device)
    global _first
    _first = _First()
    try:
        with alone():
            run()
    finally:
        # In the middle of a training the others do not wait for a message; torchrun ends them.
        if not _first.training:
            with suppress(RuntimeError):
                _send(None)
                distributed.destroy_process_group()
        _first = None


def taught(learner: Learner, data: TrainingSet, rng: np.random.Generator) -> Tensor:
    """Call `Learner.learn` with access to the images of the training set only.

    Raises:
        RalsegError: if the learner asks for another image.
    """
    with learner.images.only(data.images), _together(learner, Training(data, rng)):
        return learner.learn(data, rng)


def fitted(
    learner: Learner,
    data: TrainingSet,
    options: FitOptions,
    rng: np.random.Generator,
    validate: Callable[[], float] | None = None,
    on_step: Callable[[int, int], None] | None = None,
    checkpoint: FitCheckpoint | None = None,
) -> int:
    """Call `Learner.fit` with access to the images of the training set only; `validate` can read all.

    Raises:
        RalsegError: if the learner asks for another image.
    """
    unrestricted = None if validate is None else learner.images.only(None)(validate)
    training = Training(data, rng, options, validate is not None)
    with learner.images.only(data.images), _together(learner, training, checkpoint) as others:
        if others and unrestricted is not None:
            unrestricted = _told(unrestricted)
        return learner.fit(data, options, rng, unrestricted, on_step, checkpoint)


class _First:
    """What the first process knows of the others.

    Attributes:
        training: whether they are in the middle of a training.
    """

    def __init__(self) -> None:
        self.training = False
        self._known: WeakKeyDictionary[Trained, tuple[int, int]] = WeakKeyDictionary()
        self._told: set[int] = set()
        self._learners = 0

    @contextmanager
    def trains(self, learner: Trained, training: Training) -> Iterator[bool]:
        """Until the block ends the others train along.

        Raises:
            RalsegError: if the training before was broken off, in the middle of which they still are.
        """
        if self.training:
            raise RalsegError(
                "a training that the other processes shared was broken off; start the command again, and let errors "
                "in a training end it"
            )
        number, version = self._known.get(learner, (None, None))
        gone = tuple(self._told - {known for known, _ in self._known.values()})
        self._told -= set(gone)
        made = None
        if number is None:
            number, made = self._learners, (type(learner), *learner.made_with)
            self._learners += 1
        same = version == learner.version
        state = (None, None) if same else (learner.theta0(), learner.state())
        message = Message(number, training, made, *state, gone)
        try:
            _send(message, type(learner).__name__)
            self.training = True
            with alone(False):
                yield True
        except RuntimeError as error:
            if "peer" not in str(error) and not isinstance(error, distributed.DistError):
                raise
            raise RalsegError("a process that trained along has ended; what it printed says why") from error
        self.training = False
        self._known[learner] = number, learner.version
        self._told.add(number)


_first: _First | None = None


@contextmanager
def _together(learner: Learner, training: Training, checkpoint: FitCheckpoint | None = None) -> Iterator[bool]:
    if _first is None or not isinstance(learner, Trained) or not learner.trains_together(training.options):
        yield False
        return
    kept = None if checkpoint is None else checkpoint.load()
    with _first.trains(learner, replace(training, kept=kept)) as others:
        yield others


def _told(validate: Callable[[], float]) -> Callable[[], float]:
    def validated() -> float:
        with alone():
            score = validate()
        _send(score)
        return score

    return validated


def _follow(device: str) -> None:
    """Train along until the first process sends None."""
    # Ctrl-C reaches every process of the terminal, and the first one deals with it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    single_thread()
    learners: dict[int, Any] = {}
    try:
        connect(device)
        while (message := _received()) is not None:
            for number in message.gone:
                del learners[number]
            if message.made is not None:
                make, arguments, named = message.made
                learners[message.number] = make(*arguments, **named)
            _train_along(learners[message.number], message)
        distributed.destroy_process_group()
    except Exception as error:
        time.sleep(GRACE)
        if isinstance(error, RalsegError):
            raise RalsegError(f"process {os.environ['RANK']}: {error}") from error
        raise


def _train_along(learner: Any, message: Message) -> None:
    training, images = message.training, learner.images
    if message.theta0 is not None and message.state is not None:
        learner.start_at(message.theta0)
        learner.restore(message.state)
    with images.only(training.data.images):
        if training.options is None:
            learner.learn(training.data, training.rng)
            return
        validate = _received if training.validates else None
        checkpoint = None if training.kept is None else _Kept(training.kept)
        learner.fit(training.data, training.options, training.rng, validate, None, checkpoint)


class _Kept(FitCheckpoint):
    """A checkpoint that the first process has read and alone writes."""

    def __init__(self, kept: tuple[dict[str, Tensor], dict[str, Any]]) -> None:
        self._kept = kept

    @property
    def due(self) -> bool:
        return False

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        return self._kept

    def remove(self) -> None:
        pass


def _send(what: Any, of: str = "") -> None:
    buffer = io.BytesIO()
    try:
        torch.save(what, buffer)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise RalsegError(
            f"{of} cannot be sent to the other processes ({error}); start one process, without torchrun, or make all "
            "that it is made with picklable"
        ) from error
    sent = torch.frombuffer(buffer.getbuffer(), dtype=torch.uint8)
    distributed.broadcast(torch.tensor(len(sent)), 0)
    distributed.broadcast(sent, 0)


def _received() -> Any:
    length = torch.tensor(0)
    distributed.broadcast(length, 0)
    sent = torch.empty(int(length), dtype=torch.uint8)
    distributed.broadcast(sent, 0)
    # Files are never read in this way: this comes from the first process of the same command.
    return torch.load(io.BytesIO(sent.numpy().tobytes()), "cpu", weights_only=False)
