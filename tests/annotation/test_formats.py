"""Round trips through the files of each format, and what holds for all of them."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from ralseg.annotation.formats import FORMATS
from ralseg.foundation import RalsegError


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


world = loaded("format_world")
every = pytest.mark.parametrize("name", world.NAMES)


def round_trip(name, query, folder, units=range(5)):
    return FORMATS[name].read(world.confirmed(name, world.exported(name, query, folder), units), query)


@every
def test_confirmed_predictions_come_back_exactly(name, tmp_path):
    for seed in range(6):
        query = world.query_of(seed)
        answers = round_trip(name, query, tmp_path / str(seed))
        assert world.same(answers.labels, dict(enumerate(query.prelabels)))
        assert all(label.dtype == np.uint8 for label in answers.labels.values())
        assert answers.notes == ()


@every
def test_one_pixel_a_ring_and_a_full_unit(name, tmp_path):
    query = world.query_of()
    labels = {unit: np.full((h, w), 255, np.uint8) for unit, (*_, h, w) in enumerate(query.units)}
    labels[0][7, 9] = 3
    labels[1][2:15, 3:20], labels[1][6:9, 8:12], labels[1][7, 9] = 2, 255, 1
    labels[2][:] = 0
    labels[3][-1, -1] = labels[3][0, 0] = 1
    labels[4][:, :11], labels[4][:, 11:] = 2, 3
    answers = round_trip(name, world.with_prelabels(query, labels), tmp_path)
    assert world.same(answers.labels, labels)
    assert answers.notes == ("2 finished units are labelled on less than 10% of their pixels (unit 0, unit 3).",)


@every
def test_untouched_predictions_are_never_taken_for_truth(name, tmp_path):
    query = world.query_of()
    answers = FORMATS[name].read(world.untouched(name, world.exported(name, query, tmp_path)), query)
    assert answers.labels == {}
    assert "5 of 5 units stay unlabelled." in answers.notes


@pytest.mark.parametrize("name", ["cvat", "label-studio"])
def test_unfinished_units_stay_missing(name, tmp_path):
    query = world.query_of()
    answers = round_trip(name, query, tmp_path, units=(1, 2))
    assert world.same(answers.labels, {1: query.prelabels[1], 2: query.prelabels[2]})
    waiting = {"cvat": "3 units are not marked as done.", "label-studio": "3 tasks were not submitted."}
    assert answers.notes == (waiting[name], "3 of 5 units stay unlabelled.")


@pytest.mark.parametrize("name", ["coco", "png"])
def test_units_without_a_labelled_pixel_stay_missing(name, tmp_path):
    query = world.query_of()
    query = world.with_prelabels(query, {3: query.prelabels[3]})
    answers = round_trip(name, query, tmp_path)
    assert world.same(answers.labels, {3: query.prelabels[3]})
    assert answers.notes == ("4 of 5 units stay unlabelled.",)


@every
def test_a_finished_unit_without_predictions_is_empty_or_missing(name, tmp_path):
    query = world.query_of(prelabels=False)
    answers = round_trip(name, query, tmp_path)
    if name in ("cvat", "label-studio"):
        assert all((label == 255).all() for label in answers.labels.values()) and len(answers.labels) == 5
        assert "5 finished units" in answers.notes[0]
    else:
        assert answers.labels == {}


@every
def test_the_files_are_named_and_carry_the_query(name, tmp_path):
    query = world.query_of()
    files = FORMATS[name].export(query, world.image, tmp_path / "out")
    assert sorted(files) == sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
    texts = [file for file in files if file.suffix != ".png"]
    assert texts and all(query.digest in file.read_text("utf-8") for file in texts)


@every
def test_another_query_is_refused(name, tmp_path):
    query = world.query_of()
    path = world.confirmed(name, world.exported(name, query, tmp_path), range(5))
    for other in ({"round": 3}, {"project": "f" * 16}, {"units": world.UNITS[::-1]}, {"classes": world.CLASSES[::-1]}):
        with pytest.raises(RalsegError, match=r"belongs to another query .* choose the file of round"):
            FORMATS[name].read(path, world.query_of(**other))


@every
def test_work_is_not_written_over(name, tmp_path):
    query = world.query_of()
    world.exported(name, query, tmp_path)
    with pytest.raises(RalsegError, match="there is an export already, perhaps with labels; choose another folder"):
        world.exported(name, query, tmp_path)


@every
def test_an_interrupted_export_is_repeated(name, tmp_path):
    query = world.query_of()
    files = FORMATS[name].export(query, world.image, tmp_path)
    content = {file: file.read_bytes() for file in files}
    files[-1].unlink()
    assert FORMATS[name].export(query, world.image, tmp_path) == files
    assert content == {file: file.read_bytes() for file in files}


@every
@pytest.mark.parametrize("bad", ["../a", "/a", "a/../../b", "a//b", "./a", "C:\\a", "a\\b", "a\nb", "a\x00", "", "a/"])
def test_names_that_leave_the_folder_are_refused(name, bad, tmp_path):
    query = world.query_of(units=((bad, 0, 0, 5, 5),), sizes={bad: (9, 9)}, prelabels=False)
    with pytest.raises(RalsegError, match="cannot be exported; use printable names"):
        FORMATS[name].export(query, world.image, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@every
def test_a_wrong_image_is_refused(name, tmp_path):
    for wrong in (np.zeros((60, 91, 3), np.uint8), np.zeros((60, 90), np.uint8), np.zeros((60, 90, 3), np.float32)):
        with pytest.raises(RalsegError, match=r"image a/b.jpg: .* not uint8 \(60, 90, 3\); restore the image"):
            FORMATS[name].export(world.query_of(), lambda _, pixels=wrong: pixels, tmp_path)


@pytest.mark.parametrize("name", ["cvat", "coco", "png"])
def test_the_images_are_written_as_they_are(name, tmp_path):
    world.exported(name, world.query_of(), tmp_path)
    for image, file in (("a/b.jpg", "a/b.jpg.png"), ("c", "c.png")):
        assert (world.read_indices(tmp_path / "images" / file) == world.image(image)).all()
    assert not (tmp_path / "images" / "unused.png").exists()
