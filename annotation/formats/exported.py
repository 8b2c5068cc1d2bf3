"""What several formats export: the pictures of a query, and its predictions as masks."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from ralseg.annotation.formats.checks import check_exportable, file_name
from ralseg.annotation.query import NOT_LABELLED, Query
from ralseg.foundation import RalsegError, atomic_write

ImageOf = Callable[[str], np.ndarray]
"""Image name -> uint8 (height, width, 3) in RGB."""


def begin(query: Query, folder: Path, last: str) -> None:
    """Check that a query can be exported into a folder.

    Args:
        query: the query.
        folder: where to.
        last: the file that is written last. An export that was killed lacks it, and may be repeated in its place.

    Raises:
        RalsegError: if that file is there, since people's work may be, too; or a name cannot be exported.
    """
    if (folder / last).exists():
        raise RalsegError(f"{folder / last}: there is an export already, perhaps with labels; choose another folder")
    check_exportable(query)


def image_names(query: Query) -> list[str]:
    """The names of the query's images, each once, sorted as tools sort their files."""
    return sorted({unit[0] for unit in query.units})


def picture(query: Query, image: ImageOf, name: str) -> np.ndarray:
    """An image of a query: uint8 (height, width, 3).

    Raises:
        RalsegError: if it is not that, or has another size than the query says.
    """
    pixels = image(name)
    if pixels.dtype != np.uint8 or pixels.shape != (*query.sizes[name], 3):
        height, width = query.sizes[name]
        raise RalsegError(
            f"image {name}: {pixels.dtype} of shape {pixels.shape}, not uint8 ({height}, {width}, 3); restore the image"
        )
    return pixels


def png(pixels: np.ndarray, palette: np.ndarray | None = None) -> bytes:
    """A PNG file.

    Args:
        pixels: uint8 (height, width, 3) in RGB, or (height, width) of indices.
        palette: uint8 (256, 3), the colours of the indices.
    """
    shown = Image.fromarray(pixels)
    if palette is not None:
        shown.putpalette(palette.tobytes())
    file = io.BytesIO()
    shown.save(file, "PNG")
    return file.getvalue()


def write(path: Path, content: bytes) -> Path:
    """Write a file atomically and give its path.

    Raises:
        RalsegError: see `atomic_write`.
    """
    with atomic_write(path) as file:
        file.write(content)
    return path


def write_images(query: Query, image: ImageOf, folder: Path) -> list[Path]:
    """Write the images of a query, each whole, to `folder/images`.

    Raises:
        RalsegError: see `picture` and `atomic_write`.
    """
    names = image_names(query)
    return [write(folder / "images" / file_name(name), png(picture(query, image, name))) for name in names]


def prelabel_masks(query: Query, unit: int) -> Iterator[tuple[int, np.ndarray]]:
    """Class id and (height, width) bool of each class that the network predicts in a unit."""
    prelabel = query.prelabels[unit]
    for label in np.unique(prelabel).tolist() if prelabel is not None else []:
        if label != NOT_LABELLED:
            yield label, prelabel == label


def hexadecimal(colour: tuple[int, int, int]) -> str:
    """A colour as in HTML, e.g. #ff8000."""
    return "#" + bytes(colour).hex()
