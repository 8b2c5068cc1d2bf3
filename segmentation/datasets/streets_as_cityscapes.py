"""Streets in the layout of Cityscapes: `python -m ralseg.segmentation.datasets.streets_as_cityscapes FOLDER`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ralseg.foundation import RalsegError, atomic_write
from ralseg.segmentation.datasets.base import IGNORE
from ralseg.segmentation.datasets.cityscapes import cityscapes_files
from ralseg.segmentation.datasets.palettes import CITYSCAPES_IDS
from ralseg.segmentation.datasets.streets import Streets

LABEL_IDS = np.zeros(IGNORE + 1, np.uint8)
"""Id of a class or of void -> id in label files; 0 is Cityscapes' "unlabelled"."""
LABEL_IDS[: len(CITYSCAPES_IDS)] = CITYSCAPES_IDS


def write_streets(streets: Streets, root: str | Path) -> None:
    """Write all images. Clips become cities; train stays train, and both val and test become val.

    Args:
        streets: a data set of the variant `cityscapes`.
        root: where leftImg8bit/ and gtFine/ are written; existing files are kept.

    Raises:
        RalsegError: if the variant is another one or the disk is full.
    """
    if streets.variant != "cityscapes":
        raise RalsegError(f"Streets of the variant {streets.variant} have no labelIds; use variant=cityscapes")
    for subset, names in streets.subsets.items():
        for name in names:
            written = f"{streets.groups[name]}_{name.removeprefix('street_')}_000019"
            pair = cityscapes_files(root, "train" if subset == "train" else "val", written)
            if not all(path.exists() for path in pair):
                image, label = streets.load(name)
                write_pair(pair, image, label)


def write_pair(paths: tuple[Path, Path], image: np.ndarray, label: np.ndarray) -> None:
    """Write an image (uint8 (H, W, 3) RGB) and its label (uint8 (H, W), ids of the 19 classes and `IGNORE`)."""
    for path, pixels in zip(paths, (image[..., ::-1], LABEL_IDS[label]), strict=True):
        with atomic_write(path) as file:
            file.write(cv2.imencode(".png", pixels)[1].tobytes())


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(description="Write drawn streets in Cityscapes' layout.")
    parser.add_argument("folder", help="gets leftImg8bit/ and gtFine/")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--size", type=int, nargs=2, default=(512, 1024), metavar=("HEIGHT", "WIDTH"))
    arguments = parser.parse_args(argv)
    try:
        write_streets(Streets(arguments.images, tuple(arguments.size), variant="cityscapes"), arguments.folder)
    except RalsegError as error:
        print(f"streets_as_cityscapes: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
