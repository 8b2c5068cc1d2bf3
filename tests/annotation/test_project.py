"""The loop of a project by its commands, with the true labels of drawn streets in people's place."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ralseg.annotation import commands
from ralseg.annotation.choosing import ask
from ralseg.annotation.events import Event
from ralseg.annotation.learned import Networks
from ralseg.annotation.measured import measure
from ralseg.annotation.observing import ProjectObserver
from ralseg.annotation.project import Project
from ralseg.annotation.query import Answers
from ralseg.annotation.rounds import collect, open_units, rounds, settle
from ralseg.envs.reader import PoolReader
from ralseg.features import spec_from_config
from ralseg.features.clicks import unit_clicks
from ralseg.foundation import RalsegError
from ralseg.query_regions import main
from ralseg.segmentation.datasets import Streets
from ralseg.segmentation.metrics import confusion

SIZE, UNIT = (60, 80), (30, 20)
SMALL = (
    "network=small_fpn", "per_round=6", "held_out=0.34", "fit.steps=3", "fit.steps_per_megapixel=0", "fit.batch=2",
    "fit.encoder_rate=1", "fit.crops.size=[32,32]", "budget=40", f"dataset.unit_size={list(UNIT)}",
)  # fmt: skip


@pytest.fixture(scope="module")
def streets():
    return Streets(images=9, size=SIZE)


@pytest.fixture
def folder(tmp_path, streets, monkeypatch):
    monkeypatch.setenv("RALSEG_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "streets"
    (place / "images").mkdir(parents=True)
    for name in streets.names:
        cv2.imwrite(str(place / "images" / f"{name}.png"), streets.load(name)[0][..., ::-1])
    classes = [{"name": name, "id": i} for i, name in enumerate(streets.classes)]
    (place / "classes.yaml").write_text(json.dumps(classes))
    return place


@pytest.fixture
def project(folder):
    return Project.init(folder, SMALL)


def truth(streets, unit):
    name, y, x, height, width = unit
    return streets.load(name)[1][y : y + height, x : x + width]


def answered(project, streets, asked, places=None):
    """Label units of a round by the truth."""
    places = range(len(asked.query.units)) if places is None else places
    return settle(project, asked, Answers({place: truth(streets, asked.query.units[place]) for place in places}))


def play(folder, streets, rounds_=1):
    """Some rounds by the commands alone, labels through PNG files."""
    for _ in range(rounds_):
        commands.export(folder, "png", None)
        out = max((folder / "exports").iterdir())
        units = json.loads((out / "query.json").read_text())["units"]
        fill(out, streets, [unit if isinstance(unit, list) else unit.values() for unit in units])
        commands.import_(folder, "png", out)
        commands.train_(folder)


def fill(out, streets, units):
    """Label units by the truth in PNG files."""
    for name, y, x, height, width in units:
        path = out / "labels" / f"{name}.png"
        image = Image.open(path)
        pixels = np.array(image)
        pixels[y : y + height, x : x + width] = truth(streets, (name, y, x, height, width))
        changed = Image.fromarray(pixels, mode="P")
        changed.putpalette(image.getpalette())
        changed.save(path)


def test_the_commands_alone_go_round_the_loop(folder, streets, capsys):
    overrides = [part for setting in SMALL for part in ("--set", setting)]
    assert main(["init", str(folder), *overrides]) == 0
    assert "9 images, 72 units" in capsys.readouterr().out
    play(folder, streets, 2)
    assert main(["status", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "Round 1: 4 units chosen by coreset, which spreads them over the embeddings" in shown
    assert "Round 2: 4 units chosen by margin, and 2 drawn at random" in shown
    assert "2 rounds, 12 units labelled (16.67 % of all pixels" in shown
    assert shown.count("on the held-out units of") == 4 and "Too early to forecast" in shown
    assert shown.endswith(f"Next: ralseg-query label {folder}\n")
    assert main(["predict", str(folder)]) == 0
    for name in streets.names:
        label = cv2.imread(str(folder / "predictions" / "labels" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        assert label.shape == SIZE and label.max() < len(streets.classes)
        assert cv2.imread(str(folder / "predictions" / "overlays" / f"{name}.png")).shape == (*SIZE, 3)


def test_a_query_is_repeated_until_it_is_answered(project, streets):
    first = ask(project)
    assert [label for label in first.query.prelabels if label is not None] == []
    assert sum(first.held_out) == 2 and len(first.query.units) == 6
    again = ask(Project(project.folder))
    assert again.query.digest == first.query.digest and again.held_out == first.held_out
    answered(project, streets, first, [0, 1, 2])
    assert open_units(project, first) == [3, 4, 5] and ask(project).query.round == 1
    answered(project, streets, first, [3, 4, 5])
    Networks(project).train()
    second = ask(project)
    assert second.query.round == 2 and not {*second.query.units} & {*first.query.units}
    assert all(label.shape == UNIT for label in second.query.prelabels)


def test_a_round_is_what_the_same_project_would_ask(project, streets, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(project.folder, copy)
    assert ask(project).query.units == ask(Project(copy)).query.units


def test_answers_are_paid_once_and_corrections_are_free(project, streets):
    asked = ask(project)
    done = answered(project, streets, asked)
    assert len(done.answered) == 6 and not done.corrected
    assert not answered(project, streets, asked)
    other = np.full(UNIT, 3, np.uint8)
    done = settle(project, asked, Answers({2: other}))
    assert done.corrected == [asked.query.units[2]] and not done.answered
    reopened = Project(project.folder)
    assert reopened.campaign.ledger == project.campaign.ledger and reopened.campaign.ledger.units == 6
    name, y, x, height, width = asked.query.units[2]
    label = reopened.campaign.labels.label(reopened.world.store.index(name))
    np.testing.assert_array_equal(label[y : y + height, x : x + width], other)


def test_held_out_units_are_never_trained_on(project, streets):
    asked = ask(project)
    answered(project, streets, asked)
    networks = Networks(project)
    held_out = {unit for unit, held in zip(asked.query.units, asked.held_out, strict=True) if held}
    assert set(networks.held_out) == held_out and len(held_out) == 2
    for unit in asked.query.units:
        name, y, x, height, width = unit
        image = project.world.store.index(name)
        known = np.full(UNIT, 255, np.uint8)
        if image in networks.labels.images:
            known = networks.labels.label(image)[y : y + height, x : x + width]
        expected = np.full(UNIT, 255, np.uint8) if unit in held_out else truth(streets, unit)
        np.testing.assert_array_equal(known, expected)
        if unit in held_out:
            np.testing.assert_array_equal(networks.held_out[unit], truth(streets, unit))


def test_every_network_is_measured_on_the_same_units_and_each_is_counted_once(project, streets, monkeypatch):
    networks = []
    for _ in range(2):
        answered(project, streets, ask(project))
        networks = Networks(project)
        networks.train()
        measured = measure(networks, networks.trainings)
    assert len(measured) == 2 and measured[0].images == measured[1].images
    assert (measured[0].pixels == measured[1].pixels).all()
    counts = 0
    learner = networks.learner(networks.trainings[1])
    for asked in rounds(project):
        for unit, held in zip(asked.query.units, asked.held_out, strict=True):
            if held:
                name, y, x, height, width = unit
                (prediction,) = learner.predict([project.world.store.index(name)])
                logits = np.asarray(prediction.logits)[0].transpose(1, 2, 0)
                own = cv2.resize(logits, SIZE[::-1]).argmax(-1)[y : y + height, x : x + width].astype(np.uint8)
                counts = counts + confusion(own, truth(streets, unit), len(streets.classes)).counts
    assert measured[0].pixels.tolist() == counts.sum(1).tolist()
    hits = np.diag(counts)
    union = counts.sum(0) + counts.sum(1) - hits
    assert measured[1].miou == pytest.approx(100 * np.mean(hits[union > 0] / union[union > 0]), abs=0.5)
    assert measured[1].low <= measured[1].miou <= measured[1].high

    def refuse(*_):
        raise AssertionError("predicted again")

    monkeypatch.setattr("ralseg.annotation.measured.class_map", refuse)
    again = measure(networks, networks.trainings)
    assert [each.miou for each in again] == [each.miou for each in measured]


def test_a_training_is_repeated_only_with_other_labels(project, streets):
    answered(project, streets, ask(project))
    first = Networks(project).train()
    before = first.weights.read_bytes()
    assert Networks(project).train() == first
    shutil.rmtree(first.folder)
    again = Networks(project).train()
    assert again == first and first.weights.read_bytes() == before
    answered(project, streets, ask(project))
    assert Networks(project).train().folder.name == "002"


def test_the_next_step_is_training_when_labels_were_corrected(project, streets, capsys):
    asked = ask(project)
    answered(project, streets, asked)
    commands.train_(project.folder)
    kept, learned = asked.held_out.index(True), asked.held_out.index(False)
    for place, wanted in ((kept, "label"), (learned, "train")):
        other = (truth(streets, asked.query.units[place]) + 1) % 11
        settle(Project(project.folder), asked, Answers({place: other.astype(np.uint8)}))
        capsys.readouterr()
        commands.status(project.folder)
        assert f"Next: ralseg-query {wanted} " in capsys.readouterr().out


@pytest.mark.parametrize("key", ["start_by", "query_by"])
def test_what_needs_dropout_is_refused_before_anything_is_written(folder, key):
    with pytest.raises(RalsegError, match=rf"{key}=bald needs a network with dropout; set e\.g\. network.dropout=0\.1"):
        Project.init(folder, [*SMALL, f"{key}=bald"])
    assert not (folder / "project.json").exists()
    Project.init(folder, [*SMALL, f"{key}=bald", "network.dropout=0.1"])


def test_skipped_units_are_not_asked_for_again(project, streets):
    from ralseg.annotation.events import Event

    asked = ask(project)
    asked.work.record(Event(1, 4, "skip", 0.0, "page"))
    answered(project, streets, asked, [0, 1, 2, 3, 5])
    for _ in range(6):
        project = Project(project.folder)
        asked_next = ask(project)
        assert asked.query.units[4] not in asked_next.query.units
        answered(project, streets, asked_next)
    assert project.campaign.ledger.units == 40
    assert not project.campaign.pending


def test_the_budget_is_never_exceeded(project, streets):
    with pytest.raises(RalsegError, match="nothing is left to ask for: the budget is spent"):
        while True:
            answered(project, streets, ask(project))
    assert project.campaign.ledger.units == 40


def test_an_imported_correction_outlives_what_the_page_had_accepted(project, streets, capsys):
    commands.export(project.folder, "png", None)
    (out,) = (project.folder / "exports").iterdir()
    asked = rounds(project)[0]
    for place, unit in enumerate(asked.query.units[:2]):
        asked.work.record(Event(place + 1, place, "accept", float(place), "page"), 0 * truth(streets, unit))
    fill(out, streets, [*asked.query.units[1:4]])
    for _ in range(2):
        commands.import_(project.folder, "png", out)
        commands.status(project.folder)
    found = Project(project.folder)
    work, paid = rounds(found)[0].work, found.campaign.ledger
    assert work.states == ("accepted",) * 4 + ("open",) * 2 and paid.units == 4
    assert [event.kind for event in work.events] == ["accept"] * 2 + ["import"] * 3
    for place, unit in enumerate(asked.query.units[:4]):
        name, y, x, height, width = unit
        label = found.campaign.labels.label(found.world.store.index(name))[y : y + height, x : x + width]
        np.testing.assert_array_equal(label, truth(streets, unit) * (place > 0))
        np.testing.assert_array_equal(work.label(place), label)
    assert "Labelled in the browser: 2 units with 0 clicks" in capsys.readouterr().out


def test_what_the_page_accepted_is_collected(project, streets):
    from ralseg.annotation.events import Event

    asked = ask(project)
    asked.work.record(Event(1, 0, "accept", 0.0, "page", None), truth(streets, asked.query.units[0]).copy())
    asked.work.record(Event(2, 1, "brush", 1.0, "page", 3), np.full(UNIT, 3, np.uint8))
    done = collect(Project(project.folder))
    assert done.answered == [asked.query.units[0]] and not done.corrected
    assert not collect(Project(project.folder))


def test_an_interrupted_training_goes_on_unless_there_are_new_labels(project, streets, tmp_path, monkeypatch):
    monkeypatch.setattr("ralseg.segmentation.learners.checkpoint.EVERY", 0.0)
    first = ask(project)
    late = first.held_out.index(False)
    answered(project, streets, first, [place for place in range(6) if place != late])
    whole = tmp_path / "whole"
    shutil.copytree(project.folder, whole)

    def interrupted(step, steps):
        if step == 3:
            raise KeyboardInterrupt

    def steps_of(folder):
        seen = []
        Networks(Project(folder)).train(lambda step, steps: seen.append(step))
        return seen

    assert Networks(project).stale
    with pytest.raises(KeyboardInterrupt):
        Networks(project).train(interrupted)
    more = tmp_path / "more"
    shutil.copytree(project.folder, more)
    assert steps_of(project.folder) == [3] and steps_of(whole) == [1, 2, 3]
    ours, theirs = (Networks(Project(folder)).trainings[0].weights for folder in (project.folder, whole))
    assert ours.read_bytes() == theirs.read_bytes()
    answered(Project(more), streets, first, [late])
    assert steps_of(more) == [1, 2, 3]


def test_a_process_killed_between_record_and_round_leaves_nothing_asked(project, streets, monkeypatch):
    def killed(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ralseg.annotation.rounds.Round.write", killed)
        with pytest.raises(KeyboardInterrupt):
            ask(project)
    reopened = Project(project.folder)
    assert len(reopened.campaign.pending) == 6
    asked = ask(reopened)
    assert sorted(reopened.campaign.pending) == sorted(reopened.campaign.pool.find(asked.query.units).tolist())


def test_a_trained_policy_chooses(folder, streets, capsys):
    """The pass over labelled images that it observes is the one that a slow reader makes, unit by unit."""
    project = Project.init(folder, [*SMALL, "query_by=zoo:streets"])
    answered(project, streets, ask(project))
    commands.train_(folder)
    commands.query(folder)
    told = capsys.readouterr()
    assert "4 units chosen by zoo:streets, and 2 drawn at random" in told.out
    assert re.search(r"looking at images: (\d) of \1, 0 s left", told.err)
    project = Project(folder)
    networks = Networks(project)
    learner = networks.learner(networks.trainings[-1])
    features = {"preset": "transferable", "components": 32}
    observer = ProjectObserver(networks, networks.trainings[-1], learner, features)
    pool, held_out = project.campaign.pool, networks.held_out
    units = np.flatnonzero(pool.open(slice(None)))[:6].reshape(2, 3)
    reader = PoolReader(learner, pool, (), None, 0, 1, observer, {})
    rows = reader.reduce(units.ravel(), observer.reducers)
    observation = observer.observe(units, np.ones((2, 3), bool), rows)
    wanted = [unit for unit in pool.records(pool.bought) if unit in held_out]
    spec = spec_from_config(features, len(project.classes))
    plain = [reducer for reducer in observer.reducers if reducer.noise is None]
    each = [reader.reduce(pool.find([unit]), plain) for unit in wanted]
    state = {name: np.concatenate([row[name] for row in each]) for name in each[0]}
    assert observation["state"] == pytest.approx(spec.state(state), abs=1e-6)
    counts = sum(
        project.campaign.unit_counts[i] for i, unit in enumerate(pool.records(pool.bought)) if unit not in held_out
    )
    shares = observation["candidates"][0, 0, 2 * len(project.classes) : 3 * len(project.classes)]
    assert shares == pytest.approx(counts / counts.sum())


def test_status_says_what_labelling_took_and_what_is_to_come(folder, streets, capsys):
    project = Project.init(folder, SMALL)
    asked = ask(project)
    at = 0.0
    for place, unit in enumerate(asked.query.units):
        for kind, label in (("show", None), ("brush", 1), ("accept", None)):
            at += 2.5
            drawn = truth(streets, unit) if kind != "show" else None
            asked.work.record(Event(len(asked.work.events) + 1, place, kind, at, "page", label), drawn)
    commands.status(folder)
    assert "Labelled in the browser: 6 units with 6 clicks in 30 s." in capsys.readouterr().out
    commands.train_(folder)
    commands.query(folder)
    project = Project(folder)
    clicks = sum(map(unit_clicks, rounds(project)[-1].query.prelabels))
    commands.status(folder)
    assert f"The 6 units that wait are predicted to take {clicks} clicks of outlines." in capsys.readouterr().out
    assert project.campaign.ledger.polygon_clicks == sum(
        unit_clicks(truth(streets, unit)) for unit in asked.query.units
    )


def test_what_another_tool_left_out_can_be_skipped(folder, streets, capsys):
    project = Project.init(folder, SMALL)
    asked = ask(project)
    commands.export(folder, "png", None)
    out = folder / "exports" / "001-png"
    name, y, x, height, width = asked.query.units[0]
    label = np.full(SIZE, 255, np.uint8)
    label[y : y + height, x : x + width] = truth(streets, asked.query.units[0])
    Image.fromarray(label).save(out / "labels" / f"{name}.png")
    assert main(["import", str(folder), "png", str(out), "--skip-rest"]) == 0
    assert "Skipped, and not asked for again: 5 units." in capsys.readouterr().out
    project = Project(folder)
    assert not open_units(project, rounds(project)[-1])
    assert not set(ask(project).query.units) & set(asked.query.units)


def test_a_trained_policy_waits_for_held_out_labels(folder, streets, capsys):
    project = Project.init(folder, [*SMALL, "query_by=zoo:streets"])
    asked = ask(project)
    answered(project, streets, asked, [place for place, kept in enumerate(asked.held_out) if not kept])
    for place in open_units(project, asked):
        asked.work.record(Event(len(asked.work.events) + 1, place, "skip", 0.0, "page"))
    commands.train_(folder)
    commands.query(folder)
    assert "4 units chosen by coreset, since zoo:streets needs a held-out unit with a label," in capsys.readouterr().out


ROUNDS = 4
LOOP = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_project import Streets, SIZE, go_on
go_on(Path(sys.argv[2]), Streets(images=9, size=SIZE))
"""


