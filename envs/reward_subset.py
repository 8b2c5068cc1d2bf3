"""A representative part of D_R, which makes the reward cheaper."""

from collections.abc import Sequence

import numpy as np

from ralseg.segmentation.grouped_draw import draw_by_group

DRAWS = 4096
"""Number of random draws, of which the most representative is used."""


def stratified_subset(
    groups: Sequence[str], class_counts: np.ndarray, share: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw a representative part of some images.

    The images are cut into as many runs of neighbours (within groups, such as frames of a clip) as images are drawn,
    and one image is drawn from each run. Of `DRAWS` such draws the one with the most similar class shares is used: the
    distance is the sum over classes of the relative difference, so a rare class counts as much as a frequent one, as
    in the mean IoU.

    Args:
        groups: the group of each of n images; within a group, images are in the order in which they were taken.
        class_counts: (n, C) pixels of each class in each label.
        share: share of the images to draw, above 0 and at most 1; at least one image is drawn.
        rng: the generator.

    Returns:
        Ascending places in `groups`, int64.
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
