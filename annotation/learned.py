"""The networks of a project: what each was trained on, and what the last one predicts."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch.utils.tensorboard.writer import SummaryWriter

from ralseg.annotation.project import Project
from ralseg.annotation.rounds import held_out_units
from ralseg.envs.records import Unit
from ralseg.features.prediction import resized
from ralseg.foundation import RalsegError, atomic_write, generator, integer, read_json, write_json
from ralseg.segmentation.labels import PartialLabels
from ralseg.segmentation.learners import FitCheckpoint, Learner, LearnOptions, TrainingSet, fitted
from ralseg.segmentation.networks import SegmentationNetwork, load_weights, read_tensors


@dataclass(frozen=True)
class Training:
    """A finished training.

    Attributes:
        folder: its folder: training.json, weights.safetensors and what was measured with them.
        digest: of the labels and settings that it was trained with.
        units: units with a label so far, held-out ones included.
        steps: optimiser steps.
    """

    folder: Path
    digest: str
    units: int
    steps: int

    @property
    def weights(self) -> Path:
        """The file of its weights."""
        return self.folder / "weights.safetensors"


class Networks:
    """All networks of a project, one for each training.

    Args:
        project: the project.
    """

    def __init__(self, project: Project) -> None:
        self.project = project

    @property
    def trainings(self) -> list[Training]:
        """All finished trainings, oldest first.

        Raises:
            RalsegError: if a record is damaged.
        """
        found = []
        while (path := self._folder(len(found) + 1) / "training.json").exists():
            content = read_json(path)
            try:
                found.append(Training(path.parent, **content))
            except TypeError as error:
                raise RalsegError(f"{path} is damaged ({error}); restore it, or remove {path.parent}") from error
        return found

    @property
    def stale(self) -> bool:
        """Whether there are labels to learn from, new or corrected, that the last network has not seen."""
        trainings = self.trainings
        if not self.labels.class_counts.any():
            return False
        return not trainings or trainings[-1].digest != self._digest(self.labels)

    def train(self, on_step: Callable[[int, int], None] | None = None) -> Training:
        """Train on all labels so far, from the encoder's ImageNet weights; nothing is done if nothing is new.

        A training that was interrupted goes on, and gives the same weights as if it had not been; if there are new
        labels meanwhile, it begins again with them.

        Args:
            on_step: called with (step, steps).

        Raises:
            RalsegError: if nothing but held-out units has a label.
        """
        project, before = self.project, self.trainings
        labels = self.labels
        if not labels.class_counts.any():
            raise RalsegError(f"{project.folder}: there is no label to train on yet; label units of the round first")
        digest = self._digest(labels)
        if before and before[-1].digest == digest:
            return before[-1]
        folder = self._folder(len(before) + 1)
        learner = self._learner(None, "full")
        data = TrainingSet(labels, [], range(len(project.world.store.names)))
        checkpoint = FitCheckpoint(folder / "checkpoint.safetensors", digest)
        rng = generator(project.seed, "fit")
        steps = fitted(learner, data, project.fit, rng, on_step=on_step, checkpoint=checkpoint)
        with atomic_write(folder / "weights.safetensors") as file:
            file.write(save(learner.weights()))
        found = Training(folder, digest, project.campaign.ledger.units, steps)
        content = asdict(found)
        del content["folder"]
        write_json(folder / "training.json", content)
        return found

    def learner(self, training: Training | None) -> Learner:
        """The learner with the weights of a training; None for ImageNet's encoder, and a decoder that knows nothing."""
        return self._learner(training, "partial")

    @cached_property
    def held_out(self) -> dict[Unit, np.ndarray]:
        """The labels, (height, width) uint8 each, of the units that are kept for measuring."""
        return {unit: label for unit, label, kept in self._labelled if kept}

    @cached_property
    def labels(self) -> PartialLabels:
        """The labels that networks are trained on: all but those that are held out."""
        store, labels = self.project.world.store, PartialLabels(len(self.project.classes))
        for (name, *box), label, kept in self._labelled:
            if not kept:
                image = store.index(name)
                labels.reveal(image, store.size(image), box, label)
        return labels

    @cached_property
    def _labelled(self) -> list[tuple[Unit, np.ndarray, bool]]:
        """Each unit with a label, its label, and whether it is held out."""
        campaign, store, held_out = self.project.campaign, self.project.world.store, held_out_units(self.project)
        found = []
        for unit in campaign.pool.records(campaign.pool.bought):
            name, y, x, height, width = unit
            label = campaign.labels.label(store.index(name))[y : y + height, x : x + width]
            found.append((unit, label, unit in held_out))
        return found

    def write_curves(self, trainings: list[Training], figures: list[dict[str, float]]) -> None:
        """Write the curve so far for TensorBoard, anew: what was measured before may have changed."""
        folder = self.project.folder / "learner" / "tensorboard"
        for old in folder.glob("events.*"):
            old.unlink()
        with SummaryWriter(str(folder)) as writer:
            for training, each in zip(trainings, figures, strict=True):
                for name, figure in each.items():
                    writer.add_scalar(name, figure, training.units)

    def _learner(self, training: Training | None, cut: Any) -> Learner:
        project = self.project
        torch.manual_seed(integer(project.seed, "network"))
        network: SegmentationNetwork = project.world.network()
        if training is not None:
            load_weights(network, read_tensors(str(training.weights), "weights"), str(training.weights), "this network")
        return project.world.learner_of(network, LearnOptions(cut=cut, loss=project.world.config["loss"]))

    def _folder(self, number: int) -> Path:
        return self.project.folder / "learner" / f"{number:03d}"

    def _digest(self, labels: PartialLabels) -> str:
        """Of all that a training depends on: another training of the same digest would give the same weights."""
        project = self.project
        how = [project.fit.facts(), project.world.config["loss"], project.seed]
        found = hashlib.sha256(json.dumps(how).encode())
        for image in sorted(labels.images):
            found.update(project.world.store.names[image].encode())
            found.update(labels.label(image).tobytes())
        return found.hexdigest()


def class_map(learner: Learner, image: int) -> np.ndarray:
    """The predicted class of every pixel of an image at its own size, (height, width) uint8."""
    (prediction,) = learner.predict([image])
    return resized(prediction.logits, learner.images.size(image)).argmax(1)[0].byte().numpy(force=True)
