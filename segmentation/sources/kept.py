"""The maps of a source, computed only once per image and variant."""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ralseg.foundation import Kept
from ralseg.segmentation.devices import to_device
from ralseg.segmentation.networks import SegmentationNetwork
from ralseg.segmentation.sources.base import MIRRORED, PLAIN, Source, Variant
from ralseg.segmentation.sources.map_files import MapFiles

CPU_BYTES = 1 << 28
"""The most bytes of maps of a learner that a process holds as pages of files, which other processes share; the same
limit applies to the stacks of each variant. It is enough for D_R and D_S in a usual game."""

DEVICE_BYTES = 2 << 30
"""The same limit on another device, where maps are not shared and dropped maps are computed again."""


class Images(Protocol):
    """The part of an image store that maps are computed from."""

    @property
    def folder(self) -> Path:
        """A folder whose name identifies the images; kept maps are stored next to it."""
        ...

    def image(self, i: int) -> np.ndarray:
        """Image i: uint8 (h, w, 3) RGB."""
        ...

    def check(self, images: Iterable[int]) -> None:
        """Refuse images that may not be read now; their kept maps may not be read either."""
        ...


class Pictures:
    """The maps of the full game, which are the normalised images because nothing is below the cut.

    Args:
        network: gives the dtype.
        images: the images.
        device: the device of the maps.
        variant: `PLAIN` or `MIRRORED`.
    """

    def __init__(self, network: SegmentationNetwork, images: Images, device: torch.device, variant: Variant) -> None:
        self._network, self._images, self._device, self._variant = network, images, device, variant
        self._stacks: Kept[Tensor] = Kept(CPU_BYTES if device.type == "cpu" else DEVICE_BYTES, replace=True)

    def __call__(self, images: Sequence[int], again: bool = False) -> tuple[Tensor, ...]:
        """(B, 3, h, w) of images of one size, channels last in memory; see `KeptMaps`."""
        self._images.check(images)
        stack = self._stacks.get(tuple(images))
        if stack is None:
            with torch.inference_mode(False), torch.no_grad():
                pixels = np.stack([seen(self._images, i, self._variant) for i in images])
                stack = self._network.normalise(to_device(pixels, self._device)).to(self._network.dtype)
            if again:
                self._stacks.put(tuple(images), stack, stack.nbytes)
        return (stack,)


