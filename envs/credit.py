"""Gradient credit: an estimate of what one unit was worth, for the training of a policy, where labels are known.

It complements the shared reward: for each candidate, the agreement of its loss gradient with that of D_R says how much
a step on this unit alone lowers the loss on D_R, to first order, in the weights of the last layer.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from ralseg.envs.targets import Targets
from ralseg.features.arrays import Array
from ralseg.features.prediction import Prediction, as_array
from ralseg.features.units import Reducer, Units
from ralseg.foundation import RalsegError
from ralseg.segmentation.learners import SupervisedLearner

CreditLoss = Literal["balanced_cross_entropy", "soft_iou"]
CREDIT_LOSSES: tuple[CreditLoss, ...] = ("balanced_cross_entropy", "soft_iou")


class GradientCredit:
    """The agreement of each unit's loss gradient in the last layer with that of D_R, without a gradient per unit.

    The last layer is linear in its weights W on the map X: the gradient of a pixel's cross-entropy is its residual
    (p - y) times X, so its inner product with D_R's gradient G is the residual times the response of a layer with
    weights G to X. One convolution gives it for all pixels, one pooling for all units.

    Pass every prediction of D_R to `observe`, call `finish`, then reduce candidates at the same weights.

    Args:
        learner: the learner whose last layer is used.
        targets: true labels.
        class_counts: (C,) labelled pixels of each class in D_R.
        loss: the loss on D_R: `balanced_cross_entropy` (the mean over classes of the classes' mean cross-entropy) or
            `soft_iou` (one minus the mean over classes of the soft IoU over all of D_R).

    Attributes:
        reducer: computes `credit`, (B, units) float32: the mean over the unit's pixels, larger is better; void pixels
            count as 0.

    Raises:
        RalsegError: for an unknown loss.
    """

    def __init__(
        self, learner: SupervisedLearner, targets: Targets, class_counts: np.ndarray, loss: CreditLoss
    ) -> None:
        if loss not in CREDIT_LOSSES:
            raise RalsegError(f"game.credit={loss!r} is unknown; choose from {', '.join(CREDIT_LOSSES)}")
        self._learner, self._targets, self._loss = learner, targets, loss
        self.reducer = Reducer("credit", self._of_units)
        counts = np.asarray(class_counts, float)
        present = counts > 0
        weights = np.zeros(learner.classes)
        weights[present] = 1 / (counts[present] * present.sum())
        self._weights = torch.from_numpy(weights).float()
        self._present = torch.from_numpy(present)
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []
        self._sum: tuple[Tensor, Tensor] | None = None
        self._gradient: tuple[Tensor, Tensor] | None = None

    def observe(self, prediction: Prediction) -> None:
        """Add the prediction of a batch of D_R."""
        probabilities, decoded, targets = self._read(prediction)
        if self._loss == "soft_iou":
            # The slope of the soft IoU depends on its value over all of D_R, so the maps are kept until the end.
            self._seen.append((probabilities, targets, decoded))
            return
        weighted = targets * self._weights.to(targets)[:, None, None]
        self._add(probabilities * weighted.sum(1, keepdim=True) - weighted, decoded)

    def finish(self) -> None:
        """Finish the pass over D_R and fix its gradient."""
        if self._loss == "soft_iou":
            self._close_iou()
        self._gradient, self._sum = self._sum, None

    def _of_units(self, prediction: Prediction, units: Units) -> Array:
        if self._gradient is None:
            raise RalsegError("credit needs the gradient of D_R; evaluate D_R with this observer first")
        probabilities, decoded, targets = self._read(prediction)
        residual = probabilities * targets.sum(1, keepdim=True) - targets
        weight, bias = self._gradient
        response = functional.conv2d(decoded, weight, bias, padding=self._learner.head.padding)
        cell = units.height * units.width / (targets.shape[-2] * targets.shape[-1])
        agreement = (residual * response).sum(1) / cell
        return units.pool(as_array(agreement))

    def _read(self, prediction: Prediction) -> tuple[Tensor, Tensor, Tensor]:
        """Probabilities, the last layer's input and the true counts of a batch."""
        logits, decoded = torch.as_tensor(prediction.logits).float(), torch.as_tensor(prediction.decoded).float()
        height, width = logits.shape[-2:]
        return logits.softmax(1), decoded, self._targets(prediction.images, (height, width))

    def _add(self, residual: Tensor, decoded: Tensor) -> None:
        head = self._learner.head
        if head.kernel_size == (1, 1):
            # One matrix product gives the same as the general case below, at a quarter of its cost.
            pixels = decoded.permute(0, 2, 3, 1).reshape(-1, decoded.shape[1])
            weight = (residual.transpose(0, 1).flatten(1) @ pixels).view_as(head.weight)
        else:
            # The type stubs allow only one number for both sides.
            padding: Any = head.padding
            weight = conv2d_weight(decoded, head.weight.shape, residual, padding=padding)
        parts = weight, residual.sum((0, 2, 3))
        self._sum = parts if self._sum is None else (self._sum[0] + parts[0], self._sum[1] + parts[1])

    def _close_iou(self) -> None:
        def total(term: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
            return torch.stack([term(p, y).sum((0, 2, 3)) for p, y, _ in self._seen]).sum(0)

        hits = total(lambda p, y: p * y)
        union = total(lambda p, y: p * y.sum(1, keepdim=True) + y) - hits
        present = self._present.to(hits)
        scale = present / present.sum() / union.clamp_min(1e-6)
        for p, y, decoded in self._seen:
            # d IoU / d p = (y U - I (n - y)) / U^2 per cell of n labelled pixels, followed by the softmax's slope.
            n = y.sum(1, keepdim=True)
            slope = -scale[:, None, None] * (y - (hits / union.clamp_min(1e-6))[:, None, None] * (n - y))
            self._add(p * (slope - (slope * p).sum(1, keepdim=True)), decoded)
        self._seen = []
