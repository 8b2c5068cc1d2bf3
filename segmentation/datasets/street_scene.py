"""The composition of a street: sky, ground, the houses on both sides, and everything that stands in between."""

from collections.abc import Callable

import cv2
import numpy as np

from ralseg.segmentation.datasets import street_objects as things
from ralseg.segmentation.datasets.street_canvas import Canvas, Color, Dice, Span, rgb
from ralseg.segmentation.datasets.street_looks import Look

FAR = 140.0

PARTS = (
    "sky", "building", "wall", "pole", "road", "pavement", "tree", "terrain", "sign", "light", "fence", "car", "truck",
    "bus", "train", "motorcycle", "bicycle", "pedestrian", "rider", "void",
)  # fmt: skip
"""All parts that are drawn; a variant of the data set assigns each to a class."""

GRAIN = {
    "sky": (2, 5),
    "tree": (26, 30),
    "terrain": (18, 16),
    "road": (10, 10),
    "pavement": (12, 10),
    "building": (9, 12),
}
"""Part -> strength of fine grain and of blotches, in 64ths; other parts have (6, 6)."""


def draw_street(look: Look, size: tuple[int, int], ids: dict[str, int], rng: np.random.Generator):
    """Draw one street.

    Args:
        look: the look of the clip.
        size: (height, width).
        ids: part -> id in the label, for all of `PARTS`.
        rng: the generator of everything that is random in this image.

    Returns:
        image uint8 (H, W, 3) RGB, label uint8 (H, W).
    """
    dice = Dice(rng)
    canvas = Canvas(size, (dice.uniform(*look.horizon), dice.uniform(0.38, 0.62)), look.sky[0], ids)
    left, right = -dice.uniform(*look.road), dice.uniform(*look.road)
    paths = left - dice.uniform(*look.pavement), right + dice.uniform(*look.pavement)
    _sky(canvas, dice, look)
    _ground(canvas, dice, look, (left, right), paths)
    for x in paths:
        _side(canvas, dice, look, x)
    _inhabit(canvas, dice, look, (left, right), paths)
    shadow = None
    if dice.chance(look.shadow):
        edge, reach = dice.choice(((paths[0], right), (paths[1], left))), dice.uniform(0.2, 0.8)
        middle = edge[0] + reach * (edge[1] - edge[0])
        far = dice.uniform(25, FAR)
        shadow = canvas.project([(edge[0], 1.5, 2), (middle, 0, 2), (middle, 0, far), (edge[0], 1.5, far)])
    grain = np.full((2, 256), 6, np.int16)
    for part, strength in GRAIN.items():
        grain[:, ids[part]] = strength
    tint = rgb(channel * dice.uniform(0.86, 1.12) for channel in (1.0,) * 3)
    level = dice.uniform(0.88, 1.1)
    tint = rgb(level * (0.8 + 0.2 * own) * channel for own, channel in zip(tint, look.tint, strict=True))
    return canvas.finish(grain, tint, shadow, look.noise, look.blur, dice), canvas.label


def _sky(canvas: Canvas, dice: Dice, look: Look) -> None:
    low, high = (np.array(color) for color in look.sky)
    share = np.clip(1 - np.arange(canvas.height) / canvas.horizon, 0, 1)[:, None]
    canvas.image[:] = (low + share * (high - low)).astype(np.uint8)[:, None]
    canvas.label[:] = canvas.ids["sky"]
    unit = canvas.height / 100
    for _ in range(dice.count(3)):
        x, y = dice.uniform(0, canvas.width), dice.uniform(0, 0.8 * canvas.horizon)
        white = rgb(np.minimum(low + 14, 255).tolist())
        for _ in range(6):
            center = int(x + dice.uniform(-14, 14) * unit), int(y + dice.uniform(-2, 2) * unit)
            cv2.circle(canvas.image, center, int(dice.uniform(2, 6) * unit), white, -1)
    x = -60.0
    while x < 60:
        wide, tall = dice.uniform(4, 14), dice.uniform(2, 11)
        part = "tree" if dice.chance(0.4) else "building"
        color = dice.color(things.LEAVES if part == "tree" else look.walls)
        canvas.upright((x, x + wide), (0, tall), FAR, color, part)
        x += wide


