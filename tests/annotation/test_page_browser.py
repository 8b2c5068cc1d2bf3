"""The page in a real browser: every tool pixel by pixel, keys, many classes, a server that is killed."""

import importlib.util
import os
import signal
import socket
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ralseg.annotation.page.pictures import superpixels
from ralseg.annotation.work import WorkFolder

LAPTOP = {"width": 1366, "height": 768}
ROAD, POLE, CAR, LAST = 3, 2, 8, 10
NEXT = """async () => {
    const before = document.body.dataset.unit, since = performance.now();
    window.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter"}));
    while (document.body.dataset.unit === before) await new Promise(requestAnimationFrame);
    return performance.now() - since;
}"""
"""Accepts, and returns the milliseconds until the next region is painted."""


def beside(name):
    """A module beside this file."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


own = beside("page_round")


class Person:
    """Somebody at the page: points are in pixels of the region."""

    def __init__(self, page):
        self.page = page
        self.seen()

    def seen(self):
        """Look where the region is on the screen."""
        self.page.wait_for_selector("body[data-unit] #stage[aria-busy=false]")
        self.scale, *corner = map(float, self.page.get_attribute("#stage canvas", "data-view").split())
        left, top = self.page.evaluate(
            "() => { const box = document.querySelector('#stage canvas').getBoundingClientRect();"
            " return [box.left, box.top]; }"
        )
        self.left, self.top = left + corner[0], top + corner[1]

    def on(self, unit):
        """Wait until a region is shown and saved."""
        self.page.wait_for_selector(f"body[data-unit='{unit}']")
        self.seen()
        return self

    def to(self, x, y):
        """Move the mouse to the whole point of the screen next to (x, y); returns where that is in the region."""
        screen = round(self.left + x * self.scale), round(self.top + y * self.scale)
        self.page.mouse.move(*screen)
        return (screen[0] - self.left) / self.scale, (screen[1] - self.top) / self.scale

    def drag(self, *points):
        """Press at the middle of a pixel, move to others, let go."""
        for i, (x, y) in enumerate(points):
            self.to(x + 0.5, y + 0.5)
            if i == 0:
                self.page.mouse.down()
        self.page.mouse.up()
        self.saved()

    def key(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)
        self.saved()

    def redrawn(self):
        """Wait for what was asked for to be painted."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        self.seen()

    def saved(self):
        self.page.wait_for_selector("#saved[data-state=saved]")


@pytest.fixture
def opened(browser):
    """Opens an address; whatever the page asks of others, or complains about, fails the test."""
    contexts, trouble, allowed = [], [], []

    def open_page(url, ready=True, **options):
        contexts.append(browser.new_context(**({"viewport": LAPTOP} | options)))
        # A busy machine may take its time.
        contexts[-1].set_default_timeout(60_000)
        page = contexts[-1].new_page()
        home = url.partition("?")[0]
        page.on("console", lambda m: any(a in m.text for a in allowed) or trouble.append(f"console: {m.text}"))
        page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        page.on("request", lambda r: r.url.startswith(home) or trouble.append(f"request: {r.url}"))
        page.goto(url)
        return Person(page) if ready else page

    open_page.allowed = allowed
    yield open_page
    for context in contexts:
        context.close()
    assert not trouble


@pytest.fixture(params=[11])
def served(request, tmp_path):
    own.drawn(tmp_path, request.param)
    with own.server(tmp_path, 0, title="Streets", changes="mIoU 40 %.") as server:
        yield server


def shown(server, unit):
    """What the page shows first."""
    return server.shown.label(unit).copy()


def stroke(label, radius, id, start, end):
    """A straight stroke of a round brush, by distance to each pixel on the way; `start` and `end` as (x, y)."""
    y, x = np.indices(label.shape)
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    for i in range(steps + 1):
        # JavaScript rounds halves up.
        at = [np.floor(a + (b - a) * i / steps + 0.5) for a, b in zip(start, end, strict=True)]
        label[(x - at[0]) ** 2 + (y - at[1]) ** 2 <= radius * (radius + 1)] = id


def within(shape, corners):
    """Which pixels have their centre in a polygon of corners (x, y): a ray to the left crosses it at an odd number."""
    y, x = (found + 0.5 for found in np.indices(shape))
    odd = np.zeros(shape, bool)
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        if ay != by:
            odd ^= ((ay <= y) != (by <= y)) & (ax + (y - ay) * (bx - ax) / (by - ay) <= x)
    return odd


