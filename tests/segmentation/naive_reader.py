"""A slow, independent reader of what the data sets read: PNG by hand with zlib alone, one pixel after the other."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""PNG's colour types -> channels: gray, RGB, palette, gray and alpha, RGBA."""


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """(type, content) of each chunk of a PNG."""
    found, at = [], 8
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        found.append((kind, data[at + 8 : at + 8 + length]))
        at += length + 12
    return found


def png(path: Path) -> tuple[list[list[tuple[int, ...]]], int, int, list[tuple[int, int, int]]]:
    """Rows of pixels as stored, bits per channel, colour type and palette of a PNG that is not interlaced."""
    parts = chunks(path.read_bytes())
    width, height, bits, kind, _, _, interlaced = struct.unpack(">IIBBBBB", dict(parts)[b"IHDR"])
    assert not interlaced
    plain = dict(parts).get(b"PLTE", b"")
    palette = [(plain[i], plain[i + 1], plain[i + 2]) for i in range(0, len(plain), 3)]
    raw = zlib.decompress(b"".join(content for name, content in parts if name == b"IDAT"))
    samples = width * CHANNELS[kind]
    line, step = -(-samples * bits // 8), max(1, CHANNELS[kind] * bits // 8)
    before, rows = bytearray(line), []
    for y in range(height):
        start = y * (line + 1)
        before = unfiltered(raw[start], bytearray(raw[start + 1 : start + 1 + line]), before, step)
        numbers = [sample(before, i, bits) for i in range(samples)]
        rows.append([tuple(numbers[i : i + CHANNELS[kind]]) for i in range(0, samples, CHANNELS[kind])])
    return rows, bits, kind, palette


def unfiltered(method: int, line: bytearray, above: bytearray, step: int) -> bytearray:
    """A line of bytes without PNG's prediction."""
    for i in range(len(line)):
        left = line[i - step] if i >= step else 0
        up, corner = above[i], above[i - step] if i >= step else 0
        guess = left + up - corner
        near = min((left, up, corner), key=lambda value: abs(guess - value))
        line[i] = (line[i] + [0, left, up, (left + up) // 2, near][method]) % 256
    return line


def sample(line: bytes, i: int, bits: int) -> int:
    """Number i of a line of numbers of 1 to 16 bits."""
    if bits == 16:
        return 256 * line[2 * i] + line[2 * i + 1]
    per_byte = 8 // bits
    return line[i // per_byte] >> (bits * (per_byte - 1 - i % per_byte)) & (2**bits - 1)


def naive_image(path: Path, depth: int = 16) -> np.ndarray:
    """An image as 8-bit RGB: a PNG by hand, a JPEG by Pillow, both turned by hand."""
    with Image.open(path) as file:
        orientation = file.getexif().get(274, 1)
        pixels = np.array(file.convert("RGB"))
    if path.read_bytes().startswith(b"\x89PNG"):
        rows, bits, kind, palette = png(path)
        most = 2 ** (depth if bits == 16 else bits) - 1
        for y, row in enumerate(rows):
            for x, values in enumerate(row):
                color = palette[values[0]] if kind == 3 else values * 3 if len(values) == 1 else values[:1] * 3
                color = values[:3] if len(values) > 2 else color
                pixels[y, x] = color if kind == 3 else [round(255 * value / most) for value in color]
    return turned(pixels, orientation)


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The displayed image, pixel by pixel, from where EXIF says that the stored first row and column are."""
    height, width = pixels.shape[:2]
    swapped = orientation >= 5
    shown = np.zeros((width, height, 3) if swapped else (height, width, 3), np.uint8)
    for y in range(height):
        for x in range(width):
            right, bottom = width - 1 - x, height - 1 - y
            to = {
                1: (y, x), 2: (y, right), 3: (bottom, right), 4: (bottom, x),
                5: (x, y), 6: (x, bottom), 7: (right, bottom), 8: (right, y),
            }[orientation]  # fmt: skip
            shown[to] = pixels[y, x]
    return shown


def naive_label(path: Path, ids: dict[int, int], colors: dict[tuple[int, int, int], int]) -> np.ndarray | None:
    """A label: ids of ralseg, uint8 (H, W).

    Args:
        path: a PNG.
        ids: id in the file -> id of ralseg, void included.
        colors: colour -> id of ralseg, void included; empty if colours mean nothing.

    Returns:
        None if a pixel is in neither.
    """
    rows, bits, kind, palette = png(path)
    label = np.zeros((len(rows), len(rows[0])), np.uint8)
    for y, row in enumerate(rows):
        for x, values in enumerate(row):
            found = ids.get(values[0])
            if kind in (2, 6):
                found = colors.get(values[:3]) if bits == 8 else None
            elif kind == 3 and colors:
                found = colors.get(palette[values[0]]) if values[0] < len(palette) else None
            if found is None:
                return None
            label[y, x] = found
    return label
