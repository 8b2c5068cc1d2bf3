"""What a real Label Studio 1.23.2 wrote: strokes drawn with its brush, and a project's JSON export.

The files were recorded with our own drawings, before the tasks had their present form; only their masks are used, and
the export's outer shape.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from ralseg.annotation.formats import FORMATS, codecs
from ralseg.annotation.query import LabelClass, Query
from ralseg.foundation import RalsegError

RECORDED = Path(__file__).with_name("recorded")
NAMES = ("Sky", "Building", "Road", "Car", "Person")


def recorded(name):
    return json.loads((RECORDED / f"label_studio_{name}.json").read_text())


def alpha(result):
    shape = result["original_height"], result["original_width"]
    return codecs.brush_decode(result["value"]["rle"], shape)


def test_predictions_are_opaque_and_fill_the_region_once():
    results = recorded("drawn")["result"]
    covered = np.zeros((120, 130), int)
    for result in results[:5]:
        mask = alpha(result)
        assert set(np.unique(mask)) <= {0, 255}
        assert result["origin"] == "prediction"
        covered += mask == 255
    assert covered.max() == 1


def test_a_real_stroke_has_a_half_opaque_rim():
    stroke = recorded("drawn")["result"][5]
    assert stroke["origin"] == "manual"
    mask = alpha(stroke)
    assert ((mask > 0).sum(), (mask >= 128).sum()) == (101, 59)


def test_our_encoder_writes_what_label_studio_keeps():
    for annotation in recorded("export")[0]["annotations"]:
        for result in annotation["result"]:
            ours, theirs = codecs.brush_encode(alpha(result) == 255), result["value"]["rle"]
            # Its library fills up with a byte where the bits happen to end with one.
            assert theirs[: len(ours)] == ours and theirs[len(ours) :] in ([], [0])


@pytest.fixture
def query():
    classes = tuple(LabelClass(name, (number, 0, 0)) for number, name in enumerate(NAMES))
    return Query("0" * 16, 3, classes, {"a_001": (360, 480)}, (("a_001", 0, 0, 360, 480),), (None,))


def test_the_export_is_read_once_it_is_of_a_query(query, tmp_path):
    tasks = recorded("export")
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks))
    with pytest.raises(RalsegError, match="task 1: 'query' is missing"):
        FORMATS["label-studio"].read(path, query)
    tasks[0]["meta"]["ralseg"] = {"query": query.digest, "unit": 0}
    path.write_text(json.dumps(tasks))
    answers = FORMATS["label-studio"].read(path, query)
    expected = np.full((360, 480), 255, np.uint8)
    for number, result in enumerate(tasks[0]["annotations"][0]["result"]):
        expected[alpha(result) >= 128] = number
    assert (answers.labels[0] == expected).all()
    assert set(np.unique(expected)) == {0, 1, 2, 3, 4, 255}


def test_a_drawn_stroke_goes_above_the_predictions(query, tmp_path):
    drawn = recorded("drawn")
    query = Query(query.project, 3, query.classes, {"a_001": (160, 170)}, (("a_001", 20, 20, 80, 90),), (None,))
    task = {"meta": {"ralseg": {"query": query.digest, "unit": 0}}, "annotations": [drawn]}
    path = tmp_path / "export.json"
    path.write_text(json.dumps([task]))
    # The crop was shown at its own size then, and is enlarged five times now.
    with pytest.raises(RalsegError, match="task 1, result 1: 120 x 130 pixels"):
        FORMATS["label-studio"].read(path, query)
    for result in drawn["result"]:
        large = alpha(result).repeat(5, 0).repeat(5, 1) >= 128
        result["value"]["rle"] = codecs.brush_encode(large)
        result["original_height"], result["original_width"] = large.shape
    path.write_text(json.dumps([task]))
    answers = FORMATS["label-studio"].read(path, query)
    stroke = alpha(recorded("drawn")["result"][5])[20:100, 20:110] >= 128
    assert stroke.any() and (answers.labels[0][stroke] == 3).all()
    assert any("lie in masks of several classes" in note for note in answers.notes)