def go_on(folder, streets):
    """Go on as a person would whose last command was interrupted, until four rounds are labelled and trained on."""
    shutil.rmtree(folder / "exports", ignore_errors=True)
    while True:
        project = Project(folder)
        every = rounds(project)
        if every and not open_units(project, every[-1]):
            commands.train_(folder)
            if len(every) == ROUNDS:
                return
        play(folder, streets)


def test_a_loop_that_is_killed_again_and_again_ends_like_an_uninterrupted_one(project, streets, tmp_path):
    """Killed at seven random moments, or as many as RALSEG_KILLS says."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for place in (whole, cut):
        shutil.copytree(project.folder, place)
    here, environment = str(Path(__file__).parent), os.environ | {"OMP_NUM_THREADS": "1"}
    rng, loop, killed = np.random.default_rng(0), [sys.executable, "-c", LOOP, here], 0
    for _ in range(int(os.environ.get("RALSEG_KILLS", 7))):
        child = subprocess.Popen([*loop, str(cut)], env=environment, stdout=-3, stderr=-3)
        with suppress(subprocess.TimeoutExpired):
            child.wait(rng.uniform(2, 6))
        child.kill()
        killed += child.wait() == -signal.SIGKILL
        if child.returncode == 0:
            shutil.rmtree(cut)
            shutil.copytree(project.folder, cut)
    assert killed
    for place in (cut, whole):
        go_on(place, streets)
    for ours, theirs in zip(Networks(Project(cut)).trainings, Networks(Project(whole)).trainings, strict=True):
        assert ours.weights.read_bytes() == theirs.weights.read_bytes()
    assert Project(cut).campaign.ledger == Project(whole).campaign.ledger
    for asked, same in zip(rounds(Project(cut)), rounds(Project(whole)), strict=True):
        assert asked.query.units == same.query.units


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "project.json").unlink(), "project.json: there is no project; make one with"),
        (lambda f: (f / "project.json").write_text("{"), "project.json"),
        (lambda f: (f / "project.json").write_text('{"format": 1}'), "project.json is damaged"),
        (lambda f: (f / "project.json").write_text('{"format": 9}'), "is of format 9, this ralseg reads 1"),
        (
            lambda f: (f / "classes.yaml").write_text("[{name: a, id: 0}]"),
            "classes.yaml: the classes are no longer sky",
        ),
        (lambda f: (f / "records.jsonl").write_text("nonsense\n"), "records.jsonl, line 1"),
        (lambda f: (f / "rounds/001/query.json").write_text("[]"), "query.json is damaged"),
        (lambda f: _swap(f / "rounds/001/query.json", "project", "0" * 16), "is of another project or round"),
        (lambda f: _swap(f / "rounds/001/query.json", "held_out", []), "query.json is damaged"),
    ],
)
def test_damage_is_one_clear_line(project, damage, message, capsys):
    ask(project)
    damage(project.folder)
    before = sorted(path for path in project.folder.rglob("*") if path.is_file())
    assert main(["status", str(project.folder)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and message in lines[0]
    assert sorted(path for path in project.folder.rglob("*") if path.is_file()) == before


def _swap(path, key, value):
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["init", "{}", "--set", "per_round=0"], "per_round"),
        (["init", "{}", "--set", "query_by=class_truth"], "reads labels that nobody has given yet"),
        (["init", "{}", "--set", "query_by=nonsense"], "nonsense"),
        (["init", "{}", "--set", "query_by=zoo:nonsense"], "choose from camvid, streets"),
        (["init", "{}", "--set", "query_by=run:/nowhere"], "/nowhere"),
        (["init", "{}", "--set", "start_by=zoo:streets"], "start_by=zoo:streets: a trained policy needs a trained"),
        (["init", "{}", "--set", "query_by=zoo:streets", "--set", "held_out=0"], "set held_out above 0"),
        (["init", "{}", "--set", "dataset.root=/tmp"], "the images of a project are those in its folder"),
        (["init", "{}", "--images", "/nowhere"], "is there already"),
        (["train", "{}"], "there is no project"),
        (["import", "{}", "png", "/nowhere"], "there is no project"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(folder, arguments, message, capsys):
    before = sorted(folder.rglob("*"))
    assert main([argument.format(folder) for argument in arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and message in lines[0]
    assert sorted(folder.rglob("*")) == before


def test_an_init_that_is_refused_leaves_nothing(folder, tmp_path, capsys):
    place = tmp_path / "linked"
    given = ["init", str(place), "--images", str(folder / "images"), "--classes", "road,sky"]
    assert main([*given, "--set", "per_round=0"]) == 2
    assert "per_round" in capsys.readouterr().err and not place.exists()
    assert main([*given, "--set", "network=small_fpn"]) == 0
    assert (place / "images").is_symlink() and Project(place).dataset.classes == ("road", "sky")


def test_a_file_of_another_project_is_refused(project, streets, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(project.folder, other)
    _swap(other / "project.json", "id", "f" * 16)
    for place in (project.folder, other):
        commands.export(place, "png", None)
    assert main(["import", str(project.folder), "png", str(other / "exports/001-png")]) == 2
    assert "it answers no round of this project" in capsys.readouterr().err
    assert not Project(project.folder).campaign.ledger.units