class KeptMaps:
    """The maps of a source for images, kept within a budget and, on the CPU, shared between processes.

    Args:
        source: computes the maps.
        images: the images.
        device: the device of the maps.
        variant: the variant of the maps.
        held: holds the maps of single images; those of several variants share its budget. None for one of their own.

    Attributes:
        source: see above.
        device: see above.
    """

    def __init__(
        self,
        source: Source,
        images: Images,
        device: torch.device,
        variant: Variant = PLAIN,
        held: Kept[tuple[Tensor, ...]] | None = None,
    ) -> None:
        self.source, self._images, self.device, self._variant = source, images, device, variant
        self._shared = device.type == "cpu"
        self._maps = held_maps(device) if held is None else held
        self._stacks = held_maps(device)

    def __call__(self, images: Sequence[int], again: bool = False) -> tuple[Tensor, ...]:
        """Stacked maps (B, D, h, w) of images of one size, channels last in memory.

        Args:
            images: store indices.
            again: whether exactly these images will be used again, so that their stack is worth keeping.

        Raises:
            RalsegError: if an image may not be read, the disk is full or a kept file is damaged.
        """
        self._images.check(images)
        stacks = self._stacks.get(tuple(images))
        if stacks is None:
            # Training uses these maps, too, so they must not be inference tensors.
            with torch.inference_mode(False), torch.no_grad():
                rows = zip(*(self._of(i) for i in images), strict=True)
                stacks = tuple(torch.stack(maps).permute(0, 3, 1, 2) for maps in rows)
            if again and self._stacks.put(tuple(images), stacks, _size(stacks)):
                for i in images:
                    self._maps.drop((self._variant, i))
        return stacks

    def pixels(self, image: int, where: np.ndarray, size: tuple[int, int]) -> Tensor:
        """The vectors of some pixels; only the pages of kept maps that hold them are read.

        Args:
            image: index in the store.
            where: (n, 2) int64 row and column of each pixel.
            size: (height, width) of the image that rows and columns refer to.

        Returns:
            (n, D) in the dtype of the maps, where D is the sum of the widths: every map, interpolated bilinearly at the
            middle of each pixel.

        Raises:
            RalsegError: see `__call__`.
        """
        self._images.check((image,))
        with torch.inference_mode(False), torch.no_grad():
            maps = self._of(image)
            place = to_device(where, maps[0].device)
            return torch.cat([_at(m, place, *size).to(m.dtype) for m in maps], dim=1)

    def check(self, image: int) -> None:
        """Refuse an image that may not be read now."""
        self._images.check((image,))

    def on_disk(self, image: int) -> bool:
        """Whether the maps of an image are kept in a file."""
        return self._shared and self._files.holds(image)

    def files_of(self, kind: str) -> MapFiles:
        """Files for what is made of these maps, image by image; `kind` begins the name of their folder."""
        named = f"{self._images.folder.name} {self._variant} {self.source.key}"
        return MapFiles(self._images.folder.parent, hashlib.sha256(named.encode()).hexdigest()[:16], kind)

    def neighbours(self, image: int, where: np.ndarray, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The neighbours that bilinear interpolation of the first map to a finer grid reads for some cells.

        Args:
            image: store index.
            where: (n, 2) int64 row and column in the finer grid.
            size: (rows, columns) of that grid.

        Returns:
            (n, 4, D) vectors of the four neighbours in the first map, and (n, 4) float32 their weights.
        """
        self._images.check((image,))
        with torch.inference_mode(False), torch.no_grad():
            first = self._of(image)[0]
            return _neighbours(first, to_device(where, first.device), *size)

    def _of(self, image: int) -> tuple[Tensor, ...]:
        """The maps of one image, (h, w, D) each."""
        maps = self._maps.get((self._variant, image))
        if maps is None:
            maps = self._from_file(image) if self._shared else self._computed(image)
            self._maps.put((self._variant, image), maps, _size(maps))
        return maps

    def _from_file(self, image: int) -> tuple[Tensor, ...]:
        maps = self._files.read(image)
        if maps is None:
            computed = self._computed(image)
            self._files.write(image, computed)
            # Shared pages of the file replace private memory of this process.
            maps = self._files.read(image) or computed
        return maps

    def _computed(self, image: int) -> tuple[Tensor, ...]:
        # Images are computed one by one, because rounding depends on the batch and a kept map must not.
        picture = seen(self._images, image, self._variant)
        maps = self.source.maps(picture, PLAIN if self._variant == MIRRORED else self._variant)
        return tuple(m.to(self.device).permute(1, 2, 0).contiguous() for m in maps)

    @cached_property
    def _files(self) -> MapFiles:
        return self.files_of("maps")


def held_maps(device: torch.device) -> Kept[tuple[Tensor, ...]]:
    """An empty cache of maps with the budget of a device."""
    return Kept(CPU_BYTES if device.type == "cpu" else DEVICE_BYTES, replace=True)


def seen(images: Images, image: int, variant: Variant) -> np.ndarray:
    """An image as it is or, for `MIRRORED`, with left and right exchanged: (h, w, 3) uint8."""
    pixels = images.image(image)
    return pixels[:, ::-1] if variant == MIRRORED else pixels


def _at(maps: Tensor, where: Tensor, rows: int, columns: int) -> Tensor:
    """Maps (h, w, D) at cells (n, 2) of a grid of rows x columns, by bilinear interpolation: (n, D)."""
    if maps.shape[:2] == (rows, columns):
        return maps[where[:, 0], where[:, 1]]
    vectors, weights = _neighbours(maps, where, rows, columns)
    return torch.einsum("pcd,pc->pd", vectors.float(), weights)


def _neighbours(maps: Tensor, where: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """The neighbours that bilinear interpolation of maps (h, w, D) reads for cells (n, 2) of a grid of rows x columns.

    Returns:
        (n, 4, D) vectors of the four neighbours, and (n, 4) float32 their weights.
    """
    scale = where.new_tensor([maps.shape[0], maps.shape[1]], dtype=torch.float32)
    scale = scale / where.new_tensor([rows, columns], dtype=torch.float32)
    place = ((where + 0.5) * scale - 0.5).clamp_min(0)
    low = place.long()
    high = torch.minimum(low + 1, where.new_tensor([maps.shape[0] - 1, maps.shape[1] - 1]))
    down, right = (place - low).unbind(1)
    corners = [(low, low), (low, high), (high, low), (high, high)]
    vectors = torch.stack([maps[row[:, 0], column[:, 1]] for row, column in corners], dim=1)
    shares = [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right]
    return vectors, torch.stack(shares, dim=1)


def _size(tensors: tuple[Tensor, ...]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
