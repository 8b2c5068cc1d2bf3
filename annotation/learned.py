"""The network of a project: what it was trained on, what it predicts, and how good it is on held-out units."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from ralseg.annotation.project import Project
from ralseg.annotation.rounds import held_out_units
from ralseg.envs.records import Unit
from ralseg.features.prediction import resized
from ralseg.foundation import RalsegError, atomic_write, generator, integer, read_json, write_json
from ralseg.segmentation.labels import PartialLabels
from ralseg.segmentation.learners import Learner, LearnOptions, TrainingSet, fitted
from ralseg.segmentation.metrics import Confusion
from ralseg.segmentation.networks import SegmentationNetwork, load_weights, read_tensors
from ralseg.segmentation.truth import truth


@dataclass(frozen=True)
class Trained:
    """What the record of a training says.

    Attributes:
        digest: of the labels and settings that it was trained with.
        rounds: how many rounds there were.
        paid: what was paid, in every measure.
        steps: optimiser steps.
        images: (n,) names of the images with held-out units.
        counts: (n, C, C) int64 pixels of (true class, predicted class) on the held-out units of each.
    """

    digest: str
    rounds: int
    paid: dict[str, float]
    steps: int
    images: tuple[str, ...]
    counts: np.ndarray


def trainings(project: Project) -> list[Trained]:
    """The record of every training, oldest first.

    Raises:
        RalsegError: if a record is damaged.
    """
    found = []
    for path in sorted((project.folder / "learner").glob("training-*.json")):
        content = read_json(path)
        try:
            counts = np.array(content.pop("counts"), np.int64).reshape(-1, *[len(project.classes)] * 2)
            found.append(Trained(**content | {"images": tuple(content["images"]), "counts": counts}))
        except (KeyError, TypeError, ValueError) as error:
            raise RalsegError(f"{path} is damaged ({error!r}); restore it, or train again without it") from error
    return found


def train(project: Project, on_step: Callable[[int, int], None] | None = None) -> Trained:
    """Train on all labels so far, from the encoder's ImageNet weights; nothing is done if nothing is new.

    Args:
        project: the project; whoever calls this owns its folder.
        on_step: called with (step, steps).

    Raises:
        RalsegError: if nothing but held-out units has a label.
    """
    from ralseg.annotation.rounds import rounds

    labels, kept = known_labels(project)
    digest, number = _digest(project, labels), len(trainings(project)) + 1
    before = trainings(project)
    if before and before[-1].digest == digest and _weights(project).exists():
        return before[-1]
    if not labels.class_counts.any():
        raise RalsegError(f"{project.folder}: no label to train on yet; label some units of the round first")
    learner = project.world.learner_of(_untrained(project), LearnOptions(cut="full", loss=project.world.config["loss"]))
    everything = list(range(len(project.world.store.names)))
    data = TrainingSet(labels, [], everything)
    steps = fitted(learner, data, project.fit, generator(project.seed, "fit", number), on_step=on_step)
    with atomic_write(_weights(project)) as file:
        file.write(save(learner.weights(), {"digest": digest}))
    images, counts = confusion_by_image(learner, project, kept)
    found = Trained(digest, len(rounds(project)), project.campaign.ledger.to_dict(), steps, images, counts)
    content = vars(found) | {"counts": counts.tolist()}
    write_json(project.folder / "learner" / f"training-{number:03d}.json", content)
    return found


def learner(project: Project) -> tuple[Learner, bool]:
    """The learner at its present weights, and whether these were trained on labels of the project."""
    network = _untrained(project)
    if trained := _weights(project).exists():
        load_weights(network, read_tensors(str(_weights(project)), "learner"), str(_weights(project)), "this network")
    options = LearnOptions(cut="partial", loss=project.world.config["loss"])
    return project.world.learner_of(network, options), trained


def known_labels(project: Project) -> tuple[PartialLabels, PartialLabels]:
    """The labels that the network may be trained on, and those that are kept for measuring."""
    campaign, store, kept_units = project.campaign, project.world.store, held_out_units(project)
    trained, kept = (PartialLabels(len(project.classes)) for _ in range(2))
    units: Sequence[Unit] = campaign.pool.records(campaign.pool.bought)
    for unit in units:
        name, y, x, height, width = unit
        image = store.index(name)
        label = campaign.labels.label(image)[y : y + height, x : x + width]
        (kept if unit in kept_units else trained).reveal(image, store.size(image), (y, x, height, width), label)
    return trained, kept


def confusion_by_image(learner: Learner, project: Project, kept: PartialLabels) -> tuple[tuple[str, ...], np.ndarray]:
    """The pixels of (true class, predicted class) of each image with held-out labels.

    Returns:
        The names of the images, and (n, C, C) int64.
    """
    names, counts = [], []
    for image in sorted(kept.images):
        (prediction,) = learner.predict([image])
        logits = torch.as_tensor(prediction.logits)
        size = logits.shape[-2], logits.shape[-1]
        found = truth(kept.label(image)[None], learner.classes, size, learner.device).count(logits)
        names.append(project.world.store.names[image])
        counts.append(found.numpy(force=True))
    shape = (-1, learner.classes, learner.classes)
    return tuple(names), np.array(counts, np.int64).reshape(shape)


def class_map(learner: Learner, image: int) -> np.ndarray:
    """The predicted class of every pixel of an image at its own size, (height, width) uint8."""
    (prediction,) = learner.predict([image])
    return resized(prediction.logits, learner.images.size(image)).argmax(1)[0].byte().numpy(force=True)


def miou_with_interval(counts: np.ndarray, rng: np.random.Generator, resamples: int = 2000) -> dict[str, Any]:
    """IoU of each class and their mean, with 95 % intervals from a bootstrap of the images.

    Args:
        counts: (n, C, C) int64, see `confusion_by_image`; n of 2 or more for an interval.
        rng: draws the resamples.
        resamples: how many.

    Returns:
        `miou` and `low`, `high` (percent; the ends are NaN for fewer than 2 images), `iou`, `iou_low`, `iou_high`
        (C,), NaN for a class that is nowhere.
    """
    whole = Confusion(counts.sum(0))
    ends = np.full((2, counts.shape[1] + 1), np.nan)
    if len(counts) > 1:
        drawn = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=resamples)
        sums = (Confusion(one) for one in np.tensordot(drawn, counts, 1))
        values = np.array([[one.miou, *100 * one.iou] for one in sums])
        seen = ~np.isnan(values).all(0)
        ends[:, seen] = np.nanquantile(values[:, seen], [0.025, 0.975], axis=0)
    low, high = ends
    return {
        "miou": whole.miou,
        "low": low[0],
        "high": high[0],
        "iou": 100 * whole.iou,
        "iou_low": low[1:],
        "iou_high": high[1:],
    }


def _untrained(project: Project) -> SegmentationNetwork:
    torch.manual_seed(integer(project.seed, "network"))
    return project.world.network()


def _weights(project: Project) -> Any:
    return project.folder / "learner" / "weights.safetensors"


def _digest(project: Project, labels: PartialLabels) -> str:
    """Of all that a training depends on: two trainings of one digest would give the same weights."""
    found = hashlib.sha256(json.dumps([project.fit.facts(), project.world.config["loss"], project.seed]).encode())
    for image in sorted(labels.images):
        found.update(project.world.store.names[image].encode())
        found.update(labels.label(image).tobytes())
    return found.hexdigest()
