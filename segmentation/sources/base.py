"""The interface of a frozen feature source, which gives maps of an image, plain or in variants."""

import zlib
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ralseg.foundation import RalsegError

NOISE_KINDS = ("dropout", "features", "flip")
"""Kinds of noise that are not variants of a source."""


@dataclass(frozen=True)
class Variant:
    """One way to compute the maps of an image.

    Attributes:
        name: `plain`, `mirrored`, or a variant of the source.
        draw: the number of the draw (or the timestep) of a variant of the source.
    """

    name: str = "plain"
    draw: int = 0

    def seed(self, image: np.ndarray) -> int:
        """A 32-bit seed for this draw on this image, the same in every process."""
        return zlib.crc32(f"{self.name} {self.draw}".encode(), zlib.crc32(image.tobytes()))


PLAIN, MIRRORED = Variant(), Variant("mirrored")


class Source:
    """A frozen feature source. Subclasses set the attributes and implement `maps`.

    Attributes:
        key: identifies everything that the maps depend on besides the image and the variant: weights, settings, code.
        widths: channels of the maps.
        stride: input pixels per cell of the first map; its size is rounded up.
        variants: names of the source's own variants, each with any number of draws. Every source also has `plain`, and
            `mirrored`, which is `plain` of the mirrored image.
    """

    key: str
    widths: tuple[int, ...]
    stride: int
    variants: tuple[str, ...] = ()

    def maps(self, image: np.ndarray, variant: Variant) -> tuple[Tensor, ...]:
        """The maps of an image.

        Args:
            image: (h, w, 3) uint8 RGB at the input size.
            variant: `PLAIN` or a variant of the source. The same draw of the same image must give the same maps, so
                seed random numbers with `variant.seed(image)`, or by the draw alone.

        Returns:
            Maps (D_i, h_i, w_i), one for each of `widths`; the first has the finest resolution.
        """
        raise NotImplementedError


def check_noise(kind: str, variants: tuple[str, ...]) -> None:
    """Refuse noise of a kind that does not exist.

    Args:
        kind: the kind of the noise.
        variants: the variants of the source.

    Raises:
        RalsegError: if the kind is unknown; the message names those that exist.
    """
    if kind not in (*NOISE_KINDS, *variants):
        raise RalsegError(f"noise.kind={kind!r} is unknown; choose from {', '.join((*NOISE_KINDS, *variants))}")
