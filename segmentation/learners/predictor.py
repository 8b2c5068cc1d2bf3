"""What is asked of a learner: predictions and the confusion matrix, one forward pass per image."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from ralseg.features.prediction import Noise, Prediction
from ralseg.foundation import Kept
from ralseg.segmentation.devices import Precision, compute_dtype
from ralseg.segmentation.learners.lower import LowerMaps, MirroredImages
from ralseg.segmentation.metrics import Confusion
from ralseg.segmentation.networks import Cut, InferenceTwin, SegmentationNetwork
from ralseg.segmentation.store import ImageStore
from ralseg.segmentation.truth import Truth, truth

Rows = np.ndarray | Tensor
Reducer = Callable[[Prediction, Sequence[int]], Mapping[str, Sequence[Rows]]]
"""`reducer(prediction, images)` keeps what it needs of the prediction of a batch of images: name -> a row an image."""

BATCH_PIXELS = {("cpu", torch.float32): 350_000, ("cpu", torch.bfloat16): 700_000}
"""Input pixels in one forward pass, where it is fastest; measured, see docs/speed.md."""
GPU_BATCH_PIXELS = 8_000_000

TRUTH_BYTES, GPU_TRUTH_BYTES = 1 << 27, 1 << 30
"""Labels of so many bytes, laid out for counting, are kept on the CPU and on a GPU."""


class Predictor:
    """A network that is asked and evaluated.

    Args:
        network: whose predictions are meant; `_changed` takes over the weights that it has now.
        store: images and labels.
        cut: what lies below it is computed once per image.
        device: where to compute.
        precision: `float32`, `bfloat16` or `auto` (bfloat16 where the processor has it).
        compiled: whether inference runs through `torch.compile`, which takes its time at first and needs a compiler.

    Attributes:
        dtype: what the convolutions compute in.
        version: changes whenever predictions change.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        store: ImageStore,
        cut: Cut,
        device: torch.device,
        precision: Precision,
        compiled: bool,
    ) -> None:
        self.store, self.device, self.dtype = store, device, compute_dtype(precision, device)
        self.classes = network.classes
        self._asked, self._cut = network, cut
        self._twin = InferenceTwin(network, cut, self.dtype, compiled)
        self._lower = LowerMaps(self._twin.network, store, cut, device)
        self._truth: Kept[Truth] = Kept(TRUTH_BYTES if device.type == "cpu" else GPU_TRUTH_BYTES, replace=False)
        self.version = 0

    def predict(
        self,
        images: Sequence[int],
        reducers: Sequence[Reducer],
        noises: Sequence[Noise] = (),
        generator: torch.Generator | None = None,
        again: bool = False,
    ) -> dict[str, list[np.ndarray]]:
        """One forward pass per image, reduced batch by batch, so that no probability map outlives its batch.

        Args:
            images: indices in the store, any sizes.
            reducers: what to keep; each gets batches of images of one size.
            noises: noisy predictions to make; a flip takes a second pass, over the mirrored image.
            generator: of the noise, flips excepted.
            again: whether just these images will be asked for again, see `LowerMaps`.

        Returns:
            name -> one array per image, in the order of `images`.

        Raises:
            RalsegError: for noise by dropout where the network has none.
        """
        reduced: list[tuple[str, list[int], Sequence[Rows]]] = []
        for places, chunk in self._chunks(images):
            with torch.inference_mode():
                prediction = self._predicted(chunk, noises, generator, again)
            for reducer in reducers:
                reduced += [(name, places, rows) for name, rows in reducer(prediction, chunk).items()]
        # Fetched when all is under way: a GPU is waited for once.
        kept: dict[str, list[np.ndarray]] = {}
        for name, places, rows in reduced:
            for place, row in zip(places, rows, strict=True):
                row = row.numpy(force=True) if isinstance(row, Tensor) else row
                kept.setdefault(name, [np.empty(0)] * len(images))[place] = row
        return kept

    def evaluate(
        self, images: Sequence[int], observer: Callable[[Prediction, Sequence[int]], None] | None = None
    ) -> Confusion:
        """The confusion matrix over full labels at their own size.

        Args:
            images: indices in the store.
            observer: is shown every prediction, so that whoever needs it makes no second forward pass.
        """
        total = torch.zeros(self.classes, self.classes, dtype=torch.int64, device=self.device)
        for _, chunk in self._chunks(images):
            with torch.inference_mode():
                prediction = self._twin.network.upper(self._lower(chunk, again=True), self._cut)
                total += self._true(chunk, prediction.logits.shape[-2:]).count(prediction.logits)
            if observer is not None:
                observer(prediction, chunk)
        return Confusion(total.numpy(force=True))

    def lower_maps(self, images: Sequence[int]) -> Iterator[tuple[Tensor, ...]]:
        """The cached maps below the cut, batch by batch of one size."""
        for _, chunk in self._chunks(images):
            yield self._lower(chunk)

    @property
    def head(self) -> nn.Module:
        """The last layer of the averaged network, on whose input `Prediction.decoded` it acts."""
        return self._asked.last_layer(self._cut)

    def weights(self) -> dict[str, Tensor]:
        """A copy of the averaged weights, for a checkpoint."""
        state = self._asked.state_dict()
        return {key: value.cpu().clone(memory_format=torch.contiguous_format) for key, value in state.items()}

    def _predicted(
        self, images: list[int], noises: Sequence[Noise], generator: torch.Generator | None, again: bool
    ) -> Prediction:
        drawn, flips = ([n for n in dict.fromkeys(noises) if (n.kind == "flip") == flip] for flip in (False, True))
        upper = self._twin.network.upper
        prediction = upper(self._lower(images, again), self._cut, drawn, generator)
        if not flips:
            return prediction
        mirrored = upper(self._mirrored(images, again), self._cut).logits.flip(-1)
        flipped = {noise: noise.flips(prediction.logits, mirrored) for noise in flips}
        return replace(prediction, noisy={**prediction.noisy, **flipped})

    @cached_property
    def _mirrored(self) -> LowerMaps:
        return LowerMaps(self._twin.network, MirroredImages(self.store), self._cut, self.device)

    def _changed(self) -> None:
        self._twin.refresh()
        self.version += 1

    def _true(self, images: list[int], size: tuple[int, int]) -> Truth:
        found = self._truth.get(tuple(images))
        if found is None:
            found = truth(np.stack([self.store.label(i) for i in images]), self.classes, size, self.device)
            self._truth.put(tuple(images), found, found.nbytes)
        return found

    def _chunks(self, images: Sequence[int], batch: int | None = None) -> Iterator[tuple[list[int], list[int]]]:
        """Places and images of batches of one size, as even as can be; of the fastest size where none is given."""
        sizes: dict[tuple, list[int]] = {}
        for place, i in enumerate(images):
            sizes.setdefault((self.store.input_size(i), self.store.size(i)), []).append(place)
        limit = BATCH_PIXELS.get((self.device.type, self.dtype), GPU_BATCH_PIXELS)
        for (size, _), places in sizes.items():
            most = batch or max(1, limit // math.prod(size))
            for chunk in np.array_split(places, math.ceil(len(places) / most)):
                yield chunk.tolist(), [images[place] for place in chunk]