def _ground(canvas: Canvas, dice: Dice, look: Look, road: Span, paths: Span) -> None:
    horizon = round(canvas.horizon)
    canvas.image[horizon:] = dice.color(((88, 100, 60), (104, 98, 74), look.paving))
    canvas.label[horizon:] = canvas.ids["terrain"]

    def strip(left: float, right: float, near: float, far: float, color: Color, part: str | None = None) -> None:
        canvas.polygons(
            [canvas.project([(left, 0, near), (right, 0, near), (right, 0, far), (left, 0, far)])], color, part
        )

    paving, asphalt = dice.color((look.paving,), 12), dice.color((look.asphalt,), 12)
    strip(paths[0], paths[1], 1.7, FAR, paving, "pavement")
    for z in range(3, 30):
        for edge, path in zip(road, paths, strict=True):
            canvas.bar((edge, 0, z), (path, 0, z), 0.02, rgb(channel - 16 for channel in paving))
    for edge, path in zip(road, paths, strict=True):
        if dice.chance(look.gap):
            inner = path + dice.uniform(0.2, 0.5) * (edge - path)
            strip(path, inner, 1.7, FAR, dice.color(((88, 104, 56), (104, 98, 70))), "terrain")
    strip(road[0], road[1], 1.7, FAR, asphalt, "road")
    for edge in road:
        canvas.bar((edge, 0, 1.7), (edge, 0, FAR), 0.12, rgb(channel + 25 for channel in paving))
    for _ in range(dice.count(3)):
        x, z, shift = dice.uniform(*road), dice.uniform(4, 40), dice.uniform(-26, 14)
        strip(x, min(x + dice.uniform(0.4, 2), road[1]), z, z + dice.uniform(0.5, 6), rgb(c + shift for c in asphalt))
    center, white = sum(road) / 2, dice.color(((205, 205, 200),))
    if dice.chance(0.75):
        start = dice.uniform(0, 6)
        for dash in range(14):
            strip(center - 0.07, center + 0.07, start + 6 * dash, start + 6 * dash + 3, white)
    for edge in road:
        if dice.chance(0.4):
            inner = edge - 0.35 if edge > 0 else edge + 0.35
            strip(inner - 0.06, inner + 0.06, 1.7, FAR, dice.choice((white, (205, 175, 70))))
    if dice.chance(0.15):
        z = dice.uniform(7, 22)
        for x in np.arange(road[0] + 0.3, road[1] - 0.5, 1.0):
            strip(x, x + 0.5, z, z + 3, white)


def _side(canvas: Canvas, dice: Dice, look: Look, x: float) -> None:
    """Buildings, walls and gardens along one side, from far to near."""
    z = FAR
    while z > 2:
        near = max(z - dice.uniform(7, 20), 1.7)
        if dice.chance(look.gap):
            _garden(canvas, dice, look, x, near, z)
        else:
            _building(canvas, dice, look, x, near, z)
        z = near if near > 1.7 else 0.0


def _garden(canvas: Canvas, dice: Dice, look: Look, x: float, near: float, far: float) -> None:
    away = 1.0 if x > 0 else -1.0
    deep = x + away * dice.uniform(6, 14)
    canvas.upright((deep, deep + away * 18), (0, dice.uniform(3, 9)), far, dice.color(look.walls), "building")
    for _ in range(2):
        height = dice.uniform(3, 6.5)
        things.tree(
            canvas, dice, x + away * dice.uniform(1.5, 5), dice.uniform(max(near, 4), far + 2), height, look.bare
        )
    if dice.chance(look.fences):
        things.fence(canvas, dice, x, (near, far), dice.uniform(0.9, 1.9))
    elif dice.chance(0.7):
        tall, color = dice.uniform(0.8, 2.2), dice.color(look.walls)
        canvas.face([(x, 0, near), (x, tall, near), (x, tall, far), (x, 0, far)], color, "wall")


