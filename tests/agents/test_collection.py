import importlib
import os
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest

from ralseg.agents.collection import LocalStreams, SpawnedStreams, open_streams
from ralseg.agents.trivial import TrivialEnv
from ralseg.foundation import RalsegError

FAULTY = """
import os, signal
from dataclasses import dataclass
from ralseg.agents.trivial import TrivialEnv
from ralseg.foundation import RalsegError

class FaultyEnv(TrivialEnv):
    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def step(self, action):
        if self.fault == "bug":
            raise KeyError("nowhere")
        if self.fault == "refused":
            raise RalsegError("game.budget=0 is out of range; it is 1 or more")
        os.kill(os.getpid(), signal.SIGKILL)

@dataclass(frozen=True)
class MakeFaultyEnv:
    fault: str

    def __call__(self):
        if self.fault == "refused at once":
            raise RalsegError("dataset.root is not set; set it to a folder")
        return FaultyEnv(self.fault)
"""


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    """The class MakeFaultyEnv, in a module that a spawned process can import."""
    (tmp_path / "faulty_games.py").write_text(FAULTY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "faulty_games", raising=False)
    return importlib.import_module("faulty_games").MakeFaultyEnv


@pytest.fixture(scope="module")
def both():
    with open_streams(TrivialEnv, 2, 1) as local, open_streams(TrivialEnv, 2, 2) as spawned:
        yield local, spawned


def same(first, second):
    """Whether two answers of streams are alike, to the last bit."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return np.array_equal(first, second) and np.asarray(first).dtype == np.asarray(second).dtype


def test_one_process_and_one_for_each_stream_answer_alike(both):
    local, spawned = both
    assert isinstance(local, LocalStreams) and isinstance(spawned, SpawnedStreams)
    assert local.observation_space == spawned.observation_space
    assert local.action_space == spawned.action_space
    rng = np.random.default_rng(0)
    assert same(local.reset({0: 3, 1: 4}), spawned.reset({0: 3, 1: 4}))
    for streams in ([0, 1], [0, 1], [1], [0, 1]):
        actions = {stream: rng.integers(0, 5, 2) for stream in streams}
        answers = local.step(actions), spawned.step(actions)
        assert len(answers[0]) == len(streams)
        assert same(*answers)
    assert same(local.reset({1: 9}), spawned.reset({1: 9}))


def test_observations_are_the_callers_own(both):
    for streams in both:
        before = streams.reset({0: 1})[0]
        kept = {key: array.copy() for key, array in before.items()}
        after = streams.step({0: np.array([0, 0])})[0][0]
        assert same(before, kept)
        assert not same(before, after)


@pytest.mark.parametrize("processes", [1, 2])
def test_each_stream_may_have_its_own_game(processes):
    makers = [TrivialEnv, partial(TrivialEnv, closed=0.0)]
    with open_streams(makers, 2, processes) as mixed, open_streams(makers[1], 2, 1) as alike:
        first, second = mixed.reset({0: 3, 1: 3})
        assert not same(first, second)
        assert same(second, alike.reset({1: 3})[0])
    with pytest.raises(RalsegError, match="2 games for 3 streams; give one for each, or one for all"):
        open_streams(makers, 3, processes)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("refused", "game stream 1: game.budget=0 is out of range; it is 1 or more$"),
        ("bug", "game stream 1: KeyError: 'nowhere'; the traceback"),
        ("killed", "game stream 1: its process ended with code -9 .* continues from the last checkpoint"),
    ],
)
def test_an_error_in_a_process_names_its_stream(faulty, fault, message):
    with SpawnedStreams([faulty(fault)] * 2) as streams:
        streams.reset({0: 0, 1: 1})
        with pytest.raises(RalsegError, match=message):
            streams.step({1: np.array([0, 0])})
        processes = [game.process for game in streams._games]
    assert not any(process.is_alive() for process in processes)


def test_a_game_that_cannot_be_made_is_reported(faulty):
    with pytest.raises(RalsegError, match=r"^game stream 0: dataset.root is not set; set it to a folder"):
        open_streams(faulty("refused at once"), 2, 2)
    with pytest.raises(RalsegError, match=r"^dataset.root is not set"):
        open_streams(faulty("refused at once"), 2, 1)


PARENT = """
import os, sys, time
from ralseg.agents.collection import SpawnedStreams
from ralseg.agents.trivial import TrivialEnv

if __name__ == "__main__":
    streams = SpawnedStreams([TrivialEnv] * 2)
    streams.reset({0: 0, 1: 0})
    names = [game.shared.memory.name for game in streams._games]
    print(*(game.process.pid for game in streams._games), *names, flush=True)
    time.sleep(60)
"""


def ended(pid):
    """Whether a process is gone, or waits for a parent to take notice."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc and /dev/shm")
def test_nothing_outlives_a_killed_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        *pids, first, second = parent.stdout.readline().split()
        assert not any(ended(pid) for pid in pids)
        assert not {first, second} & set(os.listdir("/dev/shm"))
        parent.kill()
    deadline = time.monotonic() + 20
    while not all(ended(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


LOOK = """
import sys
from dataclasses import dataclass
from ralseg.agents.collection import SpawnedStreams
from ralseg.agents.trivial import TrivialEnv

class Looking(TrivialEnv):
    def step(self, action):
        *result, info = super().step(action)
        learner = {"torch", "tianshou", "stable_baselines3", "tensorboard", "matplotlib", "pandas"}
        return *result, {"found": sorted(learner & set(sys.modules))}

@dataclass(frozen=True)
class Make:
    def __call__(self):
        return Looking()

if __name__ == "__main__":
    with SpawnedStreams([Make()]) as streams:
        streams.reset({0: 0})
        print(streams.step({0: [0, 0]})[0][4]["found"])
"""


def test_a_game_process_imports_nothing_of_the_learner(tmp_path):
    script = tmp_path / "look.py"
    script.write_text(LOOK)
    found = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]", found.stderr
