"""The training data of a step: the samples of a turn, and batches of maps with targets."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, distributed

from ralseg.foundation import RalsegError
from ralseg.segmentation.augmentation import View
from ralseg.segmentation.datasets import IGNORE
from ralseg.segmentation.devices import to_device
from ralseg.segmentation.labels import FullLabels, PartialLabels
from ralseg.segmentation.learners.images import LearnerImages
from ralseg.segmentation.learners.protocol import TrainingSet
from ralseg.segmentation.losses import processes
from ralseg.segmentation.networks import Cut, SegmentationNetwork
from ralseg.segmentation.sources import KeptMaps, KeptPixels

Sample = tuple[int, tuple[float, float] | None]
"""A store index, and the point of the image that a window must contain, if any."""

FEW = 8
"""Labelled pixels count as few if a batch has more than this many times as many cells."""
FEW_NEIGHBOURS = 128
"""The same of labelled cells for the frozen head, which reads four neighbours of a cell on a map with a quarter as many
cells: whole maps are cheaper unless single pixels are labelled."""


@dataclass(frozen=True)
class Batch:
    """Samples of one size.

    Attributes:
        maps: (B, D_i, h_i, w_i), the input of `forward`.
        targets: (B, C, h, w) float32 labelled pixels per class and cell of the logits.
        of_source: whether they show the source domain.
    """

    maps: tuple[Tensor, ...]
    targets: Tensor
    of_source: bool = False


def samples_of_turn(data: TrainingSet, slots: int, windows: bool, rng: np.random.Generator) -> list[Sample]:
    """The samples of a turn: those of the new units, filled up with random labelled images, then shuffled.

    Args:
        data: labels and new units, at least one of each.
        slots: number of samples.
        windows: whether each new unit is its own sample, rather than each image with new units.
        rng: the generator of all draws.
    """
    new = data.new
    if windows:
        fresh: list[Sample] = [new[i] for i in rng.permutation(len(new))]
    else:
        fresh = [(int(i), None) for i in rng.permutation(list({image for image, _ in new}))]
    earlier = data.labels.images
    filling = [(earlier[i], None) for i in rng.integers(len(earlier), size=max(0, slots - len(fresh)))]
    samples = (fresh + filling)[:slots]
    return [samples[i] for i in rng.permutation(slots)]


def own_share(samples: Sequence) -> Sequence:
    """The share of this process in a batch, if several train together.

    Raises:
        RalsegError: if there are fewer samples than processes.
    """
    if processes() == 1:
        return samples
    if len(samples) < processes():
        raise RalsegError(f"a batch of {len(samples)} cannot be shared by {processes()} processes; set a larger batch")
    return samples[distributed.get_rank() :: processes()]


def window_batches(
    samples: Sequence[Sample],
    labels: PartialLabels | FullLabels,
    images: LearnerImages,
    network: SegmentationNetwork,
    lower: Callable[[np.ndarray], tuple[Tensor, ...]],
    view: View,
    rng: np.random.Generator,
    device: torch.device,
) -> list[Batch]:
    """Windows of images cut by a view; `lower` gives the maps below the cut of windows (B, h, w, 3) uint8."""
    # Every process draws all windows, so that the draws do not depend on the number of processes.
    drawn = [
        view.cut(images.image(i), labels.label(i), network.classes, rng, centre, network.logit_size)
        for i, centre in samples
    ]
    windows: dict[tuple, list] = {}
    for window in own_share(drawn):
        windows.setdefault(window[0].shape, []).append(window)
    return [
        Batch(lower(np.stack([w for w, _ in group])), to_device(np.stack([t for _, t in group]), device))
        for group in windows.values()
    ]


def map_batches(
    chunks: Iterable[list[int]],
    labels: PartialLabels | FullLabels,
    images: LearnerImages,
    network: SegmentationNetwork,
    maps: KeptMaps,
    pixels: KeptPixels,
    cut: Cut,
    device: torch.device,
) -> list[Batch]:
    """Kept maps of whole images; if all trained layers are per pixel and few pixels are labelled, only these."""
    batches = []
    for chunk in chunks:
        size = network.logit_size(images.input_size(chunk[0]))
        if network.per_pixel:
            places = [np.argwhere(labels.label(i) != IGNORE) for i in chunk]
            if 0 < sum(map(len, places)) * FEW < len(chunk) * size[0] * size[1]:
                batches.append(pixel_batch(dict(zip(chunk, places, strict=True)), labels, images, pixels, device))
                continue
        targets = np.stack([labels.targets(i, size) for i in chunk])
        known = targets.sum(1) > 0
        if cut == "frozen" and not network.per_pixel and 0 < known.sum() * FEW_NEIGHBOURS < known.size:
            cells = [np.argwhere(of_image) for of_image in known]
            of_cells = np.ascontiguousarray(np.moveaxis(targets, 1, -1)[known].T)
            neighbours = _gathered_neighbours(chunk, cells, size, maps)
            batches.append(Batch(neighbours, to_device(of_cells, device)[None, :, None]))
        else:
            batches.append(Batch(maps(chunk), to_device(targets, device)))
    return batches


def pixel_batch(
    places: Mapping[int, np.ndarray],
    labels: PartialLabels | FullLabels | None,
    images: LearnerImages,
    pixels: KeptPixels,
    device: torch.device,
    classes: int = 0,
) -> Batch:
    """Pixels of images as one image with one row: (1, D, 1, n).

    Args:
        places: store index of an image -> (n, 2) int64 row and column of pixels, in the size of its label.
        labels: their labels; None for pixels without a label, whose targets are 0.
        images: their sizes.
        pixels: their vectors.
        device: the device of the targets.
        classes: number of classes C, where there are no labels.
    """
    vectors = torch.cat([pixels(image, where, images.size(image)) for image, where in places.items()])
    maps = (vectors.T[None, :, None],)
    if labels is None:
        return Batch(maps, torch.zeros(1, classes, 1, len(vectors), device=device))
    ids = np.concatenate([labels.label(image)[tuple(where.T)] for image, where in places.items()])
    return Batch(maps, to_device(np.eye(labels.classes, dtype=np.float32)[ids].T[None, :, None], device))


def _gathered_neighbours(
    images: Sequence[int], cells: Sequence[np.ndarray], size: tuple[int, int], maps: KeptMaps
) -> tuple[Tensor, ...]:
    """The input of the frozen head for cells of its logits: (1, D, 4, n) neighbours and (1, 4, 1, n) their weights."""
    parts = [maps.neighbours(image, where, size) for image, where in zip(images, cells, strict=True)]
    vectors, weights = (torch.cat(part) for part in zip(*parts, strict=True))
    return vectors.permute(2, 1, 0)[None], weights.T[None, :, None]