def _building(canvas: Canvas, dice: Dice, look: Look, x: float, near: float, far: float) -> None:
    storeys = max(1, round(dice.uniform(*look.storeys)))
    tall = 3.1 * storeys + 0.8
    wall = dice.color(look.walls)
    dim = 0.86 if x > 0 else 1.0
    away = x + (9.0 if x > 0 else -9.0)
    front = rgb(0.92 * channel for channel in wall)
    canvas.upright((x, away), (0, tall), near, front, "building")
    wall = rgb(dim * channel for channel in wall)
    canvas.face([(x, 0, near), (x, tall, near), (x, tall, far), (x, 0, far)], wall, "building")
    eaves = rgb(0.7 * channel for channel in wall)
    canvas.face([(x, tall - 0.4, near), (x, tall, near), (x, tall, far), (x, tall - 0.4, far)], eaves)
    first = 0
    if dice.chance(0.35):
        first = 1
        shop = dice.color(((60, 60, 66), (110, 60, 50), (60, 80, 70), (150, 140, 120)))
        canvas.face([(x, 0.3, near), (x, 2.7, near), (x, 2.7, far), (x, 0.3, far)], shop)
        if dice.chance(0.15):
            board = dice.color(things.SIGNS)
            canvas.face([(x, 2.7, near), (x, 3.3, near), (x, 3.3, far), (x, 2.7, far)], board, "sign")
    step = dice.uniform(1.8, 3.2)
    columns = np.arange(near + 0.5, far - 1.2, step)
    rows = 3.1 * np.arange(first, storeys) + 1.0
    if len(columns) and len(rows) and canvas.scale(near) * 1.2 > 3:
        z, y = (grid.ravel() for grid in np.meshgrid(columns, rows))
        wide, high = 0.5 * step, dice.uniform(1.2, 1.7)
        offsets = np.array([(0, 0), (0, high), (wide, high), (wide, 0)])
        corners = np.stack([np.full((len(z), 4), x), y[:, None] + offsets[:, 1], z[:, None] + offsets[:, 0]], -1)
        night = (200, 180, 120) if look.lit else (70, 80, 92)
        glass = dice.color(((52, 60, 70), (84, 96, 108), (40, 44, 50), night))
        canvas.polygons(canvas.project(corners), canvas.shade(glass, (near + far) / 2))


def _inhabit(canvas: Canvas, dice: Dice, look: Look, road: Span, paths: Span) -> None:
    """Everything that stands on the ground, drawn from far to near."""
    present = []

    def put(count: int, z: Span, draw: Callable[[float], None]) -> None:
        # Uniform in 1/z, which is the picture's row: as many things stand in the lower rows as in the upper ones.
        for _ in range(count):
            depth = z[0] / (1 - dice.uniform(0, 1) * (1 - z[0] / z[1]))
            present.append((depth, draw))

    def path() -> float:
        side = dice.choice((0, 1))
        return dice.uniform(*sorted((road[side], paths[side])))

    def kerb() -> float:
        side = dice.choice((0, 1))
        return road[side] + (0.4 if side else -0.4)

    def vehicle(z: float) -> None:
        kind, towards = dice.uniform(0, 1), dice.chance(0.5)
        lane = (0.5 if not towards else -0.5) * min(-road[0], road[1]) + sum(road) / 2
        x = lane if dice.chance(0.4) else (road[1] - 1.1 if dice.chance(0.5) else road[0] + 1.1)
        if kind < 0.06:
            part = "truck" if kind < 0.025 else "bus" if kind < 0.045 else "train"
            things.large_vehicle(canvas, dice, x, z + 6, part)
        else:
            things.car(canvas, dice, x, z, towards)

    def fence(z: float) -> None:
        side, long = dice.choice((0, 1)), dice.uniform(4, 14)
        x = road[side] + (0.2 if side else -0.2)
        things.fence(canvas, dice, x, (z, z + long), dice.uniform(0.9, 1.2))

    def pole(z: float) -> None:
        things.pole(canvas, dice, kerb(), z, dice.uniform(5, 8), dice.uniform(-1.6, 1.6))

    def tree(z: float) -> None:
        things.tree(canvas, dice, kerb(), z, dice.uniform(4.5, 9), look.bare)

    def cyclist(z: float) -> None:
        things.two_wheeler(canvas, dice, dice.uniform(*road), z, motor=False, ridden=True)

    def parked(z: float) -> None:
        things.two_wheeler(canvas, dice, kerb(), z, motor=dice.chance(0.5), ridden=dice.chance(0.4))

    put(dice.count(look.trees), (9, 90), tree)
    put(dice.count(look.cars), (6.5, 80), vehicle)
    put(dice.count(1.3), (7, 80), pole)
    put(dice.count(look.signs), (7, 50), lambda z: things.sign(canvas, dice, kerb(), z))
    put(dice.count(0.5), (9, 50), lambda z: things.traffic_light(canvas, dice, kerb(), z))
    put(dice.count(look.people), (7, 60), lambda z: things.person(canvas, dice, path(), z))
    put(dice.count(0.25), (8, 40), lambda z: things.person(canvas, dice, dice.uniform(*road), z))
    put(dice.count(look.riders), (7, 40), cyclist)
    put(dice.count(0.2), (8, 40), parked)
    put(dice.count(look.fences), (7, 40), fence)
    put(dice.count(3.6), (6, 40), lambda z: things.clutter(canvas, dice, path(), z))
    for z, draw in sorted(present, key=lambda pair: -pair[0]):
        draw(z)
