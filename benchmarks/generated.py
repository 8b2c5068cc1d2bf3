"""Images made when they are asked for: pools of any size, image size and number of classes, without a file."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np

from ralseg.foundation import generator
from ralseg.segmentation.datasets import Streets
from ralseg.segmentation.store import count_classes, shrink

SCENES = 4
"""Drawn scenes that all images are cut from."""
DRAWN = 19
"""Classes of the drawn scenes, Cityscapes'."""
STEP = 16
"""Images are shifted by multiples of so many pixels: whole pixels at any scale down to a sixteenth."""


@cache
def drawn_scenes(size: tuple[int, int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(image, label) of a few drawn streets with the classes of Cityscapes."""
    streets = Streets(9, size, variant="cityscapes")
    return [streets.load(name) for name in streets.names[:SCENES]]


class GeneratedStore:
    """An image store that holds a few drawn streets; image i is one of them, shifted round and mirrored by its number.

    It has the methods of `ralseg.segmentation.store.ImageStore` that a game uses.

    Args:
        images: how many there are.
        size: (height, width) of each, the width a multiple of 16.
        classes: number of classes; other than the 19 that are drawn, labels are strewn in blocks.
        scale: input size over own size.

    Attributes:
        folder: beside which maps below the cut are kept, as long as the store lives; nothing lies in it.
    """

    def __init__(self, images: int, size: tuple[int, int], classes: int = DRAWN, scale: float = 1.0) -> None:
        self.dataset = SimpleNamespace(classes=tuple(f"class {i}" for i in range(classes)))
        self.names, self.scale, self.classes = range(images), scale, classes
        self._kept = TemporaryDirectory()
        self.folder = Path(self._kept.name) / "generated"
        scenes = drawn_scenes(size)
        self._images = [shrink(image, scale) for image, _ in scenes]
        self._labels = [self._strewn(label, i) for i, (_, label) in enumerate(scenes)]

    def __len__(self) -> int:
        return len(self.names)

    def image(self, i: int) -> np.ndarray:
        """See `ImageStore.image`."""
        return self._turned(self._images, i)

    def label(self, i: int) -> np.ndarray:
        """See `ImageStore.label`."""
        return self._turned(self._labels, i)

    def size(self, i: int) -> tuple[int, int]:
        """See `ImageStore.size`."""
        return self._labels[i % SCENES].shape

    def input_size(self, i: int) -> tuple[int, int]:
        """See `ImageStore.input_size`."""
        return self._images[i % SCENES].shape[:2]

    def class_counts(self) -> np.ndarray:
        """See `ImageStore.class_counts`; a shifted image has the counts of its scene."""
        counts = np.stack([count_classes(label, self.classes) for label in self._labels])
        return counts[np.arange(len(self)) % SCENES]

    def _turned(self, scenes: list[np.ndarray], i: int) -> np.ndarray:
        scene = scenes[i % SCENES]
        turn, mirrored = divmod(i // SCENES, 2)
        width = self._labels[0].shape[1]
        shift = turn * STEP * 7 % width * scene.shape[1] // width
        turned = np.roll(scene, shift, axis=1)
        return np.ascontiguousarray(turned[:, ::-1]) if mirrored else turned

    def _strewn(self, label: np.ndarray, scene: int) -> np.ndarray:
        if self.classes == DRAWN:
            return label
        blocks = generator(scene, "strewn").integers(self.classes, size=[-(-side // 8) for side in label.shape])
        return blocks.repeat(8, 0).repeat(8, 1)[: label.shape[0], : label.shape[1]].astype(np.uint8)