def connected(label, y, x):
    """The pixels of equal label that can be reached from (y, x) over edges."""
    found = np.zeros(label.shape, bool)
    found[y, x] = True
    while True:
        wider = found.copy()
        wider[1:] |= found[:-1]
        wider[:-1] |= found[1:]
        wider[:, 1:] |= found[:, :-1]
        wider[:, :-1] |= found[:, 1:]
        wider &= label == label[y, x]
        if (wider == found).all():
            return found
        found = wider


def test_every_tool_is_exact_to_the_pixel(served, opened):
    person, work = opened(served.url), served.work
    want = shown(served, 0)
    name, top, left, height, width = served.query.units[0]
    areas = superpixels(own.loaded(work.folder.parent)[1](name)[top : top + height, left : left + width])

    def check(kind, id):
        person.saved()
        event = work.events[-1]
        assert (event.unit, event.kind, event.label) == (0, kind, id)
        np.testing.assert_array_equal(work.label(0), want)

    history = [want.copy()]

    def note():
        # What changed nothing need not be undone.
        if (history[-1] != want).any():
            history.append(want.copy())

    person.key("4")
    for x, y in ((7, 5), (20, 18), (39, 35), (0, 0)):
        person.drag((x, y))
        want[areas == areas[y, x]] = ROAD
        check("superpixel", ROAD)
        note()
    # Drawn over several superpixels: one click.
    person.key("3")
    person.drag((2, 30), (30, 30))
    want[np.isin(areas, areas[30, 2:31])] = POLE
    check("superpixel", POLE)
    note()
    # Out of the region on the right, and along its edge; what is outside is cut.
    person.key("b", "]", "]", "9")
    person.drag((30, 10), (48, 16))
    stroke(want, 5, CAR, (30, 10), (48, 16))
    check("brush", CAR)
    note()
    person.drag((-3, 20), (-3, -4))
    stroke(want, 5, CAR, (-3, 20), (-3, -4))
    check("brush", CAR)
    note()
    person.key("e", "[", "[", "[", "[", "[")
    person.drag((12, 12), (25, 12))
    want[12, 12:26] = 255
    check("erase", 255)
    note()

    for past in history[-2::-1]:
        person.key("z")
        want = past.copy()
        check("undo", None)
    done = len(work.events)
    person.key("z")
    assert len(work.events) == done and person.page.locator("#edits button").first.is_disabled()
    for later in history[1:]:
        person.key("Control+Shift+Z")
        want = later.copy()
        check("redo", None)
    person.key("y")
    assert len(work.events) == done + len(history) - 1

    person.key("f", "1")
    person.drag((18, 12))
    want[connected(want, 12, 18)] = 0
    check("fill", 0)
    person.key("n")
    person.drag((39, 10))
    want[connected(want, 10, 39)] = 255
    check("fill", 255)

    person.key("p", "6")
    corners = []
    for x, y in ((10, 4), (33, -6), (30, 30), (20, 8), (-9, 33)):
        corners.append(person.to(x, y))
        person.page.mouse.down()
        person.page.mouse.up()
    person.key("Enter")
    want[within(want.shape, corners)] = 5
    check("polygon", 5)
    assert [event.kind for event in work.events[-6:-1]] == ["vertex"] * 5
    # Closed by a click at its first corner; dropped before that.
    for last in ("Escape", None):
        corners = []
        for x, y in ((2, 2), (8, 2), (8, 8), (2, 2)):
            corners.append(person.to(x, y))
            if last and len(corners) == 4:
                person.key(last)
            else:
                person.page.mouse.down()
                person.page.mouse.up()
    want[within(want.shape, corners[:3])] = 5
    check("polygon", 5)
    # With the right button, a class is picked up.
    person.key("b")
    person.to(3.5, 2.5)
    person.page.mouse.click(person.left + 3.5 * person.scale, person.top + 2.5 * person.scale, button="right")
    assert person.page.get_attribute(f"#classes [data-id='{want[2, 3]}']", "aria-pressed") == "true"

    person.key("x")
    want[:] = 255
    check("clear", None)
    person.key("Enter")
    assert work.events[-2].kind == "accept" and work.states[0] == "accepted"
    np.testing.assert_array_equal(work.answers().labels[0], want)
    kinds = [event.kind for event in work.events if event.unit == 0]
    assert work.clicks[0] == sum(kinds.count(k) for k in ("superpixel", "brush", "erase", "fill", "vertex")) == 21


