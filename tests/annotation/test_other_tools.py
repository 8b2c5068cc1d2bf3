"""Our files against the libraries of the tools themselves, pixel by pixel, each in an environment of its own."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ralseg.annotation.formats import codecs

COUNT = 500


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


world, tools = loaded("format_world"), loaded("tool_environments")
pytestmark, python_of = tools.opted_in, tools.python_of

# Each reads {"masks", "ours", ...} and prints {"decoded": what it makes of ours, "theirs": its own encoding, ...}.
HEAD = """
import json, sys
from pathlib import Path
import numpy as np
given = json.loads(Path(sys.argv[1]).read_text())
masks = [np.array(mask, bool) for mask in given["masks"]]
folder = Path(given["folder"])
"""
TAIL = """
decoded = [np.asarray(mask).astype(int).tolist() for mask in decoded]
Path(sys.argv[2]).write_text(json.dumps({"decoded": decoded, "theirs": theirs, "file": found}))
"""
SCRIPTS = {
    "coco": """
from pycocotools import mask as library
from pycocotools.coco import COCO
decoded, theirs = [], []
for mask, ours in zip(masks, given["ours"]):
    text = {"size": list(mask.shape), "counts": ours["text"]}
    counts = library.frPyObjects({"size": list(mask.shape), "counts": ours["counts"]}, *mask.shape)
    assert (library.decode(counts) == library.decode(text)).all()
    decoded.append(library.decode(text))
    theirs.append(library.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode())
coco, found = COCO(str(folder / "prelabels.json")), {}
for entry in coco.loadAnns(coco.getAnnIds()):
    name = coco.loadImgs(entry["image_id"])[0]["file_name"]
    mask = coco.annToMask(entry)
    assert mask.sum() == entry["area"] and library.toBbox(coco.annToRLE(entry)).tolist() == entry["bbox"]
    found.setdefault(name, []).append([coco.loadCats(entry["category_id"])[0]["name"], mask.tolist()])
""",
    "cvat": """
from xml.etree import ElementTree
from cvat_sdk.masks import decode_mask, encode_mask
def points(rle, top, left, height, width):
    return [int(count) for count in rle.split(",")] + [left, top, left + width - 1, top + height - 1]
decoded, theirs, found = [], [], {}
for mask, (rle, box) in zip(masks, given["ours"]):
    decoded.append(decode_mask(points(rle, *box), image_width=mask.shape[1], image_height=mask.shape[0]))
    theirs.append(encode_mask(mask))
for image in ElementTree.parse(folder / "annotations.xml").iter("image"):
    for element in image.iter("mask"):
        box = [int(element.get(key)) for key in ("top", "left", "height", "width")]
        size = {"image_width": int(image.get("width")), "image_height": int(image.get("height"))}
        mask = decode_mask(points(element.get("rle"), *box), **size).astype(int).tolist()
        found.setdefault(image.get("name"), []).append([element.get("label"), mask])
""",
    "label-studio": """
from label_studio_sdk.converter.brush import decode_rle, encode_rle
from label_studio_sdk.label_interface import LabelInterface
decoded, theirs, found = [], [], {}
def alpha(rle, height, width):
    return decode_rle(rle).reshape(height, width, 4)[..., 3]
for mask, ours in zip(masks, given["ours"]):
    decoded.append(alpha(ours, *mask.shape) == 255)
    values = np.repeat(mask.ravel() * np.uint8(255), 4)
    theirs.append([int(byte) for byte in encode_rle(values)])
interface = LabelInterface((folder / "labelling.xml").read_text())
interface.validate()
for task in json.loads((folder / "tasks.json").read_text()):
    for prediction in task["predictions"]:
        assert interface.validate_prediction(prediction, return_errors=True) == []
        for result in prediction["result"]:
            mask = alpha(result["value"]["rle"], result["original_height"], result["original_width"])
            assert set(np.unique(mask)) <= {0, 255}
            label = result["value"]["brushlabels"][0]
            found.setdefault(str(task["meta"]["ralseg"]["unit"]), []).append([label, (mask[::8, ::8] > 0).tolist()])
