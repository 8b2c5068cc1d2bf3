"""The server of the page, request by request: what it gives, and what it refuses without writing anything."""

import http.client
import importlib.util
import json
import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from ralseg.annotation.page import PageServer
from ralseg.annotation.page.pictures import Pictures, superpixels
from ralseg.annotation.preparing import Preparation
from ralseg.annotation.query import LabelClass, Query
from ralseg.annotation.work import WorkFolder
from ralseg.foundation import RalsegError, owned


def beside(name):
    """A module beside this file."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


own = beside("page_round")
EVENT = {"n": 1, "unit": 0, "kind": "brush", "at": 1.0, "page": "p", "label": 0}
LABEL = np.full(36 * 40, 3, np.uint8).tobytes()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    own.drawn(folder)
    return folder


@pytest.fixture
def started(drawn, tmp_path):
    query, image = own.loaded(drawn)
    work = WorkFolder(tmp_path / "work", query)
    with PageServer(query, image, work, port=0, token=own.TOKEN, done="D", title="T", changes="S") as server:
        yield server


def ask(server, path, method="GET", body=None, token=own.TOKEN, host=None, **headers):
    """(status, headers, body) of a request; a length of None or another one in `headers` is not that of the body."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=20)
    connection.putrequest(method, path, skip_host=host is not None)
    if host is not None:
        connection.putheader("Host", host)
    if token is not None:
        connection.putheader("X-Token", token)
    if "X-Round" not in headers:
        connection.putheader("X-Round", "2")
    if method == "PUT" and "Content-Length" not in headers:
        connection.putheader("Content-Length", str(len(body or b"")))
    for name, value in headers.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders()
    if body:
        connection.send(body)
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read()
    connection.close()
    return found


def port_of(server):
    return int(server.url.split(":")[2].split("/")[0])


def put(server, event=EVENT, body=LABEL, **more):
    return ask(server, "/api/event", "PUT", body, **{"X-Event": json.dumps(event)}, **more)


def said(answer):
    return answer[0], json.loads(answer[2])["error"]


def test_what_the_page_is_given(started):
    query = started.query
    status, headers, text = ask(started, f"/?t={own.TOKEN}", token=None)
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8" and b"page.js" in text
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert headers["Cache-Control"] == "no-store" and headers["X-Content-Type-Options"] == "nosniff"
    assert ask(started, "/", token=None)[0] == 200
    for name in ("page.js", "page.css", "labels.js", "stage.js", "editor.js", "panel.js", "server.js", "end.js"):
        status, headers, _ = ask(started, f"/{name}", token=None)
        assert status == 200 and headers.get_content_type() == f"text/{'css' if name == 'page.css' else 'javascript'}"
    status, headers, empty = ask(started, "/favicon.ico", token=None)
    assert status == 204 and empty == b"" and headers["Content-Length"] is None
    status = {"round": 2, "changes": "S", "state": "", "text": "", "share": 0}
    assert json.loads(ask(started, "/api/status")[2]) == status
    about = json.loads(ask(started, "/api/round")[2])
    assert (about["title"], about["round"], about["done"], about["events"], about["last"]) == ("T", 2, "D", 0, None)
    assert (about["trains"], about["changes"], about["status"]) == (False, "S", status)
    assert about["states"] == ["open"] * 6 and len(about["classes"]) == 11
    assert about["classes"][0] == {"name": query.classes[0].name, "colour": list(query.classes[0].colour)}
    for place, (name, y, x, height, width) in enumerate(query.units):
        assert about["units"][place] == {
            "image": name, "y": y, "x": x, "height": height, "width": width, "size": [90, 120],
            "frame": list(started.shown.pictures.frame(place)),
        }  # fmt: skip