def test_the_picture_can_be_zoomed_and_moved(served, opened):
    person, work = opened(served.url), served.work
    want, before = shown(served, 0), person.scale
    person.to(20, 20)
    person.page.mouse.wheel(0, -400)
    person.page.keyboard.down("Space")
    person.page.mouse.down()
    person.page.mouse.move(person.left, person.top)
    person.page.mouse.up()
    person.page.keyboard.up("Space")
    person.redrawn()
    assert person.scale > 1.5 * before
    person.key("b", "9")
    person.drag((22, 25))
    stroke(want, 3, CAR, (22, 25), (22, 25))
    np.testing.assert_array_equal(work.label(0), want)
    person.key("v")
    person.redrawn()
    assert person.scale == before


def test_a_round_by_keyboard_alone_and_back(served, opened):
    person, work = opened(served.url), served.work
    text = person.page.inner_text
    prelabels = [shown(served, unit) for unit in range(6)]
    assert text("#where") == "Region 1 of 6" and text("#counts") == "0 labelled, 0 skipped, 6 to do"
    assert "?t=" not in person.page.url and person.page.title() == "Streets, round 2"
    # Where not all classes would be seen besides, it is closed.
    assert not person.page.locator("#changes p").is_visible()
    person.page.focus("#changes summary")
    person.key("Enter")
    assert text("#changes p") == "mIoU 40 %." and person.page.locator("#changes p").is_visible()
    person.page.evaluate("() => document.activeElement.blur()")
    person.key("Enter")
    person.on(1).key("k")
    # Back to what is accepted: looking changes nothing, drawing opens it again.
    person.on(2).key("ArrowLeft", "ArrowLeft")
    person.on(0)
    assert text("#where") == "Region 1 of 6 (accepted)" and work.states[0] == "accepted"
    person.key("n", "x")
    assert work.states[:3] == ("open", "skipped", "open") and text("#counts") == "0 labelled, 1 skipped, 5 to do"
    person.key("z", "Enter")
    for unit in (2, 3, 4, 5):
        person.on(unit).key("Enter")
    person.page.wait_for_selector("#end:visible")
    assert text("#end-counts") == "6 regions: 5 labelled, 1 skipped, 0 to do."
    assert text("#end-next") == own.DONE and text("#end-saved") == "Everything is saved. You can close this page."
    answers = work.answers().labels
    assert sorted(answers) == [0, 2, 3, 4, 5] and (answers[own.HOLE] == 255).all()
    for unit, label in answers.items():
        np.testing.assert_array_equal(label, prelabels[unit])
    person.page.get_by_role("button", name="Look at the skipped regions again").click()
    person.on(1).key("Enter")
    person.page.wait_for_selector("#end:visible")
    assert work.counts == {"open": 0, "accepted": 6, "skipped": 0}
    person.page.reload()
    person.page.wait_for_selector("#end:visible")
    # The help opens and closes with keys, and buttons have names.
    person.key("?")
    assert person.page.locator("#keys").is_visible()
    person.key("Escape")
    assert not person.page.locator("#keys").is_visible()
    assert person.page.evaluate("() => [...document.querySelectorAll('button')].every(b => b.textContent.trim())")


@pytest.mark.parametrize("served", [60], indirect=True)
def test_sixty_classes_are_found_by_name(served, opened):
    person, work = opened(served.url, color_scheme="dark"), served.work
    want = shown(served, 0)
    person.key("b", "/")
    person.page.keyboard.type("thing 5")
    assert person.page.locator("#classes button:visible").count() == 10
    person.page.keyboard.type("7")
    person.key("Enter")
    person.drag((4, 4))
    stroke(want, 3, 57, (4, 4), (4, 4))
    person.key("0")
    person.drag((30, 30))
    stroke(want, 3, 9, (30, 30), (30, 30))
    np.testing.assert_array_equal(work.label(0), want)
    # Escape leaves the class as it was.
    person.key("/")
    person.page.keyboard.type("sky")
    person.key("Escape")
    assert person.page.get_attribute("#classes [data-id='9']", "aria-pressed") == "true"
    # All is on the screen of a laptop, and of one with a tall tool bar.
    for height in (768, 620):
        person.page.set_viewport_size({"width": 1366, "height": height})
        assert person.page.evaluate("""() => [...document.querySelectorAll(
            "header, #tools button, #tools input, #actions button, #map canvas, #search")].every(part => {
            const box = part.getBoundingClientRect();
            return box.width && box.top >= 0 && box.left >= 0 && box.bottom <= innerHeight && box.right <= innerWidth;
        }) && document.documentElement.scrollHeight <= innerHeight && document.querySelector("#tools").scrollHeight
            <= document.querySelector("#tools").clientHeight""")


