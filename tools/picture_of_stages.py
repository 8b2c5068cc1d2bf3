"""Draws docs/pictures/two_stages.png: a turn of two-stage eDALD on drawn streets, stage by stage.

uv run tools/picture_of_stages.py
"""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ralseg.agents.acquisitions import make
from ralseg.configs import composed
from ralseg.envs import World
from ralseg.evaluation.pictures import COLOURS, STYLE
from ralseg.foundation import generator

OUT = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "two_stages.png"
SETTINGS = ["experiment=two_stage_edald", "dataset=streets", "game.slates_per_image=0.4"]
TURNS, IMAGES = 3, 3
TITLES = (
    "150 candidates of each image",
    "1a: the 25 that cover these best",
    "1b: of those of all images, the\nhalf that covers them best",
    "2: of these, the highest entropy\nplus disagreement under noise",
)


def main() -> None:
    """Play some turns, and draw the last one on the images from which most was chosen."""
    world = World(composed("evaluate_policy", SETTINGS))
    game = world.game("compare", observed=False)
    coverage = make("max_herding", embedding="source", prefilter=0)
    score = make("edald", noise={"kind": "noisy_image", "draws": 5})
    game.reset(0)
    for turn in range(TURNS):
        rng = generator(0, "picture", turn)
        every = game.view((*coverage.needs, *score.needs), observed=False)
        seen = every.only_for(coverage.needs)
        of_images = seen.narrowed(lambda image, rng=rng: coverage.select(image.unslated(), 25, rng))
        half = of_images.take(np.sort(coverage.select(of_images.unslated(), len(of_images) // 2, rng)))
        last = half.only_for(score.needs)
        chosen = last.take(score.select(last, every.choices, rng))
        stages = [each.units for each in (every, of_images, half, chosen)]
        # The last turn is only looked at.
        if turn < TURNS - 1:
            game.step(every.places[np.searchsorted(every.units, chosen.units)])
    with matplotlib.rc_context(STYLE):
        _figure(world, game.pool, stages).savefig(OUT)


def _figure(world: World, pool, stages: list[np.ndarray]) -> Figure:
    places, counts = np.unique(pool.locate(stages[-1])[0], return_counts=True)
    shown = places[np.argsort(-counts, kind="stable")[:IMAGES]]
    figure = Figure(figsize=(11, 1.95 * len(shown) + 0.6), layout="constrained")
    for row, (line, place) in enumerate(zip(figure.subplots(len(shown), len(stages)), shown, strict=True)):
        photograph = world.dataset.load(world.store.names[pool.images[place]])[0]
        for axis, units, title, colour in zip(line, stages, TITLES, ("#808080", *COLOURS[:3]), strict=True):
            _draw(axis, photograph, pool.boxes(units[pool.locate(units)[0] == place]), colour)
            axis.set_title(title if row == 0 else "", fontsize=9)
    return figure


def _draw(axis: Axes, photograph: np.ndarray, boxes: np.ndarray, colour: str) -> None:
    axis.imshow(photograph, alpha=0.6)
    size = 9 if len(boxes) > 30 else 22
    axis.scatter(boxes[:, 1], boxes[:, 0], s=size, color=colour, edgecolors="white", linewidths=0.4)
    axis.axis("off")


if __name__ == "__main__":
    main()
