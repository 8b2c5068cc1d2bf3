"""The reference row of `same_work`: a step with the operations that RALIS's released code runs, at the same shapes.

Written from a description of that code. Unlike there, images are not decoded anew in every step.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import entropy
from torch import Tensor, nn
from torch.nn import functional

from ralseg.features import UnitGrid
from ralseg.segmentation.datasets import IGNORE
from ralseg.segmentation.labels import PartialLabels
from ralseg.segmentation.metrics import Confusion
from ralseg.segmentation.networks import SegmentationNetwork
from ralseg.segmentation.networks.base import IMAGE_MEAN, IMAGE_STD
from ralseg.segmentation.store import ImageStore

FLOOR = 1e-7
POOLS = 8
BINS = 32


class ReferenceStep:
    """Features, training and reward of one step, each as slow as in the released code.

    For the features every image passes the network twice at batch 1, once for its classes and once for its entropy, and
    both maps are made at full size. D_R passes at batch 4. Autograd records throughout, so activations are kept. Maps
    are contiguous float32. The confusion matrix is counted pair of classes by pair of classes.

    Args:
        network: the segmentation network; training changes its weights.
        store: images and labels.
        grid: the units of an image; all images have the same size.
        crop: (height, width) of the training windows in pixels.
    """

    def __init__(self, network: SegmentationNetwork, store: ImageStore, grid: UnitGrid, crop: tuple[int, int]) -> None:
        self.network = network.to(memory_format=torch.contiguous_format).requires_grad_(True)
        self.store, self.grid, self.crop = store, grid, crop
        self.optimiser = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.95, weight_decay=1e-4)

    def unit_vectors(self, images: Sequence[int]) -> np.ndarray:
        """(images x units, C + 1 + 192) float32: predicted pixels of each class; minima, means, maxima of entropy."""
        self.network.eval()
        rows = []
        for image in images:
            classes = self._full_size([image]).argmax(1)[0]
            logits = self._full_size([image])
            certain = functional.log_softmax(logits, dim=1)
            uncertainty = -(certain.exp() * certain).sum(1)[0]
            rows += [self._vector(classes, uncertainty, box) for box in self.grid.boxes.tolist()]
        return torch.stack(rows).detach().numpy()

    def candidate_vectors(self, own: np.ndarray, labelled: np.ndarray) -> np.ndarray:
        """Append two KL histograms to the candidates' vectors, against the labelled units and against all candidates.

        Args:
            own: (n, C + 1 + 192) from `unit_vectors`.
            labelled: (m, C + 1) true shares, above 0.

        Returns:
            (n, C + 1 + 192 + 64) float32.
        """
        counts = own[:, : self.network.classes + 1].astype(np.float64)
        histograms = []
        for candidate in counts:
            pair = [np.atleast_1d(entropy(candidate[:, None], others.T)) for others in (labelled, counts)]
            histograms.append(np.concatenate([np.histogram(kl, bins=BINS)[0] / len(kl) for kl in pair]))
        return np.concatenate([own, np.stack(histograms)], axis=1).astype(np.float32)

    def train(
        self, units: Sequence[tuple[int, tuple[float, float]]], labels: PartialLabels, rng: np.random.Generator
    ) -> float:
        """Take one SGD step on a window around each unit, with batch norm in training mode; returns the loss."""
        self.network.train()
        windows = [self._window(image, centre, labels, rng) for image, centre in units]
        inputs = torch.cat([window for window, _ in windows])
        known = torch.stack([label for _, label in windows])
        logits = functional.interpolate(self.network((inputs,)).logits, size=known.shape[1:], mode="bilinear")
        loss = functional.cross_entropy(logits, known, ignore_index=IGNORE)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 4)
        self.optimiser.step()
        return loss.item()

    def evaluate(self, images: Sequence[int], batch: int = 4) -> Confusion:
        """The confusion matrix of full labels, with comparisons of whole tensors for each pair of classes."""
        self.network.eval()
        classes = self.network.classes
        counts = np.zeros((classes, classes), np.int64)
        for start in range(0, len(images), batch):
            chunk = images[start : start + batch]
            predicted = self._full_size(chunk).argmax(1)
            labels = torch.from_numpy(np.stack([self.store.label(i) for i in chunk])).long()
            for true in range(classes):
                for found in range(classes):
                    counts[true, found] += ((labels == true) & (predicted == found)).sum().item()
        return Confusion(counts)

    def _full_size(self, images: Sequence[int]) -> Tensor:
        logits = self.network((torch.cat([self._input(self.store.image(i)) for i in images]),)).logits
        return functional.interpolate(logits, size=self.store.size(images[0]), mode="bilinear")

    @staticmethod
    def _input(pixels: np.ndarray) -> Tensor:
        image = torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float() / 255
        return ((image - torch.tensor(IMAGE_MEAN)[:, None, None]) / torch.tensor(IMAGE_STD)[:, None, None])[None]

    def _vector(self, classes: Tensor, uncertainty: Tensor, box: Sequence[int]) -> Tensor:
        y, x, height, width = box
        window = (slice(y, y + height), slice(x, x + width))
        counts = torch.bincount(classes[window].reshape(-1), minlength=self.network.classes + 1).float()
        values, kernel = uncertainty[window][None, None], (height // POOLS, width // POOLS)
        lowest = 5 - functional.max_pool2d(5 - values, kernel)
        pools = (lowest, functional.avg_pool2d(values, kernel), functional.max_pool2d(values, kernel))
        return torch.cat([counts.clamp_min(FLOOR), *(p[..., :POOLS, :POOLS].reshape(-1) for p in pools)])

    def _window(
        self, image: int, centre: tuple[float, float], labels: PartialLabels, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        pixels, label = self.store.image(image), labels.label(image)
        place = []
        for share, limit, side in zip(centre, label.shape, self.crop, strict=True):
            side = min(side, limit)
            low, high = max(0, int(share * limit) - side + 1), min(limit - side, int(share * limit))
            start = int(rng.integers(low, high + 1))
            place.append(slice(start, start + side))
        place = tuple(place)
        return self._input(pixels[place]), torch.from_numpy(label[place].astype(np.int64))
