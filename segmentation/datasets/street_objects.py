"""The objects of a street, each drawn by one function from its place, its size and its colour."""

import numpy as np

from ralseg.segmentation.datasets.street_canvas import CAMERA_HEIGHT, Canvas, Color, Dice, Span, rgb

SKIN = ((224, 186, 160), (180, 130, 100), (110, 75, 55))
CLOTHES = ((40, 45, 60), (90, 40, 40), (50, 80, 60), (150, 150, 150), (190, 170, 60), (60, 70, 130), (170, 60, 50))
CARS = ((30, 32, 36), (90, 94, 100), (170, 172, 176), (225, 225, 225), (140, 30, 30), (40, 60, 120), (60, 85, 60))
METAL = ((95, 98, 100), (60, 62, 64), (150, 150, 150), (60, 75, 65))
LEAVES = ((62, 88, 40), (45, 70, 38), (92, 104, 52), (110, 92, 48))
GLASS = (38, 46, 56)
RUBBER = (24, 24, 26)
SIGNS = ((190, 40, 40), (40, 80, 170), (225, 225, 220), (220, 190, 50), (40, 120, 70))


def tree(canvas: Canvas, dice: Dice, x: float, z: float, height: float, bare: bool) -> None:
    """A trunk and a crown of overlapping discs, or of branches if bare."""
    bark = dice.color(((78, 62, 48), (95, 85, 72)))
    canvas.bar((x, 0, z), (x, 0.55 * height, z), 0.035 * height + 0.08, bark, "tree")
    leaves = dice.choice(LEAVES)
    radius = 0.17 * height
    for step in range(6 if bare else 16):
        dx, dy = dice.uniform(-0.3, 0.3) * height, dice.uniform(0.42, 0.92) * height
        if bare:
            canvas.bar((x, 0.4 * height, z), (x + dx, dy + 0.1 * height, z), 0.02 * height, bark, "tree")
        color = rgb(channel + dice.uniform(-22, 10) + 2 * step for channel in leaves)
        canvas.disc(x + dx, dy, z, radius * dice.uniform(0.5, 0.75 if bare else 1.1), color, "tree")


def pole(canvas: Canvas, dice: Dice, x: float, z: float, height: float, arm: float) -> None:
    """A lamp post with an arm of `arm` metres."""
    color = dice.color(METAL)
    canvas.bar((x, 0, z), (x, height, z), 0.15, color, "pole")
    canvas.bar((x, height, z), (x + arm, height + 0.15, z), 0.09, color, "pole")
    canvas.upright((x + 0.7 * arm, x + 1.1 * arm), (height, height + 0.14), z, (215, 210, 190), "pole")


def sign(canvas: Canvas, dice: Dice, x: float, z: float) -> None:
    """A round, triangular or rectangular sign on its pole."""
    y, size, color = dice.uniform(2.1, 2.9), dice.uniform(0.32, 0.55), dice.color(SIGNS)
    canvas.bar((x, 0, z), (x, y, z), 0.09, dice.color(METAL), "pole")
    inner = dice.color(((230, 230, 225), (40, 80, 170), (200, 60, 50)))
    form = dice.choice(("round", "triangle", "board"))
    if form == "round":
        canvas.disc(x, y, z, size, color, "sign")
        canvas.disc(x, y, z, 0.7 * size, inner)
    elif form == "triangle":
        for share, shade, part in ((1.2, color, "sign"), (0.75, inner, None)):
            r = share * size
            canvas.face([(x - r, y - 0.6 * r, z), (x + r, y - 0.6 * r, z), (x, y + r, z)], shade, part)
    else:
        wide = dice.uniform(0.8, 1.8)
        canvas.upright((x - wide * size, x + wide * size), (y - size, y + size), z, color, "sign")
        canvas.upright((x - 0.8 * wide * size, x + 0.8 * wide * size), (y - 0.2 * size, y + 0.2 * size), z, inner)


def traffic_light(canvas: Canvas, dice: Dice, x: float, z: float) -> None:
    """A dark box with three lamps, of which one is lit."""
    canvas.bar((x, 0, z), (x, 3.0, z), 0.13, dice.color(METAL), "pole")
    canvas.upright((x - 0.26, x + 0.26), (2.3, 3.5), z, (30, 32, 30), "light")
    lit = dice.choice((0, 1, 2))
    for lamp, color in enumerate(((60, 220, 120), (240, 180, 50), (240, 60, 50))):
        on = 1.0 if lamp == lit else 0.25
        canvas.disc(x, 2.5 + 0.4 * lamp, z, 0.15, rgb(on * channel for channel in color))


