import errno
import hashlib
import json
import os
import stat
from pathlib import Path

import pytest

from ralseg.foundation import RalsegError, atomic_write, expanded, file_digests, read_json, write_json


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "deep" / "down" / "file.bin"
    with atomic_write(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["file.bin"]


def test_the_umask_decides_who_reads(tmp_path, monkeypatch):
    old = os.umask(0o027)
    try:
        with monkeypatch.context() as patch:
            # In a program of several threads even a moment of another umask gives some file wrong permissions.
            patch.setattr(os, "umask", None)
            write_json(tmp_path / "a.json", {})
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o640


@pytest.mark.parametrize("error", [RuntimeError("stop"), KeyboardInterrupt(), OSError(errno.EIO, "broken disk")])
def test_an_exception_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(type(error)), atomic_write(path) as file:
        file.write(b"half of the ne")
        raise error
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("where", ["open", "fsync", "replace"])
def test_a_full_disk_is_one_clear_error(tmp_path, monkeypatch, where):
    path = tmp_path / "file.json"
    write_json(path, {"old": 1})
    monkeypatch.setattr(os, where, full)
    with pytest.raises(RalsegError, match=r"file.json: no space left on the disk; free some and start again"):
        write_json(path, {"new": 2})
    monkeypatch.undo()
    assert read_json(path) == {"old": 1}
    assert os.listdir(tmp_path) == ["file.json"]


def test_json(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": [1, 2.5, None]})
    assert read_json(path) == {"a": [1, 2.5, None]}
    assert path.read_text().endswith("\n")
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": [1, 2.5, None]}
    with pytest.raises(RalsegError, match=r"b.json: no such file"):
        read_json(tmp_path / "b.json")
    for damage in (b'{"a": [1,', b"\xff\xfe\x00"):
        path.write_bytes(damage)
        with pytest.raises(RalsegError, match=r"a.json: not JSON .*; restore or delete it"):
            read_json(path)


@pytest.mark.parametrize(
    ("path", "reason"),
    [("file/below.json", "it is a file"), ("folder", "Is a directory"), ("/proc/a.json", "No such file or directory")],
)
def test_a_place_that_cannot_be_written(tmp_path, monkeypatch, path, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept")
    with pytest.raises(RalsegError, match=rf"{path}: cannot be written \({reason}\); choose a place that can be"):
        write_json(path, {})
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"] and (tmp_path / "file").read_text() == "kept"


def test_a_quota_is_a_full_disk(tmp_path, monkeypatch):
    def over(*_):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "fsync", over)
    with pytest.raises(RalsegError, match="no space left on the disk"):
        write_json(tmp_path / "a.json", {})


def test_a_place_that_cannot_be_read(tmp_path):
    with pytest.raises(RalsegError, match=r"cannot be read \(Is a directory\); restore it"):
        read_json(tmp_path)


def test_settings_that_name_a_file_are_known_by_its_contents(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "weights.pth").write_bytes(b"weights")
    config = {
        "network": {"weights": f"{tmp_path}/weights.pth", "deep": {"more": "~/weights.pth"}, "widths": [1, 2]},
        "other": {"root": str(tmp_path), "none": None, "word": "imagenet", "odd": "a\0b", "long": "x" * 5000},
    }
    digest = hashlib.sha256(b"weights").hexdigest()
    assert file_digests(config) == {"network.weights": digest, "network.deep.more": digest}


def test_homes(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/a") == tmp_path / "a"
    assert expanded("~nobody-of-this-name/a") == Path("~nobody-of-this-name/a")
    assert expanded(Path("b~")) == Path("b~")
