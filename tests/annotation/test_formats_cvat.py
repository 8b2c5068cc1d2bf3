"""CVAT's XML: what is written, and what a person may do to it."""

import importlib.util
import json
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from ralseg.annotation.formats import FORMATS, codecs
from ralseg.foundation import RalsegError


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


world = loaded("format_world")


class TestCvat:
    def tree(self, query, folder):
        return ElementTree.parse(world.exported("cvat", query, folder) / "annotations.xml")

    def read(self, tree, query, folder):
        tree.write(folder / "back.xml", encoding="utf-8")
        return FORMATS["cvat"].read(folder / "back.xml", query)

    def done(self, tree, *units):
        for box in tree.iter("box"):
            values = {attribute.get("name"): attribute for attribute in box}
            if int(values["unit"].text) in units:
                values["done"].text = "true"

    def test_by_hand(self, tmp_path):
        label = np.full((20, 30), 255, np.uint8)
        label[2:5, 1:4], label[3, 2] = 0, 3
        query = world.with_prelabels(world.query_of(), {0: label})
        world.exported("cvat", query, tmp_path)
        text = (tmp_path / "annotations.xml").read_text()
        frame = 'xtl="30.00" ytl="20.00" xbr="60.00" ybr="40.00" z_order="0"'
        assert f'<box label="ralseg region" source="file" occluded="0" {frame}>' in text
        assert '<image id="0" name="a/b.jpg.png" width="90" height="60">' in text
        ring = 'rle="0, 4, 1, 4" left="31" top="22" width="3" height="3" z_order="0"'
        assert f'<mask label="Sky" source="file" occluded="0" {ring} />' in text
        dot = 'rle="0, 1" left="32" top="23" width="1" height="1" z_order="0"'
        assert f'<mask label="Car" source="file" occluded="0" {dot} />' in text
        assert '<name>Traffic "sign" &amp; &lt;light&gt;</name>' in text

    def test_the_raw_labels(self, tmp_path):
        world.exported("cvat", world.query_of(), tmp_path)
        labels = json.loads((tmp_path / "labels.json").read_text())
        assert [label["name"] for label in labels] == [label.name for label in world.CLASSES] + ["ralseg region"]
        assert labels[3] == {"name": "Car", "color": "#400080", "type": "mask", "attributes": []}
        assert labels[-1]["type"] == "rectangle"
        assert [attribute["name"] for attribute in labels[-1]["attributes"]] == ["query", "unit", "done"]

    def test_the_export_of_cvat_is_read_as_it_comes(self, tmp_path):
        query = world.query_of()
        path = world.confirmed("cvat", world.exported("cvat", query, tmp_path), range(5))
        text = path.read_text("utf-8").replace('name="c.png"', 'name="images/c.png"')
        with zipfile.ZipFile(tmp_path / "task.zip", "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("images/a.png", b"x")
            file.writestr("annotations.xml", text)
        answers = FORMATS["cvat"].read(tmp_path / "task.zip", query)
        assert world.same(answers.labels, dict(enumerate(query.prelabels)))

    def test_masks_that_leave_the_region_are_cut_and_told(self, tmp_path):
        query = world.query_of(prelabels=False)
        tree = self.tree(query, tmp_path)
        self.done(tree, 0, 2)
        mask = np.zeros((60, 90), bool)
        mask[10:30, 20:70] = True
        rle, (top, left, height, width) = codecs.cvat_encode(mask)
        box = {"left": left, "top": top, "width": width, "height": height}
        attributes = {"label": "Car", "rle": rle, **{key: str(value) for key, value in box.items()}}
        ElementTree.SubElement(tree.find("image"), "mask", attributes)
        answers = self.read(tree, query, tmp_path)
        for unit, columns in ((0, slice(None)), (2, slice(None, 10))):
            expected = np.full((20, 30), 255, np.uint8)
            expected[:10, columns] = 3
            assert (answers.labels[unit] == expected).all()
        # 20 x 50 pixels, of which 10 x 40 lie in units 0 and 2, and 10 x 10 in unit 3.
        assert "500 labelled pixels outside the queried regions were cut (a/b.jpg)." in answers.notes

    def test_the_upper_mask_holds_then_the_later(self, tmp_path):
        query = world.query_of(prelabels=False)
        tree = self.tree(query, tmp_path)
        self.done(tree, 0)
        for label, left, order in (("Sky", 30, "1"), ("Car", 32, "0"), ("Straße", 34, "1")):
            box = {"left": str(left), "top": "20", "width": "4", "height": "1", "z_order": order}
            ElementTree.SubElement(tree.find("image"), "mask", {"label": label, "rle": "0, 4", **box})
        answers = self.read(tree, query, tmp_path)
        assert answers.labels[0][0, :9].tolist() == [0, 0, 0, 0, 2, 2, 2, 2, 255]
        assert "4 pixels lie in masks of several classes, of which the upper one holds (a/b.jpg)." in answers.notes

    def test_what_happens_outside_of_finished_units_is_not_told(self, tmp_path):
        query = world.query_of(prelabels=False)
        tree = self.tree(query, tmp_path)
        self.done(tree, 1)
        box = {"left": "0", "top": "0", "width": "90", "height": "60"}
        ElementTree.SubElement(tree.find("image"), "mask", {"label": "Car", "rle": "0, 5400", **box})
        assert not [note for note in self.read(tree, query, tmp_path).notes if "cut" in note]

    def test_moved_and_lost_frames_are_told(self, tmp_path):
        query = world.query_of()
        tree = self.tree(query, tmp_path)
        self.done(tree, 0, 1, 2, 3, 4)
        first, second = list(tree.find("image").iter("box"))[:2]
        first.set("xtl", "17.50")
        tree.find("image").remove(second)
        answers = self.read(tree, query, tmp_path)
        assert (answers.labels[0] == query.prelabels[0]).all() and set(answers.labels) == {0, 1, 3, 4}
        assert answers.notes[:2] == (
            "1 unit has lost its frame.",
            "1 frame was moved; its region is that of the query all the same.",
        )

    def test_a_class_named_like_the_frames_is_refused(self, tmp_path):
        classes = (*world.CLASSES[:3], world.LabelClass("ralseg region", (1, 2, 3)))
        with pytest.raises(RalsegError, match="has the name of the frames of regions; rename it"):
            world.exported("cvat", world.query_of(classes=classes), tmp_path)
