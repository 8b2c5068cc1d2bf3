"""A part of D_R that stands for all of it, so that the reward costs less."""

from collections.abc import Sequence

import numpy as np

from ralseg.segmentation.grouped_draw import draw_by_group

DRAWS = 4096
"""Random draws of which the one most like the whole is taken."""


def stratified_subset(
    groups: Sequence[str], class_counts: np.ndarray, share: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw images that are like all of them.

    The images are cut into as many runs of neighbours (within groups, frames of a clip) as are drawn, and each run
    gives one. Of `DRAWS` such draws the one is taken whose class shares are nearest: the sum over the classes of the
    relative difference, so that a rare class counts as much as a frequent one, as it does in the mean IoU.

    Args:
        groups: of each of n images, in the order in which they were taken within a group.
        class_counts: (n, C) pixels of each class in each label.
        share: of the images to draw, above 0 and at most 1; one image at least.
        rng: the generator.

    Returns:
        Ascending places, int64.
    """
    count = max(1, round(share * len(groups)))
    by_group = np.argsort(groups, kind="stable")
    draws = by_group[draw_by_group(np.arange(len(groups)) * count // len(groups), count, DRAWS, rng)]
    drawn = np.zeros((DRAWS, len(groups)))
    np.put_along_axis(drawn, draws, 1, axis=1)
    whole = class_counts.sum(0)
    found = drawn @ class_counts
    found, whole = (counts / np.maximum(counts.sum(-1, keepdims=True), 1) for counts in (found, whole))
    difference = np.abs(found / np.where(whole > 0, whole, 1) - (whole > 0)).sum(1)
    return np.sort(draws[difference.argmin()])
