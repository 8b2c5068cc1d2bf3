"""COCO JSON and index PNGs: what is written, and what a person may do to it."""

import importlib.util
import json
import sys
from pathlib import Path

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


class TestCoco:
    def content(self, query, folder, file="annotations.json"):
        return json.loads((world.exported("coco", query, folder) / file).read_text())

    def read(self, content, query, folder):
        return FORMATS["coco"].read(world.write_json(folder / "back.json", content), query)

    def annotation(self, mask, category=4, packed=True, number=1, image=1):
        counts = codecs.coco_encode(mask)
        segmentation = {"size": list(mask.shape), "counts": codecs.coco_pack(counts) if packed else counts}
        return {"id": number, "image_id": image, "category_id": category, "segmentation": segmentation}

    def test_by_hand(self, tmp_path):
        label = np.full((17, 23), 255, np.uint8)
        label[2:4, 3] = 3
        content = self.content(world.with_prelabels(world.query_of(), {1: label}), tmp_path, "prelabels.json")
        assert content["annotations"] == [
            {
                "id": 1,
                "image_id": 2,
                "category_id": 4,
                "segmentation": {"size": [50, 71], "counts": [152, 2, 3396]},
                "area": 2,
                "bbox": [3, 2, 1, 2],
                "iscrowd": 1,
            }
        ]
        assert content["images"][1] == {"id": 2, "file_name": "c.png", "height": 50, "width": 71}

    @pytest.mark.parametrize("packed", [False, True])
    def test_both_kinds_of_counts(self, packed, tmp_path):
        query = world.query_of()
        content = self.content(query, tmp_path)
        mask = np.zeros((60, 90), bool)
        mask[21:39, 31:59] = np.random.default_rng(0).random((18, 28)) < 0.5
        content["annotations"] = [self.annotation(mask, packed=packed)]
        content["categories"].append({"id": 77, "name": "objects"})
        answers = self.read(content, query, tmp_path)
        assert (answers.labels[0] == np.where(mask[20:40, 30:60], 3, 255)).all() and set(answers.labels) == {0}

    def test_the_later_mask_holds(self, tmp_path):
        query = world.query_of()
        content = self.content(query, tmp_path)
        mask = np.zeros((60, 90), bool)
        mask[18:40, 30:60] = True
        content["annotations"] = [self.annotation(mask), self.annotation(mask, 1, number=2)]
        answers = self.read(content, query, tmp_path)
        assert (answers.labels[0] == 0).all()
        assert answers.notes[1:] == (
            "60 labelled pixels outside the queried regions were cut (a/b.jpg).",
            "600 pixels lie in masks of several classes, of which the later one holds (a/b.jpg).",
        )

    def test_predictions_are_refused_until_somebody_says_otherwise(self, tmp_path):
        query = world.query_of()
        world.exported("coco", query, tmp_path)
        with pytest.raises(RalsegError, match=r"'prelabels', not answers; set info.ralseg.content to \"answers\" once"):
            FORMATS["coco"].read(tmp_path / "prelabels.json", query)


class TestPng:
    def test_by_hand(self, tmp_path):
        query = world.query_of()
        world.exported("png", query, tmp_path)
        predicted = np.full((50, 71), 255, np.uint8)
        predicted[:17, :23], predicted[33:, 48:] = query.prelabels[1], query.prelabels[4]
        assert (world.read_indices(tmp_path / "prelabels" / "c.png") == predicted).all()
        assert (world.read_indices(tmp_path / "labels" / "c.png") == 255).all()
        described = json.loads((tmp_path / "query.json").read_text())
        assert described["classes"][3] == {"id": 3, "name": "Car", "colour": [64, 0, 128]}
        assert described["not_labelled"] == 255 and described["query"] == query.digest

    def test_the_palette_has_the_colours_and_another_one_for_not_labelled(self, tmp_path):
        world.exported("png", world.query_of(), tmp_path)
        with Image.open(tmp_path / "labels" / "c.png") as file:
            palette = np.array(file.getpalette()).reshape(-1, 3)
        assert palette[:4].tolist() == [list(label.colour) for label in world.CLASSES]
        assert palette[255].tolist() == [1, 1, 1]

    def test_gray_values_are_ids(self, tmp_path):
        query = world.query_of()
        world.exported("png", query, tmp_path)
        rng = np.random.default_rng(0)
        values = world.random_label(rng, 60, 90)
        world.write_gray(tmp_path / "labels" / "a" / "b.jpg.png", values)
        answers = FORMATS["png"].read(tmp_path, query)
        for unit in (0, 2, 3):
            y, x, height, width = query.units[unit][1:]
            assert (answers.labels[unit] == values[y : y + height, x : x + width]).all()
        cut = (values != 255).sum() - sum((answers.labels[unit] != 255).sum() for unit in (0, 2, 3))
        assert f"{cut:,} labelled pixels outside the queried regions were cut (a/b.jpg)." in answers.notes

    def test_a_missing_file_is_told(self, tmp_path):
        query = world.query_of()
        world.exported("png", query, tmp_path)
        (tmp_path / "labels" / "c.png").unlink()
        assert FORMATS["png"].read(tmp_path, query).notes[0] == "1 image has no file in labels/."

    def test_a_palette_that_an_editor_sorted_anew_is_refused(self, tmp_path):
        query = world.query_of()
        world.exported("png", query, tmp_path)
        with Image.open(tmp_path / "prelabels" / "c.png") as file:
            order = [3, 2, 1, 0, *range(4, 256)]
            file.remap_palette(order).save(tmp_path / "labels" / "c.png")
        with pytest.raises(
            RalsegError, match=r"of its palette is not the exported one, .*; save it with the whole palette"
        ):
            FORMATS["png"].read(tmp_path, query)
