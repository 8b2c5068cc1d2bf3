"""What is kept of a prediction: the seam between a learner's forward pass and whoever looks at units."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from ralseg.features import SomeUnits, UnitGrid
from ralseg.features.arrays import Array
from ralseg.segmentation.networks import Noise, Prediction


class UnitReducer(Protocol):
    """What an acquisition keeps of a prediction.

    Attributes:
        name: of what it finds; two reducers of one name find the same.
        noise: the noisy predictions that it reads; None: none.
        labelled: whether it is wanted for labelled units, too.
    """

    name: str
    noise: Noise | None
    labelled: bool

    def __call__(
        self, prediction: Prediction, images: Sequence[int], grid: UnitGrid | SomeUnits
    ) -> Mapping[str, Array]:
        """Name -> (B, units, ...) for a batch of images (indices in the store) of one size and grid."""


def one_image(prediction: Prediction, row: int) -> Prediction:
    """The prediction of one image of a batch, a batch of one."""
    own = slice(row, row + 1)
    return replace(
        prediction,
        logits=prediction.logits[own],
        features=prediction.features[own],
        embedding=tuple(maps[own] for maps in prediction.embedding),
        noisy={noise: logits[:, own] for noise, logits in prediction.noisy.items()},
    )
