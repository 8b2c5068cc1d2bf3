"""Game streams: several games side by side, in turn in this process or each in a spawned process of its own.

Both kinds have the same face and give the same numbers. A spawned game imports what its factory needs, and nothing of
the learner. Observations come through shared memory, the rest of a step (reward, flags, info) through a pipe.
"""

import math
import signal
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import connection, get_context
from multiprocessing.shared_memory import SharedMemory
from typing import Any, Protocol, Self

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from ralseg.foundation import RalsegError

Observation = dict[str, np.ndarray]
Step = tuple[Observation, float, bool, bool, dict[str, Any]]
"""Observation, reward, terminated, truncated, info: what an env's `step` returns."""

MakeEnv = Callable[[], gym.Env]

_PATIENCE = 5.0
"""Seconds that a game has to end in once it is asked to."""


class Streams(Protocol):
    """Numbered games that step together; a context manager.

    Attributes:
        observation_space: of every game, a Dict of Boxes.
        action_space: of every game.
    """

    observation_space: spaces.Dict
    action_space: spaces.Space

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def reset(self, seeds: Mapping[int, int]) -> list[Observation]:
        """Start an episode on the streams that `seeds` names; first observations in its order."""

    def step(self, actions: Mapping[int, np.ndarray]) -> list[Step]:
        """Step the streams that `actions` names; what came of it, in its order. Arrays are the caller's own."""


def open_streams(make_env: MakeEnv | Sequence[MakeEnv], streams: int, processes: int) -> Streams:
    """Make the games.

    Args:
        make_env: makes one; must be picklable (a dataclass with `__call__`) where `processes` is not 1. Or several, one
            for each stream.
        streams: how many.
        processes: 1 plays all in this process, anything else gives each its own.

    Raises:
        RalsegError: if a game cannot be made, or there are as many makers as neither one nor the streams.
    """
    makers = list(make_env) if isinstance(make_env, Sequence) else [make_env] * streams
    if len(makers) != streams:
        raise RalsegError(f"{len(makers)} games for {streams} streams; give one for each, or one for all")
    return LocalStreams(makers) if processes == 1 else SpawnedStreams(makers)


class LocalStreams:
    """Games that take turns in this process."""

    def __init__(self, makers: Sequence[MakeEnv]) -> None:
        self._envs = [make_env() for make_env in makers]
        self.observation_space, self.action_space = self._envs[0].observation_space, self._envs[0].action_space

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for env in self._envs:
            env.close()

    def reset(self, seeds: Mapping[int, int]) -> list[Observation]:
        """See `Streams`."""
        return [self._envs[stream].reset(seed=seed)[0] for stream, seed in seeds.items()]

    def step(self, actions: Mapping[int, np.ndarray]) -> list[Step]:
        """See `Streams`."""
        return [self._envs[stream].step(action) for stream, action in actions.items()]


class SpawnedStreams:
    """Games in processes of their own. An error in one of them is raised here, with the number of its stream."""

    def __init__(self, makers: Sequence[MakeEnv]) -> None:
        self._games: list[_Game] = []
        try:
            for stream, make_env in enumerate(makers):
                self._games.append(_Game(make_env, stream))
            for game in self._games:
                game.open()
        except BaseException:
            self.__exit__()
            raise
        self.observation_space, self.action_space = self._games[0].spaces

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for game in self._games:
            game.pipe.close()
        for game in self._games:
            game.close()

    def reset(self, seeds: Mapping[int, int]) -> list[Observation]:
        """See `Streams`."""
        for stream, seed in seeds.items():
            self._games[stream].ask("reset", seed)
        return [self._games[stream].observation(self._games[stream].answer()) for stream in seeds]

    def step(self, actions: Mapping[int, np.ndarray]) -> list[Step]:
        """See `Streams`."""
        for stream, action in actions.items():
            self._games[stream].ask("step", action)
        answers = {stream: self._games[stream].answer() for stream in actions}
        return [(self._games[stream].observation(), *answer) for stream, answer in answers.items()]


