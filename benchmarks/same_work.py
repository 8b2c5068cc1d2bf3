"""A step of the RALIS game, phase by phase: this project against the operations of the released code."""

from collections import deque
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ralseg.agents.query_network import PublishedQueryNetwork
from ralseg.benchmarks.measure import configured, convolution_rate, cpu_seconds, forget_predictions
from ralseg.benchmarks.reference_step import ReferenceStep
from ralseg.envs import Game, Pool, World, draw_candidates
from ralseg.features import ObservationSpec, released_true_shares
from ralseg.foundation import RalsegError, generator, integer
from ralseg.segmentation.devices import Precision
from ralseg.segmentation.labels import PartialLabels
from ralseg.segmentation.learners import LearnerImages, SupervisedLearner
from ralseg.segmentation.networks import SegmentationNetwork

DEFAULTS = (
    "dataset.images=510",
    "network=ralis_fpn",
    "input_scale=1.0",
    "features=published",
    "game=full",
    "game.slates=24",
    "game.candidates=10",
    "game.learn.steps=1",
    "game.learn.batch=24",
    "game.learn.crops.size=[224,224]",
)
STATE, POOL, REWARD = 10, 100, 101
ROUNDS = 2
PHASES = ("features", "choice", "training", "reward")
PRECISIONS: dict[str, Precision] = {"fp32": "float32", "bf16": "bfloat16"}


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """Measure the CPU seconds of each phase in the reference row and in ours, and the processor's convolution rate.

    Args:
        overrides: of `train_agent.yaml`; they take precedence over `DEFAULTS`.
        share: share of the images of D_R, above 0 and at most 1.
    """
    work = SameWork(World(configured(DEFAULTS, overrides)), share)
    sides = {"reference": ReferenceRow(work), **{name: OurRow(work, kind) for name, kind in PRECISIONS.items()}}
    rounds: dict[str, dict[str, list[float]]] = {name: {phase: [] for phase in PHASES} for name in sides}
    for _ in range(ROUNDS):
        for side in sides.values():
            side.start()
        for phase in PHASES:
            for name, side in sides.items():
                rounds[name][phase].append(cpu_seconds(getattr(side, phase)))
    seconds = {name: {phase: median(phases[phase]) for phase in PHASES} for name, phases in rounds.items()}
    step = {name: sum(phases.values()) for name, phases in seconds.items()}
    gflop = work.gflop()
    rates = {name: forward_rates(sides[name].game, kind, gflop["forward"]) for name, kind in PRECISIONS.items()}
    return {
        "images": {"candidates": len(work.images), "state": len(work.state), "reward": len(work.reward)},
        "gflop": gflop,
        "seconds": seconds,
        "seconds_of_rounds": rounds,
        "step_seconds": step,
        **{f"speedup_{name}": step["reference"] / step[name] for name in PRECISIONS},
        **{f"share_{name}": rates[name]["forward"] / rates[name]["convolution"] for name in PRECISIONS},
        "gflop_per_second": rates,
    }


def rows(found: dict[str, Any]) -> list[list[Any]]:
    """CPU seconds of the phases, the speed-up, and the forward passes' share of the rate of a bare convolution."""
    table = [["CPU seconds", *PHASES, "step", "speed-up", "forward GFLOP/s", "convolution GFLOP/s", "share"]]
    for name, phases in found["seconds"].items():
        line = [name, *phases.values(), found["step_seconds"][name], found.get(f"speedup_{name}", 1.0)]
        rates = found["gflop_per_second"].get(name)
        table.append(line + ([*rates.values(), found[f"share_{name}"]] if rates else ["", "", ""]))
    return table


def passes(game: Game, images: Sequence[int]) -> None:
    """The forward passes of images, and nothing else."""
    forget_predictions(game)
    deque(game.learner.predict(images), maxlen=0)


