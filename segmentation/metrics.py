"""The confusion matrix and what is read from it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ralseg.foundation import RalsegError


@dataclass(frozen=True)
class Confusion:
    """Pixel counts of (true class, predicted class).

    Attributes:
        counts: (C, C) int64; void pixels are counted nowhere.
    """

    counts: np.ndarray

    @property
    def iou(self) -> np.ndarray:
        """IoU per class, (C,) float64 in [0, 1]; NaN where a class is neither true nor predicted."""
        hits = np.diag(self.counts).astype(float)
        union = self.counts.sum(0) + self.counts.sum(1) - hits
        return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)

    @property
    def miou(self) -> float:
        """Mean IoU in percent over the classes that are true or predicted somewhere; 0 if there is none, never NaN."""
        iou = self.iou
        return 100 * float(np.nanmean(iou)) if np.isfinite(iou).any() else 0.0

    @property
    def accuracy(self) -> float:
        """Share of the labelled pixels that are right, in percent."""
        return 100 * float(np.trace(self.counts)) / max(int(self.counts.sum()), 1)

    def __add__(self, other: "Confusion") -> "Confusion":
        return Confusion(self.counts + other.counts)


def confusion(predicted: np.ndarray, labels: np.ndarray, classes: int) -> Confusion:
    """Count (true, predicted) pairs in one pass.

    Args:
        predicted: class ids 0..C-1, uint8, any shape.
        labels: class ids, uint8, the same shape; ids >= C (void) are left out.
        classes: number of classes C, at most 255.

    Raises:
        RalsegError: if the shapes differ.
    """
    if predicted.shape != labels.shape:
        raise RalsegError(f"prediction {predicted.shape} and label {labels.shape} differ in size")
    small = (classes + 1) * classes <= 256
    code = np.minimum(labels, classes).astype(np.uint8 if small else np.uint16, copy=False)
    code = (code * code.dtype.type(classes) + predicted).ravel()
    if small and code.size % 2 == 0:
        # Two codes read as one number: half as many to count, and the counts of pairs are summed afterwards.
        pairs = np.bincount(code.view(np.uint16), minlength=1 << 16).reshape(256, 256)
        counts = pairs.sum(0) + pairs.sum(1)
    else:
        counts = np.bincount(code, minlength=(classes + 1) * classes)
    return Confusion(counts[: classes * classes].reshape(classes, classes))


def upsampled_classes(logits: Tensor, height: int, width: int) -> np.ndarray:
    """Classes at the label's size: argmax of the bilinearly interpolated logits, exactly, at a fraction of the cost.

    Bilinear weights are a convex combination: where the four logits around a pixel agree on the class, the pixel has it
    too. Only the cells between disagreeing neighbours are interpolated.

    Args:
        logits: (B, C, h, w).
        height: the label's height, any size; the shortcut is taken where it is a multiple of h.
        width: the label's width, likewise.

    Returns:
        (B, height, width) uint8.
    """
    batch, _, rows, columns = logits.shape
    if height % rows or width % columns or (height, width) == (rows, columns):
        resized = functional.interpolate(logits.float(), size=(height, width), mode="bilinear")
        return resized.argmax(1).to(torch.uint8).numpy(force=True)
    fy, fx = height // rows, width // columns
    corners = functional.pad(logits.float(), (1, 1, 1, 1), mode="replicate")
    winner = corners.argmax(1).to(torch.uint8)
    same = (winner[:, 1:] == winner[:, :-1])[..., 1:] & (winner[:, 1:] == winner[:, :-1])[..., :-1]
    mixed = ~(same & (winner[:, 1:, 1:] == winner[:, 1:, :-1]))
    cells = winner[:, :-1, :-1, None, None].expand(-1, -1, -1, fy, fx).clone(memory_format=torch.contiguous_format)
    b, y, x = mixed.nonzero(as_tuple=True)
    flat = corners.permute(0, 2, 3, 1)
    values = torch.stack([flat[b, y + dy, x + dx] for dy in (0, 1) for dx in (0, 1)], dim=-1)  # (cells, C, 4)
    cells[b, y, x] = _interpolated_classes(values, _cell_weights(fy, fx).to(values)).view(-1, fy, fx)
    grid = cells.permute(0, 1, 3, 2, 4).reshape(batch, (rows + 1) * fy, (columns + 1) * fx)
    top, left = (fy + 1) // 2, (fx + 1) // 2
    return grid[:, top : top + height, left : left + width].numpy(force=True)


def _interpolated_classes(values: Tensor, weights: Tensor) -> Tensor:
    """The best class at each pixel of each cell.

    A class that is nowhere as high as another one is everywhere cannot win: most cells have two or three rivals.

    Args:
        values: (cells, C, 4) logits at the corners.
        weights: (4, pixels) of the corners.

    Returns:
        (cells, pixels) uint8.
    """
    rivals = values.amax(2) >= values.amin(2).amax(1, keepdim=True)
    number = rivals.sum(1)
    found = torch.empty(len(values), weights.shape[1], dtype=torch.uint8, device=values.device)
    for rival_count in number.unique().tolist():
        here = number == rival_count
        # In ascending order, so that the lowest class wins a tie, as in argmax.
        classes = rivals[here].nonzero()[:, 1].view(-1, rival_count)
        corners = values[here].gather(1, classes[..., None].expand(-1, -1, 4))
        # In chunks that stay in the processor's cache: three times faster than at once.
        winner = torch.cat([_argmax(chunk @ weights) for chunk in corners.split(max(64, 8192 // rival_count))])
        found[here] = classes.to(torch.uint8).gather(1, winner.long())
    return found


def _argmax(scores: Tensor) -> Tensor:
    """Argmax over dim 1, (cells, rivals, pixels) -> (cells, pixels) uint8, as a running maximum, which is faster."""
    best = scores[:, 0].clone()
    winner = torch.zeros(best.shape, dtype=torch.uint8, device=scores.device)
    for rival in range(1, scores.shape[1]):
        better = scores[:, rival] > best
        torch.maximum(best, scores[:, rival], out=best)
        winner.masked_fill_(better, rival)
    return winner


def _cell_weights(fy: int, fx: int) -> Tensor:
    """(4, fy * fx) weights of the top left, top right, bottom left, bottom right corner for the pixels of one cell."""
    ty = (torch.arange(fy, dtype=torch.float32) + (0.5 if fy % 2 == 0 else 0)) / fy
    tx = (torch.arange(fx, dtype=torch.float32) + (0.5 if fx % 2 == 0 else 0)) / fx
    sy, sx = torch.stack([1 - ty, ty]), torch.stack([1 - tx, tx])
    return torch.einsum("ay,bx->abyx", sy, sx).reshape(4, fy * fx)
