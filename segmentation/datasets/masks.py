"""Reading label files: ids, palette indices or colours, as they are stored."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets.images import deep_pixels, opened, png_header, undamaged, without_alpha


@dataclass(frozen=True)
class Mask:
    """The content of a label file.

    Attributes:
        values: uint8 or uint16 (H, W) of ids or palette indices, or uint8 (H, W, 3) of colours.
        palette: uint8 (n, 3), the colours of the indices; None if the file has no palette.
    """

    values: np.ndarray
    palette: np.ndarray | None = None


def read_mask(path: Path) -> Mask:
    """Read a label file: a PNG with 1 to 16 bits of gray or with a palette, whose numbers are kept, or in colour.

    Raises:
        RalsegError: if the file is damaged, not a PNG, has transparent pixels or colours of 16 bits.
    """
    with opened(path) as file:
        if file.format != "PNG":
            raise RalsegError(f"{path}: a label must be a PNG, since JPEG changes ids and colours; export it as PNG")
        bits = png_header(path)[1]
        with undamaged(path):
            if bits == 16:
                return Mask(_deep_ids(deep_pixels(file, path), path))
            if file.mode == "P":
                palette = file.palette.getdata()[1] if file.palette else b""
                return Mask(np.asarray(file), np.frombuffer(palette, np.uint8).reshape(-1, 3))
            if file.mode in ("LA", "RGBA"):
                image = np.asarray(without_alpha(file, path))
                return Mask(image[..., 0] if file.mode == "LA" else image[..., :3])
            values = np.asarray(file)
    if values.ndim == 3:
        return Mask(values)
    # Pillow makes booleans of 1 bit, and spreads 2 and 4 bits over 0 to 255.
    return Mask(values.astype(np.uint8) if bits == 1 else values // np.uint8(255 // (2**bits - 1)))


def _deep_ids(pixels: np.ndarray, path: Path) -> np.ndarray:
    if pixels.ndim == 3:
        raise RalsegError(
            f"{path}: a label with {pixels.shape[2]} channels of 16 bits; export ids in one channel, or 8-bit colours"
        )
    return pixels


def palette_of(path: Path) -> np.ndarray | None:
    """The palette of a label file, uint8 (n, 3), from its header alone; None if it has none.

    Raises:
        RalsegError: see `opened`.
    """
    with opened(path) as file:
        if file.mode != "P" or not file.palette:
            return None
        # Image.getpalette would decode the pixels, too.
        return np.frombuffer(file.palette.getdata()[1], np.uint8).reshape(-1, 3)
