"""The stages of a network below its cut as a feature source."""

import hashlib
from functools import cached_property
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from ralseg.foundation import RalsegError
from ralseg.segmentation.devices import to_device
from ralseg.segmentation.networks import Cut, SegmentationNetwork
from ralseg.segmentation.sources.base import PLAIN, Source, Variant


class StagesSource(Source):
    """The part of a network below its cut, as a feature source.

    Args:
        network: a network in evaluation mode; its weights below the cut must not change.
        cut: `partial` or `frozen`.
        device: the device of the network.
    """

    def __init__(self, network: SegmentationNetwork, cut: Cut, device: torch.device) -> None:
        self.network, self.device = network, device
        self.cut: Cut = cut

    def maps(self, image: np.ndarray, variant: Variant) -> tuple[Tensor, ...]:
        """See `Source.maps`."""
        if variant != PLAIN:
            raise RalsegError(f"the stages of a network have no variant {variant.name!r}; they give plain maps only")
        pixels = self.network.normalise(to_device(image[None].copy(), self.device))
        return tuple(m[0] for m in self.network.lower(pixels, self.cut))

    @cached_property
    def key(self) -> str:
        """A key of the cut, the weights below it, and the effect of code, precision and processor on the maps."""
        trained = chain.from_iterable((*m.parameters(), *m.buffers()) for m in self.network.trained(self.cut))
        above = {id(tensor) for tensor in trained}
        below = [t for t in (*self.network.parameters(), *self.network.buffers()) if id(t) not in above]
        # The maps of a small picture represent everything else: code, precision, processor.
        picture = (np.arange(64 * 64 * 3) % 251).astype(np.uint8).reshape(64, 64, 3)
        digest = hashlib.sha256(self.cut.encode())
        for tensor in (*below, *self.maps(picture, PLAIN)):
            digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()
