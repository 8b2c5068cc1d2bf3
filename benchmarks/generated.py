"""Images that are generated on demand: pools of any size, image size and number of classes, without files."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ralseg.foundation import generator
from ralseg.segmentation.datasets import Streets
from ralseg.segmentation.store import ImageStore, count_classes, shrink

SCENES = 4
"""Number of drawn scenes that all images are made from."""
DRAWN = 19
"""Number of classes in the drawn scenes: those of Cityscapes."""
STEP = 16
"""Images are shifted by multiples of this many pixels, which are whole pixels at any scale down to a sixteenth."""


def streets(size: tuple[int, int]) -> Streets:
    """Drawn streets with the classes of Cityscapes."""
    return Streets(9, size, variant="cityscapes")


@cache
def drawn_scenes(size: tuple[int, int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(image, label) of the first few drawn streets."""
    dataset = streets(size)
    return [dataset.load(name) for name in dataset.names[:SCENES]]


class GeneratedStore(ImageStore):
    """An image store in memory: image i is one of a few drawn streets, shifted around and mirrored by its number.

    A game can be played on it. Nothing is stored in files, so it has no `content` and cannot be sent to a process.

    Args:
        images: number of images.
        size: (height, width) of every image, the width a multiple of 16.
        classes: number of classes. If it is not the 19 of the drawn streets, labels are random blocks of 8x8 pixels.
        scale: input size over the image's own size.

    Attributes:
        folder: an empty folder. Maps below the cut are kept beside it for as long as the store lives.
    """

    def __init__(self, images: int, size: tuple[int, int], classes: int = DRAWN, scale: float = 1.0) -> None:
        self.dataset = streets(size)
        self.dataset.classes = tuple(f"class {i}" for i in range(classes))
        self.names, self.scale, self.classes = tuple(map(str, range(images))), scale, classes
        self._indices = {name: i for i, name in enumerate(self.names)}
        self._kept = TemporaryDirectory()
        self.folder = Path(self._kept.name) / "generated"
        scenes = drawn_scenes(size)
        self._pictures = [shrink(image, scale) for image, _ in scenes]
        self._truths = [self._strewn(label, i) for i, (_, label) in enumerate(scenes)]

    def image(self, i: int) -> np.ndarray:
        """See `ImageStore.image`."""
        return self._turned(self._pictures, i)

    def label(self, i: int) -> np.ndarray:
        """See `ImageStore.label`."""
        return self._turned(self._truths, i)

    def size(self, i: int) -> tuple[int, int]:
        """See `ImageStore.size`."""
        height, width = self._truths[i % SCENES].shape
        return height, width

    def input_size(self, i: int) -> tuple[int, int]:
        """See `ImageStore.input_size`."""
        height, width = self._pictures[i % SCENES].shape[:2]
        return height, width

    def class_counts(self) -> np.ndarray:
        """See `ImageStore.class_counts`. A shifted image has the counts of its scene."""
        counts = np.stack([count_classes(label, self.classes) for label in self._truths])
        return counts[np.arange(len(self)) % SCENES]

    def _turned(self, scenes: list[np.ndarray], i: int) -> np.ndarray:
        scene = scenes[i % SCENES]
        turn, mirrored = divmod(i // SCENES, 2)
        width = self._truths[0].shape[1]
        shift = turn * STEP * 7 % width * scene.shape[1] // width
        turned = np.roll(scene, shift, axis=1)
        return np.ascontiguousarray(turned[:, ::-1]) if mirrored else turned

    def _strewn(self, label: np.ndarray, scene: int) -> np.ndarray:
        if self.classes == DRAWN:
            return label
        blocks = generator(scene, "strewn").integers(self.classes, size=[-(-side // 8) for side in label.shape])
        return blocks.repeat(8, 0).repeat(8, 1)[: label.shape[0], : label.shape[1]].astype(np.uint8)
