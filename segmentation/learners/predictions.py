"""Predictions at the present weights, kept so that no image needs a second forward pass."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from ralseg.features.prediction import Prediction
from ralseg.foundation import Kept
from ralseg.segmentation.devices import tensor
from ralseg.segmentation.sources import Variant


class Predictions:
    """The predictions of one version of a network within a budget; the least recently used are dropped first.

    Args:
        budget: in bytes.
    """

    def __init__(self, budget: int) -> None:
        self._batches: Kept[Prediction] = Kept(budget, replace=True)
        self._rows: dict[tuple[Variant, int], tuple[tuple[Variant, tuple[int, ...]], int]] = {}

    def batch(self, images: Sequence[int], variant: Variant) -> Prediction | None:
        """The prediction of exactly these images as one batch; None if it is not kept."""
        return self._batches.get((variant, tuple(images)))

    def one(self, image: int, variant: Variant) -> Prediction | None:
        """The prediction of one image as a batch of one; None if it is not kept."""
        if (variant, image) not in self._rows:
            return None
        key, row = self._rows[variant, image]
        kept = self._batches.get(key)
        return None if kept is None else kept.of_image(row)

    def put(self, prediction: Prediction, variant: Variant) -> None:
        """Keep the prediction of a batch, if there is room."""
        key = variant, tuple(prediction.images)
        maps = (prediction.logits, prediction.features, *prediction.embedding)
        # A copy, so that values cached in the prediction later do not count against the budget.
        if self._batches.put(key, replace(prediction), sum(m.nbytes for m in maps)):
            self._rows.update({(variant, image): (key, row) for row, image in enumerate(prediction.images)})


def joined(predictions: Sequence[Prediction]) -> Prediction:
    """Several predictions as one batch, without noisy predictions."""
    return Prediction(
        torch.cat([tensor(p.logits) for p in predictions]),
        torch.cat([tensor(p.features) for p in predictions]),
        tuple(torch.cat([tensor(m) for m in maps]) for maps in zip(*(p.embedding for p in predictions), strict=True)),
        images=[image for p in predictions for image in p.images],
    )
