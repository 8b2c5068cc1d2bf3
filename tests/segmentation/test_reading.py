"""Images and labels of every kind are read as they are meant, or refused; checked against a reader of its own."""

import struct
import zlib

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from ralseg.foundation import RalsegError
from ralseg.segmentation.datasets import IGNORE, Folder
from ralseg.segmentation.datasets.images import MAX_PIXELS, read_rgb
from ralseg.segmentation.datasets.masks import read_mask
from tests.segmentation.naive_reader import naive_image, naive_label

COLORS = {0: (128, 64, 128), 1: (0, 0, 142), 2: (70, 130, 180)}


def write_png(path, samples, bits, kind, palette=()):
    """A PNG of any kind and depth, by hand: samples (H, W, channels), one of the five filters in each row."""
    height, width, channels = samples.shape
    lines, step = [], max(1, channels * bits // 8)
    above = bytes(-(-width * channels * bits // 8))
    for y in range(height):
        flat = samples[y].ravel()
        if bits == 16:
            line = flat.astype(">u2").tobytes()
        else:
            line = np.packbits(((flat[:, None] >> np.arange(bits)[::-1]) & 1).astype(np.uint8).ravel()).tobytes()
        method = y % 3
        left = bytes(step) + line
        less = [bytes(len(line)), left, above][method]
        lines.append(bytes([method]) + bytes((a - b) % 256 for a, b in zip(line, less, strict=False)))
        above = line
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))]
    if palette:
        parts.append((b"PLTE", b"".join(bytes(color) for color in palette)))
    parts += [(b"IDAT", zlib.compress(b"".join(lines))), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in parts]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def folder(root, classes=None, more=None, size=(5, 7), names=("a", "b")):
    """A folder of black images and labels of class 0; returns its root."""
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(root / f"images/{name}.png"), np.zeros((*size, 3), np.uint8))
        cv2.imwrite(str(root / f"labels/{name}.png"), np.zeros(size, np.uint8))
    entries = classes or [{"name": f"c{i}", "id": i} for i in COLORS]
    (root / "classes.yaml").write_text(yaml.safe_dump({"classes": entries} | (more or {})))
    return root


def colored(ids=True):
    return [{"name": f"c{i}", "color": list(color)} | ({"id": i} if ids else {}) for i, color in COLORS.items()]


