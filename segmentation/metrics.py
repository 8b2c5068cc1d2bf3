"""The confusion matrix and the metrics derived from it."""

from dataclasses import dataclass

import numpy as np

from ralseg.foundation import RalsegError


@dataclass(frozen=True)
class Confusion:
    """Pixel counts of (true class, predicted class).

    Attributes:
        counts: (C, C) int64, without void pixels.
    """

    counts: np.ndarray

    @property
    def iou(self) -> np.ndarray:
        """IoU per class, (C,) float64 in [0, 1]; NaN for a class that is neither true nor predicted anywhere."""
        hits = np.diag(self.counts).astype(float)
        union = self.counts.sum(0) + self.counts.sum(1) - hits
        return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)

    @property
    def miou(self) -> float:
        """Mean IoU in percent over the classes that are true or predicted somewhere; 0 if there is none."""
        iou = self.iou
        return 100 * float(np.nanmean(iou)) if np.isfinite(iou).any() else 0.0

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
    if small and code.size % 2 == 0 and code.size > 1 << 17:
        # Two codes are read as one number, which halves the counting; the counts of pairs are summed afterwards.
        pairs = np.bincount(code.view(np.uint16), minlength=1 << 16).reshape(256, 256)
        counts = pairs.sum(0) + pairs.sum(1)
    else:
        counts = np.bincount(code, minlength=(classes + 1) * classes)
    return Confusion(counts[: classes * classes].reshape(classes, classes))
