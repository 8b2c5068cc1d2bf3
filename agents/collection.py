"""Game streams: several games side by side, either in turn in this process or each in its own spawned process.

Both kinds have the same methods and give the same numbers. A spawned game imports only what its factory needs.
Observations come through shared memory, the rest of a step (reward, flags, info) through a pipe.

Gymnasium's AsyncVectorEnv cannot be used here: it steps all of its envs or none, while the streams of a training end
their episodes at different times, and if a worker is killed, it fails with a bare EOFError that names no env.
"""

import signal
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import connection, get_context
from multiprocessing.shared_memory import SharedMemory
from typing import Any, Protocol, Self, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from ralseg.agents.env_spaces import boxes, env_spaces
from ralseg.foundation import RalsegError

Observation = dict[str, np.ndarray]
Step = tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]
"""Observation, reward, terminated, truncated and info, as an env's `step` returns them."""

MakeEnv = Callable[[], gym.Env]

_PATIENCE = 5.0
"""Seconds that a game has to end by itself before it is terminated."""


class Streams(Protocol):
    """Numbered games that step together; a context manager.

    Attributes:
        observation_space: the observation space of every game, a Dict of Boxes.
        action_space: the action space of every game, MultiDiscrete([N] * K).
    """

    observation_space: spaces.Dict
    action_space: spaces.MultiDiscrete

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def reset(self, seeds: Mapping[int, int]) -> list[Observation]:
        """Start an episode on each stream in `seeds`; returns their first observations in that order."""
        ...

    def step(self, actions: Mapping[int, np.ndarray]) -> list[Step]:
        """Step each stream in `actions`; returns their steps in that order, in arrays that are never reused."""
        ...


def open_streams(make_env: MakeEnv | Sequence[MakeEnv], streams: int, processes: int) -> Streams:
    """Make the games.

    Args:
        make_env: makes a game, or a sequence with one maker per stream; must be picklable (a dataclass with `__call__`)
            unless `processes` is 1.
        streams: number of games.
        processes: 1 plays all games in this process; any other number gives each game its own process.

    Raises:
        RalsegError: if a game cannot be made, does not have the spaces that the agents need, or if the number of makers
            is neither one nor `streams`.
    """
    makers = list(make_env) if isinstance(make_env, Sequence) else [make_env] * streams
    if len(makers) != streams:
        raise RalsegError(f"{len(makers)} games for {streams} streams; give one for each, or one for all")
    return LocalStreams(makers) if processes == 1 else SpawnedStreams(makers)


class LocalStreams:
    """Games that take turns in this process."""

    def __init__(self, makers: Sequence[MakeEnv]) -> None:
        self._envs = [make_env() for make_env in makers]
        self.observation_space, self.action_space = env_spaces(self._envs[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for env in self._envs:
            env.close()

    def reset(self, seeds: Mapping[int, int]) -> list[Observation]:
        """See `Streams.reset`."""
        return [self._envs[stream].reset(seed=seed)[0] for stream, seed in seeds.items()]

    def step(self, actions: Mapping[int, np.ndarray]) -> list[Step]:
        """See `Streams.step`."""
        return [self._envs[stream].step(action) for stream, action in actions.items()]


class SpawnedStreams:
    """Games in their own processes; an error in one of them is raised here and names its stream."""

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
        """See `Streams.reset`."""
        for stream, seed in seeds.items():
            self._games[stream].ask("reset", seed)
        for stream in seeds:
            self._games[stream].answer()
        return [self._games[stream].shared.read() for stream in seeds]

    def step(self, actions: Mapping[int, np.ndarray]) -> list[Step]:
        """See `Streams.step`."""
        for stream, action in actions.items():
            self._games[stream].ask("step", action)
        answers = {stream: self._games[stream].answer() for stream in actions}
        return [(self._games[stream].shared.read(), *answer) for stream, answer in answers.items()]


class _Game:
    """A spawned game, seen from the parent."""

    def __init__(self, make_env: MakeEnv, stream: int) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.stream = stream
        self._shared: _SharedObservation | None = None
        self.process = context.Process(target=_play, args=(make_env, theirs), name=f"game {stream}", daemon=True)
        self.process.start()
        theirs.close()

    def open(self) -> None:
        """Wait until the game is made."""
        *self.spaces, name = self.answer()
        self._shared = _SharedObservation(self.spaces[0], name)

    @property
    def shared(self) -> "_SharedObservation":
        """The present observation of the game, once it is open."""
        assert self._shared is not None
        return self._shared

    def ask(self, *request: Any) -> None:
        """Send a request. If the process has ended, reading the answer raises the error."""
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
                "for lack of memory); the same command continues from the last checkpoint"
            ) from error
        if not fine:
            raise RalsegError(f"game stream {self.stream}: {content}")
        return content

    def close(self) -> None:
        """Wait for the process, whose pipe is already closed, and terminate it if it does not end."""
        self.process.join(_PATIENCE)
        if self.process.is_alive():
            self.process.terminate()
            self.process.join()
        if self._shared:
            self._shared.close()


class _SharedObservation:
    """One observation in a block of shared memory.

    Args:
        space: gives the names, shapes and dtypes.
        name: the block to attach to; it is unlinked at once, so that it does not outlive the two processes. None makes
            a new block.
    """

    def __init__(self, space: spaces.Dict, name: str | None = None) -> None:
        parts, starts, total = boxes(space), {}, 0
        for key, box in parts.items():
            starts[key] = total
            total += -(-box.low.nbytes // 64) * 64
        self.memory = SharedMemory(name, create=name is None, size=total)
        if name is not None:
            self.memory.unlink()
        self.arrays = {
            key: np.ndarray(box.shape, box.dtype, self.memory.buf, starts[key]) for key, box in parts.items()
        }

    def write(self, observation: Observation) -> None:
        for key, array in self.arrays.items():
            array[...] = observation[key]

    def read(self) -> Observation:
        return {key: array.copy() for key, array in self.arrays.items()}

    def close(self) -> None:
        self.arrays.clear()  # the memory cannot be unmapped while an array uses it
        self.memory.close()


def _play(make_env: MakeEnv, pipe: connection.Connection) -> None:
    """Answer requests, in a spawned process, until the parent closes the pipe or is gone."""
    # Ctrl-C is sent to every process of a terminal, but the parent ends its games itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    shared = None
    with suppress(ConnectionError):
        try:
            env = make_env()
            space, action_space = env_spaces(env)
            shared = _SharedObservation(space)
            pipe.send((True, (space, action_space, shared.memory.name)))
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
    """The next request, or None once the parent closed the pipe or is gone."""
    try:
        return pipe.recv()
    except (EOFError, ConnectionError):
        return None
