"""Run-length codecs of masks, as CVAT, COCO and Label Studio write them.

All of them check a file's numbers before they allocate what these promise, and raise a plain ValueError that says what
is wrong; who reads a file adds the file and the place.
"""

from collections.abc import Sequence

import numpy as np

Box = tuple[int, int, int, int]
"""y, x, height and width of a box, in pixels."""

RUN_BITS = (3, 4, 8, 16)
"""Bits of a run's length in rle-pack: the four kinds that Label Studio writes."""
WORD_BITS = 8
"""Bits of a value in rle-pack."""
HEAD_BITS = 32 + 5 + 4 * 4
"""Bits before the first packet of rle-pack: number of values, size of a value, sizes of the runs."""
CHANNELS = 4
"""Label Studio's brush writes red, green, blue and alpha of each pixel; alpha is the mask."""


def cvat_encode(mask: np.ndarray) -> tuple[str, Box]:
    """Encode a mask as CVAT does: row by row inside its bounding box, beginning with the zeros.

    Args:
        mask: (height, width) bool.

    Returns:
        The lengths of the runs, with commas; and the bounding box, which for an empty mask is its first pixel.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left, bottom, right = (rows[0], columns[0], rows[-1], columns[-1]) if len(rows) else (0, 0, 0, 0)
    counts = _alternating(mask[top : bottom + 1, left : right + 1].ravel())
    return ", ".join(map(str, counts.tolist())), (int(top), int(left), int(bottom - top + 1), int(right - left + 1))


def cvat_decode(rle: str, box: Box, shape: tuple[int, int]) -> np.ndarray:
    """The inverse of `cvat_encode`.

    Args:
        rle: the lengths of the runs, with commas.
        box: where they lie.
        shape: (height, width) of the image.

    Returns:
        (height, width) bool.

    Raises:
        ValueError: if the box is empty or leaves the image, or the runs do not fill it exactly.
    """
    top, left, height, width = box
    if min(top, left) < 0 or min(height, width) < 1 or top + height > shape[0] or left + width > shape[1]:
        raise ValueError(f"the box y {top}, x {left}, {height} x {width} leaves the image of {shape[0]} x {shape[1]}")
    if rle.count(",") > height * width:
        raise ValueError(f"it has more runs than the {height * width} pixels of its box")
    try:
        counts = [int(count) for count in rle.split(",")]
    except ValueError:
        raise ValueError("its runs are not whole numbers with commas between them") from None
    mask = np.zeros(shape, bool)
    mask[top : top + height, left : left + width] = _filled(counts, height * width).reshape(height, width)
    return mask


def coco_encode(mask: np.ndarray) -> list[int]:
    """Encode a mask as COCO's uncompressed RLE: column by column over the image, beginning with the zeros.

    Args:
        mask: (height, width) bool.

    Returns:
        The lengths of the runs.
    """
    return _alternating(mask.ravel("F")).tolist()


def coco_decode(counts: Sequence[int], shape: tuple[int, int]) -> np.ndarray:
    """The inverse of `coco_encode`: (height, width) bool.

    Args:
        counts: the lengths of the runs.
        shape: (height, width) of the image.

    Raises:
        ValueError: if the runs do not fill the image exactly.
    """
    return np.ascontiguousarray(_filled(counts, shape[0] * shape[1]).reshape(shape[::-1]).T)


def coco_pack(counts: Sequence[int]) -> str:
    """Compress run lengths into COCO's string.

    From the fourth on, a run is written as the difference to the run before the last. A number becomes groups of five
    bits, the lowest first, each as one character.

    Args:
        counts: at least one length, each from 0 to 2**31 - 1.
    """
    rest = np.array(counts, np.int64)
    rest[3:] -= np.array(counts, np.int64)[1:-2]
    characters = np.zeros((len(rest), 7), np.uint8)
    open_ = np.ones(len(rest), bool)
    for place in range(characters.shape[1]):
        group = rest & 31
        rest >>= 5
        # The highest bit of the last group is the sign.
        more = rest != np.where(group & 16, -1, 0)
        characters[open_, place] = (group + 48 + 32 * more)[open_]
        open_ &= more
    return characters[characters > 0].tobytes().decode("ascii")


def coco_unpack(text: str) -> list[int]:
    """The inverse of `coco_pack`.

    Raises:
        ValueError: if the text is not one that COCO writes.
    """
    codes = np.frombuffer(text.encode(), np.uint8).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise ValueError("its counts are not COCO's compressed text, or a part of it")
    starts = np.flatnonzero(np.append(True, (codes[:-1] & 32) == 0))
    lengths = np.diff(starts, append=len(codes))
    if lengths.max() > 7:
        raise ValueError("its compressed counts hold a number of more than 35 bits")
    places = np.arange(len(codes)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((codes & 31) << 5 * places, starts)
    numbers -= np.where(codes[starts + lengths - 1] & 16, 1 << 5 * lengths, 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers.tolist()


def brush_encode(mask: np.ndarray) -> list[int]:
    """Encode a mask as Label Studio's brush does (rle-pack), with 255 in all four channels of its pixels.

    Args:
        mask: (height, width) bool with fewer than 2**30 pixels.

    Returns:
        Bytes, 0 to 255.
    """
    flat = mask.ravel()
    starts = _starts(flat)
    lengths = CHANNELS * np.diff(starts, append=len(flat))
    longest = 1 << RUN_BITS[-1]
    packets = (lengths - 1) // longest + 1
    counts = np.full(packets.sum(), longest)
    counts[np.cumsum(packets) - 1] = lengths - (packets - 1) * longest
    values = np.where(np.repeat(flat[starts], packets), 255, 0)
    kinds = np.searchsorted(1 << np.array(RUN_BITS), counts)
    bits = np.array(RUN_BITS)[kinds]
    words = (((4 | kinds) << bits | (counts - 1)) << WORD_BITS | values).astype(np.uint32)
    places = (3 + bits + WORD_BITS - 1)[:, None] - np.arange(3 + RUN_BITS[-1] + WORD_BITS)
    stream = (words[:, None] >> np.maximum(places, 0).astype(np.uint32) & 1).astype(np.uint8)[places >= 0]
    head = f"{CHANNELS * len(flat):032b}{WORD_BITS - 1:05b}" + "".join(f"{size - 1:04b}" for size in RUN_BITS)
    return np.packbits(np.concatenate([np.frombuffer(head.encode(), np.uint8) - 48, stream])).tolist()


def brush_decode(rle: Sequence[int], shape: tuple[int, int]) -> np.ndarray:
    """The alpha of a brush mask of Label Studio.

    Args:
        rle: bytes, 0 to 255.
        shape: (height, width) of the image.

    Returns:
        (height, width) uint8; the rim of a stroke lies between 0 and 255.

    Raises:
        ValueError: if these are not such bytes, or their runs do not fill the image exactly.
    """
    numbers = _integers(rle)
    if len(numbers) < 7 or numbers.min() < 0 or numbers.max() > 255:
        raise ValueError("its rle is not a list of bytes, 0 to 255, or too short")
    data = numbers.astype(np.uint8).tobytes()
    head = int.from_bytes(data[:7], "big") >> 56 - HEAD_BITS
    size = CHANNELS * shape[0] * shape[1]
    if (promised := head >> 21) != size:
        raise ValueError(f"its rle has {promised} values, not {size} for {shape[0]} x {shape[1]} pixels")
    if (head >> 16 & 31) + 1 != WORD_BITS:
        raise ValueError(f"its rle has values of {(head >> 16 & 31) + 1} bits, not {WORD_BITS}")
    run_bits = [(head >> place & 15) + 1 for place in (12, 8, 4, 0)]
    return _unpacked(data, run_bits, size).reshape(*shape, CHANNELS)[..., 3]


def _unpacked(data: bytes, run_bits: Sequence[int], size: int) -> np.ndarray:
    """The values (size,) uint8 in the packets of rle-pack; one step a packet, since each begins where the last ends."""
    values, done = np.empty(size, np.uint8), 0
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    padded, place = data + bytes(8), HEAD_BITS
    while done < size:
        window = int.from_bytes(padded[place >> 3 : (place >> 3) + 8], "big") << (place & 7)
        length = run_bits[window >> 61 & 3]
        count = (window >> 61 - length & (1 << length) - 1) + 1
        same = window >> 63 & 1
        begin = place + 3 + length
        place = begin + WORD_BITS * (1 if same else count)
        if place > len(bits) or done + count > size:
            raise ValueError("its rle ends early" if place > len(bits) else "its runs have more pixels than the image")
        values[done : done + count] = np.packbits(bits[begin:place])
        done += count
    if len(bits) - place >= 2 * WORD_BITS:
        raise ValueError("its rle goes on after the last pixel")
    return values


def _starts(flat: np.ndarray) -> np.ndarray:
    """Where the runs of (n,) bool begin."""
    return np.flatnonzero(np.append(True, flat[1:] != flat[:-1]))


def _alternating(flat: np.ndarray) -> np.ndarray:
    """The lengths of the runs of (n,) bool, those of False at even places."""
    return np.diff(np.append(np.zeros(int(flat[0]) + 1, np.int64), np.append(_starts(flat)[1:], len(flat))))


def _filled(counts: Sequence[int], size: int) -> np.ndarray:
    """The inverse of `_alternating`: (size,) bool."""
    lengths = _integers(counts)
    if len(lengths) and lengths.min() < 0:
        raise ValueError(f"a run has {lengths.min()} pixels")
    # Longer ones are refused one by one, so that the sum cannot overflow.
    if not len(lengths) or lengths.max() > size or lengths.sum() != size:
        raise ValueError(f"its runs do not have {size} pixels, as its box does")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)


def _integers(values: Sequence[int]) -> np.ndarray:
    if not set(map(type, values)) <= {int}:
        raise ValueError("its runs are not all whole numbers")
    try:
        return np.array(values, np.int64)
    except OverflowError:
        raise ValueError("a run has more pixels than any image") from None