def fence(canvas: Canvas, dice: Dice, x: float, z: Span, height: float) -> None:
    """A fence along the street: boards, or rails and bars with gaps between them."""
    color = dice.color((*METAL, (120, 90, 60), (200, 195, 180)))
    corners = [(x, 0, z[0]), (x, height, z[0]), (x, height, z[1]), (x, 0, z[1])]
    quad = canvas.project(corners)
    boards = dice.chance(0.45)
    canvas.polygons([quad], canvas.shade(color, sum(z) / 2) if boards else None, "fence")
    dark = rgb(channel - 28 for channel in color) if boards else color
    step = dice.uniform(0.25, 0.6)
    # Evenly spaced in metres; far bars closer than a pixel merge into a grey band, as they do in a photograph.
    for bar in np.arange(z[0], min(z[1], z[0] + 60 * step), step):
        canvas.bar((x, 0, bar), (x, height, bar), 0.05, dark)
    for share in (0.15, 0.95):
        canvas.bar((x, share * height, z[0]), (x, share * height, z[1]), 0.06, dark)


def flat(canvas: Canvas, x: Span, y: float, z: Span, color: Color, part: str | None = None) -> None:
    """A level rectangle at height y."""
    canvas.face([(x[0], y, z[0]), (x[1], y, z[0]), (x[1], y, z[1]), (x[0], y, z[1])], color, part)


def flank(canvas: Canvas, x: Span, y: Span, z: Span, color: Color, part: str | None = None) -> None:
    """The side of a box that the camera sees; none if the box is straight ahead."""
    if x[0] > 0 or x[1] < 0:
        side = x[0] if x[0] > 0 else x[1]
        canvas.face([(side, y[0], z[0]), (side, y[1], z[0]), (side, y[1], z[1]), (side, y[0], z[1])], color, part)


def box(canvas: Canvas, x: Span, y: Span, z: Span, color: Color, part: str) -> None:
    """A box: the top and the side where they show, then the face towards the camera."""
    if y[1] < CAMERA_HEIGHT:
        flat(canvas, x, y[1], z, rgb(1.1 * channel for channel in color), part)
    flank(canvas, x, y, z, rgb(0.75 * channel for channel in color), part)
    canvas.upright(x, y, z[0], color, part)


def car(canvas: Canvas, dice: Dice, x: float, z: float, towards: bool) -> None:
    """A car that drives or parks along the street, seen from behind or from the front."""
    color = dice.color(CARS, 12)
    wide, long, tall = dice.uniform(1.65, 1.9) / 2, dice.uniform(3.6, 4.8), dice.uniform(1.35, 1.75)
    back, waist = z + long, 0.58 * tall
    flat(canvas, (x - wide - 0.12, x + wide + 0.12), 0.0, (z, back), (36, 36, 40))
    for depth in (back - 0.8, z + 0.8):
        for side in (x - wide, x + wide):
            canvas.upright((side - 0.12, side + 0.12), (0, 0.6), depth, RUBBER, "car")
    box(canvas, (x - wide, x + wide), (0.22, waist), (z, back), color, "car")
    roof = 0.82 * wide
    box(canvas, (x - roof, x + roof), (waist, tall), (z + 0.5, back - 0.9), color, "car")
    glass = dice.color((GLASS, (70, 84, 96)), 8)
    flank(canvas, (x - roof, x + roof), (waist + 0.06, tall - 0.1), (z + 0.8, back - 1.2), glass)
    canvas.upright((x - 0.86 * roof, x + 0.86 * roof), (waist + 0.05, tall - 0.1), z + 0.5, glass)
    lamp = (235, 230, 205) if towards else (150, 25, 25)
    for share in (-0.82, 0.82):
        canvas.upright((x + share * wide - 0.14, x + share * wide + 0.14), (0.5, 0.68), z, lamp)
    canvas.upright((x - 0.26, x + 0.26), (0.34, 0.46), z, (225, 220, 170))


