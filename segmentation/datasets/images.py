"""Reading image files: PNG and JPEG as 8-bit RGB, each as it is meant or not at all."""

import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image

from ralseg.foundation import RalsegError

FORMATS = ("PNG", "JPEG", "MPO")
"""What Pillow may open, MPO being the JPEG of some phones; its other decoders are kept from files of strangers."""

MAX_PIXELS = "RALSEG_MAX_PIXELS"
"""The environment variable with the most pixels that are read from one file."""
USUAL_MAX_PIXELS = 178_956_970
"""Pillow's own limit."""

Turn = Image.Transpose
TURNS = {
    2: Turn.FLIP_LEFT_RIGHT, 3: Turn.ROTATE_180, 4: Turn.FLIP_TOP_BOTTOM, 5: Turn.TRANSPOSE, 6: Turn.ROTATE_270,
    7: Turn.TRANSVERSE, 8: Turn.ROTATE_90,
}  # fmt: skip
"""EXIF orientation -> what shows the image upright; 1 and unknown values need nothing."""
SIDEWAYS = (5, 6, 7, 8)
"""The orientations that swap height and width."""

DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    struct.error, zlib.error,
)  # fmt: skip
"""What Pillow raises for damaged files, depending on the format and the place of the damage."""


def gone(path: str | Path) -> RalsegError:
    """The error for a file that was there when the data set was listed."""
    return RalsegError(f"{path}: the file is gone; restore it or start again without it")


