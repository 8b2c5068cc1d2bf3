"""One run of a comparison: a game is played, its network evaluated at each budget, perhaps one trained to the end."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ralseg.envs import Game, Ledger, Pool, World
from ralseg.evaluation.gallery import DRAW, Maps, class_maps, gallery_images
from ralseg.evaluation.policies import NamedPolicy
from ralseg.evaluation.results import ALL, SUPERVISED, Row, class_entropy
from ralseg.features import ObservationSpec, spec_from_config
from ralseg.foundation import generator, give_back_memory
from ralseg.segmentation.devices import single_thread
from ralseg.segmentation.evaluation import Evaluator
from ralseg.segmentation.labels import PartialLabels, revealed
from ralseg.segmentation.learners import FitOptions, Learner, LearnOptions, TellsFigures, TrainingSet, fitted
from ralseg.segmentation.metrics import Confusion


@dataclass(frozen=True)
class Plan:
    """What all runs of a comparison share.

    Attributes:
        config: a composed configuration; its game.budget is the largest of the budgets.
        budgets: ascending, in `game.budget_measure`; 0 is theta_0 itself.
        splits: sets that are evaluated, "dev" or "test".
        fit: how networks are trained to convergence.
        commit: of the code.
        data: `ImageStore.digest` of the images and labels; other ones are refused, so that a run ends where the data
            changes meanwhile.
    """

    config: Mapping[str, Any]
    budgets: tuple[float, ...]
    splits: tuple[str, ...]
    fit: FitOptions
    commit: str
    data: str


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        policy: the policy that plays; None for the fully supervised run, which is given all labels of D_V.
        seed: of draws and choices.
        run_id: of the game's rows; None where they are not wanted.
        fit_id: of the rows after training to convergence; None where they are not wanted.
        label_cost: units whose labels the policy was trained with.
    """

    policy: NamedPolicy | None
    seed: int
    run_id: str | None
    fit_id: str | None
    label_cost: int = 0

    @property
    def name(self) -> str:
        """The policy's name in files and tables."""
        return self.policy.name if self.policy else SUPERVISED


Played = tuple[list[Row], dict[str, Any] | None, Maps]
"""Rows of a run, what it bought, and its predictions on the gallery's images; see `Player.play`."""


