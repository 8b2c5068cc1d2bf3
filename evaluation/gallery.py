"""The gallery: a few images of D_V with the network's predictions before and after a game."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from ralseg.envs import World
from ralseg.evaluation.results import class_entropy, file_name
from ralseg.features.prediction import resized
from ralseg.foundation import RalsegError, atomic_write
from ralseg.segmentation.learners import Learner

GALLERY = "gallery"
"""Where the folder of a comparison has its maps."""
IMAGES = 4
DRAW = 0
"""The run of every policy whose predictions are kept."""
RULE = (
    "The images were fixed by a rule that knows no policy: those that can be bought, in order of clip and name, are cut"
    " into equal parts, and each part gives the image that shows the most classes."
)

Maps = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Image name -> predicted classes at theta_0 and at the largest budget, both uint8 (H, W)."""


def gallery_images(world: World, count: int = IMAGES) -> list[int]:
    """Indices in the store of the gallery's images, chosen by `RULE`; ties go to the most even class shares."""
    names, groups, counts = world.store.names, world.dataset.groups, world.store.class_counts()
    images = sorted(world.labelled("compare"), key=lambda i: (groups[names[i]], names[i]))
    parts = np.array_split(images, min(count, len(images)))
    return [max(part.tolist(), key=lambda i: ((counts[i] > 0).sum(), class_entropy(counts[i]))) for part in parts]


def class_maps(learner: Learner, images: list[int]) -> list[np.ndarray]:
    """The predicted class of every pixel at the label's own size, as mIoU is counted: uint8 (H, W) for each image."""
    found: dict[int, np.ndarray] = {}
    for prediction in learner.predict(images):
        size = learner.images.size(prediction.images[0])
        maps = resized(prediction.logits, size).argmax(1).byte().numpy(force=True)
        found |= dict(zip(prediction.images, maps, strict=True))
    return [found[image] for image in images]


def write_maps(folder: str | Path, run_id: str, maps: Maps) -> None:
    """Write the maps of one run as `gallery/<run id>/<image>-before.png` and `-after.png`; a pixel is a class id."""
    for image, pair in maps.items():
        for path, classes in zip(_paths(folder, run_id, image), pair, strict=True):
            with atomic_write(path) as file:
                file.write(cv2.imencode(".png", classes)[1].tobytes())


def read_maps(folder: str | Path, run_id: str, image: str) -> tuple[np.ndarray, np.ndarray] | None:
    """The predictions that `write_maps` wrote of one image; None if the run kept none.

    Raises:
        RalsegError: if a file is damaged.
    """
    paths = _paths(folder, run_id, image)
    if not all(path.exists() for path in paths):
        return None
    return _read(paths[0]), _read(paths[1])


def _paths(folder: str | Path, run_id: str, image: str) -> tuple[Path, Path]:
    stem = Path(folder) / GALLERY / run_id / file_name(image)
    return stem.with_name(f"{stem.name}-before.png"), stem.with_name(f"{stem.name}-after.png")


def _read(path: Path) -> np.ndarray:
    data = np.fromfile(path, np.uint8)
    classes = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    if classes is None or classes.ndim != 2 or classes.dtype != np.uint8:
        raise RalsegError(f"{path}: not a map of classes; delete {path.parent}, and the gallery is shown without it")
    return classes
