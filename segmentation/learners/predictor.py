"""Predictions of a network, with one forward pass per image and version of the weights."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ralseg.features.prediction import Noise, Prediction
from ralseg.foundation import RalsegError
from ralseg.segmentation.devices import Precision, compute_dtype, copied, tensor, to_device
from ralseg.segmentation.learners.images import LearnerImages
from ralseg.segmentation.learners.predictions import Predictions, joined
from ralseg.segmentation.networks import Cut, InferenceTwin, SegmentationNetwork
from ralseg.segmentation.sources import (
    MIRRORED,
    NOISE_KINDS,
    PLAIN,
    KeptMaps,
    KeptPixels,
    Pictures,
    Source,
    StagesSource,
    Variant,
    check_noise,
    held_maps,
)

BATCH_PIXELS = {("cpu", torch.float32): 350_000, ("cpu", torch.bfloat16): 700_000}
"""Input pixels per forward pass at which it is fastest, as measured; see docs/speed.md."""
GPU_BATCH_PIXELS = 8_000_000

PREDICTION_BYTES, GPU_PREDICTION_BYTES = 1 << 25, 1 << 30
"""The most bytes of predictions kept on the CPU and on a GPU until the weights change. More would slow down a step on
the CPU, because kept memory is not reused and fresh pages cost time."""

PIXELS_AT_ONCE = 4096
"""Pixels per forward pass where single pixels are predicted."""


class Predictor:
    """A network in inference, with kept predictions.

    Args:
        network: the network that predicts; `_changed` takes over its present weights.
        images: the images that may be read.
        cut: the cut below which maps are computed once per image.
        device: the device of the computations.
        precision: `float32`, `bfloat16` or `auto`, see `compute_dtype`.
        compiled: whether inference runs through `torch.compile`, which starts slowly and needs a compiler.
        source: the feature source of the network's maps; None for its own stages below the cut.

    Attributes:
        dtype: the dtype of the convolutions.
        pixels: the vectors of single pixels, for a network that reads each pixel by itself from a source.
        version: changes whenever predictions change.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        images: LearnerImages,
        cut: Cut,
        device: torch.device,
        precision: Precision,
        compiled: bool,
        source: Source | None = None,
    ) -> None:
        self.images, self.device, self.dtype = images, device, compute_dtype(precision, device)
        self.classes = network.classes
        self._asked = network
        self._cut: Cut = cut
        self._twin = InferenceTwin(network, cut, self.dtype, compiled)
        if source is None and cut != "full":
            source = StagesSource(self._twin.network, cut, device)
        self._source = source
        self._maps: dict[Variant, KeptMaps | Pictures] = {}
        self._held = held_maps(device)
        self.pixels = KeptPixels(self.source_maps)
        self.forget()
        self.version = 0

    def predict(
        self,
        images: Sequence[int],
        noises: Sequence[Noise] = (),
        generator: torch.Generator | None = None,
        again: bool = False,
    ) -> Iterator[Prediction]:
        """Predict images batch by batch; see `Learner.predict`.

        Args:
            images: store indices, of any sizes.
            noises: noisy predictions to make. Dropout and feature noise need no further pass; a flip and each draw of a
                variant of the source need one.
            generator: draws dropout and feature noise.
            again: whether exactly these images will be used again, see `KeptMaps`.

        Raises:
            RalsegError: if the network lacks dropout for dropout noise, the kind of a noise is unknown, or an image may
                not be read now; at the end, see `check`.
        """
        for noise in noises:
            check_noise(noise.kind, self._source.variants if self._source else ())
        self.images.check(images)
        for chunk in self._chunks(images):
            with torch.inference_mode():
                prediction = self._predicted(chunk, PLAIN, again)
                if noises:
                    noisy = {n: self._noisy(prediction, n, generator, again) for n in dict.fromkeys(noises)}
                    prediction = replace(prediction, noisy=noisy)
            yield prediction
        self.check()

    @property
    def predicts_pixels(self) -> bool:
        """See `PredictsPixels`."""
        return self._source is not None and self._asked.per_pixel

    def predict_pixels(
        self,
        where: Mapping[int, np.ndarray],
        noises: Sequence[Noise] = (),
        generator: torch.Generator | None = None,
    ) -> Iterator[Prediction]:
        """Predict single pixels; see `PredictsPixels.predict_pixels`.

        Raises:
            RalsegError: as `predict`.
        """
        for noise in noises:
            check_noise(noise.kind, self._source.variants if self._source else ())
        self.images.check(where)
        for images in _in_parts(where):
            with torch.inference_mode():
                prediction = self._passed_pixels(images, where, PLAIN)
                noisy = {n: self._noisy_pixels(prediction, where, n, generator) for n in dict.fromkeys(noises)}
                yield replace(prediction, noisy=noisy)
        self.check()

    def check(self) -> None:
        """Raise what is wrong with the weights; called when all predictions are under way, as it may wait for a GPU."""

    def lower_maps(self, images: Sequence[int]) -> Iterator[tuple[Tensor, ...]]:
        """The kept maps that `forward` starts from, in batches of one size."""
        for chunk in self._chunks(images):
            yield self.maps()(chunk)

    @torch.no_grad()
    def lower(self, windows: np.ndarray) -> tuple[Tensor, ...]:
        """The maps below the cut of windows (B, h, w, 3) uint8 of one size, for training and inference alike.

        What lies below the cut does not change, and the twin, in which batch norm is folded, is faster.
        """
        network = self._twin.network
        return network.lower(network.normalise(to_device(windows, self.device)), self._cut)

    def maps(self, variant: Variant = PLAIN) -> KeptMaps | Pictures:
        """The source of the maps that `forward` starts from."""
        if variant not in self._maps:
            given = self.images, self.device, variant
            if self._source is None:
                self._maps[variant] = Pictures(self._twin.network, *given)
            else:
                self._maps[variant] = KeptMaps(self._source, *given, held=self._held)
        return self._maps[variant]

    def source_maps(self, variant: Variant = PLAIN) -> KeptMaps:
        """See `maps`, where something lies below the cut."""
        maps = self.maps(variant)
        assert isinstance(maps, KeptMaps)
        return maps

    @property
    def head(self) -> nn.Conv2d:
        """The last layer of the averaged network; its input is `Prediction.decoded`."""
        return self._asked.last_layer(self._cut)

    def weights(self) -> dict[str, Tensor]:
        """A copy of the averaged weights, for a checkpoint."""
        return {key: copied(value) for key, value in self._asked.state_dict().items()}

    def _predicted(self, images: list[int], variant: Variant, again: bool) -> Prediction:
        """The prediction of a batch in a variant; kept images need no forward pass."""
        if (whole := self._predictions.batch(images, variant)) is not None:
            return replace(whole)
        kept = {image: self._predictions.one(image, variant) for image in images}
        missing = [image for image, prediction in kept.items() if prediction is None]
        if len(missing) == len(kept):
            return self._passed(images, variant, again)
        if missing:
            fresh = self._passed(missing, variant, False)
            kept |= {image: fresh.of_image(row) for row, image in enumerate(missing)}
        return joined([prediction for image in images if (prediction := kept[image]) is not None])

    def _passed(self, images: list[int], variant: Variant, again: bool) -> Prediction:
        prediction = replace(self._twin.network(self.maps(variant)(images, again), self._cut), images=images)
        self._predictions.put(prediction, variant)
        return prediction

    def _noisy(self, plain: Prediction, noise: Noise, generator: torch.Generator | None, again: bool) -> Tensor:
        """(M, B, C, h, w) float32 logits."""
        images = list(plain.images)
        if noise.kind == "flip":
            mirrored = tensor(self._predicted(images, MIRRORED, again).logits).flip(-1)
            return torch.stack([tensor(plain.logits), mirrored][-noise.draws :])
        if noise.kind in NOISE_KINDS:
            return self._twin.network.noisy(plain, self._cut, noise, generator)
        draws = (Variant(noise.kind, draw) for draw in range(noise.draws))
        return torch.stack([tensor(self._predicted(images, draw, again).logits) for draw in draws])

    def _passed_pixels(self, images: list[int], where: Mapping[int, np.ndarray], variant: Variant) -> Prediction:
        vectors = []
        for image in images:
            places, size = where[image], self.images.size(image)
            if variant == MIRRORED:
                places = np.stack([places[:, 0], size[1] - 1 - places[:, 1]], axis=1)
            vectors.append(self.pixels(image, places, size, variant))
        maps = torch.cat(vectors).T[None, :, None]
        return replace(self._twin.network((maps,), self._cut), images=images)

    def _noisy_pixels(
        self, plain: Prediction, where: Mapping[int, np.ndarray], noise: Noise, generator: torch.Generator | None
    ) -> Tensor:
        """(M, 1, C, 1, n) float32 logits."""
        images = list(plain.images)
        if noise.kind == "dropout":
            return self._twin.network.noisy(plain, self._cut, noise, generator)
        if noise.kind == "flip":
            mirrored = tensor(self._passed_pixels(images, where, MIRRORED).logits)
            return torch.stack([tensor(plain.logits), mirrored][-noise.draws :])
        if noise.kind == "features":
            raise RalsegError("noise.kind=features is measured in whole images, not in single pixels")
        draws = (Variant(noise.kind, draw) for draw in range(noise.draws))
        return torch.stack([tensor(self._passed_pixels(images, where, draw).logits) for draw in draws])

    def forget(self) -> None:
        """Drop all kept predictions, as a change of the weights does; for measurements."""
        self._predictions = Predictions(PREDICTION_BYTES if self.device.type == "cpu" else GPU_PREDICTION_BYTES)

    def _changed(self) -> None:
        self._twin.refresh()
        self.forget()
        self.version += 1

    def _chunks(self, images: Sequence[int], batch: int | None = None) -> Iterator[list[int]]:
        """Split images into even batches of one image size, by default of the fastest batch size."""
        sizes: dict[tuple, list[int]] = {}
        for i in images:
            sizes.setdefault((self.images.input_size(i), self.images.size(i)), []).append(i)
        limit = BATCH_PIXELS.get((self.device.type, self.dtype), GPU_BATCH_PIXELS)
        for (size, _), group in sizes.items():
            most = batch or max(1, limit // math.prod(size))
            for places in np.array_split(np.arange(len(group)), math.ceil(len(group) / most)):
                yield [group[place] for place in places]


def _in_parts(where: Mapping[int, np.ndarray]) -> Iterator[list[int]]:
    """The images in groups of `PIXELS_AT_ONCE` pixels or a few more."""
    part, count = [], 0
    for image, places in where.items():
        part.append(image)
        count += len(places)
        if count >= PIXELS_AT_ONCE:
            yield part
            part, count = [], 0
    if part:
        yield part
