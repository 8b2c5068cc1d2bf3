"""`ralseg-query label --train`: the next round is prepared in the background, and labelled in the same page."""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from ralseg.annotation import commands
from ralseg.annotation.learned import Networks, class_map
from ralseg.annotation.preparing import Preparation
from ralseg.annotation.project import Project
from ralseg.annotation.rounds import collect, open_units, rounds


def beside(name):
    """A module beside this file."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pages, projects = beside("test_page_browser"), beside("test_project")
opened, streets, folder = pages.opened, projects.streets, projects.folder
LONG = [setting for setting in projects.SMALL if "fit.steps=" not in setting] + ["fit.steps=100"]
"""A training that takes seconds, in which it can be interrupted."""
WAIT = 300
LABEL = """
import signal, sys
# What a shell runs in the background ignores Ctrl-C, and so does what a test starts there.
signal.signal(signal.SIGINT, signal.default_int_handler)
from ralseg.query_regions import main
sys.exit(main(["label", sys.argv[1], "--train", "--no-browser", "--port", "0"]))
"""


@pytest.fixture
def labelling(tmp_path):
    """Starts the command in a process; it is killed at the end."""
    started = []

    def start(place):
        command = [sys.executable, "-c", LABEL, str(place)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        with open(tmp_path / "errors", "a") as errors:
            # A group of its own, so that Ctrl-C can be sent to all of it, as a terminal does.
            process = subprocess.Popen(
                command, env=environment, stdout=-1, stderr=errors, text=True, start_new_session=True
            )
        started.append(process)
        line = next((line for line in process.stdout if line.startswith("Label round")), None)
        assert line, (tmp_path / "errors").read_text()
        return process, line.split()[4]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def request(url, path, method="GET", body=None, **headers):
    """The JSON that the server answers."""
    home, token = url.split("?t=")
    asked = urllib.request.Request(home + path, method=method, data=body, headers={"X-Token": token, **headers})
    with urllib.request.urlopen(asked, timeout=WAIT) as answer:
        return json.load(answer)


def until(url, met):
    """Wait until the server's status meets a condition."""
    end = time.monotonic() + WAIT
    while not met(status := request(url, "api/status")):
        assert time.monotonic() < end, status
        time.sleep(0.05)
    return status


def label_all(url):
    """Accept all units of the round, each with one class, and wish for the next one."""
    about = request(url, "api/round")
    own = {"X-Round": str(about["round"])}
    for place, unit in enumerate(about["units"]):
        event = {"n": place + 1, "unit": place, "kind": "accept", "at": 0.0, "page": "p", "label": None}
        body = np.full(unit["height"] * unit["width"], place % 3, np.uint8).tobytes()
        request(url, "api/event", "PUT", body, **own, **{"X-Event": json.dumps(event)})
    return request(url, "api/train", "PUT", **own)


def by_keyboard(person):
    """Fill each region with a class and accept it."""
    for i in range(6):
        person.key(str(i % 3 + 1), "f")
        person.drag((5, 5))
        person.page.keyboard.press("Enter")
        if i < 5:
            person.on(i + 1)


def test_rounds_follow_each_other_in_one_page(folder, labelling, opened):
    Project.init(folder, projects.SMALL)
    process, url = labelling(folder)
    person = opened(url)
    page = person.page
    page.set_default_timeout(1000 * WAIT)
    assert not page.locator("#changes").is_visible()
    for number in (1, 2):
        by_keyboard(person)
        page.wait_for_selector(f"#end-title:has-text('Round {number + 1} is ready')")
        changed = page.inner_text("#end-next")
        assert f"with {6 * number} labelled regions" in changed and "on the held-out regions of" in changed
        assert ("before, mIoU" in changed) == ("another class than before" in changed) == (number == 2)
        page.keyboard.press("Enter")
        page.wait_for_selector(f"#title:has-text('round {number + 1}')")
        person.on(0)
        assert page.text_content("#changes p") == changed and page.inner_text("#where") == "Region 1 of 6"
    opened.allowed.append("net::ERR_")
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=WAIT)[0]
    assert process.returncode == 0 and "Traceback" not in (folder.parent / "errors").read_text()
    assert "Trained on the labels of 12 units in 3 steps: mIoU" in said and "Round 3: 4 units chosen by margin" in said
    assert said.endswith(f"Next: ralseg-query label {folder} --train\n")
    project = Project(folder)
    assert [len(open_units(project, each)) for each in rounds(project)] == [0, 0, 6]
    assert project.campaign.ledger.units == 12 and not Networks(project).stale
    # What the page says has changed, counted again.
    networks, asked = Networks(project), rounds(project)[-1]
    old, new = (networks.learner(training) for training in networks.trainings)
    other = total = 0
    for name, y, x, height, width in asked.query.units:
        image = project.world.store.index(name)
        box = np.s_[y : y + height, x : x + width]
        other += (class_map(old, image)[box] != class_map(new, image)[box]).sum()
        total += height * width
    assert asked.changed == other / total
    assert f"In {100 * other / total:.1f} % of the pixels of this round's regions" in changed


