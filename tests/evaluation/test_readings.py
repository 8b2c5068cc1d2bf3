import csv
import errno
import multiprocessing
import os

import pytest

from ralseg.evaluation import readings
from ralseg.evaluation.readings import HEADER, check_log, log_path, log_reading
from ralseg.foundation import RalsegError


@pytest.fixture(autouse=True)
def version(monkeypatch):
    monkeypatch.setattr(readings, "code_version", lambda: "c")


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def log_some(path, name):
    for number in range(20):
        log_reading(path, f"why {name}", "random, margin", number)


def test_several_at_once_lose_no_line(tmp_path):
    path = tmp_path / "deep/log.csv"
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=log_some, args=(path, name)) for name in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    found = rows(path)
    assert len(path.read_text().splitlines()) == 1 + 4 * 20
    assert {(row["why"], row["runs"]) for row in found} == {(f"why {n}", str(i)) for n in range(4) for i in range(20)}
    assert os.listdir(path.parent) == ["log.csv"]


def test_a_line_that_was_cut_off_stays_alone(tmp_path):
    path = tmp_path / "log.csv"
    log_reading(path, "first", "random", 1)
    path.write_text(path.read_text() + "2026-11-29T10:00:00+00:00,c,sec")
    log_reading(path, "third", "random", 3)
    assert [row["why"] for row in rows(path)] == ["first", "sec", "third"]


def test_a_full_disk_leaves_the_log_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "log.csv"
    log_reading(path, "first", "random", 1)
    before = path.read_text()

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RalsegError, match=r"log\.csv: no space left on the disk"):
        log_reading(path, "second", "random", 1)
    assert path.read_text() == before


@pytest.mark.parametrize("use", [check_log, lambda path: log_reading(path, "why", "random", 1)])
def test_what_is_no_log_is_kept(tmp_path, use):
    path = tmp_path / "log.csv"
    for content in (b"a,b\n1,2\n", b"\xff\xfe\x00\n", ",".join(HEADER[:-1]).encode()):
        path.write_bytes(content)
        with pytest.raises(RalsegError, match="not a log of test readings"):
            use(path)
        assert path.read_bytes() == content
    for place in ("/proc/log.csv", tmp_path, path / "below.csv"):
        with pytest.raises(RalsegError, match=r"cannot be written \(.*choose another file with readings=<file>"):
            use(tmp_path / place)
    assert os.listdir(tmp_path) == ["log.csv"]


def test_checking_leaves_nothing(tmp_path):
    check_log(tmp_path / "new/log.csv")
    assert not os.listdir(tmp_path)
    log_reading(tmp_path / "log.csv", "why", "random", 1)
    before = (tmp_path / "log.csv").read_text()
    check_log(tmp_path / "log.csv")
    assert (tmp_path / "log.csv").read_text() == before and before.startswith(",".join(HEADER) + "\n")


def test_where_the_log_is(tmp_path):
    assert log_path(None, tmp_path) == tmp_path / "test_readings.csv"
    assert log_path("results/log.csv", tmp_path).as_posix() == "results/log.csv"
    for wrong in (8, True, [], "", " ", "a\0b", "/", "."):
        with pytest.raises(RalsegError, match=r"comparison\.readings=.* is no file; give e\.g\. comparison\.readings="):
            log_path(wrong, tmp_path, "comparison.")
