"""How the parts of a step grow with K, N, the images in D_R, the image size, the classes and the pool."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ralseg.benchmarks.generated import GeneratedStore
from ralseg.benchmarks.measure import alternate
from ralseg.envs import Game, GameOptions, Pool, draw_candidates
from ralseg.envs.candidates import Draw
from ralseg.features import ObservationSpec, kl_histogram, linear_edges
from ralseg.foundation import RalsegError, generator
from ralseg.segmentation.learners import LearnerImages, LearnOptions, SupervisedLearner
from ralseg.segmentation.networks import SmallFPN

ROUNDS = 5


@dataclass(frozen=True)
class Growth:
    """One row of the table.

    Attributes:
        part: the part of a step that is measured.
        against: the quantity that grows.
        asked: the exponent of the requested work itself.
        sizes: values of that quantity, each the same multiple of the one before.
        make: a size -> the call to be measured.
    """

    part: str
    against: str
    asked: int
    sizes: tuple[int, ...]
    make: Callable[[int], Callable[[], Any]]


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """Measure the CPU seconds of each part at each size, and the exponent of their growth.

    Args:
        overrides: must be empty, as everything is generated.
        share: share of the full sizes, above 0 and at most 1.

    Raises:
        RalsegError: if there are overrides.
    """
    if overrides:
        raise RalsegError(f"growth takes no overrides, everything in it is generated; leave out {' '.join(overrides)}")
    found = []
    for row in growths(share):
        works = {str(size): row.make(size) for size in row.sizes}
        for work in works.values():
            work()
        seconds = [min(rounds) for rounds in alternate(works, ROUNDS).values()]
        line = {"part": row.part, "against": row.against, "sizes": row.sizes, "seconds": seconds}
        found.append(line | {"exponent": exponent(row.sizes, seconds), "asked": row.asked})
    return {"growth": found}


def rows(found: dict[str, Any]) -> list[list[Any]]:
    """One line for each part: smallest and largest size with their CPU seconds, its exponent and the work's own."""
    table = [["part", "against", "from", "to", "seconds", "to", "exponent", "asked"]]
    for line in found["growth"]:
        ends = [line["sizes"][0], line["sizes"][-1], line["seconds"][0], line["seconds"][-1]]
        table.append([line["part"], line["against"], *ends, line["exponent"], line["asked"]])
    return table


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The p of `seconds = a + b * sizes ** p`, fitted as the slope of the log increments over the log sizes.

    With sizes in geometric progression the increments are proportional to `sizes ** p`, whatever the constant a. The
    fit weighs each increment by its own size, because small ones drown in noise. Seconds that do not grow give 0.

    Args:
        sizes: three sizes or more, each the same multiple of the one before.
        seconds: the seconds at each size.
    """
    starts, increments = np.asarray(sizes[:-1], float), np.diff(seconds)
    growing = increments > 0
    if growing.sum() < 2 or increments[growing].sum() < 0.1 * seconds[0]:
        return 0.0
    steps = increments[growing]
    return float(np.polyfit(np.log(starts[growing]), np.log(steps), 1, w=np.sqrt(steps / steps.max()))[0])


def growths(share: float) -> list[Growth]:
    """All rows, at a share of their full sizes."""

    def sizes(least: int) -> tuple[int, ...]:
        return tuple(max(2, round(least * share)) * 2**doubling for doubling in range(4))

    # Sides are 3 : 4, and each area is four times the one before.
    areas = tuple(12288 * 4**step for step in range(4 if share == 1 else 3))
    return [
        Growth("KL among candidates", "K x N", 2, sizes(3200), lambda n: kl(n, n)),
        Growth("KL to labelled units", "labelled units", 1, sizes(3200), lambda n: kl(480, n)),
        Growth("50 draws, clustered", "images in the pool", 1, sizes(2000), lambda n: draw(n, "clustered")),
        Growth("50 draws, uniform", "images in the pool", 1, sizes(2000), lambda n: draw(n, "uniform")),
        Growth("observation", "K", 1, sizes(24), lambda k: observation(slates=k)),
        Growth("observation", "N", 1, sizes(20), lambda n: observation(candidates=n)),
        Growth("observation", "classes", 1, sizes(20), lambda classes: observation(classes=classes)),
        Growth("observation", "pixels of an image", 1, areas, lambda area: observation(area=area)),
        Growth("reward", "images in D_R", 1, sizes(32), lambda n: reward(images=n)),
        Growth("reward", "classes", 1, sizes(20), lambda classes: reward(classes=classes)),
        Growth("reward", "pixels of an image", 1, areas, lambda area: reward(area=area)),
        Growth("reset and turn", "K", 1, sizes(24), turn),
    ]


def kl(candidates: int, references: int) -> Callable[[], Any]:
    """A call that computes KL histograms of random shares of 19 classes."""
    rng = generator(0, "growth")
    own, others = (rng.dirichlet(np.full(19, 0.3), n).astype(np.float32) for n in (candidates, references))
    return lambda: kl_histogram(own, others, linear_edges())


def draw(images: int, kind: Draw) -> Callable[[], Any]:
    """A call that draws 24 x 20 of `images` x 128 units for fifty turns; one draw alone is too short to be measured."""
    pool = Pool(GeneratedStore(images, (96, 128)), range(images), (12, 8))
    return lambda: [draw_candidates(pool, 24, 20, kind, 0, turn) for turn in range(50)]


def observation(**sizes: int) -> Callable[[], Any]:
    """A call that computes one turn's observation: forward passes, unit features and KL of state and candidates."""
    game = generated_game(**sizes)
    return lambda: game.view().observation


def reward(**sizes: int) -> Callable[[], Any]:
    """A call that evaluates D_R: forward passes and the confusion matrix."""
    return generated_game(**sizes).evaluate_reward


def turn(slates: int) -> Callable[[], Any]:
    """A call that resets a game and plays its first turn, in which the learner takes a fixed number of steps."""
    game = generated_game(slates=slates)

    def play() -> None:
        game.reset(0)
        game.step(np.zeros(slates, np.int64))

    return play


def generated_game(
    slates: int = 24, candidates: int = 4, images: int = 16, classes: int = 19, area: int = 49152
) -> Game:
    """A partial game on generated images of 16 units, with a pool that is just large enough.

    Args:
        slates: K.
        candidates: N.
        images: number of images in D_R.
        classes: number of classes.
        area: pixels of an image, 192 times a square number.
    """
    height, width = (side * round((area / 12) ** 0.5) for side in (3, 4))
    state, pooled = 4, slates * candidates // 16 + 2
    store = GeneratedStore(state + pooled + images, (height, width), classes)
    torch.manual_seed(0)
    learner = SupervisedLearner(SmallFPN(classes), LearnerImages(store), LearnOptions(cut="partial"))
    places = np.split(np.arange(len(store)), [state, state + pooled])
    pool = Pool(store, places[1].tolist(), (height // 4, width // 4))
    options = GameOptions(slates=slates, candidates=candidates, budget=slates * candidates)
    spec = ObservationSpec.preset("compact", classes)
    game = Game(learner, pool, places[0].tolist(), places[2].tolist(), spec, options)
    game.reset(0)
    return game
