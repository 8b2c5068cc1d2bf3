"""A feature source as a user would write it: a random projection of colours, with a noisy variant."""

from collections import Counter

import numpy as np
import torch

from ralseg.segmentation.sources import Source

COMPUTED = Counter()
"""How often maps of (image, variant) were computed."""


class RandomColours(Source):
    variants = ("grainy",)

    def __init__(self, width=12, grain=20.0):
        self.widths, self.stride, self.grain = (width, 3), 2, grain
        self.key = f"random colours {width} {grain}"
        self.weight = torch.randn(width, 3, generator=torch.Generator().manual_seed(0)) / 64

    def maps(self, image, variant):
        COMPUTED[variant.seed(image)] += 1
        pixels = image.astype(np.float32) - 128
        if variant.name == "grainy":
            pixels += self.grain * np.random.default_rng(variant.seed(image)).standard_normal(pixels.shape)
        colours = torch.from_numpy(np.ascontiguousarray(pixels, np.float32)).permute(2, 0, 1)
        fine, coarse = (torch.nn.functional.avg_pool2d(colours, side, ceil_mode=True) for side in (2, 8))
        return torch.relu(torch.einsum("dc,chw->dhw", self.weight, fine)), coarse / 64
