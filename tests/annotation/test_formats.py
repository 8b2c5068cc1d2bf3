"""Round trips through the files of each format, and what reading means."""

import base64
import importlib.util
import io
import json
import sys
import zipfile
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
every = pytest.mark.parametrize("name", world.NAMES)
BOX = {unit: box for unit, (_, *box) in enumerate(world.UNITS)}


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
            "1 units have lost their frame.",
            "1 frames were moved; the regions are those of the query all the same.",
        )

    def test_a_class_named_like_the_frames_is_refused(self, tmp_path):
        classes = (*world.CLASSES[:3], world.LabelClass("ralseg region", (1, 2, 3)))
        with pytest.raises(RalsegError, match="has the name of the frames of regions; rename it"):
            world.exported("cvat", world.query_of(classes=classes), tmp_path)


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
        assert [element.tag for element in root] == ["Image", "BrushLabels"]
        assert [label.get("value") for label in root.iter("Label")] == [label.name for label in world.CLASSES]
        assert root[1][3].attrib == {"value": "Car", "background": "#400080"}

    def test_skipped_tasks_are_ignored(self, tmp_path):
        query = world.query_of()
        tasks = json.loads((world.exported("label-studio", query, tmp_path) / "tasks.json").read_text())
        tasks = [world.studio_task(task, accepted=True) for task in tasks]
        tasks[2]["annotations"][0]["was_cancelled"] = True
        tasks[3]["annotations"], tasks[3]["drafts"] = [], tasks[3]["annotations"]
        answers = self.read(tasks, query, tmp_path)
        assert set(answers.labels) == {0, 1, 4}
        assert answers.notes == (
            "1 tasks were skipped.",
            "1 tasks were not submitted.",
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
        assert "1 tasks have several annotations, of which the last one counts." in answers.notes
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
        assert answers.notes[:2] == (
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
            y, x, height, width = BOX[unit]
            assert (answers.labels[unit] == values[y : y + height, x : x + width]).all()
        cut = (values != 255).sum() - sum((answers.labels[unit] != 255).sum() for unit in (0, 2, 3))
        assert f"{cut:,} labelled pixels outside the queried regions were cut (a/b.jpg)." in answers.notes

    def test_a_missing_file_is_told(self, tmp_path):
        query = world.query_of()
        world.exported("png", query, tmp_path)
        (tmp_path / "labels" / "c.png").unlink()
        assert FORMATS["png"].read(tmp_path, query).notes[0] == "1 images have no file in labels/."

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