def forward_rates(game: Game, precision: str, gflop: float) -> dict[str, float]:
    """GFLOP/s of the learner's forward passes and of a convolution, measured by turns; medians of three.

    Args:
        game: the game whose D_R is predicted.
        precision: precision of its learner and of the convolution.
        gflop: operations of the forward pass of one image, in 10^9.
    """
    images = game.reward[:32]
    found = [
        (
            gflop * len(images) / cpu_seconds(lambda: passes(game, images)),
            convolution_rate(getattr(torch, precision)),
        )
        for _ in range(3)
    ]
    return dict(zip(("forward", "convolution"), map(median, zip(*found, strict=True)), strict=True))


class SameWork:
    """The second turn of a game, which all rows play alike.

    The first candidate of each slate is bought, so that all rows train on the same units whatever their query network
    says.

    Args:
        world: data, network and game.
        share: share of the images of D_R, above 0 and at most 1.

    Attributes:
        seed: seed of a game whose second turn draws one image more than K x N units fill (11 images by default). Some
            of their units are labelled already, as in most turns.
        units: (K x N,) int64 flat unit numbers of the candidates.
        images: the images in which the candidates lie.
        bought: (image, centre) of the units that the turn buys, the centre as shares of height and width.
        labels: labels of all units that are bought by the end of the turn.
        labelled_shares: (K, C + 1) true class shares of the units bought in the first turn.

    Raises:
        RalsegError: if the data set is too small.
    """

    def __init__(self, world: World, share: float) -> None:
        self.world, self.store, self.options = world, world.store, world.game_options
        train, val = ([self.store.index(n) for n in world.dataset.subsets[subset]] for subset in ("train", "val"))
        self.state, self.reward = train[:STATE], val[: max(1, round(REWARD * share))]
        self.pool = Pool(self.store, train[STATE : STATE + POOL], world.unit)
        self.grid = self.pool.grid(self.state[0])
        self._theta0 = self._calibrated()
        images = self.options.slates * self.options.candidates // len(self.grid) + 1
        seed = next((seed for seed in range(10_000) if len(self._touched(seed)) == images), None)
        if seed is None:
            raise RalsegError(f"no second turn touches {images} images of {len(self.pool.images)}; give it more images")
        self.seed = seed
        first, self.units = self._turns(seed)
        self.images = self.pool.images[self._touched(self.seed)].tolist()
        self.labels = PartialLabels(len(world.dataset.classes))
        shares, _ = self._reveal(first[:, 0])
        self.labelled_shares = shares
        _, self.bought = self._reveal(self.units[:, 0])
        self.units = self.units.reshape(-1)

    def network(self) -> SegmentationNetwork:
        """A network at theta_0: random weights, with batch norm measured on D_S so that its maps are realistic."""
        network = self.world.network()
        network.load_state_dict(self._theta0)
        return network.eval()

    def rows_of_units(self) -> np.ndarray:
        """(K x N,) places of the candidates among all units of `images`."""
        places, local = self.pool.locate(self.units)
        return np.unique(places, return_inverse=True)[1] * len(self.grid) + local

    def gflop(self) -> dict[str, float]:
        """Counted operations in 10^9: an image's forward pass, training on the windows, and a step of either kind."""
        network, options = self.network(), self.world.learn_options
        image = network.normalise(torch.from_numpy(self.store.image(self.state[0])[None].copy()))
        window = image[..., : options.crops.size[0], : options.crops.size[1]]
        forward = _gflop(lambda: network((image,)))
        training = options.batch * _gflop(lambda: network((window,)).logits.sum().backward())
        once, again = len(self.reward) * forward + training, (len(self.state) + len(self.images)) * forward
        return {"forward": forward, "training": training, "reference_step": once + 2 * again, "our_step": once + again}

    def _calibrated(self) -> dict[str, torch.Tensor]:
        torch.manual_seed(integer(self.world.config["seed"], "theta0", "weights"))
        network = self.world.network().train()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
        with torch.no_grad():
            for image in self.state:
                network((network.normalise(torch.from_numpy(self.store.image(image)[None].copy())),))
        return network.state_dict()

    def _turns(self, seed: int) -> list[np.ndarray]:
        self.pool.reset()
        found = []
        for turn in range(2):
            drawn = draw_candidates(self.pool, self.options.slates, self.options.candidates, "clustered", seed, turn)
            self.pool.ask(drawn[:, 0])
            self.pool.buy(drawn[:, 0])
            found.append(drawn)
        return found

    def _touched(self, seed: int) -> np.ndarray:
        return np.unique(self.pool.locate(self._turns(seed)[1].reshape(-1))[0])

    def _reveal(self, units: np.ndarray) -> tuple[np.ndarray, list[tuple[int, tuple[float, float]]]]:
        counts, areas, bought = [], [], []
        for name, *box in self.pool.records(units):
            image, (y, x, height, width) = self.store.index(name), box
            size, before = self.store.size(image), self.labels.class_counts.copy()
            self.labels.reveal(image, size, box, self.store.label(image)[y : y + height, x : x + width])
            counts.append(self.labels.class_counts - before)
            areas.append(height * width)
            bought.append((image, ((y + height / 2) / size[0], (x + width / 2) / size[1])))
        return released_true_shares(np.stack(counts), np.array(areas)), bought


