"""The looks of the clips: each has a neighbourhood, a season and a time of day."""

from dataclasses import dataclass

from ralseg.segmentation.datasets.street_canvas import Color, Span


@dataclass(frozen=True)
class Look:
    """The look of a clip: a neighbourhood, a season and a time of day. Pairs of numbers are ranges.

    Attributes:
        horizon: height of the vanishing point as a share of the picture's height.
        road, pavement: metres from the middle to the kerb, and from the kerb to the houses.
        storeys: storeys of a house.
        walls: colours of houses.
        gap: share of plots without a house.
        trees, cars, people, riders, signs, fences: mean number per image.
        bare: whether trees have lost their leaves.
        sky: colours at the horizon and overhead.
        asphalt, paving: colours of the ground.
        tint: the factor of each colour channel.
        lit: whether windows are lit.
        shadow: share of pictures with a cast shadow.
        noise: strength of the sensor noise, in 64ths.
        blur: number of passes of a 3x3 blur.
    """

    horizon: Span
    road: Span
    pavement: Span
    storeys: Span
    walls: tuple[Color, ...]
    gap: float
    trees: float
    bare: bool
    cars: float
    people: float
    riders: float
    signs: float
    fences: float
    sky: tuple[Color, Color]
    asphalt: Color
    paving: Color
    tint: Color
    lit: bool
    shadow: float
    noise: int
    blur: int


BRICK = ((146, 92, 72), (168, 122, 96), (120, 84, 74), (186, 168, 140))
STONE = ((168, 160, 146), (196, 188, 170), (134, 130, 124), (110, 108, 108))
PLASTER = ((205, 190, 160), (190, 150, 120), (170, 176, 180), (214, 206, 196))
CONCRETE = ((128, 130, 132), (98, 104, 112), (150, 148, 142), (84, 92, 104))

LOOKS = {
    "brick": Look(
        horizon=(0.46, 0.55), road=(2.5, 3.5), pavement=(2.4, 4.4), storeys=(1.2, 3.1), walls=BRICK,
        gap=0.2, trees=1.1, bare=False, cars=2.6, people=2.4, riders=0.34, signs=0.98, fences=0.55,
        sky=((190, 205, 222), (120, 160, 205)), asphalt=(104, 104, 106), paving=(150, 142, 134),
        tint=(1.0, 0.99, 0.95), lit=False, shadow=0.35, noise=3, blur=1,
    ),
    "stone": Look(
        horizon=(0.44, 0.53), road=(2.7, 3.9), pavement=(2.8, 4.8), storeys=(1.4, 3.6), walls=STONE,
        gap=0.14, trees=0.9, bare=False, cars=2.7, people=3.0, riders=0.22, signs=0.90, fences=0.44,
        sky=((222, 224, 226), (196, 202, 208)), asphalt=(92, 94, 98), paving=(134, 132, 130),
        tint=(0.92, 0.95, 1.0), lit=False, shadow=0.05, noise=5, blur=1,
    ),
    "suburb": Look(
        horizon=(0.46, 0.55), road=(2.7, 3.7), pavement=(2.2, 3.6), storeys=(1.2, 2.4), walls=PLASTER,
        gap=0.4, trees=1.8, bare=False, cars=2.0, people=1.3, riders=0.22, signs=0.67, fences=0.88,
        sky=((206, 216, 230), (110, 150, 210)), asphalt=(122, 120, 116), paving=(164, 156, 146),
        tint=(1.06, 1.02, 0.92), lit=False, shadow=0.6, noise=3, blur=1,
    ),
    "avenue": Look(
        horizon=(0.46, 0.53), road=(3.4, 4.8), pavement=(3.0, 5.0), storeys=(2.0, 4.6), walls=CONCRETE,
        gap=0.18, trees=2.0, bare=True, cars=3.3, people=2.4, riders=0.22, signs=1.20, fences=0.5,
        sky=((204, 206, 206), (168, 176, 186)), asphalt=(84, 86, 92), paving=(126, 124, 122),
        tint=(0.94, 0.96, 1.02), lit=False, shadow=0.2, noise=5, blur=2,
    ),
    "dusk": Look(
        horizon=(0.43, 0.53), road=(2.6, 3.7), pavement=(2.8, 5.0), storeys=(1.2, 3.1), walls=(*STONE, *BRICK),
        gap=0.26, trees=2.5, bare=True, cars=2.4, people=2.3, riders=0.24, signs=0.98, fences=0.44,
        sky=((224, 214, 212), (140, 154, 192)), asphalt=(86, 84, 92), paving=(118, 110, 112),
        tint=(0.82, 0.78, 0.79), lit=True, shadow=0.1, noise=7, blur=2,
    ),
}  # fmt: skip
"""Clip -> its look. "dusk" differs from the others in light, noise and sharpness."""
