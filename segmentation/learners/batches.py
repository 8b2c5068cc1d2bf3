"""The training data of a step: the samples of a turn, and batches of maps with targets."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ralseg.segmentation.augmentation import View
from ralseg.segmentation.collectives import own_share
from ralseg.segmentation.datasets import IGNORE
from ralseg.segmentation.devices import to_device
from ralseg.segmentation.labels import FullLabels, PartialLabels
from ralseg.segmentation.learners.images import LearnerImages
from ralseg.segmentation.learners.protocol import TrainingSet
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
    """Samples of one size; where several processes train together, the share of this one, which may be empty.

    All processes have the same number of batches, in the same order.

    Attributes:
        maps: (B, D_i, h_i, w_i), the input of `forward`.
        targets: (B, C, h, w) float32 labelled pixels per class and cell of the logits.
        of_source: whether they show the source domain.
        samples: (n,) int64, the sample of each cell of a batch that is one row of n cells; None where each sample is a
            map of its own. See `gathered`.
    """

    maps: tuple[Tensor, ...]
    targets: Tensor
    of_source: bool = False
    samples: Tensor | None = None


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
    for window in drawn:
        windows.setdefault(window[0].shape, []).append(window)
    return [
        Batch(lower(own_share(np.stack(seen))), to_device(own_share(np.stack(targets)), device))
        for seen, targets in (zip(*group, strict=True) for group in windows.values())
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
            places = {i: np.argwhere(labels.label(i) != IGNORE) for i in chunk}
            # An image that was drawn twice counts twice here, and once in the batch.
            if 0 < sum(len(places[i]) for i in chunk) * FEW < len(chunk) * size[0] * size[1]:
                own = [i for i in own_share(list(places)) if len(places[i])]
                some = own or [i for i in places if len(places[i])][:1]
                batch = pixel_batch({i: places[i] for i in some}, labels, images, pixels, device)
                batches.append(batch if own else _without_samples(batch))
                continue
        targets = np.stack([labels.targets(i, size) for i in chunk])
        known = targets.sum(1) > 0
        own = own_share(np.arange(len(chunk)))
        if cut == "frozen" and not network.per_pixel and 0 < known.sum() * FEW_NEIGHBOURS < known.size:
            some = own[known[own].any((1, 2))]
            batch = _cells_batch(chunk, targets, known, some if len(some) else known.any((1, 2)).argmax()[None], maps)
            batches.append(batch if len(some) else _without_samples(batch))
        else:
            some = own if len(own) else np.arange(1)
            batch = Batch(maps([chunk[i] for i in some]), to_device(targets[some], device))
            batches.append(batch if len(own) else _without_samples(batch))
    return batches


def _without_samples(batch: Batch) -> Batch:
    """What stands for a batch of which this process has no share: the network passes no maps, and all else goes on."""
    maps, targets = tuple(m[:0] for m in batch.maps), batch.targets[:0]
    if batch.samples is None:
        return Batch(maps, targets)
    return Batch(tuple(m[..., :1] for m in maps), targets[..., :1], samples=batch.samples[:0])


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


def _cells_batch(
    chunk: Sequence[int], targets: np.ndarray, known: np.ndarray, chosen: np.ndarray, maps: KeptMaps
) -> Batch:
    """The labelled cells of some images as one row, for the frozen head.

    Args:
        chunk: store indices of B images.
        targets: (B, C, h, w) float32 of them.
        known: (B, h, w) bool, where they are labelled.
        chosen: (b,) int64, those of the B images whose cells are taken; each has one.
        maps: their kept maps.

    Returns:
        A batch whose maps are (1, D, 4, n) neighbours and (1, 4, 1, n) their weights.
    """
    cells = [np.argwhere(known[i]) for i in chosen]
    size = known.shape[1], known.shape[2]
    parts = [maps.neighbours(chunk[i], where, size) for i, where in zip(chosen, cells, strict=True)]
    vectors, weights = (torch.cat(part) for part in zip(*parts, strict=True))
    neighbours = vectors.permute(2, 1, 0)[None], weights.T[None, :, None]
    of_cells = np.ascontiguousarray(np.moveaxis(targets[chosen], 1, -1)[known[chosen]].T)
    samples = to_device(np.repeat(chosen, [len(where) for where in cells]), weights.device)
    return Batch(neighbours, to_device(of_cells, weights.device)[None, :, None], samples=samples)