class Player:
    """Plays runs, one after the other, with one world and one game.

    Args:
        plan: what they share.
    """

    def __init__(self, plan: Plan) -> None:
        single_thread()
        self.plan, self.world = plan, World(plan.config, plan.data)
        self._specs: dict[str, ObservationSpec] = {}

    @cached_property
    def game(self) -> Game:
        """The game on D_V."""
        # Only a trained policy observes, and it brings its own features: see `_spec`.
        return self.world.game("compare", observed=False)

    def _spec(self, features: Mapping[str, Any]) -> ObservationSpec:
        """What a trained policy observes: the features that it learned with."""
        key = json.dumps(features, sort_keys=True)
        if key not in self._specs:
            self.game.learner.reset()
            spec = spec_from_config(features, len(self.world.dataset.classes))
            self._specs[key] = self.world.fitted_spec(self.game.learner, self.game.pool, spec)
        return self._specs[key]

    @cached_property
    def _evaluator(self) -> Evaluator:
        return Evaluator(self.world.store, len(self.world.dataset.classes))

    @cached_property
    def pictured(self) -> list[int]:
        """Indices in the store of the gallery's images."""
        return gallery_images(self.world)

    @cached_property
    def first_maps(self) -> list[np.ndarray]:
        """Their predicted classes at theta_0, where the game must stand when this is first asked for."""
        return class_maps(self.game.learner, self.pictured)

    def play(self, job: Job) -> Played:
        """Play one run.

        Returns:
            Its rows, what it bought (see `Results.bought`; None for the fully supervised run), and its predictions on
            the gallery's images (none but of the first run).
        """
        found = (self._supervised(job), None, {}) if job.policy is None else self._played(job)
        give_back_memory()
        return found

    def _played(self, job: Job) -> tuple[list[Row], dict[str, Any], Maps]:
        assert job.policy is not None
        game, policy, measure = self.game, job.policy.policy, self.world.game_options.budget_measure
        training = job.policy.training
        game.spec = self._spec(training.config["features"]) if training else None
        game.reset(job.seed)
        pictured = self.pictured if job.seed == DRAW else []
        before = self.first_maps if pictured else []
        seconds, rows, counts, clicks, class_pixels, told = 0.0, [], [], [], [], []
        for budget in self.plan.budgets:
            while not game.over and game.ledger.paid(measure) < budget * (1 - 1e-12):
                begun = time.perf_counter()
                view = game.view(policy.needs, policy.needs_observation)
                choice = policy.select(view, generator(job.seed, "policy", game.turn))
                seconds += time.perf_counter() - begun
                game.step(choice)
            paid = game.ledger.to_dict()
            pixels = game.bought_counts.copy()
            shared = (job, budget, paid, pixels, seconds)
            rows += self._rows(job.run_id, "", game.learner, shared)
            if job.fit_id is not None:
                rows += self._rows(job.fit_id, "+fit", self._fitted(game.labels, job.seed), shared)
            counts.append(paid["units"])
            clicks.append(paid["clicks"])
            class_pixels.append(pixels.tolist())
            if isinstance(game.learner, TellsFigures):
                told.append(game.learner.figures)
        pairs = zip(before, class_maps(game.learner, pictured), strict=True)
        names = [self.world.store.names[image] for image in pictured]
        bought = {
            "policy": job.name,
            "training_seed": job.policy.training_seed,
            "seed": job.seed,
            "units": game.pool.records(game.pool.bought),
            "counts": counts,
            "clicks": clicks,
            "class_pixels": class_pixels,
        } | ({"learner": told} if told else {})
        return rows, bought, dict(zip(names, pairs, strict=True))

    def _supervised(self, job: Job) -> list[Row]:
        store = self.world.store
        pool = Pool(store, self.world.images("compare"), self.world.unit)
        labels = revealed(store, pool.images.tolist())
        clicks = sum(
            int((pool.grid(i).class_counts(store.label(i), labels.classes) > 0).sum()) for i in pool.images.tolist()
        )
        images = len(pool.images)
        paid = Ledger(pool.pixels, images, len(pool), pool.pixels, clicks, images).to_dict()
        learner = self._fitted(labels, job.seed)
        return self._rows(job.fit_id, "+fit", learner, (job, ALL, paid, labels.class_counts, 0.0))

    def _fitted(self, bought: PartialLabels, seed: int) -> Learner:
        """A network trained to convergence from theta_0 on D_S and what was bought; D_R says when to stop."""
        world = self.world
        state = world.images("state")
        labels = revealed(world.store, state)
        for image in (image for image in bought.images if image not in state):
            size = world.store.size(image)
            labels.reveal(image, size, (0, 0, *size), bought.label(image))
        learner = world.learner("compare", LearnOptions(cut="full", loss=world.config["loss"]))
        reward = world.images("reward")
        data = TrainingSet(labels, [], world.images("compare"))
        fitted(learner, data, self.plan.fit, generator(seed, "fit"), lambda: self._evaluator(learner, reward).miou)
        return learner

    def _rows(self, run_id: str | None, suffix: str, learner: Learner, shared: tuple) -> list[Row]:
        if run_id is None:
            return []
        job, budget, paid, pixels, seconds = shared
        row = {
            "run_id": run_id,
            "policy": job.name,
            "training_seed": job.policy.training_seed if job.policy else None,
            "seed": job.seed,
            "game": self.world.learn_options.cut + suffix,
            "loss": self.world.config["loss"],
            "budget_units": budget,
            **paid,
            "share": round(paid["share"], 6),
            "label_cost_of_policy": job.label_cost,
            "class_entropy": round(class_entropy(pixels), 4),
            "seconds_choosing": round(seconds, 3),
            "commit": self.plan.commit,
        }
        found = {split: self._evaluator(learner, self.world.images(split)) for split in self.plan.splits}
        classes = self.world.dataset.classes
        return [row | {"split": split} | _figures(confusion, classes) for split, confusion in found.items()]


def _figures(confusion: Confusion, classes: Sequence[str]) -> dict[str, float]:
    ious = {f"iou_{name}": round(float(iou), 6) for name, iou in zip(classes, confusion.iou, strict=True)}
    return {"miou": round(confusion.miou, 4)} | ious
