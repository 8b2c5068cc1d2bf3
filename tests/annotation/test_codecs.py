"""The run-length codecs: by hand, against slow references, for random masks, and with damaged input."""

import numpy as np
import pytest

from ralseg.annotation.formats import codecs


def masks(count, seed=0):
    """Random masks of odd sizes: noise, discs with holes, stripes, one pixel, empty, full."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        height, width = rng.integers(1, 41, 2).tolist()
        y, x = np.mgrid[:height, :width]
        distance = np.hypot(y - rng.integers(height), x - rng.integers(width))
        outer = rng.uniform(0, 25)
        yield [
            rng.random((height, width)) < rng.random(),
            (distance < outer) & (distance > outer / 2),
            (y // 3 + x // 5) % 2 == number % 2,
            (y == y[-1, -1]) & (x == 0),
            np.zeros((height, width), bool),
            np.ones((height, width), bool),
        ][number % 6]


def alternating(flat):
    """The lengths of runs, beginning with zeros, counted pixel by pixel."""
    counts, now = [0], 0
    for value in flat:
        if value != now:
            counts.append(0)
            now = value
        counts[-1] += 1
    return counts


def compressed(counts):
    """COCO's text, character by character as its C library writes it."""
    text = ""
    for position, count in enumerate(counts):
        rest, more = count - (counts[position - 2] if position > 2 else 0), True
        while more:
            group, rest = rest & 31, rest >> 5
            more = rest != (-1 if group & 16 else 0)
            text += chr(group + 48 + 32 * more)
    return text


RING = np.array([[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 0, 1, 0], [0, 1, 1, 1, 0]], bool)


def test_cvat_by_hand():
    assert codecs.cvat_encode(RING) == ("0, 4, 1, 4", (1, 1, 3, 3))
    assert codecs.cvat_encode(~RING[:, :2]) == ("0, 3, 1, 1, 1, 1, 1", (0, 0, 4, 2))
    assert codecs.cvat_encode(np.zeros((2, 2), bool)) == ("1", (0, 0, 1, 1))
    assert (codecs.cvat_decode("0,4,1,4", (1, 1, 3, 3), (4, 5)) == RING).all()


def test_coco_by_hand():
    assert codecs.coco_encode(RING) == [5, 3, 1, 1, 1, 1, 1, 3, 4]
    assert codecs.coco_encode(np.ones((2, 3), bool)) == [0, 6]
    # What pycocotools.mask.encode writes for the ring, and for a square of 50 in 100 x 100 pixels.
    assert codecs.coco_pack([5, 3, 1, 1, 1, 1, 1, 3, 4]) == "531N00023"
    square = np.zeros((100, 100), bool)
    square[10:60, 20:70] = True
    assert codecs.coco_pack(codecs.coco_encode(square)) == "jn1b1b1" + "0" * 97 + "^m2"
    assert (codecs.coco_decode([5, 3, 1, 1, 1, 1, 1, 3, 4], (4, 5)) == RING).all()


def test_brush_by_hand():
    # 4 values; values of 8 bits; runs of 3, 4, 8 and 16 bits; one run: same, kind 0, 4 - 1, value 255.
    bits = f"{4:032b}" + "00111" + "0010" + "0011" + "0111" + "1111" + "1" + "00" + "011" + "11111111"
    expected = [int(bits[place : place + 8].ljust(8, "0"), 2) for place in range(0, len(bits), 8)]
    assert codecs.brush_encode(np.ones((1, 1), bool)) == expected
    assert codecs.brush_decode(expected, (1, 1)).tolist() == [[255]]


def test_brush_reads_single_values():
    bits = f"{8:032b}" + "00111" + "0010" + "0011" + "0111" + "1111"
    bits += "0" + "00" + "011" + "".join(f"{value:08b}" for value in (1, 2, 3, 127))
    bits += "0" + "01" + "0011" + "".join(f"{value:08b}" for value in (1, 2, 3, 128))
    rle = [int(bits[place : place + 8].ljust(8, "0"), 2) for place in range(0, len(bits), 8)]
    assert codecs.brush_decode(rle, (1, 2)).tolist() == [[127, 128]]


