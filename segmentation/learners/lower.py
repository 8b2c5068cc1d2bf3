"""What lies below the cut, computed once per image."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ralseg.foundation import Kept
from ralseg.segmentation.devices import to_device
from ralseg.segmentation.learners.map_files import MapFiles
from ralseg.segmentation.networks import Cut, SegmentationNetwork, normalise
from ralseg.segmentation.store import ImageStore

CPU_BYTES = 1 << 28
"""Maps of so many bytes are at hand in a process, as pages of files that other processes share, and stacks of as many
again: those of D_R and D_S in a usual game."""

DEVICE_BYTES = 2 << 30
"""Likewise on another device, where maps are not shared and those that were dropped are computed again."""


class Images(Protocol):
    """The part of the image store that maps are computed from.

    Attributes:
        folder: its name stands for the images, and beside it kept maps lie.
    """

    folder: Path

    def image(self, i: int) -> np.ndarray:
        """Image i: uint8 (h, w, 3) RGB."""


class MirroredImages:
    """The images of a store, left and right exchanged.

    Args:
        store: the images.
    """

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self.folder = store.folder.with_name(f"{store.folder.name}-mirrored")

    def image(self, i: int) -> np.ndarray:
        """See `Images`."""
        return self._store.image(i)[:, ::-1]


class LowerMaps:
    """The maps below the cut for the images of a store, kept within a budget and, on the CPU, shared between processes.

    In the full game nothing lies below the cut: the maps are the images, normalised.

    Args:
        network: in evaluation mode; its weights below the cut must stand still.
        store: the images.
        cut: the game.
        device: where the network lives.
    """

    def __init__(self, network: SegmentationNetwork, store: Images, cut: Cut, device: torch.device) -> None:
        self.network, self.store, self.cut, self.device = network, store, cut, device
        self._shared = device.type == "cpu"
        budget = CPU_BYTES if self._shared else DEVICE_BYTES
        self._maps: Kept[tuple[Tensor, ...]] = Kept(budget, replace=True)
        self._stacks: Kept[tuple[Tensor, ...]] = Kept(budget, replace=True)

    def __call__(self, images: Sequence[int], again: bool = False) -> tuple[Tensor, ...]:
        """Stacked maps (B, D, h, w) of images of one size, channels last in memory.

        Args:
            images: indices in the store.
            again: whether just these images will be asked for again, so that their stack is worth keeping.

        Raises:
            RalsegError: if the disk is full or a kept file is damaged.
        """
        stacks = self._stacks.get(tuple(images))
        if stacks is None:
            # Training starts from these maps, too: they must not be marked as inference's own.
            with torch.inference_mode(False), torch.no_grad():
                stacks = self._stacked(images)
            if again and self._stacks.put(tuple(images), stacks, _size(stacks)):
                for i in images:
                    self._maps.drop(i)
        return stacks

    def _stacked(self, images: Sequence[int]) -> tuple[Tensor, ...]:
        if self.cut == "full":
            return (self._normalised([self.store.image(i) for i in images]).to(self.network.dtype),)
        rows = zip(*(self._of(i) for i in images), strict=True)
        return tuple(torch.stack(maps).permute(0, 3, 1, 2) for maps in rows)

    def _of(self, image: int) -> tuple[Tensor, ...]:
        """The maps of one image, (h, w, D) each."""
        maps = self._maps.get(image)
        if maps is None:
            maps = self._from_file(image) if self._shared else self._computed(image)
            self._maps.put(image, maps, _size(maps))
        return maps

    def _from_file(self, image: int) -> tuple[Tensor, ...]:
        maps = self._files.read(image)
        if maps is None:
            computed = self._computed(image)
            self._files.write(image, computed)
            # Pages of the file rather than memory of this process alone.
            maps = self._files.read(image) or computed
        return maps

    def _computed(self, image: int) -> tuple[Tensor, ...]:
        # One by one: rounding depends on the batch, and a kept map must not depend on who asked for it first.
        return self._lower(self.store.image(image))

    def _lower(self, image: np.ndarray) -> tuple[Tensor, ...]:
        maps = self.network.lower(self._normalised([image]), self.cut)
        return tuple(m[0].permute(1, 2, 0).contiguous() for m in maps)

    def _normalised(self, images: Sequence[np.ndarray]) -> Tensor:
        return normalise(to_device(np.stack(images), self.device))

    @cached_property
    def _files(self) -> MapFiles:
        trained = chain.from_iterable((*m.parameters(), *m.buffers()) for m in self.network.trained(self.cut))
        above = {id(tensor) for tensor in trained}
        below = [t for t in (*self.network.parameters(), *self.network.buffers()) if id(t) not in above]
        # The maps of a small picture speak for all else that they depend on: code, precision, processor.
        picture = (np.arange(64 * 64 * 3) % 251).astype(np.uint8).reshape(64, 64, 3)
        digest = hashlib.sha256(f"{self.store.folder.name} {self.cut}".encode())
        for tensor in (*below, *self._lower(picture)):
            digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
        return MapFiles(self.store.folder.parent, digest.hexdigest()[:16])


def _size(tensors: tuple[Tensor, ...]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
