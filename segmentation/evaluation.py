"""Evaluation: the one place where predictions are compared with labels."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from ralseg.features.prediction import Prediction
from ralseg.foundation import Kept
from ralseg.segmentation.learners import Learner
from ralseg.segmentation.metrics import Confusion
from ralseg.segmentation.store import ImageStore
from ralseg.segmentation.truth import Truth, truth

TRUTH_BYTES, GPU_TRUTH_BYTES = 1 << 27, 1 << 30
"""The most bytes of labels, laid out for counting, that are kept on the CPU and on a GPU."""


class Evaluator:
    """Counts the pixels of each pair of true and predicted class.

    Args:
        store: the labels.
        classes: number of classes C.
    """

    def __init__(self, store: ImageStore, classes: int) -> None:
        self._store, self._classes = store, classes
        self._truths: dict[torch.device, Kept[Truth]] = {}

    def __call__(
        self, learner: Learner, images: Sequence[int], observer: Callable[[Prediction], None] | None = None
    ) -> Confusion:
        """The confusion matrix over full labels at their own size.

        Args:
            learner: makes the predictions.
            images: store indices.
            observer: called with every prediction, so that its user needs no second forward pass.

        Raises:
            RalsegError: if the loss of the learner's last turn was not finite.
        """
        total = torch.zeros(self._classes, self._classes, dtype=torch.int64, device=learner.device)
        for prediction in learner.predict(images, again=True):
            with torch.inference_mode():
                total += self._truth(prediction, learner.device).count(torch.as_tensor(prediction.logits))
            if observer is not None:
                observer(prediction)
        return Confusion(total.numpy(force=True))

    def _truth(self, prediction: Prediction, device: torch.device) -> Truth:
        kept = self._truths.setdefault(
            device, Kept(TRUTH_BYTES if device.type == "cpu" else GPU_TRUTH_BYTES, replace=False)
        )
        size = prediction.logits.shape[-2], prediction.logits.shape[-1]
        key = tuple(prediction.images), size
        found = kept.get(key)
        if found is None:
            labels = np.stack([self._store.label(i) for i in prediction.images])
            found = truth(labels, self._classes, size, device)
            kept.put(key, found, found.nbytes)
        return found
