"""A round of drawn streets for tests of the page, and a server of it in a process of its own.

`python page_round.py <folder> <port>` serves the round that `drawn` has put into the folder, until it is killed.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from ralseg.annotation.page import PageServer
from ralseg.annotation.query import LabelClass, Query
from ralseg.annotation.work import WorkFolder

TOKEN = "a-token_of_the_tests"
SIZE = (90, 120)
DONE = "Run the command again."
HOLE = 5
"""The place of the unit that has no prelabel."""
PLACES = ((30, 40), (0, 0), (40, 60), (20, 10), (50, 80), (10, 30))


def drawn(folder, classes=11):
    """Write a round of six units of 36 x 40 pixels in three streets."""
    # Only here, as it loads torch.
    from ralseg.segmentation.datasets import Streets

    streets = Streets(images=9, size=SIZE)
    names = streets.names[:3]
    images, labels = zip(*(streets.load(name) for name in names), strict=True)
    np.save(folder / "images.npy", np.stack(images))
    np.save(folder / "labels.npy", np.stack(labels))
    own = [[name, [int(v) for v in colour]] for name, colour in zip(streets.classes, streets.colors, strict=True)]
    more = [[f"thing {i}", [4 * i, 255 - 4 * i, 40 * (i % 6)]] for i in range(len(own), classes)]
    (folder / "round.json").write_text(json.dumps({"names": names, "classes": own + more}))


def loaded(folder):
    """(query, image) of a folder that `drawn` has written."""
    found = json.loads((folder / "round.json").read_text())
    names = found["names"]
    images = dict(zip(names, np.load(folder / "images.npy"), strict=True))
    labels = dict(zip(names, np.load(folder / "labels.npy"), strict=True))
    units = tuple((names[i % 3], y, x, 36, 40) for i, (y, x) in enumerate(PLACES))
    prelabels = [labels[name][y : y + h, x : x + w].copy() for name, y, x, h, w in units]
    prelabels[HOLE] = None
    classes = tuple(LabelClass(name, tuple(colour)) for name, colour in found["classes"])
    query = Query("0123456789abcdef", 2, classes, dict.fromkeys(names, SIZE), units, tuple(prelabels))
    return query, images.__getitem__


def server(folder, port, **more):
    """A server of the round in a folder, its work beside it."""
    query, image = loaded(folder)
    return PageServer(query, image, WorkFolder(folder / "work", query), port=port, token=TOKEN, done=DONE, **more)


if __name__ == "__main__":
    with server(Path(sys.argv[1]), int(sys.argv[2]), title="Streets") as started:
        print(started.url, "torch" in sys.modules, flush=True)
        time.sleep(600)
