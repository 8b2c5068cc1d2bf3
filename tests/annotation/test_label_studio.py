"""A real Label Studio in a real browser: what a person confirms, changes, skips or leaves comes back as just that.

RALSEG_TOOLS=1 runs this. It takes four to ten minutes, most of them because the server makes its database anew.
"""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import cv2
import numpy as np
import pytest

from ralseg.annotation.formats import FORMATS

TOKEN, EMAIL, PASSWORD = "ab" * 20, "person@example.org", "a-password-of-the-tests"
SETTINGS = {
    "LABEL_STUDIO_USERNAME": EMAIL,
    "LABEL_STUDIO_PASSWORD": PASSWORD,
    "LABEL_STUDIO_USER_TOKEN": TOKEN,
    "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
    "COLLECT_ANALYTICS": "false",
    "LATEST_VERSION_CHECK": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    # Whatever the server might ask of others ends at a port where nobody listens.
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1,localhost",
}
PATIENCE = 900
"""Seconds that the server may take to start."""
SIGN, CAR = 1, 3
DRAWN = ((12, 4), (30, 4))
ERASED = ((8, 7), (14, 7))
"""Strokes from pixel to pixel of the region of unit 1, (x, y). The region ends at x = 22; the sign is erased."""


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


world, tools = loaded("format_world"), loaded("tool_environments")
pytestmark, python_of = tools.opted_in, tools.python_of