def test_pictures_labels_and_superpixels(started, drawn):
    query, image = own.loaded(drawn)
    for place, (name, y, x, height, width) in enumerate(query.units):
        top, left, tall, wide = started.shown.pictures.frame(place)
        assert (top, left) == (max(0, y - 24), max(0, x - 24))
        assert (top + tall, left + wide) == (min(90, y + height + 24), min(120, x + width + 24))
        at = f"/api/units/{place}/"
        picture = cv2.imdecode(np.frombuffer(ask(started, at + "picture")[2], np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(picture[..., ::-1], image(name)[top : top + tall, left : left + wide])
        small = cv2.imdecode(np.frombuffer(ask(started, at + "map")[2], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert small.shape == (90, 120, 3) and np.abs(small.astype(int) - image(name)).mean() < 6
        label = np.frombuffer(ask(started, at + "label")[2], np.uint8).reshape(height, width)
        wanted = query.prelabels[place] if place != own.HOLE else np.full((36, 40), 255)
        np.testing.assert_array_equal(label, wanted)
        areas = np.frombuffer(ask(started, at + "superpixels")[2], "<u2").reshape(height, width)
        np.testing.assert_array_equal(areas, superpixels(image(name)[y : y + height, x : x + width]))


def test_an_event_is_written_and_shown_again(started):
    assert json.loads(put(started)[2]) == {"events": 1}
    # The answer was lost, and the page asks again.
    assert json.loads(put(started)[2]) == {"events": 1}
    assert ask(started, "/api/units/0/label")[2] == LABEL
    skip = EVENT | {"n": 2, "unit": 1, "kind": "skip", "label": None}
    assert put(started, skip, b"")[0] == 200
    about = json.loads(ask(started, "/api/round")[2])
    assert (about["events"], about["last"], about["states"][1]) == (2, 1, "skipped")
    assert [event.kind for event in started.work.events] == ["brush", "skip"]
    assert said(put(started, EVENT | {"page": "other"})) == (
        409,
        "event 1 does not follow event 2; load the page again",
    )
    assert said(put(started, EVENT | {"n": 9}))[0] == 409
    assert len(started.work.events) == 2


def test_an_old_page_does_not_speak_of_the_next_round(drawn, tmp_path):
    query, image = own.loaded(drawn)
    first, second = (WorkFolder(tmp_path / name, replace(query, round=n)) for n, name in ((2, "first"), (3, "second")))
    preparation = Preparation(tmp_path)
    with PageServer(query, image, first, port=0, token=own.TOKEN, preparation=preparation) as server:
        unfinished = (409, "this round is not finished, or no longer open; load the page again")
        assert said(ask(server, "/api/train", "PUT")) == unfinished
        for place in range(6):
            skip = EVENT | {"n": place + 1, "unit": place, "kind": "skip", "label": None}
            assert put(server, skip, b"")[0] == 200
        assert json.loads(ask(server, "/api/train", "PUT")[2])["state"] == "training"
        finished = (409, "this round is finished; load the page again")
        assert said(put(server, EVENT | {"n": 7})) == finished and len(first.events) == 6
        server.show(second.query, second, "S")
        status = json.loads(ask(server, "/api/status")[2])
        assert (status["round"], status["changes"]) == (3, "S")
        other = (409, "round 3 is open by now; load the page again")
        for path, method in (("/api/units/0/label", "GET"), ("/api/train", "PUT")):
            assert said(ask(server, path, method)) == said(ask(server, path, method, **{"X-Round": None})) == other
            assert said(put(server)) == other and not second.events
        assert ask(server, "/api/units/0/label", **{"X-Round": "3"})[0] == 200
        with owned(first.folder):
            assert not (second.folder / "events.jsonl").exists() and (second.folder / ".lock").exists()


FOREIGN = ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::1]", "127.0.0.2:80", "localhost.:80"]


@pytest.mark.parametrize("host", FOREIGN)
def test_another_host_is_refused(started, host):
    for answer in (ask(started, "/", host=host), ask(started, "/api/round", host=host), put(started, host=host)):
        assert said(answer) == (403, "this page is for this machine alone")
    assert not started.work.events and not started.work.folder.joinpath("events.jsonl").exists()
    assert ask(started, "/api/round", host="localhost:1")[0] == ask(started, "/", host="127.0.0.1")[0] == 200


@pytest.mark.parametrize("token", [None, "", own.TOKEN[:-1], own.TOKEN + "x", own.TOKEN.upper(), "\xe9" * 20])
def test_a_wrong_token_is_refused(started, token):
    paths = ["/api/round", "/api/status", "/api/nothing", *(f"/api/units/0/{p}" for p in ("picture", "map", "label"))]
    answers = [ask(started, path, token=token) for path in paths] + [put(started, token=token)]
    assert {said(answer) for answer in answers} == {
        (403, "the token is wrong; open the address that the command printed")
    }
    if token and token.isascii():
        assert ask(started, f"/?t={token}", token=None)[0] == 403
    assert not started.work.events and not started.work.folder.joinpath("events.jsonl").exists()


@pytest.mark.parametrize(
    "path",
    [
        "/../server.py", "/%2e%2e/server.py", "/handler.py", "/__init__.py", "/page.html/", "/api",
        "/api/units/6/label", "/api/units/-1/label", "/api/units/0/../0/label", "/api/units/00000000000000/label",
        "/api/units/0/other", "/etc/passwd", "/api/event", "/api/train",
    ],
)  # fmt: skip
def test_what_is_not_there_is_not_found(started, path):
    assert said(ask(started, path))[0] == 404
    assert said(ask(started, path + "x", "PUT", LABEL, **{"X-Event": json.dumps(EVENT)}))[0] == 404
    assert not started.work.events


@pytest.mark.parametrize(
    ("event", "body", "message"),
    [
        (EVENT, LABEL[:-1], "1439 bytes came, not 1440"),
        (EVENT, LABEL + b"x", "1441 bytes came, not 1440"),
        (EVENT, b"", "0 bytes came, not 1440"),
        (EVENT, LABEL * 20_000, "28800000 bytes came, not 1440"),
        (EVENT | {"kind": "skip"}, LABEL, "1440 bytes came, not 0"),
        (EVENT, LABEL[:-1] + b"\x0b", "unknown class 11: classes are 0 to 10, and 255"),
        (EVENT, b"\xfe" + LABEL[1:], "unknown class 254: classes are 0 to 10, and 255"),
        (EVENT | {"label": 11}, LABEL, "X-Event: unknown class 11"),
        (EVENT | {"unit": 6}, LABEL, "X-Event: unit=6 is no place of a unit: 0 to 5"),
        (EVENT | {"kind": "rub"}, LABEL, "X-Event: kind='rub' is not one of"),
        ([1], LABEL, "X-Event: an event has n, unit"),
    ],
)
def test_a_bad_event_is_refused(started, event, body, message):
    try:
        status, text = said(put(started, event, body))
    except (BrokenPipeError, ConnectionResetError):
        # A body that is far too long is not read to its end.
        assert len(body) > 1 << 24
    else:
        assert status == 422 and text.startswith(message)
    assert not started.work.events and not started.work.folder.joinpath("events.jsonl").exists()


@pytest.mark.parametrize("length", [None, "-1", "1e3", "99999999999999999999"])
def test_a_body_without_a_length_is_refused(started, length):
    status, headers, text = put(started, **{"Content-Length": length})
    assert status == 422 and headers["Connection"] == "close" and b"bytes came, not 1440" in text
    for bad in ("", "{", "[" * 20000):
        assert ask(started, "/api/event", "PUT", LABEL, **{"X-Event": bad})[0] == 422
    assert not started.work.events


def test_a_body_that_breaks_off_is_not_written(started):
    head = f"PUT /api/event HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Token: {own.TOKEN}\r\nX-Round: 2\r\n"
    head += f"X-Event: {json.dumps(EVENT)}\r\n"
    with socket.create_connection(("127.0.0.1", port_of(started)), timeout=20) as connection:
        connection.sendall(f"{head}Content-Length: 1440\r\n\r\n".encode() + LABEL[:700])
        connection.shutdown(socket.SHUT_WR)
        assert b"422" in connection.recv(1000).splitlines()[0]
    assert not started.work.events


@pytest.mark.parametrize("header", ["Content-Length: 4", "Transfer-Encoding: chunked", "Content-Length: x"])
def test_a_body_that_nobody_reads_is_no_second_request(started, header):
    with socket.create_connection(("127.0.0.1", port_of(started)), timeout=20) as connection:
        connection.sendall(
            f"GET /favicon.ico HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}\r\n\r\nGET / HTTP/1.1\r\n\r\n".encode()
        )
        answer = b"".join(iter(lambda: connection.recv(1000), b""))
    assert answer.startswith(b"HTTP/1.1 204") and answer.count(b"HTTP/1.1") == 1


def test_other_methods_are_refused(started):
    for method in ("POST", "DELETE", "OPTIONS", "HEAD"):
        assert ask(started, "/api/event", method)[0] == 501


def test_a_disk_that_is_full_is_told_and_tried_again(started, monkeypatch):
    def full(*_):
        raise RalsegError("no space left")

    monkeypatch.setattr(WorkFolder, "record", full)
    assert said(put(started)) == (500, "no space left")
    monkeypatch.undo()
    assert put(started)[0] == 200


def test_an_image_of_another_size_is_told(drawn, tmp_path):
    query, image = own.loaded(drawn)
    work = WorkFolder(tmp_path / "work", query)
    with PageServer(query, lambda name: image(name)[1:], work, port=0, token=own.TOKEN) as server:
        status, text = said(ask(server, "/api/units/0/picture"))
        assert status == 500 and "(89, 120, 3) uint8, not (90, 120, 3) uint8; restore it" in text


def test_requests_at_once_keep_their_order(started):
    """Of many pages that send the same number, one is heard."""
    answers = []

    def send(page):
        answers.append(put(started, EVENT | {"page": f"p{page}"})[0])

    threads = [threading.Thread(target=send, args=(page,)) for page in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] + [409] * 11 and len(started.work.events) == 1


def test_stopping_ends_open_connections_and_the_port_can_be_taken_again(drawn):
    rest = own.loaded(drawn)
    with own.server(drawn, 0) as server:
        port = port_of(server)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/", headers={"X-Token": own.TOKEN})
        connection.getresponse().read()
        with pytest.raises(RalsegError, match=f"port {port} cannot be opened .in use.; choose another with port="):
            PageServer(*rest, WorkFolder(drawn / "other", rest[0]), port=port, token=own.TOKEN).start()
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        connection.request("GET", "/", headers={"X-Token": own.TOKEN})
        connection.getresponse()
    with own.server(drawn, port) as server:
        assert ask(server, "/api/round")[0] == 200


def test_two_servers_of_one_folder_are_refused(drawn):
    raised = []

    def start():
        try:
            own.server(drawn, 0).start()
        except RalsegError as error:
            raised.append(str(error))

    with own.server(drawn, 0):
        thread = threading.Thread(target=start)
        thread.start()
        thread.join()
    assert len(raised) == 1 and "is in use by process" in raised[0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"port": -1}, "port=-1 is no port"), ({"port": 70000}, "port=70000 is no port"),
        ({"token": "short"}, "16 or more letters"), ({"token": "&" * 20}, "16 or more letters"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused(drawn, tmp_path, changed, message):
    query, image = own.loaded(drawn)
    with pytest.raises(RalsegError, match=message):
        PageServer(query, image, WorkFolder(tmp_path, query), **({"port": 0, "token": own.TOKEN} | changed))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"units": (("a", 0, 0, 5, 4),)}, r"the unit \(0, 0, 5, 4\) is not within a, 4 x 4"),
        ({"units": (("a", -1, 0, 2, 2),)}, "is not within"),
        ({"units": ()}, "a query that people can answer"),
        ({"classes": ()}, "a query that people can answer"),
        ({"prelabels": (np.zeros((3, 4), np.uint8),)}, r"the prelabel of a \(0, 0\) is \(3, 4\)"),
        ({"prelabels": (np.full((4, 4), 1, np.uint8),)}, "has a class that the query has not"),
    ],
)
def test_a_query_that_cannot_be_shown_is_refused(tmp_path, changed, message):
    query = Query("0" * 16, 1, (LabelClass("a", (0, 0, 0)),), {"a": (4, 4)}, (("a", 0, 0, 4, 4),), (None,))
    query = replace(query, **changed)
    with pytest.raises(RalsegError, match=message):
        PageServer(
            query, lambda name: np.zeros((4, 4, 3), np.uint8), WorkFolder(tmp_path, query), port=0, token="t" * 16
        )


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 30), (3, 3), (13, 21), (36, 40), (90, 120)])
def test_superpixels_cover_everything_in_one_piece_each(size):
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    areas = superpixels(image)
    assert areas.dtype == np.uint16 and areas.shape == size and areas.min() == 0
    assert len(np.unique(areas)) == areas.max() + 1 and areas.max() < -(-size[0] // 8) * -(-size[1] // 8)
    for area in np.unique(areas):
        assert cv2.connectedComponents((areas == area).astype(np.uint8), connectivity=8)[0] == 2
    assert superpixels(np.zeros((600, 500, 3), np.uint8), spacing=1).max() < 60_000


def test_a_unit_may_be_a_pixel_or_an_image(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)
    image.flags.writeable = False
    units = (("a", 0, 69, 1, 1), ("a", 0, 0, 50, 70))
    query = Query("0" * 16, 1, (LabelClass("a", (0, 0, 0)),), {"a": (50, 70)}, units, (None, None))
    pictures = Pictures(query, lambda _: image)
    assert pictures.frame(0) == (0, 45, 25, 25) and pictures.frame(1) == (0, 0, 50, 70)
    assert pictures.superpixels(0).tolist() == [[0]] and pictures.superpixels(1).shape == (50, 70)
    for place in (0, 1):
        assert cv2.imdecode(np.frombuffer(pictures.map(place), np.uint8), cv2.IMREAD_COLOR).shape == (50, 70, 3)
        assert pictures.picture(place)
