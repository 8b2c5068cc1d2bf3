"""Labels prepared for counting: the confusion matrix of upsampled logits at the label's own size."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ralseg.segmentation.devices import to_device
from ralseg.segmentation.metrics import confusion


def truth(labels: np.ndarray, classes: int, size: tuple[int, int], device: torch.device) -> "Truth":
    """The labels of a batch of images of one size, in the form that is fastest to count.

    Args:
        labels: (B, H, W) uint8; ids >= C are void.
        classes: number of classes C, at most 255.
        size: (h, w) of the logits.
        device: the device of the logits.
    """
    whole = labels.shape[1] % size[0] == 0 and labels.shape[2] % size[1] == 0
    if device.type == "cpu" and whole and labels.shape[1:] != tuple(size):
        return TruthCells(labels, classes, size)
    return TruthMaps(labels, classes, device)


class Truth:
    """The interface of both forms.

    Attributes:
        nbytes: memory of the labels in bytes.
    """

    nbytes: int

    def count(self, logits: Tensor) -> Tensor:
        """Pixels of each (true class, predicted class); predicted is the argmax of the bilinearly resized logits.

        Args:
            logits: (B, C, h, w) float32 of the same images.

        Returns:
            (C, C) int64 on the logits' device, without void pixels.
        """
        raise NotImplementedError


class TruthMaps(Truth):
    """Labels as they are; logits are interpolated to every pixel. It never waits for a GPU."""

    def __init__(self, labels: np.ndarray, classes: int, device: torch.device) -> None:
        self._classes = classes
        self._labels = to_device(np.minimum(labels, classes), device)
        self.nbytes = self._labels.nbytes

    def count(self, logits: Tensor) -> Tensor:
        """See `Truth.count`."""
        resized = functional.interpolate(logits, size=self._labels.shape[1:], mode="bilinear")
        predicted = resized.argmax(1).to(torch.uint8)
        if logits.device.type == "cpu":
            return torch.from_numpy(confusion(predicted.numpy(), self._labels.numpy(), self._classes).counts)
        code = (self._labels.long() * self._classes + predicted).flatten()
        counts = torch.zeros((self._classes + 1) * self._classes, dtype=torch.int64, device=code.device)
        counts.scatter_add_(0, code, torch.ones_like(code))
        return counts[: self._classes**2].view(self._classes, self._classes)


class TruthCells(Truth):
    """Labels cut into the cells between four neighbouring logits; their side is a whole number of pixels.

    Bilinear weights are a convex combination: if the four logits around a cell agree on the class, every pixel of the
    cell has that class, and its precomputed counts of true classes suffice. Only cells between disagreeing neighbours
    are interpolated. The result is exact.
    """

    def __init__(self, labels: np.ndarray, classes: int, size: tuple[int, int]) -> None:
        batch, height, width = labels.shape
        (rows, columns), self._classes = size, classes
        fy, fx = height // rows, width // columns
        # The first cells begin half a cell outside of the image; the part outside is void.
        top, left = (fy + 1) // 2, (fx + 1) // 2
        padded = np.full((batch, (rows + 1) * fy, (columns + 1) * fx), classes, np.uint8)
        np.minimum(labels, classes, out=padded[:, top : top + height, left : left + width])
        cells = padded.reshape(batch, rows + 1, fy, columns + 1, fx).transpose(0, 1, 3, 2, 4).reshape(-1, fy * fx)
        self._pixels = torch.from_numpy(np.ascontiguousarray(cells))
        # Most cells have one true class and are counted as cells, the others by a product with their counts.
        self._true = torch.from_numpy(np.where((cells == cells[:, :1]).all(axis=1), cells[:, 0], classes))
        several = np.flatnonzero(cells.min(axis=1) != cells.max(axis=1))
        self._several = torch.from_numpy(several)
        index = cells[several] + np.arange(len(several), dtype=np.int64)[:, None] * (classes + 1)
        counts = np.bincount(index.ravel(), minlength=len(several) * (classes + 1)).reshape(-1, classes + 1)
        # Float32 represents whole numbers up to 2^24 exactly.
        self._counts = torch.from_numpy(counts[:, :classes].astype(np.float32 if labels.size < 1 << 24 else np.float64))
        self._weights = _cell_weights(fy, fx)
        self.nbytes = self._pixels.nbytes + self._true.nbytes + self._several.nbytes + self._counts.nbytes

    def count(self, logits: Tensor) -> Tensor:
        """See `Truth.count`."""
        classes = self._classes
        corners = functional.pad(logits, (1, 1, 1, 1), mode="replicate").permute(0, 2, 3, 1).contiguous()
        width = corners.shape[2]
        winner = corners.argmax(3).to(torch.uint8)
        same = winner[:, 1:] == winner[:, :-1]
        pure = same[:, :, 1:] & same[:, :, :-1] & (winner[:, 1:, 1:] == winner[:, 1:, :-1])
        mixed, winner = ~pure.flatten(), winner[:, :-1, :-1].flatten()
        # Mixed cells are void here and counted below.
        counts = confusion(winner.numpy(), self._true.masked_fill(mixed, classes).numpy(), classes).counts
        predicted = winner.masked_fill(mixed, classes)[self._several]
        chosen = (predicted == torch.arange(classes, dtype=torch.uint8)[:, None]).to(self._counts.dtype)
        counts = counts * self._pixels.shape[1] + (chosen @ self._counts).T.long().numpy()
        b, y, x = (~pure).nonzero(as_tuple=True)
        first = (b * corners.shape[1] + y) * width + x
        values = corners.view(-1, classes)[first[:, None] + torch.tensor([0, 1, width, width + 1])]
        found = _interpolated_classes(values, self._weights)
        return torch.from_numpy(counts + confusion(found.numpy(), self._pixels[mixed].numpy(), classes).counts)


def _interpolated_classes(values: Tensor, weights: Tensor) -> Tensor:
    """The best class at each pixel of each cell; ties go to the lowest class.

    A class whose highest corner is below the lowest corner of another cannot win, so most cells have two or three
    rivals.

    Args:
        values: (cells, 4, C) logits at the corners.
        weights: (4, pixels) weights of the corners.

    Returns:
        (cells, pixels) uint8.
    """
    first, second, third, fourth = values.unbind(1)
    highest = torch.maximum(torch.maximum(first, second), torch.maximum(third, fourth))
    lowest = torch.minimum(torch.minimum(first, second), torch.minimum(third, fourth))
    rivals = highest >= lowest.amax(1, keepdim=True)
    number = rivals.sum(1)
    found = torch.empty(len(values), weights.shape[1], dtype=torch.uint8)
    for group in (number < 3, number == 3, number > 3):
        here = group.nonzero()[:, 0]
        if not len(here):
            continue
        most = int(number[here].max())
        # In ascending order, so that the lowest class wins a tie, as in argmax; the classes that pad a row cannot win.
        if most <= 3:
            classes = rivals[here].nonzero()[:, 1].view(-1, most)
        else:
            classes = rivals[here].to(torch.uint8).sort(dim=1, descending=True, stable=True).indices[:, :most]
        corners = values[here].gather(2, classes[:, None].expand(-1, 4, -1)).transpose(1, 2)
        # In chunks that stay in the processor's cache, which is three times faster than at once.
        chunks = corners.split(max(64, 8192 // most))
        winner = torch.cat([_argmax(chunk, weights) for chunk in chunks])
        found[here] = classes.to(torch.uint8).gather(1, winner.long())
    return found


def _argmax(corners: Tensor, weights: Tensor) -> Tensor:
    """Argmax over the rivals, (cells, rivals, 4) @ (4, pixels) -> (cells, pixels) uint8."""
    if corners.shape[1] == 2:
        return ((corners[:, 1] - corners[:, 0]) @ weights > 0).to(torch.uint8)
    scores = corners @ weights
    best = scores[:, 0].clone()
    winner = torch.zeros(best.shape, dtype=torch.uint8)
    for rival in range(1, scores.shape[1]):
        better = scores[:, rival] > best
        torch.maximum(best, scores[:, rival], out=best)
        winner.masked_fill_(better, rival)
    return winner


def _cell_weights(fy: int, fx: int) -> Tensor:
    """(4, fy * fx) weights of the top left, top right, bottom left and bottom right corner for the pixels of a cell."""
    ty = (torch.arange(fy, dtype=torch.float32) + (0.5 if fy % 2 == 0 else 0)) / fy
    tx = (torch.arange(fx, dtype=torch.float32) + (0.5 if fx % 2 == 0 else 0)) / fx
    sy, sx = torch.stack([1 - ty, ty]), torch.stack([1 - tx, tx])
    return torch.einsum("ay,bx->abyx", sy, sx).reshape(4, fy * fx)
