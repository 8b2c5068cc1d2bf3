import errno
import os
import signal
import subprocess
import sys
import threading

import pytest

from ralseg.foundation import RalsegError, owned, write_json

HOLD = """
import sys
from ralseg.foundation import owned
sys.argv = ["/usr/bin/train_agent.py", "run=run", "a=b\\nc"]
with owned("run"):
    print("held", flush=True)
    input()
"""


@pytest.fixture
def holder(tmp_path, monkeypatch):
    """A process that holds the folder `run` of the test until its stdin says more."""
    monkeypatch.chdir(tmp_path)
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_the_refusal_says_who_holds_the_folder(holder):
    with pytest.raises(RalsegError) as refused, owned("run"):
        pass
    assert str(refused.value).startswith(f"run is in use by process {holder.pid} on {os.uname().nodename} since 20")
    command = "(train_agent.py run=run 'a=b c')"
    assert str(refused.value).endswith(f"{command}; wait for it, stop it, or choose another folder with run=<folder>")
    os.unlink("run/.owner.json")
    with pytest.raises(RalsegError, match="run is in use by another process; wait"), owned("run"):
        pass


def test_a_dead_process_holds_nothing(holder, tmp_path):
    (tmp_path / "run/.results.csv.0123456789abcdef").write_text("half of")
    os.makedirs("run/bought")
    (tmp_path / "run/bought/.x.json.0123456789abcdef").write_text("half of")
    (tmp_path / "run/.gitignore").write_text("*")
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "run/.owner.json").exists()
    with owned("run"):
        pass
    # What it had begun to write is gone, too, and nothing else is.
    assert sorted(path.name for path in (tmp_path / "run").rglob("*")) == [".gitignore", "bought"]


def test_what_the_owner_of_a_folder_below_is_writing_is_spared(holder, tmp_path):
    inner, own = tmp_path / "run/.results.csv.0123456789abcdef", tmp_path / ".results.csv.0123456789abcdef"
    for path in (inner, own):
        path.write_text("half of")
    with owned(tmp_path):
        assert inner.exists() and not own.exists()


def test_nothing_is_left_behind(tmp_path):
    with owned(tmp_path / "deep/down"):
        assert sorted(os.listdir(tmp_path / "deep/down")) == [".lock", ".owner.json"]
    assert not os.listdir(tmp_path)
    with owned(tmp_path / "deep/down"):
        write_json(tmp_path / "deep/down/a.json", 1)
    assert os.listdir(tmp_path / "deep/down") == ["a.json"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(KeyError), owned(tmp_path / "empty"):
        raise KeyError
    assert os.listdir(tmp_path / "empty") == []


def test_who_holds_it_holds_it_once_more_and_another_thread_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = []

    def other():
        try:
            with owned("run"):
                said.append("held")
        except RalsegError as error:
            said.append(str(error))

    with owned("run"):
        with owned(tmp_path / "run"):
            pass
        threads = [threading.Thread(target=other) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    other()
    assert [f"is in use by process {os.getpid()}" in text for text in said] == [True, True, False]
    assert said[2] == "held"


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("file", "it is a file"),
        ("file/below", "Not a directory"),
        ("/proc/run", "No such file or directory"),
        ("/proc", "No such file or directory"),
    ],
)
def test_a_place_that_cannot_be_written(tmp_path, monkeypatch, folder, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("kept")
    with (
        pytest.raises(RalsegError, match=rf"{folder}: cannot be written \({reason}\); choose another folder with run="),
        owned(folder),
    ):
        pass
    assert os.listdir(tmp_path) == ["file"]


def test_a_place_without_permission(tmp_path, monkeypatch):
    def denied(path, *_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(os, "open", denied)
    with (
        pytest.raises(RalsegError, match=r"run: cannot be written \(Permission denied\); choose"),
        owned(tmp_path / "run"),
    ):
        pass
    monkeypatch.undo()
    assert not os.listdir(tmp_path)