@pytest.fixture
def server(python_of, tmp_path):
    """The address of a Label Studio of this test alone."""
    program = python_of("label-studio-server").with_name("label-studio")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(program), "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
    settings = {**os.environ, **SETTINGS, "LABEL_STUDIO_BASE_DATA_DIR": str(tmp_path / "data")}
    log = tmp_path / "server.log"
    with log.open("wb") as told:
        process = subprocess.Popen(command, env=settings, stdout=told, stderr=told, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(f"{address}/health", process, log)
        yield address
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(url, process, log):
    end = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < end:
        try:
            urlopen(url, timeout=10).close()
            return
        except OSError:
            time.sleep(1)
    pytest.fail(f"Label Studio did not start: {log.read_text()[-2000:]}")


@pytest.fixture
def api(browser, server):
    """Asks the server something, as a program does; returns the bytes of the answer."""
    context = browser.new_context(base_url=server, extra_http_headers={"Authorization": f"Token {TOKEN}"})

    def ask(path, **sent):
        answer = (context.request.post if sent else context.request.get)(path, timeout=120_000, **sent)
        assert answer.ok, f"{path}: {answer.status} {answer.text()[:500]}"
        return answer.body()

    yield ask
    context.close()


@pytest.fixture
def page(browser, server):
    """A page of somebody who has logged in; whatever it asks of others fails the test."""
    context = browser.new_context(base_url=server, viewport={"width": 1366, "height": 900})
    # A busy machine may take its time.
    context.set_default_timeout(120_000)
    page, elsewhere = context.new_page(), []
    own = (f"{server}/", f"blob:{server}/", "data:")
    page.on("request", lambda request: request.url.startswith(own) or elsewhere.append(request.url))
    page.goto("/user/login/")
    page.fill("[name=email]", EMAIL)
    page.fill("[name=password]", PASSWORD)
    page.click("[type=submit]")
    page.wait_for_url(lambda url: "login" not in url, wait_until="commit")
    yield page
    context.close()
    assert not elsewhere


class Person:
    """Somebody who labels one task after another; points are in pixels of the region."""

    def __init__(self, page, query):
        self.page, self.query = page, query

    def on(self, unit):
        """Wait until a unit is shown with its predictions."""
        name, y, x, *_ = self.query.units[unit]
        self.page.get_by_text(f"{name}, unit {unit}", exact=True).wait_for()
        self.regions(len(set(np.unique(self.query.prelabels[unit])) - {255}))
        picture = self.page.wait_for_selector("img[src^=blob]")
        picture.wait_for_element_state("stable")
        box = picture.bounding_box()
        self.scale = box["width"] / picture.evaluate("picture => picture.naturalWidth") * 8
        self.left, self.top = box["x"] + min(x, 20) * self.scale, box["y"] + min(y, 20) * self.scale
        return self

    def regions(self, count):
        """Wait until so many regions are listed, predicted or drawn."""
        self.page.wait_for_function("n => document.querySelectorAll('.lsf-outliner-item').length === n", arg=count)

    def drag(self, start, end, height=0.5):
        """Press in a pixel, at a height within it, and let go in another."""
        points = [(self.left + (x + 0.5) * self.scale, self.top + (y + height) * self.scale) for x, y in (start, end)]
        self.page.mouse.move(*points[0])
        self.page.mouse.down()
        self.page.mouse.move(*points[1], steps=20)
        self.page.mouse.up()

    def draw(self, label, start, end):
        """A stroke of the brush; it becomes a region of its own."""
        before = self.page.locator(".lsf-outliner-item").count()
        self.page.locator(".lsf-label", has_text=self.query.classes[label].name).click()
        self.drag(start, end)
        self.regions(before + 1)
        self.page.keyboard.press("Escape")

    def erase(self, label, start, end):
        """Take a stroke away from what was predicted as a class."""
        name = self.query.classes[label].name
        self.page.locator(".lsf-outliner-item__title", has_text=name).first.click()
        self.page.click("[aria-label=eraser]")
        # The eraser is half as wide as a pixel, and what loses less than that keeps its class.
        for height in (0.3, 0.7):
            self.drag(start, end, height)

    def submit(self):
        self.page.click("[data-testid=bottombar-submit-button]")

    def skip(self):
        self.page.click("[aria-label=skip-task]")


def set_up(api, folder):
    """A project with the query, its tasks in the reverse order; returns its id and that of a view ordered by score."""
    config = (folder / "labelling.xml").read_text("utf-8")
    shown = {"show_collab_predictions": True, "model_version": "round 2"}
    project = json.loads(api("/api/projects", data={"title": "A query", "label_config": config, **shown}))["id"]
    tasks = json.loads((folder / "tasks.json").read_text())
    file = {"name": "tasks.json", "mimeType": "application/json", "buffer": json.dumps(tasks[::-1]).encode()}
    api(f"/api/projects/{project}/import", multipart={"file": file})
    view = {"title": "Most useful first", "ordering": ["-tasks:data.score"]}
    return project, json.loads(api("/api/dm/views", data={"project": project, "data": view}))["id"]


def test_confirmed_changed_skipped_and_left(api, page, tmp_path):
    query = world.query_of()
    project, view = set_up(api, world.exported("label-studio", query, tmp_path / "export"))
    listed = json.loads(api(f"/api/tasks?view={view}&fields=all"))["tasks"]
    assert [task["meta"]["ralseg"]["unit"] for task in listed] == [0, 1, 2, 3, 4]

    page.goto(f"/projects/{project}/data?tab={view}&labeling=1")
    person = Person(page, query)
    person.on(0).submit()
    person.on(1).draw(CAR, *DRAWN)
    person.erase(SIGN, *ERASED)
    person.submit()
    person.on(2).skip()
    person.on(3)
    with page.expect_response(lambda answer: "/drafts" in answer.url and answer.request.method == "POST"):
        person.draw(CAR, (2, 2), (9, 2))

    # What the page exports leaves out tasks that nobody submitted or skipped; the API gives them on demand.
    for more, told in (("", "2 units have no task in the file."), ("true", "2 tasks were not submitted.")):
        path = tmp_path / f"answers{more}.json"
        path.write_bytes(api(f"/api/projects/{project}/export?exportType=JSON&download_all_tasks={more}"))
        answers = FORMATS["label-studio"].read(path, query)
        assert set(answers.labels) == {0, 1}
        assert (answers.labels[0] == query.prelabels[0]).all()
        check_changed(answers.labels[1], query.prelabels[1])
        assert answers.notes[:3] == ("1 task was skipped.", told, "3 of 5 units stay unlabelled.")
        assert any("outside the queried regions were cut (c)" in note for note in answers.notes)
        assert any("lie in masks of several classes, of which what a person drew" in note for note in answers.notes)
    check_there_was_something_to_ignore(json.loads(path.read_text()))


def check_changed(label, prelabel):
    """What was drawn and erased is changed, what lies farther away than a pixel is not."""
    drawn, erased = np.zeros((2, *label.shape), np.uint8)
    cv2.line(drawn, *DRAWN, 1)
    cv2.line(erased, *ERASED, 1)
    erased &= prelabel == SIGN
    expected = prelabel.copy()
    expected[drawn > 0], expected[erased > 0] = CAR, 255
    strokes = (drawn | erased) > 0
    assert ((expected != prelabel) & (drawn > 0)).sum() > 5 and erased.sum() > 5
    assert (label == expected)[strokes].all()
    edge = cv2.dilate(strokes.astype(np.uint8), np.ones((3, 3))) > 0
    assert (label == prelabel)[~edge].all()


def check_there_was_something_to_ignore(tasks):
    """Label Studio did store the predictions of the skipped task and the draft of the task that was left."""
    tasks = {task["meta"]["ralseg"]["unit"]: task for task in tasks}
    [skipped] = tasks[2]["annotations"]
    assert skipped["was_cancelled"] and len(skipped["result"]) == 4
    assert tasks[3]["drafts"] and not tasks[3]["annotations"]
    assert tasks[4]["predictions"] and not tasks[4]["annotations"]