def test_long_runs_are_split():
    for size in (65536 // 4, 65536 // 4 + 1, 3 * 65536 // 4, 100_003):
        mask = np.ones((1, size), bool)
        assert (codecs.brush_decode(codecs.brush_encode(mask), mask.shape) == 255).all()


def test_random_masks_come_back():
    for mask in masks(300):
        rle, box = codecs.cvat_encode(mask)
        assert (codecs.cvat_decode(rle, box, mask.shape) == mask).all()
        counts = codecs.coco_encode(mask)
        assert counts == alternating(mask.ravel("F"))
        assert codecs.coco_pack(counts) == compressed(counts)
        assert codecs.coco_unpack(codecs.coco_pack(counts)) == counts
        assert (codecs.coco_decode(counts, mask.shape) == mask).all()
        assert (codecs.brush_decode(codecs.brush_encode(mask), mask.shape) == 255 * mask).all()
        y, x, height, width = box
        if mask.any():
            assert [int(count) for count in rle.split(", ")] == alternating(mask[y : y + height, x : x + width].ravel())


def test_large_counts_are_packed():
    counts = np.random.default_rng(0).integers(0, 2**31, 200).tolist()
    assert codecs.coco_pack(counts) == compressed(counts)
    assert codecs.coco_unpack(codecs.coco_pack(counts)) == counts


@pytest.mark.parametrize(
    ("rle", "box", "message"),
    [
        ("0, 9", (0, 0, 2, 4), "do not have 8 pixels"),
        ("3, 4", (0, 0, 2, 4), "do not have 8 pixels"),
        ("-1, 9", (0, 0, 2, 4), "a run has -1 pixels"),
        ("9999999999999999999, 0", (0, 0, 2, 4), "more pixels than any image"),
        ("8.0", (0, 0, 2, 4), "not whole numbers"),
        ("nan", (0, 0, 2, 4), "not whole numbers"),
        ("", (0, 0, 2, 4), "not whole numbers"),
        ("0," * 100 + "8", (0, 0, 2, 4), "more runs than the 8 pixels"),
        ("8", (0, 0, 4, 8), "leaves the image"),
        ("8", (-1, 0, 2, 4), "leaves the image"),
        ("0", (0, 0, 0, 4), "leaves the image"),
        ("4000000000", (0, 0, 40000, 100000), "leaves the image"),
    ],
)
def test_damaged_cvat(rle, box, message):
    with pytest.raises(ValueError, match=message):
        codecs.cvat_decode(rle, box, (3, 5))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([], "do not have 15 pixels"),
        ([14], "do not have 15 pixels"),
        ([10**18, 10**18], "do not have 15 pixels"),
        ([16, -1], "a run has -1 pixels"),
        ([10**30], "more pixels than any image"),
        ([7.5, 7.5], "not all whole numbers"),
        ([True, 14], "not all whole numbers"),
        (["15"], "not all whole numbers"),
        ([[15]], "not all whole numbers"),
    ],
)
def test_damaged_counts(counts, message):
    with pytest.raises(ValueError, match=message):
        codecs.coco_decode(counts, (3, 5))


@pytest.mark.parametrize("text", ["", "é", "p", "0\n", "o", "0o", "/"])
def test_damaged_text(text):
    with pytest.raises(ValueError, match="not COCO's compressed text"):
        codecs.coco_unpack(text)


def test_a_number_without_end():
    with pytest.raises(ValueError, match="more than 35 bits"):
        codecs.coco_unpack("o" * 100 + "0")


WHOLE = codecs.brush_encode(np.ones((3, 5), bool))


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ([], "not a list of bytes"),
        (WHOLE[:3], "not a list of bytes"),
        ([*WHOLE[:-1], 256], "not a list of bytes"),
        ([*WHOLE[:-1], -1], "not a list of bytes"),
        ([*WHOLE[:-1], 1.5], "not all whole numbers"),
        ([*WHOLE[:-1], None], "not all whole numbers"),
        ([255, 255, 255, 255, *WHOLE[4:]], "has 4294967295 values, not 60"),
        (WHOLE[:-1], "ends early"),
        ([*WHOLE, 0, 0], "goes on after the last pixel"),
        ([*WHOLE[:4], 0, *WHOLE[5:]], "values of 1 bits"),
        ([*codecs.brush_encode(np.ones((4, 5), bool))[:3], 60, *codecs.brush_encode(np.ones((4, 5), bool))[4:]],
         "more pixels than the image"),
    ],
)  # fmt: skip
def test_damaged_brush(rle, message):
    with pytest.raises(ValueError, match=message):
        codecs.brush_decode(rle, (3, 5))
