"""Class names and colours of the benchmarks, in the order of their ids, and the ids in Cityscapes' label files."""

import cv2
import numpy as np

CAMVID = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
"""CamVid's 11 classes in SegNet's order (Brostow et al. 2009; Badrinarayanan et al. 2017)."""

CITYSCAPES = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}
"""Cityscapes' 19 classes in the order of their trainIds (Cordts et al. 2016)."""

CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The ids of these classes in label files (labelIds), in the same order."""

CITYSCAPES_VOID = (0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30, 34)
"""The other labelIds, which are not evaluated: unlabelled, static, parking, bridge, trailer and so on; 34 is licence
plates."""

VOC = {
    "background": (0, 0, 0),
    "aeroplane": (128, 0, 0),
    "bicycle": (0, 128, 0),
    "bird": (128, 128, 0),
    "boat": (0, 0, 128),
    "bottle": (128, 0, 128),
    "bus": (0, 128, 128),
    "car": (128, 128, 128),
    "cat": (64, 0, 0),
    "chair": (192, 0, 0),
    "cow": (64, 128, 0),
    "diningtable": (192, 128, 0),
    "dog": (64, 0, 128),
    "horse": (192, 0, 128),
    "motorbike": (64, 128, 128),
    "person": (192, 128, 128),
    "pottedplant": (0, 64, 0),
    "sheep": (128, 64, 0),
    "sofa": (0, 192, 0),
    "train": (128, 192, 0),
    "tvmonitor": (0, 64, 128),
}
"""PASCAL VOC's 21 classes in the order of their ids in label files, with the colours of its palette."""


def colors_of(palette: dict[str, tuple[int, int, int]]) -> np.ndarray:
    """The palette's colours, uint8 (C, 3)."""
    return np.array(list(palette.values()), np.uint8)


def spread_colors(count: int) -> np.ndarray:
    """Clearly different colours, uint8 (count, 3), 1 to 255 of them.

    Each is as far as can be in CIELAB from those before it, and from black and white.
    """
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    rgb = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = cv2.cvtColor(rgb[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]

    def distance(of: int) -> np.ndarray:
        return np.linalg.norm(lab - lab[of], axis=1)

    nearest, chosen = np.minimum(distance(0), distance(len(rgb) - 1)), []
    for _ in range(count):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, distance(chosen[-1]))
    return rgb[chosen]