class TestImages:
    @pytest.mark.parametrize(
        ("kind", "bits", "channels"),
        [
            *((0, bits, 1) for bits in (1, 2, 4, 8, 16)),
            *((3, bits, 1) for bits in (1, 2, 4, 8)),
            *((kind, bits, channels) for kind, channels in ((2, 3), (4, 2), (6, 4)) for bits in (8, 16)),
        ],
    )
    def test_every_kind_of_png(self, tmp_path, kind, bits, channels):
        rng = np.random.default_rng(kind * 100 + bits)
        samples = rng.integers(0, 2**bits, (6, 11, channels))
        if kind in (4, 6):
            samples[..., -1] = 2**bits - 1
        palette = rng.integers(0, 256, (2**bits, 3)).tolist() if kind == 3 else ()
        write_png(tmp_path / "x.png", samples, bits, kind, palette)
        np.testing.assert_array_equal(read_rgb(tmp_path / "x.png", depth=16), naive_image(tmp_path / "x.png"))

    def test_twelve_of_sixteen_bits(self, tmp_path):
        values = np.array([[0, 1, 16, 2048, 4095]])[..., None]
        write_png(tmp_path / "x.png", values, 16, 0)
        assert read_rgb(tmp_path / "x.png", depth=12)[0, :, 0].tolist() == [0, 0, 1, 128, 255]
        with pytest.raises(RalsegError, match=r"x\.png: 16 bits per channel, and nothing says .* depth: 12"):
            read_rgb(tmp_path / "x.png")
        with pytest.raises(RalsegError, match=r"the value 4095 is above 1023, .* set depth to 12 or more"):
            read_rgb(tmp_path / "x.png", depth=10)

    def test_eight_bits_times_257_are_themselves(self, tmp_path):
        grey = np.arange(256).reshape(16, 16, 1)
        write_png(tmp_path / "x.png", 257 * grey, 16, 0)
        np.testing.assert_array_equal(read_rgb(tmp_path / "x.png", depth=16), np.repeat(grey, 3, 2))

    @pytest.mark.parametrize(("kind", "bits"), [(4, 8), (6, 8), (6, 16)])
    def test_transparent_pixels_are_refused(self, tmp_path, kind, bits):
        samples = np.full((4, 5, 4 if kind == 6 else 2), 2**bits - 1)
        samples[1, 2, -1] -= 1
        write_png(tmp_path / "x.png", samples, bits, kind)
        with pytest.raises(RalsegError, match=r"x\.png: 5 % of the pixels are transparent"):
            read_rgb(tmp_path / "x.png", depth=16)

    def test_transparent_colours_of_palettes_are_refused_where_they_are_used(self, tmp_path):
        image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
        image.putpalette([9, 8, 7, 6, 5, 4, 3, 2, 1])
        image.save(tmp_path / "x.png", transparency=2)
        assert read_rgb(tmp_path / "x.png").tolist() == [[[9, 8, 7], [6, 5, 4]]]
        image.save(tmp_path / "x.png", transparency=1)
        with pytest.raises(RalsegError, match="50 % of the pixels are transparent"):
            read_rgb(tmp_path / "x.png")

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("suffix", ["png", "jpg"])
    def test_exif_orientation(self, tmp_path, orientation, suffix):
        exif = Image.Exif()
        exif[274] = orientation
        rng = np.random.default_rng(orientation)
        path = tmp_path / f"x.{suffix}"
        Image.fromarray(rng.integers(0, 256, (4, 6, 3), np.uint8)).save(path, exif=exif)
        shown = read_rgb(path)
        assert shown.shape == ((6, 4, 3) if orientation >= 5 else (4, 6, 3))
        np.testing.assert_array_equal(shown, naive_image(path))
        np.testing.assert_array_equal(read_rgb(path, turn=False), np.asarray(Image.open(path)))

    def test_cmyk(self, tmp_path):
        inks = np.zeros((8, 8, 4), np.uint8)
        inks[..., 0] = 255
        Image.fromarray(inks, "CMYK").save(tmp_path / "x.jpg", quality=100)
        # Cyan ink on white paper; Adobe's files hold it inverted.
        np.testing.assert_allclose(read_rgb(tmp_path / "x.jpg")[4, 4], [0, 255, 255], atol=2)
        plain = (tmp_path / "x.jpg").read_bytes()
        at = plain.index(b"\xff\xee")
        (tmp_path / "x.jpg").write_bytes(plain[:at] + plain[at + 2 + int.from_bytes(plain[at + 2 : at + 4], "big") :])
        with pytest.raises(RalsegError, match="a CMYK image that does not say whether its inks are inverted"):
            read_rgb(tmp_path / "x.jpg")

    def test_other_formats_are_refused(self, tmp_path):
        for kind in ("TIFF", "BMP", "GIF", "WEBP"):
            Image.new("RGB", (4, 4)).save(tmp_path / "x.png", format=kind)
            with pytest.raises(RalsegError, match=r"x\.png: not a PNG or JPEG image that can be read; replace"):
                read_rgb(tmp_path / "x.png")

    def test_large_images_need_a_word(self, tmp_path, monkeypatch):
        Image.new("L", (100, 50)).save(tmp_path / "x.png")
        monkeypatch.setenv(MAX_PIXELS, "4999")
        with pytest.raises(RalsegError, match=rf"x\.png: 50 x 100 .* more than the 4999 .* set .*{MAX_PIXELS} to 5000"):
            read_rgb(tmp_path / "x.png")
        monkeypatch.setenv(MAX_PIXELS, "5000")
        assert read_rgb(tmp_path / "x.png").shape == (50, 100, 3)
        monkeypatch.setenv(MAX_PIXELS, "many")
        with pytest.raises(RalsegError, match=f"{MAX_PIXELS} is 'many'; give a number of pixels"):
            read_rgb(tmp_path / "x.png")

    def test_animations_are_refused(self, tmp_path):
        Image.new("RGB", (4, 4)).save(
            tmp_path / "x.png", save_all=True, append_images=[Image.new("RGB", (4, 4), "red")]
        )
        with pytest.raises(RalsegError, match=r"x\.png: an animation of several pictures"):
            read_rgb(tmp_path / "x.png")

    def test_unreadable_files_are_named(self, tmp_path, monkeypatch):
        Image.new("RGB", (4, 4)).save(tmp_path / "x.png")

        def closed(*_, **__):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Image, "open", closed)
        with pytest.raises(RalsegError, match=r"x\.png: cannot be read \(Permission denied\); allow reading it"):
            read_rgb(tmp_path / "x.png")

    @pytest.mark.parametrize("kind", ["RGBA", "L", "P", "1", "I;16"])
    def test_half_of_a_file(self, tmp_path, kind):
        rng = np.random.default_rng(0)
        source = Image.fromarray(rng.integers(0, 65536 if kind == "I;16" else 256, (64, 64)).astype(
            np.uint16 if kind == "I;16" else np.uint8))  # fmt: skip
        (source if kind == "I;16" else source.convert(kind)).save(tmp_path / "x.png")
        data = (tmp_path / "x.png").read_bytes()
        (tmp_path / "x.png").write_bytes(data[: len(data) // 2])
        for read in (lambda path: read_rgb(path, depth=16), read_mask):
            with pytest.raises(RalsegError, match=r"x\.png: .*; replace the file"):
                read(tmp_path / "x.png")

    def test_damage_of_any_byte_is_one_error(self, tmp_path):
        rng = np.random.default_rng(0)
        exif = Image.Exif()
        exif[274] = 6
        for name, image in {
            "x.jpg": Image.fromarray(rng.integers(0, 256, (16, 24, 3), np.uint8)),
            "x.png": Image.fromarray(rng.integers(0, 4, (16, 24), np.uint8), "P"),
            "y.png": Image.fromarray(rng.integers(0, 65536, (16, 24), np.uint16)),
        }.items():
            path = tmp_path / name
            if name == "x.png":
                image.putpalette(list(range(12)))
            image.save(path, **({} if name == "y.png" else {"exif": exif}))
            whole = path.read_bytes()
            for _ in range(150):
                changed = bytearray(whole)
                for place in rng.integers(0, len(whole), 3):
                    changed[place] = rng.integers(256)
                path.write_bytes(changed)
                for read in (lambda path: read_rgb(path, depth=16), read_mask):
                    try:
                        assert read(path) is not None
                    except RalsegError as error:
                        assert name in str(error) and "\n" not in str(error)


class TestLabels:
    @pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
    @pytest.mark.parametrize("kind", [0, 3])
    def test_numbers_are_ids(self, tmp_path, kind, bits):
        if kind == 3 and bits == 16:
            return
        rng = np.random.default_rng(bits)
        used = rng.permutation(min(2**bits, 60000))[:3].tolist() if bits > 1 else [1, 0]
        root = folder(tmp_path / "field", [{"name": f"c{i}", "id": i} for i in used], {"ignore": 65535})
        path = root / "labels/a.png"
        samples = rng.choice(np.array(used), (5, 7, 1))
        palette = rng.integers(0, 256, (2**bits, 3)).tolist() if kind == 3 else ()
        write_png(path, samples, bits, kind, palette)
        label = Folder(root).load("a")[1]
        np.testing.assert_array_equal(label, naive_label(path, {id_: i for i, id_ in enumerate(used)}, {}))
        assert len(np.unique(label)) == len(used)

    def test_ids_above_255(self, tmp_path):
        classes = [{"name": "a", "id": 300}, {"name": "b", "id": 7}]
        root = folder(tmp_path / "field", classes, {"ignore": 0})
        write_png(root / "labels/a.png", np.array([[[300], [7], [0], [0], [7], [7], [300]]] * 5), 16, 0)
        assert Folder(root).load("a")[1][0].tolist() == [0, 1, IGNORE, IGNORE, 1, 1, 0]
        write_png(root / "labels/a.png", np.full((5, 7, 1), 44), 16, 0)
        with pytest.raises(RalsegError, match="unknown class id 44 at y=0, x=0; the known ids are 0, 7, 300"):
            Folder(root).load("a")

    @pytest.mark.parametrize("kind", [2, 6])
    def test_colours(self, tmp_path, kind):
        root = folder(tmp_path / "field", colored(ids=False), {"ignore_color": [1, 1, 1]})
        colors = {tuple(color): i for i, color in COLORS.items()} | {(1, 1, 1): IGNORE}
        rng = np.random.default_rng(3)
        samples = np.array([*colors])[rng.integers(0, 4, (5, 7))]
        if kind == 6:
            samples = np.concatenate([samples, np.full((5, 7, 1), 255)], 2)
        write_png(root / "labels/a.png", samples, 8, kind)
        label = Folder(root).load("a")[1]
        np.testing.assert_array_equal(label, naive_label(root / "labels/a.png", {}, colors))
        assert set(np.unique(label)) == {0, 1, 2, IGNORE}
        samples[2, 3, :3] = 9
        write_png(root / "labels/a.png", samples, 8, kind)
        with pytest.raises(RalsegError, match=r"the colour \[9, 9, 9\] at y=2, x=3 is that of no class"):
            Folder(root).load("a")

    def test_colours_without_classes_colours(self, tmp_path):
        root = folder(tmp_path / "field")
        write_png(root / "labels/a.png", np.zeros((5, 7, 3), int), 8, 2)
        with pytest.raises(
            RalsegError, match=r"export ids in one channel, or give each class its color .*labelmap\.txt"
        ):
            Folder(root).load("a")

    def test_two_classes_of_one_colour(self, tmp_path):
        classes = [{"name": "a", "color": [1, 2, 3]}, {"name": "b", "color": [1, 2, 3]}]
        root = folder(tmp_path / "field", classes)
        write_png(root / "labels/a.png", np.zeros((5, 7, 3), int), 8, 2)
        with pytest.raises(RalsegError, match=r"classes\.yaml: two classes, or .* have the colour \[1, 2, 3\]"):
            Folder(root).load("a")

    def test_a_sorted_palette_keeps_its_meaning(self, tmp_path):
        root = folder(tmp_path / "field", colored())
        rng = np.random.default_rng(1)
        samples = rng.integers(0, 3, (5, 7, 1))
        palette = [COLORS[i] for i in range(3)]
        write_png(root / "labels/a.png", samples, 8, 3, palette)
        before = Folder(root).load("a")[1]
        order = np.array([2, 0, 1])
        write_png(root / "labels/a.png", order[samples], 8, 3, [palette[i] for i in order.argsort()])
        np.testing.assert_array_equal(Folder(root).load("a")[1], before)
        np.testing.assert_array_equal(before, samples[..., 0])

    def test_void_in_a_palette(self, tmp_path):
        root = folder(tmp_path / "field", colored(), {"ignore": 3})
        samples = np.arange(35).reshape(5, 7, 1) % 4
        write_png(root / "labels/a.png", samples, 8, 3, [*COLORS.values(), (224, 224, 192)])
        np.testing.assert_array_equal(Folder(root).load("a")[1], np.where(samples == 3, IGNORE, samples)[..., 0])
        write_png(root / "labels/a.png", (samples + 1) % 4, 8, 3, [(224, 224, 192), *COLORS.values()])
        with pytest.raises(RalsegError, match=r"index 0 at y=0, x=3 is \[224, 224, 192\], that of no .*palette: ids"):
            Folder(root).load("a")
        folder(root, colored(), {"ignore_color": [224, 224, 192]})
        write_png(root / "labels/a.png", (samples + 1) % 4, 8, 3, [(224, 224, 192), *COLORS.values()])
        np.testing.assert_array_equal(Folder(root).load("a")[1], np.where(samples == 3, IGNORE, samples)[..., 0])

    def test_palettes_that_differ(self, tmp_path):
        root = folder(tmp_path / "field")
        write_png(root / "labels/a.png", np.zeros((5, 7, 1), int), 8, 3, [(1, 1, 1), (2, 2, 2), (3, 3, 3)])
        write_png(root / "labels/b.png", np.zeros((5, 7, 1), int), 8, 3, [(1, 1, 1)])
        Folder(root)
        write_png(root / "labels/b.png", np.zeros((5, 7, 1), int), 8, 3, [(1, 1, 1), (3, 3, 3)])
        with pytest.raises(RalsegError, match=r"b\.png: index 1 of the palette is \[3, 3, 3\], in .*a\.png it is \["):
            Folder(root)
        folder(root, more={"palette": "ids"})
        write_png(root / "labels/b.png", np.ones((5, 7, 1), int), 8, 3, [(1, 1, 1), (3, 3, 3)])
        assert (Folder(root).load("b")[1] == 1).all()

    def test_labelmap_of_cvat(self, tmp_path):
        root = folder(tmp_path / "field")
        (root / "classes.yaml").unlink()
        lines = ["# label:color_rgb:parts:actions", "background:0,0,0::", "road:128,64,128::", "car:0,0,142:wheel:park"]
        (root / "labelmap.txt").write_text("\n".join(lines))
        colors = np.array([(0, 0, 0), (128, 64, 128), (0, 0, 142)])
        places = np.arange(35).reshape(5, 7) % 3
        for name in "ab":
            write_png(root / f"labels/{name}.png", colors[places], 8, 2)
        dataset = Folder(root)
        assert dataset.classes == ("road", "car")
        np.testing.assert_array_equal(dataset.load("a")[1], np.array([IGNORE, 0, 1])[places])
        (root / "classes.yaml").write_text("[{name: car}, {name: background}, {name: road}]")
        np.testing.assert_array_equal(Folder(root).load("a")[1], np.array([1, 2, 0])[places])
        (root / "labelmap.txt").write_text("road:1,2\n")
        with pytest.raises(RalsegError, match=r"labelmap\.txt, line 1: 'road:1,2'; give each label once"):
            Folder(root)

    def test_masks_of_0_and_255(self, tmp_path):
        classes = [{"name": "rest", "id": 0}, {"name": "road", "id": 255}]
        root = folder(tmp_path / "field", classes)
        cv2.imwrite(str(root / "labels/a.png"), np.array([[0, 255, 0, 255, 0, 0, 0]] * 5, np.uint8))
        assert Folder(root).load("a")[1][0].tolist() == [0, 1, 0, 1, 0, 0, 0]

    def test_names_are_what_was_typed(self, tmp_path):
        root = folder(tmp_path / "field", names=("0000", "0001"))
        text = "classes: [{name: no, id: 0}, {name: off, id: 1}, {name: 007, id: 2}]\n"
        (root / "classes.yaml").write_text("\ufeff" + text + "subsets: {train: [0000], val: list.txt}\n", "utf-8")
        (root / "list.txt").write_text("\ufeff0001\n", "utf-8")
        dataset = Folder(root)
        assert dataset.classes == ("no", "off", "007")
        assert dataset.subsets == {"train": ("0000",), "val": ("0001",)}

    @pytest.mark.parametrize(("orientation", "size"), [(6, (4, 6)), (3, (4, 6)), (6, (5, 5))])
    def test_labels_of_turned_images(self, tmp_path, orientation, size):
        root = folder(tmp_path / "field", size=size)
        exif = Image.Exif()
        exif[274] = orientation
        image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(image).save(root / "images/a.png", exif=exif)
        if size == (4, 6) and orientation == 6:
            with pytest.raises(RalsegError, match=r"a\.png: the label is 4 x 6 .* EXIF orientation 6 .*`exif: ignore`"):
                Folder(root).load("a")
            cv2.imwrite(str(root / "labels/a.png"), np.zeros((6, 4), np.uint8))
            assert Folder(root).notes == ()
            np.testing.assert_array_equal(Folder(root).load("a")[0], np.rot90(image, -1))
            folder(root, more={"exif": "ignore"}, size=size, names=("b",))
            with pytest.raises(RalsegError, match=r"its EXIF orientation 6 is not applied; .* take `exif: ignore` out"):
                Folder(root).load("a")
        else:
            assert (
                "1 images are turned by an EXIF orientation, and their labels fit either way: a;"
                in Folder(root).notes[0]
            )
            folder(root, more={"exif": "ignore"}, size=size, names=("b",))
            assert Folder(root).notes == ()
            np.testing.assert_array_equal(Folder(root).load("a")[0], image)


class TestFiles:
    def test_sub_folders_system_files_and_suffixes(self, tmp_path):
        root = folder(tmp_path / "field")
        for part in ("images", "labels"):
            (root / part / "sub").mkdir()
            (root / part / f"{part[0]}a.png").unlink(missing_ok=True)
        cv2.imwrite(str(root / "images/sub/c.JPG"), np.zeros((5, 7, 3), np.uint8))
        cv2.imwrite(str(root / "labels/sub/c.PNG"), np.zeros((5, 7), np.uint8))
        for name in ("._a.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
            (root / "images" / name).write_bytes(b"system")
            (root / "labels" / name).write_bytes(b"system")
        (root / "images/notes.txt").write_text("x")
        (root / "images/d.tif").write_text("x")
        dataset = Folder(root)
        assert dataset.names == ("a", "b", "sub/c")
        assert (dataset.load("sub/c")[1] == 0).all()
        assert dataset.notes == ("left out of images/, as neither PNG nor JPEG: d.tif, notes.txt (2 in all)",)

    def test_suffixes_of_labels(self, tmp_path):
        root = folder(tmp_path / "field")
        (root / "labels/a.png").rename(root / "labels/a_mask.png")
        message = r"a_mask\.png: it belongs to no image, and a has no label; .* `label_suffix: _mask`"
        with pytest.raises(RalsegError, match=message):
            Folder(root)
        (root / "labels/b.png").rename(root / "labels/b_mask.png")
        folder_settings = (root / "classes.yaml").read_text()
        (root / "classes.yaml").write_text(folder_settings + "label_suffix: _mask\n")
        assert (Folder(root).load("b")[1] == 0).all()

    def test_stray_labels_are_noted(self, tmp_path):
        root = folder(tmp_path / "field")
        cv2.imwrite(str(root / "labels/z.png"), np.zeros((5, 7), np.uint8))
        assert Folder(root).notes == ("labels that belong to no image are left out: z (1 in all)",)

    def test_no_labels_at_all(self, tmp_path):
        root = folder(tmp_path / "field")
        for name in "ab":
            (root / f"labels/{name}.png").unlink()
        with pytest.raises(RalsegError, match=r"labels/a\.png: no image has a label"):
            Folder(root)

    def test_lists_stay_in_the_folder(self, tmp_path):
        (tmp_path / "secret.txt").write_text("a\n")
        for listed in ("../secret.txt", str(tmp_path / "secret.txt")):
            root = folder(tmp_path / "field", more={"subsets": {"train": listed}})
            with pytest.raises(RalsegError, match=r"the list of subset train is outside of .*field; move it"):
                Folder(root)

    def test_names_that_cannot_be_printed(self, tmp_path):
        root = folder(tmp_path / "field", names=("a", "b\nc"))
        with pytest.raises(RalsegError, match=r"a name that cannot be printed; rename the file"):
            Folder(root)
