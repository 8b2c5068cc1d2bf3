"""Label Studio's JSON: what is written, and what a person may do to it."""

import base64
import importlib.util
import io
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from ralseg.annotation.formats import FORMATS, codecs
from ralseg.foundation import RalsegError


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


world = loaded("format_world")


class TestLabelStudio:
    def tasks(self, query, folder):
        tasks = json.loads((world.exported("label-studio", query, folder) / "tasks.json").read_text())
        return [world.studio_task(task) for task in tasks]

    def read(self, tasks, query, folder):
        return FORMATS["label-studio"].read(world.write_json(folder / "back.json", tasks), query)

    def result(self, name, mask, origin="manual", number=0):
        value = {"format": "rle", "rle": codecs.brush_encode(mask), "brushlabels": [name]}
        size = {"original_height": mask.shape[0], "original_width": mask.shape[1], "image_rotation": 0}
        return {"id": f"r{number}", "type": "brushlabels", "origin": origin, "value": value, **size}

    def test_by_hand(self, tmp_path):
        task = self.tasks(world.query_of(), tmp_path)[1]
        # Unit 1 lies in the corner of `c`: 17 x 23 pixels, and 20 more below and on the right.
        with Image.open(io.BytesIO(base64.b64decode(task["data"]["image"].partition(",")[2]))) as file:
            shown = np.asarray(file)
        assert shown.shape == (37 * 8, 43 * 8, 3)
        image = world.image("c")[:37, :43].astype(float)
        assert (shown[: 17 * 8, : 23 * 8][::8, ::8] == image[:17, :23]).all()
        assert (shown[::8, ::8][17:] == np.floor(image * 0.4)[17:]).all()
        assert (shown[7::8, 7::8] == shown[::8, ::8]).all()
        assert task["data"]["score"] == 0.8 and task["data"]["region"] == "c, unit 1"
        assert task["meta"]["ralseg"]["box"] == [0, 0, 17, 23]
        query = world.query_of()
        assert task["meta"]["ralseg"]["query"] == query.digest

    def test_the_order_of_the_query_is_that_of_the_scores(self, tmp_path):
        scores = [task["data"]["score"] for task in self.tasks(world.query_of(), tmp_path)]
        assert scores == sorted(scores, reverse=True) and len(set(scores)) == 5

    def test_the_labelling_config(self, tmp_path):
        world.exported("label-studio", world.query_of(), tmp_path)
        root = ElementTree.parse(tmp_path / "labelling.xml").getroot()
        assert [element.tag for element in root] == ["Header", "Image", "BrushLabels"]
        assert [label.get("value") for label in root.iter("Label")] == [label.name for label in world.CLASSES]
        assert root[2][3].attrib == {"value": "Car", "background": "#400080"}

    def test_skipped_tasks_are_ignored(self, tmp_path):
        query = world.query_of()
        tasks = json.loads((world.exported("label-studio", query, tmp_path) / "tasks.json").read_text())
        tasks = [world.studio_task(task, accepted=True) for task in tasks]
        tasks[2]["annotations"][0]["was_cancelled"] = True
        tasks[3]["annotations"], tasks[3]["drafts"] = [], tasks[3]["annotations"]
        answers = self.read(tasks, query, tmp_path)
        assert set(answers.labels) == {0, 1, 4}
        assert answers.notes == (
            "1 task was skipped.",
            "1 task was not submitted.",
            "2 of 5 units stay unlabelled.",
        )

    def test_the_annotation_changed_last_counts(self, tmp_path):
        query = world.query_of(prelabels=False)
        tasks = self.tasks(query, tmp_path)
        mask = np.ones((37 * 8, 43 * 8), bool)
        tasks[1]["annotations"] = [
            world.annotation([self.result("Car", mask)], updated="2026-11-28T22:30:51Z"),
            world.annotation([self.result("Sky", mask)], updated="2026-11-28T22:30:50Z"),
            world.annotation([self.result("Sky", mask)], updated="2026-11-28T22:30:52Z", cancelled=True),
        ]
        answers = self.read(tasks, query, tmp_path)
        assert (answers.labels[1] == 3).all()
        assert "1 task has several annotations, of which the last one counts." in answers.notes
        assert f"{37 * 43 - 17 * 23:,} labelled pixels outside the queried regions were cut (c)." in answers.notes

    def test_drawn_above_edited_above_predicted_then_the_later(self, tmp_path):
        query = world.query_of(prelabels=False)
        tasks = self.tasks(query, tmp_path)
        masks = np.zeros((5, 37 * 8, 43 * 8), bool)
        for number, mask in enumerate(masks):
            mask[:8, 8 * number : 8 * (number + 3)] = True
        origins = [("Sky", "manual"), ("Car", "prediction-changed"), ("Straße", "prediction"), ("Car", "manual"),
                   ("Straße", "prediction")]  # fmt: skip
        results = [self.result(name, masks[n], origin, n) for n, (name, origin) in enumerate(origins)]
        tasks[1]["annotations"] = [world.annotation(results)]
        answers = self.read(tasks, query, tmp_path)
        # Sky 0-2 and Car 3-5 (from place 3) were drawn; the edited Car ends at 3, the predicted ones reach to 6.
        assert answers.labels[1][0, :8].tolist() == [0, 0, 0, 3, 3, 3, 2, 255]
        told = "5 pixels lie in masks of several classes, of which what a person drew, else the later one, holds (c)."
        assert told in answers.notes

    def test_half_opaque_strokes_count_from_half_a_pixel(self, tmp_path, monkeypatch):
        query = world.query_of(prelabels=False)
        tasks = self.tasks(query, tmp_path)
        alpha = np.zeros((37 * 8, 43 * 8), np.uint8)
        alpha[:4, :8], alpha[:4, 8:16], alpha[3, 15] = 128, 128, 127
        alpha[:8, 16:24] = 127
        tasks[1]["annotations"] = [world.annotation([self.result("Car", alpha > 0)])]
        monkeypatch.setattr("ralseg.annotation.formats.label_studio.brush_decode", lambda rle, shape: alpha)
        answers = self.read(tasks, query, tmp_path)
        assert answers.labels[1][0, :3].tolist() == [3, 255, 255]

    def test_too_many_tasks_for_one_file(self, tmp_path, monkeypatch):
        monkeypatch.setattr("ralseg.annotation.formats.label_studio.LARGEST_JSON", 3000)
        with pytest.raises(RalsegError, match="too many to be read back; query fewer units"):
            world.exported("label-studio", world.query_of(), tmp_path)
        assert not list(tmp_path.iterdir())