@pytest.mark.long
def test_a_training_that_is_killed_again_and_again_loses_nothing(folder, labelling, tmp_path):
    """By a kill of its process, by Ctrl-C in the terminal, by a kill of the command."""
    Project.init(folder, LONG)
    process, url = labelling(folder)
    errors = tmp_path / "errors"

    def training():
        """The process that trains, as soon as it does."""
        assert 0 < until(url, lambda status: status["share"])["share"] < 1
        return json.loads((folder / ".owner.json").read_text())["pid"]

    with pytest.raises(urllib.error.HTTPError, match="409"):
        request(url, "api/train", "PUT", **{"X-Round": "1"})
    assert label_all(url)["state"] == "training"
    event = {"n": 7, "unit": 0, "kind": "show", "at": 0.0, "page": "p", "label": None}
    with pytest.raises(urllib.error.HTTPError, match="409"):
        request(url, "api/event", "PUT", **{"X-Round": "1", "X-Event": json.dumps(event)})
    os.kill(training(), signal.SIGKILL)
    failed = until(url, lambda status: status["state"] != "training")
    assert failed["state"] == "failed" and "ended with code -9 (-9: killed" in failed["text"]
    assert failed["text"] in errors.read_text()
    request(url, "api/train", "PUT", **{"X-Round": "1"})
    for code in (0, -9):
        child = training()
        assert child != process.pid
        if code:
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGINT)
        assert process.wait(WAIT) == code
        with contextlib.suppress(ProcessLookupError):
            for _ in range(200):
                os.kill(child, 0)
                time.sleep(0.05)
            raise AssertionError("the child lives on")
        assert not (folder / "learner" / "001" / "training.json").exists()
        # It begins again without anybody at the page.
        process, url = labelling(folder)
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole, ignore=shutil.ignore_patterns(".lock", ".owner.json", "learner"))
    until(url, lambda status: status["round"] == 2 and not status["state"])
    process.send_signal(signal.SIGINT)
    assert process.wait(WAIT) == 0 and "Traceback" not in errors.read_text()
    commands.train_(whole)
    commands.query(whole)
    (ours,), (theirs,) = (Networks(Project(place)).trainings for place in (folder, whole))
    assert ours.weights.read_bytes() == theirs.weights.read_bytes()
    assert rounds(Project(folder))[1].query.digest == rounds(Project(whole))[1].query.digest
    assert Project(folder).campaign.ledger == Project(whole).campaign.ledger


def test_a_training_that_fails_is_told_and_one_that_is_stopped_goes_back(folder, labelling, opened):
    Project.init(folder, LONG)
    process, url = labelling(folder)
    person = opened(url)
    classes = (folder / "classes.yaml").read_text()
    (folder / "classes.yaml").write_text("[{name: a, id: 0}]")
    page = person.page
    page.set_default_timeout(1000 * WAIT)
    by_keyboard(person)
    page.wait_for_selector("#end-title:has-text('The next round is not ready')")
    told = page.inner_text("#end-next")
    assert told.startswith("The next round could not be prepared: ") and told.endswith("All labels are kept.")
    assert "the classes are no longer sky" in told and told in (folder.parent / "errors").read_text()
    (folder / "classes.yaml").write_text(classes)
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector("#end-next:has-text('seconds left')")
    assert 0 < page.locator("#end-share").evaluate("bar => bar.value") < 1
    # The labels cannot be changed meanwhile.
    page.keyboard.press("ArrowLeft")
    page.get_by_role("button", name="Stop").click()
    page.wait_for_selector("#end-title:has-text('All done')")
    page.keyboard.press("ArrowLeft")
    person.on(5).key("x", "9", "f")
    person.drag((5, 5))
    page.keyboard.press("Enter")
    page.wait_for_selector("#end-title:has-text('Round 2 is ready')")
    opened.allowed.append("net::ERR_")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(WAIT) == 0
    project = Project(folder)
    assert (rounds(project)[0].work.answers().labels[5] == 8).all()
    done = collect(project)
    assert not done and project.campaign.ledger.units == 6


def test_a_round_of_which_nothing_can_be_learned_is_followed_by_the_next(folder, labelling):
    Project.init(folder, [*projects.SMALL, "budget=6"])
    _, url = labelling(folder)
    for place in range(6):
        event = {"n": place + 1, "unit": place, "kind": "skip", "at": 0.0, "page": "p", "label": None}
        request(url, "api/event", "PUT", **{"X-Round": "1", "X-Event": json.dumps(event)})
    request(url, "api/train", "PUT", **{"X-Round": "1"})
    assert until(url, lambda status: status["round"] == 2 and not status["state"])["changes"] == ""
    label_all(url)
    ended = until(url, lambda status: status["state"] != "training")
    assert ended["state"] == "ended" and ended["text"].endswith("the budget is spent, or all is labelled.")
    assert len(Networks(Project(folder)).trainings) == 1


def test_a_training_is_wished_for_once(tmp_path):
    preparation = Preparation(tmp_path)
    preparation.ask("stop")
    preparation.ask("train")
    before = preparation.status()
    preparation.ask("train")
    assert before.state == "training" and preparation.status() is before and preparation.wait()