def large_vehicle(canvas: Canvas, dice: Dice, x: float, z: float, part: str) -> None:
    """A truck, a bus or a tram ("train")."""
    wide, tall = 1.25, dice.uniform(2.7, 3.3)
    far = z + {"truck": 6.5, "bus": 10.0, "train": 22.0}[part]
    color = dice.color(((170, 40, 40), (210, 205, 190), (50, 90, 140), (200, 160, 60)))
    flat(canvas, (x - wide, x + wide), 0.0, (z, far), (34, 34, 38))
    for side in (-wide, wide):
        canvas.upright((x + side - 0.2, x + side + 0.2), (0, 0.9), z + 1, RUBBER, part)
    box(canvas, (x - wide, x + wide), (0.35, tall), (z, far), color, part)
    if part != "truck":
        canvas.upright((x - 0.85 * wide, x + 0.85 * wide), (0.5 * tall, 0.82 * tall), z, GLASS)
        flank(canvas, (x - wide, x + wide), (0.5 * tall, 0.8 * tall), (z + 1, far - 1), GLASS)
    for share in (-0.8, 0.8):
        canvas.upright((x + share * wide - 0.15, x + share * wide + 0.15), (0.5, 0.75), z, (160, 30, 30))


def person(canvas: Canvas, dice: Dice, x: float, z: float, part: str = "pedestrian", seat: float = 0.0) -> None:
    """A person who walks, or with a seat (metres above the road) one who rides."""
    tall = dice.uniform(1.5, 1.9)
    top, trousers = dice.color(CLOTHES), dice.color(CLOTHES)
    hip = max(0.47 * tall, seat)
    shoulder = hip + 0.34 * tall
    stride = 0.0 if seat else dice.uniform(0.05, 0.3)
    for foot in (-stride, stride):
        low = 0.3 if seat else 0.0
        canvas.bar((x + foot, low, z), (x + 0.25 * foot, hip, z), 0.16, trousers, part)
    wide = dice.uniform(0.19, 0.27)
    lean = dice.uniform(0.05, 0.3) if seat else 0.0
    torso = [(x - wide, hip, z), (x + wide, hip, z), (x + lean + wide, shoulder, z), (x + lean - wide, shoulder, z)]
    canvas.face(torso, top, part)
    for side in (-1, 1):
        hand = (x + lean + side * (wide + dice.uniform(0, 0.12)), hip + 0.05, z)
        canvas.bar((x + lean + side * wide, shoulder - 0.05, z), hand, 0.11, top, part)
    canvas.disc(x + lean, shoulder + 0.16, z, 0.14, dice.color(SKIN), part)
    canvas.disc(x + lean, shoulder + 0.21, z, 0.12, dice.color(((40, 30, 25), (120, 90, 50), (30, 30, 40))), part)


def two_wheeler(canvas: Canvas, dice: Dice, x: float, z: float, motor: bool, ridden: bool) -> None:
    """A bicycle or a motorcycle across or along the line of sight, with or without its rider."""
    part = "motorcycle" if motor else "bicycle"
    half, radius = dice.uniform(0.12, 0.55), 0.34
    color = dice.color(((30, 30, 34), (150, 40, 40), (60, 80, 140), (180, 180, 180)))
    for side in (-half, half):
        canvas.ring(x + side, radius, z, radius, 0.2 if motor else 0.07, RUBBER, part)
    frame = 0.3 if motor else 0.07
    canvas.bar((x - half, radius, z), (x + 0.8 * half, 0.8, z), frame, color, part)
    canvas.bar((x + half, radius, z), (x + 0.7 * half, 1.05, z), 0.07, color, part)
    canvas.bar((x - half, radius, z), (x, 0.85, z), frame, color, part)
    if ridden:
        person(canvas, dice, x, z, "rider", seat=0.85)


def clutter(canvas: Canvas, dice: Dice, x: float, z: float) -> None:
    """Bins, boxes, stalls and prams, which benchmarks leave unlabelled."""
    wide, tall = dice.uniform(0.25, 0.9), dice.uniform(0.6, 1.7)
    color = dice.color(((60, 70, 60), (120, 110, 90), (150, 60, 50), (70, 90, 120)))
    box(canvas, (x - wide, x + wide), (0, tall), (z, z + 1.2), color, "void")
    dark = rgb(0.6 * channel for channel in color)
    canvas.upright((x - 0.8 * wide, x + 0.8 * wide), (0.6 * tall, 0.75 * tall), z, dark)