""",
}


def masks():
    rng = np.random.default_rng(1)
    for number in range(COUNT):
        height, width = rng.integers(1, 49, 2).tolist()
        share = (0, 0.02, 0.3, 0.7, 0.98, 1)[number % 6]
        coarse = rng.random((height // 3 + 1, width // 3 + 1)) < share
        mask = coarse.repeat(3, 0).repeat(3, 1)[:height, :width] ^ (rng.random((height, width)) < 0.03 * (number % 2))
        yield np.ascontiguousarray(mask)
    # Runs beyond what Label Studio's longest packet holds.
    yield np.ones((200, 300), bool)


ENCODE = {
    "coco": lambda mask: {"counts": (counts := codecs.coco_encode(mask)), "text": codecs.coco_pack(counts)},
    "cvat": codecs.cvat_encode,
    "label-studio": codecs.brush_encode,
}


def decoded(name, theirs, shape):
    """What we make of their encoding."""
    if name == "coco":
        return codecs.coco_decode(codecs.coco_unpack(theirs), shape)
    if name == "cvat":
        *counts, left, top, right, bottom = map(int, theirs)
        return codecs.cvat_decode(", ".join(map(str, counts)), (top, left, bottom - top + 1, right - left + 1), shape)
    return codecs.brush_decode(theirs, shape) == 255


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_pixel_by_pixel(name, python_of, tmp_path, capsys):
    query = world.query_of()
    folder = world.exported(name, query, tmp_path / "export")
    drawn = list(masks())
    given = {
        "masks": [mask.astype(int).tolist() for mask in drawn],
        "ours": [ENCODE[name](mask) for mask in drawn],
        "folder": str(folder),
    }
    script = tmp_path / "script.py"
    script.write_text(HEAD + SCRIPTS[name] + TAIL)
    paths = [world.write_json(tmp_path / "given.json", given), tmp_path / "back.json"]
    command = [str(python_of(name)), str(script), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    back = json.loads(paths[1].read_text())
    wrong = [
        sum((np.array(theirs, bool) != mask).any() for theirs, mask in zip(back["decoded"], drawn, strict=True)),
        sum((decoded(name, text, mask.shape) != mask).any() for text, mask in zip(back["theirs"], drawn, strict=True)),
    ]
    with capsys.disabled():
        found = sum(map(len, back["file"].values()))
        print(f"\n{tools.SPECS[name]}: {len(drawn)} masks, it reads {wrong[0]} of ours wrongly, we {wrong[1]} of its; ")
        print(f"{found} masks in an exported file", end="")
    assert wrong == [0, 0]
    check_file(name, back["file"], query)


def check_file(name, found, query):
    """What the tool found in an exported file is what was predicted."""
    if name == "label-studio":
        for unit, (of, y, x, height, width) in enumerate(query.units):
            top, left = min(y, 20), min(x, 20)
            canvas = painted(found[str(unit)], query)
            assert (canvas[top : top + height, left : left + width] == query.prelabels[unit]).all(), of
            assert (canvas != 255).sum() == (query.prelabels[unit] != 255).sum()
        return
    for image in ("a/b.jpg", "c"):
        expected = np.full(query.sizes[image], 255)
        for (of, y, x, height, width), prelabel in zip(query.units, query.prelabels, strict=True):
            if of == image:
                expected[y : y + height, x : x + width] = prelabel
        assert (painted(found[f"{image}.png"], query) == expected).all()


def painted(layers, query):
    names = [label.name for label in query.classes]
    canvas = np.full(np.shape(layers[0][1]), 255)
    for label, mask in layers:
        canvas[np.array(mask, bool)] = names.index(label)
    return canvas