def _refuse_endless(path: Path) -> None:
    """Refuse what is no file: opening a pipe waits for ever, and a device may never end."""
    if path.exists() and not path.is_file():
        raise RalsegError(f"{path}: a folder, a pipe or a device; replace it by an image")


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open an image file; its pixels are read when they are asked for.

    Raises:
        RalsegError: if the file is missing, unreadable, neither PNG nor JPEG, an animation or too large.
    """
    _refuse_endless(path)
    most = _most_pixels()
    # Pillow's own limit can only be set for all of a process, and its message names no file.
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        # Pillow warns of damaged EXIF data, without which an image is stored as it is displayed.
        with warnings.catch_warnings(action="ignore"):
            file = Image.open(path, formats=FORMATS)
    except FileNotFoundError as error:
        raise gone(path) from error
    except PermissionError as error:
        raise RalsegError(f"{path}: cannot be read ({error.strerror}); allow reading it") from error
    except DAMAGE as error:
        raise RalsegError(f"{path}: not a PNG or JPEG image that can be read; replace the file") from error
    finally:
        Image.MAX_IMAGE_PIXELS = before
    with file:
        if file.width * file.height > most:
            raise RalsegError(
                f"{path}: {file.height} x {file.width} (height x width) are more than the {most} pixels that are read "
                f"from one file; replace the file, or set the environment variable {MAX_PIXELS} to "
                f"{file.height * file.width}"
            )
        if file.format == "PNG" and getattr(file, "is_animated", False):
            raise RalsegError(f"{path}: an animation of several pictures; save one picture")
        yield file


def _most_pixels() -> int:
    value = os.environ.get(MAX_PIXELS) or str(USUAL_MAX_PIXELS)
    if not (value.isascii() and value.isdigit()):
        raise RalsegError(f"the environment variable {MAX_PIXELS} is {value!r}; give a number of pixels")
    return int(value)


def header(path: Path, turn: bool = True) -> tuple[tuple[int, int], int]:
    """The (height, width) of an image as `read_rgb` returns it, and its EXIF orientation, without reading pixels.

    Raises:
        RalsegError: see `opened`.
    """
    with opened(path) as file:
        orientation = _orientation(file, path)
        swapped = turn and orientation in SIDEWAYS
        return ((file.width, file.height) if swapped else (file.height, file.width)), orientation


def read_rgb(path: Path, depth: int | None = None, turn: bool = True) -> np.ndarray:
    """Read an image.

    Args:
        path: a PNG or JPEG file of any colour type. Opaque alpha is dropped. CMYK is converted without colour profiles.
        depth: number of bits that are used where the file has 16 per channel: values 0 to 2**depth - 1 become 0 to 255.
        turn: whether the EXIF orientation is applied.

    Returns:
        uint8 (H, W, 3) in RGB.

    Raises:
        RalsegError: if the file is damaged, has transparent pixels, or has 16 bits per channel and `depth` is not given
            or is exceeded; see also `opened`.
    """
    with opened(path) as file:
        orientation = _orientation(file, path) if turn else 1
        deep = file.format == "PNG" and png_header(path)[1] > 8
        with undamaged(path):
            image = Image.fromarray(_scaled(_deep_rgb(file, path), depth, path)) if deep else _rgb(file, path)
            return np.asarray(image.transpose(TURNS[orientation]) if orientation in TURNS else image)


@contextmanager
def undamaged(path: Path) -> Iterator[None]:
    """Makes what a decoder raises for a damaged file the one line that users read."""
    try:
        yield
    except RalsegError:
        raise
    except (*DAMAGE, cv2.error) as error:
        raise RalsegError(f"{path}: the image is damaged ({' '.join(str(error).split())}); replace the file") from error


def _orientation(file: Image.Image, path: Path) -> int:
    # Without the check, Pillow would decode every PNG to search behind its pixels.
    if file.format == "PNG" and "exif" not in file.info:
        return 1
    with undamaged(path), warnings.catch_warnings(action="ignore"):
        return file.getexif().get(ExifTags.Base.Orientation, 1)


def _rgb(file: Image.Image, path: Path) -> Image.Image:
    if file.has_transparency_data:
        return without_alpha(file, path).convert("RGB")
    if file.mode == "CMYK" and "adobe" not in file.info:
        raise RalsegError(
            f"{path}: a CMYK image that does not say whether its inks are inverted; save it as RGB or with Adobe's mark"
        )
    file.load()
    return file if file.mode == "RGB" else file.convert("RGB")


def without_alpha(file: Image.Image, path: Path) -> Image.Image:
    """An image with an alpha channel, as RGBA, after a check that no pixel is transparent.

    Raises:
        RalsegError: if one is: what shows through is not in the file.
    """
    image = file.convert("RGBA")
    _check_opaque(np.asarray(image)[..., 3], 255, path)
    return image


def _check_opaque(alpha: np.ndarray, opaque: int, path: Path) -> None:
    if (share := (alpha < opaque).mean()) > 0:
        raise RalsegError(
            f"{path}: {100 * share:.3g} % of the pixels are transparent, and what is behind them is not in the file; "
            "save it without transparency"
        )


def deep_pixels(file: Image.Image, path: Path) -> np.ndarray:
    """The pixels of a PNG with 16 bits per channel: uint16 (H, W), (H, W, 3) in RGB or (H, W, 4) in RGBA.

    Pillow keeps the upper 8 bits of such colours.
    """
    file.verify()
    stored = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype != np.uint16 or stored.shape[:2] != (file.height, file.width):
        raise ValueError("its 16-bit pixels cannot be decoded")
    if stored.ndim == 2:
        return stored
    return cv2.cvtColor(stored, cv2.COLOR_BGR2RGB if stored.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)


def _deep_rgb(file: Image.Image, path: Path) -> np.ndarray:
    if "transparency" in file.info:
        raise RalsegError(f"{path}: a transparent colour in an image with 16 bits per channel; save it without one")
    pixels = deep_pixels(file, path)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        _check_opaque(pixels[..., 3], 2**16 - 1, path)
    return np.repeat(pixels[..., None], 3, 2) if pixels.ndim == 2 else pixels[..., :3]


def _scaled(pixels: np.ndarray, depth: int | None, path: Path) -> np.ndarray:
    if depth is None:
        raise RalsegError(
            f"{path}: 16 bits per channel, and nothing says how many of them are used; convert the images to 8 bits, "
            "or (dataset=folder) say it in classes.yaml, e.g. depth: 12, or depth: 16 for the whole range"
        )
    most = 2**depth - 1
    if (found := pixels.max(initial=0)) > most:
        raise RalsegError(
            f"{path}: the value {found} is above {most}, the largest of `depth: {depth}` in classes.yaml; set depth to "
            f"{int(found).bit_length()} or more"
        )
    table = np.round(np.arange(most + 1) * (255 / most)).astype(np.uint8)
    return table[pixels]


def png_header(path: Path) -> tuple[tuple[int, int], int]:
    """The (height, width) and the bits per channel in the header of a PNG, much faster than by opening it as an image.

    Raises:
        RalsegError: if the file is missing or not a PNG.
    """
    _refuse_endless(path)
    try:
        with path.open("rb") as file:
            head = file.read(25)
    except FileNotFoundError as error:
        raise gone(path) from error
    except OSError as error:
        raise RalsegError(f"{path}: cannot be read ({error.strerror}); allow reading it") from error
    if len(head) < 25 or head[:8] != b"\x89PNG\r\n\x1a\n" or head[12:16] != b"IHDR":
        raise RalsegError(f"{path}: not a PNG image; replace the file")
    width, height = struct.unpack(">II", head[16:24])
    return (height, width), head[24]
