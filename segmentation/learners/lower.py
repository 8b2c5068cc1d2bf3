"""What lies below the cut, computed once per image."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ralseg.segmentation.networks import Cut, SegmentationNetwork, normalise
from ralseg.segmentation.store import ImageStore

KEPT_STACKS = 8
"""Batches whose stacked maps are kept: those of D_R and D_S in a usual game."""


class LowerMaps:
    """The maps below the cut for the images of a store, kept as long as this object lives.

    In the full game nothing lies below the cut: images are read from the store each time.

    Args:
        network: in evaluation mode; its weights below the cut must stand still.
        store: the images.
        cut: the game.
        device: where the network lives.
    """

    def __init__(self, network: SegmentationNetwork, store: ImageStore, cut: Cut, device: torch.device) -> None:
        self.network, self.store, self.cut, self.device = network, store, cut, device
        self._maps: dict[int, tuple[Tensor, ...]] = {}
        self._stacks: dict[tuple[int, ...], tuple[Tensor, ...]] = {}

    def __call__(self, images: Sequence[int], again: bool = False) -> tuple[Tensor, ...]:
        """Stacked maps (B, D, h, w) of images of one size, channels last in memory.

        Args:
            images: indices in the store.
            again: whether just these images will be asked for again, so that their stack is worth keeping.
        """
        if self.cut == "full":
            return (self._images(images),)
        key = tuple(images)
        if key in self._stacks:
            return self._stacks[key]
        stacks = self._stacked(images)
        if again:
            if len(self._stacks) == KEPT_STACKS:
                self._stacks.pop(next(iter(self._stacks)))
            self._stacks[key] = stacks
        return stacks

    def _stacked(self, images: Sequence[int]) -> tuple[Tensor, ...]:
        for i in dict.fromkeys(images):
            if i not in self._maps:
                # One by one: rounding depends on the batch, and a kept map must not depend on who asked for it first.
                with torch.no_grad():
                    maps = self.network.lower(self._images([i]), self.cut)
                self._maps[i] = tuple(m[0].permute(1, 2, 0).contiguous() for m in maps)
        stacks = zip(*(self._maps[i] for i in images), strict=True)
        return tuple(torch.stack(maps).permute(0, 3, 1, 2) for maps in stacks)

    def _images(self, images: Sequence[int]) -> Tensor:
        pixels = np.stack([self.store.image(i) for i in images])
        return normalise(torch.from_numpy(pixels).to(self.device))
