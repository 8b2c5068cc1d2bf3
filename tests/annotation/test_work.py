"""The work folder: order, what a kill leaves, clicks and seconds by hand, damaged files."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from ralseg.annotation.events import Event
from ralseg.annotation.query import LabelClass, Query
from ralseg.annotation.work import StaleEvent, WorkFolder
from ralseg.foundation import RalsegError

CLASSES = (LabelClass("road", (1, 2, 3)), LabelClass("sky", (4, 5, 6)))
UNITS = (("a", 0, 0, 4, 6), ("a", 4, 0, 4, 6), ("b", 0, 0, 4, 6))
QUERY = Query("0" * 16, 1, CLASSES, {"a": (8, 6), "b": (8, 6)}, UNITS, (None,) * 3)


def label(value):
    found = np.full((4, 6), value, np.uint8)
    found[0, 0] = 255
    return found


def event(n, unit, kind, at=0.0, id=None):
    return Event(n, unit, kind, at, "page", id)


def recorded(folder, *kinds, query=QUERY):
    """A folder with events (unit, kind, time), labels alternating between the classes."""
    work = WorkFolder(folder, query)
    for n, (unit, kind, at) in enumerate(kinds, start=1):
        bare = kind in ("show", "vertex", "skip")
        work.record(event(n, unit, kind, at), None if bare else label(n % 2))
    return work


def test_states_labels_and_answers(tmp_path):
    work = WorkFolder(tmp_path / "w", QUERY)
    assert not (tmp_path / "w").exists() and work.states == ("open",) * 3 and work.label(0) is None
    assert work.answers().labels == {} and work.answers().notes == () and work.clicks == work.seconds == {}
    work.record(event(1, 0, "show"))
    work.record(event(2, 0, "accept"), label(1))
    work.record(event(3, 1, "brush", id=0), label(0))
    work.record(event(4, 2, "skip"))
    assert work.states == ("accepted", "open", "skipped")
    assert work.counts == {"open": 1, "accepted": 1, "skipped": 1}
    again = WorkFolder(tmp_path / "w", QUERY)
    for found in (work, again):
        assert found.events == work.events and found.states == work.states
        answers = found.answers()
        assert list(answers.labels) == [0] and answers.notes == (
            "Skipped, and left out: 1 of 3 units.",
            "Begun but not accepted, and left out: 1 of 3 units.",
        )
        np.testing.assert_array_equal(answers.labels[0], label(1))
        np.testing.assert_array_equal(found.label(1), label(0))
    # A change of what was accepted or skipped has to be accepted again.
    again.record(event(5, 0, "undo"), label(0))
    again.record(event(6, 2, "brush"), label(0))
    assert again.states == ("open",) * 3 and not again.answers().labels
    again.record(event(7, 0, "vertex"))
    again.record(event(8, 0, "accept"), label(0))
    np.testing.assert_array_equal(again.answers().labels[0], label(0))
    assert len(list((tmp_path / "w/labels").iterdir())) == 3


def test_clicks_and_seconds_by_hand(tmp_path):
    work = recorded(
        tmp_path,
        (0, "show", 100.0), (0, "superpixel", 103.0), (0, "brush", 118.0), (0, "undo", 133.5), (0, "accept", 134.0),
        (1, "show", 134.1), (1, "vertex", 136.0), (1, "vertex", 137.0), (1, "vertex", 138.0), (1, "polygon", 139.0),
        (2, "show", 139.1), (2, "erase", 129.1), (2, "fill", 130.1), (2, "clear", 131.1), (2, "redo", 131.1),
        (2, "skip", 132.1), (1, "show", 132.2), (1, "skip", 132.5),
    )  # fmt: skip
    assert work.clicks == {0: 2, 1: 3, 2: 2}
    # 3 + 15, not the 15.5, + 0.5; 1.9 + 3 and later 0.3; the clock goes back by 10, then 3.
    assert work.seconds == pytest.approx({0: 18.5, 1: 5.2, 2: 3.0})


def test_an_event_counts_once_and_in_order(tmp_path):
    work = recorded(tmp_path, (0, "show", 1.0), (0, "brush", 2.0))
    before = (tmp_path / "events.jsonl").read_bytes()
    work.record(event(2, 0, "brush", 2.0), label(0))
    for stale in (event(2, 0, "brush", 3.0), replace(event(2, 0, "brush", 2.0), page="other"), event(4, 0, "brush")):
        with pytest.raises(StaleEvent, match="load the page again"):
            work.record(stale, label(1))
    assert (tmp_path / "events.jsonl").read_bytes() == before and len(work.events) == 2
    np.testing.assert_array_equal(work.label(0), label(0))
    work.record(event(3, 0, "brush"), label(1))
    np.testing.assert_array_equal(WorkFolder(tmp_path, QUERY).label(0), label(1))


def test_a_kill_at_any_byte_leaves_what_was_answered(tmp_path):
    recorded(tmp_path, (0, "show", 1.0), (0, "brush", 2.0), (1, "accept", 3.0))
    whole = (tmp_path / "events.jsonl").read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for end in range(ends[1], len(whole)):
        (tmp_path / "events.jsonl").write_bytes(whole[:end])
        work = WorkFolder(tmp_path, QUERY)
        assert len(work.events) == 2 and work.states[1] == "open" and work.label(1) is None
    # The page sends again what was not answered; its label is there already, of another try.
    work.record(event(3, 1, "accept", 3.0), label(1))
    assert (tmp_path / "events.jsonl").read_bytes() == whole
    assert WorkFolder(tmp_path, QUERY).states == ("open", "accepted", "open")


def test_a_label_without_its_event_does_not_count(tmp_path, monkeypatch):
    work = recorded(tmp_path, (0, "brush", 1.0))
    monkeypatch.setattr(WorkFolder, "_append", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        work.record(event(2, 0, "accept"), label(0))
    monkeypatch.undo()
    assert len(list((tmp_path / "labels").iterdir())) == 2
    again = WorkFolder(tmp_path, QUERY)
    np.testing.assert_array_equal(again.label(0), label(1))
    assert again.states[0] == "open"


KILLED = """
import sys, numpy as np
from ralseg.annotation.events import Event
from ralseg.annotation.query import LabelClass, Query
from ralseg.annotation.work import WorkFolder
query = Query("0" * 16, 1, (LabelClass("a", (0, 0, 0)),) * 200, {"a": (64, 64)}, (("a", 0, 0, 64, 64),), (None,))
work = WorkFolder(sys.argv[1], query)
for n in range(len(work.events) + 1, 100000):
    work.record(Event(n, 0, "brush", float(n), "page"), np.full((64, 64), n % 200, np.uint8))
    print(n, flush=True)
