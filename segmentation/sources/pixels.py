"""The vectors of single pixels of an image, gathered from the maps of a source."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ralseg.foundation import Kept
from ralseg.segmentation.sources.base import PLAIN, Variant
from ralseg.segmentation.sources.kept import KeptMaps
from ralseg.segmentation.sources.map_files import MapFiles

PIXEL_BYTES = 1 << 29
"""The most bytes of vectors of one learner that are held in memory."""

Known = tuple[np.ndarray, Tensor]
"""(n,) ascending numbers of pixels within their image, and (n, D) their vectors."""


class KeptPixels:
    """Vectors of pixels in all variants of a source, kept within a budget.

    Games of pixels ask for few pixels of an image again and again. Where the maps of an image are too large to be kept
    on disk, the vectors are kept there in their place, so that no image passes the source a second time for pixels that
    were asked for before.

    Args:
        maps: gives the maps of a variant.
    """

    def __init__(self, maps: Callable[[Variant], KeptMaps]) -> None:
        self._maps = maps
        self._kept: Kept[Known] = Kept(PIXEL_BYTES, replace=True)
        self._files: dict[Variant, MapFiles] = {}

    def __call__(self, image: int, where: np.ndarray, size: tuple[int, int], variant: Variant = PLAIN) -> Tensor:
        """The vectors of pixels.

        Args:
            image: index in the store.
            where: (n, 2) int64 row and column of each pixel.
            size: (height, width) of the image that rows and columns refer to, which may be larger than the source's
                input; the same in all calls.
            variant: the variant of the source.

        Returns:
            (n, D), see `KeptMaps.pixels`; not to be written to.

        Raises:
            RalsegError: as `KeptMaps.pixels`.
        """
        maps = self._maps(variant)
        maps.check(image)
        codes = where[:, 0] * size[1] + where[:, 1]
        known = self._known(image, variant, maps)
        if known is None or len(missing := np.setdiff1d(codes, known[0])):
            missing = np.unique(codes) if known is None else missing
            found = missing, maps.pixels(image, np.stack(np.divmod(missing, size[1]), axis=1), size)
            known = found if known is None else _merged(known, found)
            self._keep((variant, image), known)
            if not maps.on_disk(image):
                self._files[variant].write(image, (torch.from_numpy(known[0]), known[1].cpu()))
        numbers, vectors = known
        return vectors[torch.from_numpy(np.searchsorted(numbers, codes)).to(vectors.device)]

    def _known(self, image: int, variant: Variant, maps: KeptMaps) -> Known | None:
        """What is kept of an image, in memory or on disk."""
        kept = self._kept.get((variant, image))
        if variant not in self._files:
            self._files[variant] = maps.files_of("pixels")
        if kept is None and (read := self._files[variant].read(image)) is not None:
            kept = read[0].numpy(), read[1].to(maps.device)
            self._keep((variant, image), kept)
        return kept

    def _keep(self, key: tuple[Variant, int], known: Known) -> None:
        self._kept.drop(key)
        self._kept.put(key, known, known[0].nbytes + known[1].nbytes)


def _merged(one: Known, other: Known) -> Known:
    numbers = np.concatenate([one[0], other[0]])
    order = np.argsort(numbers)
    return numbers[order], torch.cat([one[1], other[1]])[torch.from_numpy(order).to(one[1].device)]
