"""Regions of one image that do not overlap, in the order of a score map (RIPU)."""

from collections.abc import Iterator

import numpy as np

from ralseg.foundation import RalsegError

SAMPLE = 2**15
"""Number of scores from which the threshold of the leading ones is estimated."""
CHUNK = 4096
"""Number of leading pixels processed one by one before blocked pixels are dropped from the rest."""


def separated(score: np.ndarray, picks: int, radius: int) -> np.ndarray:
    """Greedily pick the best pixels that are more than a Chebyshev distance apart (RIPU, Xie et al., CVPR 2022).

    The result is the same as repeatedly taking the pixel of the largest score (the lowest index in a tie) and excluding
    all pixels within `radius` of it. Only leading pixels are sorted, since each pick excludes at most
    (2 radius + 1)^2 of them. Regions of side 2 k + 1 around the pixels do not overlap if the radius is 2 k.

    Args:
        score: (h, w) float32 or float64; -inf is never chosen.
        picks: number of picks.
        radius: in pixels, 0 or more.

    Returns:
        (picks,) int64 flat indices, best first; fewer if all other pixels are excluded or -inf.

    Raises:
        RalsegError: if a score is NaN, the shape is wrong, or the radius is negative.
    """
    if score.ndim != 2:
        raise RalsegError(f"the score map has the shape {score.shape}; it is (height, width)")
    if radius < 0:
        raise RalsegError(f"the radius {radius} of the separation is out of range; it is 0 or more")
    if score.size and np.isnan(score.max()):
        row, column = np.argwhere(np.isnan(score))[0]
        raise RalsegError(f"the score at row {row}, column {column} is NaN; repair the predictions that it comes from")
    height, width = score.shape
    radius = min(radius, max(height, width))
    stride, side = width + 2 * radius, 2 * radius + 1
    # A margin around the map holds the parts of squares beyond the border.
    flags = bytearray((height + 2 * radius) * stride)
    struck = np.frombuffer(flags, np.uint8).reshape(height + 2 * radius, stride)
    chosen: list[int] = []
    for pixels in _descending(score.ravel(), 2 * picks * (radius + 1) ** 2):
        rows, columns = np.divmod(pixels, width)
        pixels = pixels[struck[rows + radius, columns + radius] == 0]
        for pixel in pixels.tolist():
            if len(chosen) >= picks:
                return np.array(chosen, np.int64)
            row, column = divmod(pixel, width)
            if not flags[(row + radius) * stride + column + radius]:
                chosen.append(pixel)
                struck[row : row + side, column : column + side] = 1
    return np.array(chosen, np.int64)


def _descending(score: np.ndarray, likely: int) -> Iterator[np.ndarray]:
    """Indices of all finite scores, largest first, lowest index first in a tie, in chunks.

    Args:
        score: (n,) without NaN.
        likely: the number that will probably be used; if more are, four times as many are sorted next.
    """
    sample = np.sort(score[:: -(-score.size // SAMPLE) or 1])
    above, share = np.inf, max(likely, 1) / max(score.size, 1)
    while above > -np.inf:
        at = int(len(sample) * (1 - share))
        threshold = sample[at] if at > 0 else -np.inf
        if threshold < above:
            inside = (score >= threshold) & (score > -np.inf)
            if above < np.inf:
                inside &= score < above
            indices = np.flatnonzero(inside)
            order = np.argsort(-score[indices], kind="stable")
            for begin in range(0, len(order), CHUNK):
                yield indices[order[begin : begin + CHUNK]]
            above = threshold
        share *= 4


def separated_pixels(
    score: np.ndarray, images: np.ndarray, positions: np.ndarray, choices: int, per_image: int | None, radius: int
) -> np.ndarray:
    """The highest scores of pixels that lie more than `radius` apart in their image, ties to the lowest index.

    Images are independent, so pixels are chosen within each image and then merged by score.

    Args:
        score: (n,) float; -inf is never chosen.
        images: (n,) whole numbers, the image of each pixel.
        positions: (n, 2) y and x, each pixel of an image once.
        choices: number of choices.
        per_image: the most choices in one image; None for no limit.
        radius: in pixels, along the longer side.

    Returns:
        (at most choices,) int64 indices in the order of choice.

    Raises:
        RalsegError: if a score is NaN.
    """
    if np.isnan(score).any():
        raise RalsegError("the score of a pixel is NaN; repair the predictions that it comes from")
    most = choices if per_image is None else min(choices, per_image)
    order = np.lexsort((np.arange(len(score)), -score, images))
    _, starts = np.unique(images[order], return_index=True)
    chosen = []
    for own in np.split(order, starts[1:]) if len(order) else []:
        y, x = positions[own].T
        # Ranks replace scores, so that the first of equal scores is also the first in the order of candidates.
        places = np.full((y.max() + 1, x.max() + 1), -1, np.int64)
        places[y, x] = np.arange(len(own))
        ranks = np.where(places < 0, -np.inf, -places)
        ranks[y, x] = np.where(score[own] > -np.inf, ranks[y, x], -np.inf)
        chosen.append(own[places.ravel()[separated(ranks, most, radius)]])
    found = np.concatenate([np.empty(0, np.int64), *chosen])
    return found[np.lexsort((found, -score[found]))][:choices]