"""


def test_a_process_that_is_killed_loses_nothing_it_has_answered(tmp_path):
    query = Query("0" * 16, 1, (LabelClass("a", (0, 0, 0)),) * 200, {"a": (64, 64)}, (("a", 0, 0, 64, 64),), (None,))
    for wanted in (3, 7):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(wanted):
            said = process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        said = (process.stdout.read().split() or [said])[-1]
        process.wait()
        work = WorkFolder(tmp_path, query)
        # What was written when the kill came may have been written in whole.
        assert int(said) <= len(work.events) <= int(said) + 1
        np.testing.assert_array_equal(work.label(0), len(work.events) % 200)


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("brush", None, "an event brush comes with a label"),
        ("skip", label(0), "an event skip comes without a label"),
        ("accept", label(0)[:3], r"a label of \(3, 6\) uint8 for a unit of \(4, 6\)"),
        ("accept", label(0).astype(int), "give uint8 of its size"),
        ("accept", label(2), "unknown class 2: classes are 0 to 1, and 255"),
    ],
)
def test_a_label_that_does_not_fit_is_refused(tmp_path, kind, given, said):
    work = WorkFolder(tmp_path / "w", QUERY)
    with pytest.raises(RalsegError, match=said):
        work.record(event(1, 0, kind), given)
    assert not (tmp_path / "w").exists()


GOOD = {"n": 1, "unit": 0, "kind": "show", "at": 1.5, "page": "a-b_9", "label": None}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"n": 0}, "no number of an event"), ({"n": True}, "no number of an event"), ({"n": 1.0}, "n=1.0"),
        ({"unit": 3}, "0 to 2"), ({"unit": -1}, "0 to 2"), ({"unit": None}, "0 to 2"),
        ({"kind": "paint"}, "kind='paint' is not one of show, "), ({"kind": []}, "is not one of"),
        ({"at": float("nan")}, "no time"), ({"at": "now"}, "no time"), ({"page": ""}, "1 to 64 letters"),
        ({"page": "../x"}, "1 to 64 letters"), ({"page": 7}, "1 to 64 letters"), ({"page": "x" * 65}, "1 to 64"),
        ({"label": 2}, "unknown class 2"), ({"label": True}, "unknown class True"), ({"label": [0]}, "unknown class"),
        ({"more": 1}, "and nothing else"),
    ],
)  # fmt: skip
def test_an_event_of_a_stranger_is_refused(changed, said):
    assert Event.read(GOOD, QUERY) == Event(1, 0, "show", 1.5, "a-b_9")
    with pytest.raises(RalsegError, match=said):
        Event.read(GOOD | changed, QUERY)


def test_damage_is_told_with_its_line(tmp_path):
    recorded(tmp_path, (0, "brush", 1.0), (0, "accept", 2.0))
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    for damaged, said in (
        ("{", "line 1: "),
        ("[]", "line 1: an event has"),
        (lines[1], "line 1: it is of event 2"),
        ("[" * 9999, "line 1"),
    ):
        (tmp_path / "events.jsonl").write_text(f"{damaged}\n{lines[1]}\n")
        with pytest.raises(RalsegError, match=f"{said}.*restore the file"):
            WorkFolder(tmp_path, QUERY)
    (tmp_path / "events.jsonl").write_text("\n".join(lines) + "\n")
    (picture,) = (tmp_path / "labels").iterdir()
    whole = picture.read_bytes()
    for content in (b"", b"text", whole[:20]):
        picture.write_bytes(content)
        with pytest.raises(RalsegError, match=r"00000-2\.png: no label of 4 x 6 pixels; restore it"):
            WorkFolder(tmp_path, QUERY).answers()
    picture.unlink()
    with pytest.raises(RalsegError, match=r"00000-2\.png: no such file"):
        WorkFolder(tmp_path, QUERY).answers()


def test_the_folder_of_another_query_is_refused(tmp_path):
    recorded(tmp_path, (0, "brush", 1.0))
    with pytest.raises(RalsegError, match="holds the work on another query; choose another folder"):
        WorkFolder(tmp_path, replace(QUERY, round=2))
    (tmp_path / "work.json").unlink()
    with pytest.raises(RalsegError, match=r"work\.json: no such file; restore it"):
        WorkFolder(tmp_path, QUERY)


def test_a_file_shortened_by_another_process_is_not_written_over(tmp_path):
    work = recorded(tmp_path, (0, "brush", 1.0))
    (tmp_path / "events.jsonl").write_text("")
    with pytest.raises(RalsegError, match="another process has shortened it"):
        work.record(event(2, 0, "accept"), label(0))
    assert (tmp_path / "events.jsonl").read_text() == ""


def test_an_event_is_one_line_of_plain_json(tmp_path):
    recorded(tmp_path, (0, "show", 1.25))
    assert json.loads((tmp_path / "events.jsonl").read_text()) == {
        "n": 1, "unit": 0, "kind": "show", "at": 1.25, "page": "page", "label": None
    }  # fmt: skip