class _Game:
    """A spawned game, seen from the parent."""

    def __init__(self, make_env: MakeEnv, stream: int) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.stream, self.shared = stream, None
        self.process = context.Process(target=_play, args=(make_env, theirs), name=f"game {stream}", daemon=True)
        self.process.start()
        theirs.close()

    def open(self) -> None:
        """Wait until the game is made."""
        *self.spaces, name = self.answer()
        self.shared = _SharedObservation(self.spaces[0], name)

    def ask(self, *request: Any) -> None:
        """Send a request; whether the process still lives is found out when its answer is read."""
        with suppress(ConnectionError):
            self.pipe.send(request)

    def answer(self) -> Any:
        """Wait for the answer to the last request."""
        try:
            fine, content = self.pipe.recv()
        except (EOFError, ConnectionError) as error:
            self.process.join(_PATIENCE)
            raise RalsegError(
                f"game stream {self.stream}: its process ended with code {self.process.exitcode} (-9: killed, perhaps "
                "for want of memory); the same command goes on from the last checkpoint"
            ) from error
        if not fine:
            raise RalsegError(f"game stream {self.stream}: {content}")
        return content

    def observation(self, _: None = None) -> Observation:
        """A copy of the present observation."""
        return self.shared.read()

    def close(self) -> None:
        """End the process; its pipe is closed already."""
        self.process.join(_PATIENCE)
        if self.process.is_alive():
            self.process.terminate()
            self.process.join()
        if self.shared:
            self.shared.close()


class _SharedObservation:
    """One observation in a block of shared memory.

    Args:
        space: gives the names, shapes and dtypes.
        name: of a block to attach to; it is unlinked at once, so that nothing is left behind however the two end. None
            makes a new block.
    """

    def __init__(self, space: spaces.Dict, name: str | None = None) -> None:
        sizes = {key: math.prod(box.shape) * box.dtype.itemsize for key, box in space.items()}
        starts = dict(zip(sizes, np.cumsum([0, *(-(-size // 64) * 64 for size in sizes.values())]), strict=False))
        total = sum(-(-size // 64) * 64 for size in sizes.values())
        self.memory = SharedMemory(name, create=name is None, size=total)
        if name is not None:
            self.memory.unlink()
        self.arrays = {
            key: np.ndarray(box.shape, box.dtype, self.memory.buf, int(starts[key])) for key, box in space.items()
        }

    def write(self, observation: Observation) -> None:
        for key, array in self.arrays.items():
            array[...] = observation[key]

    def read(self) -> Observation:
        return {key: array.copy() for key, array in self.arrays.items()}

    def close(self) -> None:
        self.arrays.clear()  # the memory cannot be unmapped under a living array
        self.memory.close()


def _play(make_env: MakeEnv, pipe: connection.Connection) -> None:
    """What a spawned process does: answer requests until the parent closes the pipe or is gone."""
    # Ctrl-C reaches every process of a terminal; the parent ends its games itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    shared = None
    with suppress(ConnectionError):
        try:
            env = make_env()
            shared = _SharedObservation(env.observation_space)
            pipe.send((True, (env.observation_space, env.action_space, shared.memory.name)))
            while (request := _next(pipe)) is not None:
                kind, content = request
                observation, *rest = env.reset(seed=content) if kind == "reset" else env.step(content)
                shared.write(observation)
                pipe.send((True, rest if kind == "step" else None))
            env.close()
        except RalsegError as error:
            pipe.send((False, str(error)))
        except ConnectionError:
            pass
        except Exception as error:
            traceback.print_exc()
            pipe.send((False, f"{type(error).__name__}: {error}; the traceback of its process is above"))
    if shared:
        shared.close()


def _next(pipe: connection.Connection) -> tuple[str, Any] | None:
    """The next request, None if there will be none."""
    try:
        return pipe.recv()
    except (EOFError, ConnectionError):
        return None
