import cv2
import numpy as np
import pytest

from ralseg.segmentation.datasets import Folder
from ralseg.segmentation.overview import overview
from ralseg.segmentation.splits import Splits
from ralseg.segmentation.store import ImageStore

ROLES = {"state": "a", "train": "bc", "compare": "d", "dev": "", "reward": "e", "twin": "", "test": "f"}


@pytest.fixture
def told(tmp_path):
    """Tells the overview of six images, four of 10 x 20 and two of 10 x 10, whose labels are made by a function."""

    def tell(label):
        root = tmp_path / "field"
        for part in ("images", "labels"):
            (root / part).mkdir(parents=True, exist_ok=True)
        for i, name in enumerate("abcdef"):
            size = (10, 20) if i < 4 else (10, 10)
            cv2.imwrite(str(root / f"images/{name}.png"), np.full((*size, 3), i, np.uint8))
            if (made := label(name, size)) is not None:
                cv2.imwrite(str(root / f"labels/{name}.png"), made)
        (root / "classes.yaml").write_text("[{name: road, id: 0}, {name: car, id: 1}, {name: sky, id: 2}]")
        dataset = Folder(root)
        splits = Splits(**{role: tuple(names) for role, names in ROLES.items()})
        return overview(ImageStore(dataset, dataset.names, cache_dir=tmp_path / "cache"), splits)

    return tell


def test_values_by_hand(told):
    def label(name, size):
        if name == "c":
            return None
        pixels = np.zeros(size, np.uint8)
        pixels[:2] = 255
        pixels[2, :1] = 1
        return pixels

    # Five labelled images have 800 pixels, 160 of which are void, and 5 are car.
    assert told(label) == [
        "field: 6 images, 10 x 20 and 10 x 10 (height x width); 5 with labels",
        "images: D_S 1, D_T 2 (1 labelled), D_V 1, D_R 1, test 1",
        "void: 20.0 % of the pixels of labelled images",
        "classes in % of the labelled pixels: road 99.2, car 0.78, sky 0",
    ]


def test_ids_that_are_shifted_by_one_are_seen(told):
    right = told(lambda name, size: np.eye(*size, dtype=np.uint8))[-1]
    shifted = told(lambda name, size: np.eye(*size, dtype=np.uint8) + 1)[-1]
    assert right.endswith("road 94.0, car 6.0, sky 0")
    assert shifted.endswith("road 0, car 94.0, sky 6.0")