def test_the_next_region_is_there_at_once(served, opened, capsys):
    person = opened(served.url)
    times = []
    for _ in range(5):
        person.saved()
        # Nobody accepts a region within less than this.
        person.page.wait_for_timeout(300)
        times.append(person.page.evaluate(NEXT))
    with capsys.disabled():
        print(f" [accept to next region: {statistics.median(times):.0f} ms, at most {max(times):.0f} ms]", end="")
    person.saved()
    assert served.work.counts["accepted"] == 5


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_server_that_is_killed_and_started_again(tmp_path, opened):
    own.drawn(tmp_path)
    port, script = free_port(), Path(own.__file__)
    processes = []

    def start():
        command = [sys.executable, str(script), str(tmp_path), str(port)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        # The server needs no torch.
        url, torch = processes[-1].stdout.readline().split()
        assert torch == "False"
        return url

    def kill():
        os.kill(processes[-1].pid, signal.SIGKILL)
        processes[-1].wait()

    try:
        person = opened(start())
        page, query = person.page, own.loaded(tmp_path)[0]
        want = query.prelabels[0].copy()
        person.key("b", "9")
        person.drag((5, 5), (9, 9))
        stroke(want, 3, CAR, (5, 5), (9, 9))
        opened.allowed.append("net::ERR_CONNECTION")
        opened.allowed.append("net::ERR_EMPTY_RESPONSE")
        kill()
        found = WorkFolder(tmp_path / "work", query)
        np.testing.assert_array_equal(found.label(0), want)
        # Two more strokes and the next region, while nobody answers.
        for x, y in ((20, 20), (30, 10)):
            person.to(x + 0.5, y + 0.5)
            page.mouse.down()
            page.mouse.up()
            stroke(want, 3, CAR, (x, y), (x, y))
        page.wait_for_selector("#saved[data-state=waiting]")
        assert "Not saved (2 changes): the server does not answer; trying again" in page.inner_text("#saved")
        page.keyboard.press("Enter")
        person.on(1)
        assert len(WorkFolder(tmp_path / "work", query).events) == 2
        start()
        person.saved()
        opened.allowed.clear()
        person.drag((10, 10))
        kinds = ["show", "brush", "brush", "brush", "accept", "show", "brush"]
        kill()
        found = WorkFolder(tmp_path / "work", query)
        assert [event.kind for event in found.events] == kinds and found.clicks == {0: 3, 1: 1}
        np.testing.assert_array_equal(found.answers().labels[0], want)
        draft = query.prelabels[1].copy()
        stroke(draft, 3, CAR, (10, 10), (10, 10))
        np.testing.assert_array_equal(found.label(1), draft)
        # A page that is opened afterwards goes on with the draft.
        page.close()
        person = opened(start())
        person.on(1).key("Enter")
        found = WorkFolder(tmp_path / "work", query)
        np.testing.assert_array_equal(found.answers().labels[1], draft)
    finally:
        for process in processes:
            process.kill()
            process.stdout.close()


def test_the_tab_that_was_left_behind_says_so(served, opened):
    opened.allowed.append("409")
    first = opened(served.url)
    first.saved()
    second = opened(served.url)
    second.key("x")
    first.page.keyboard.press("k")
    first.page.wait_for_selector("#trouble[open]:has-text('Another tab or window has gone on with this round.')")
    assert first.page.inner_text("#saved") == "Not saved" and served.work.states[0] == "open"
    first.page.get_by_role("button", name="Load the page again").click()
    first.on(0).key("Enter")
    assert (served.work.answers().labels[0] == 255).all()


def test_without_its_token_the_page_says_what_to_do(served, opened):
    opened.allowed.append("403")
    page = opened(served.url.partition("?")[0], ready=False)
    page.wait_for_selector("#trouble[open]:has-text('open the address that the command printed')")
    assert page.inner_text("#trouble-title") == "No access" and not served.work.events