class ReferenceRow:
    """The phases of the turn with the operations of the released code."""

    def __init__(self, work: SameWork) -> None:
        self.work, self.rng = work, generator(0, "same work")
        self.step = ReferenceStep(work.network(), work.store, work.grid, work.world.learn_options.crops.size)
        own = len(work.world.dataset.classes) + 1 + 192
        self.query = PublishedQueryNetwork(len(work.state) * len(work.grid), own, own + 64).eval()

    def start(self) -> None:
        """Warm up on a few images, so that nothing happens for the first time while the clock runs."""
        self.step.unit_vectors(self.work.state[:1])
        self.step.evaluate(self.work.state[:4])

    def features(self) -> None:
        """Compute state and candidates: two forward passes an image, pooling at full size, KL with scipy."""
        self.state = self.step.unit_vectors(self.work.state)
        own = self.step.unit_vectors(self.work.images)[self.work.rows_of_units()]
        self.candidates = self.step.candidate_vectors(own, self.work.labelled_shares)

    def choice(self) -> None:
        """Run the query network on all candidates."""
        shape = (1, self.work.options.slates, self.work.options.candidates, -1)
        observation = {"state": self.state[None], "candidates": self.candidates.reshape(shape)}
        self.query(observation).argmax(-1)

    def training(self) -> None:
        """Take one SGD step."""
        self.step.train(self.work.bought, self.work.labels, self.rng)

    def reward(self) -> None:
        """Evaluate D_R."""
        self.step.evaluate(self.work.reward)


class OurRow:
    """The phases of the turn in a game of this project, including its draws and its ledger."""

    def __init__(self, work: SameWork, precision: Precision) -> None:
        self.work = work
        learner = SupervisedLearner(
            work.network(), LearnerImages(work.store), work.world.learn_options, precision=precision
        )
        spec = ObservationSpec.preset("published", learner.classes)
        pool = Pool(work.store, work.pool.images.tolist(), work.world.unit)
        self.game = Game(learner, pool, work.state, work.reward, spec, work.options)
        units = len(work.state) * len(work.grid)
        self.query = PublishedQueryNetwork(units, spec.state_width, spec.candidate_width).eval()

    def start(self) -> None:
        """Play the first turn."""
        self.game.reset(self.work.seed)
        self.training()

    def features(self) -> None:
        """Compute state and candidates."""
        self.observation = self.game.view().observation

    def choice(self) -> None:
        """Run the query network on all candidates."""
        with torch.inference_mode():
            self.query({key: values[None] for key, values in self.observation.items()}).argmax(-1)

    def training(self) -> None:
        """Buy labels, take one optimiser step and draw the next candidates."""
        self.game.step(np.zeros(self.work.options.slates, np.int64))

    def reward(self) -> None:
        """Evaluate D_R."""
        self.game.evaluate_reward()


def _gflop(work: Callable[[], Any]) -> float:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9
