"""The named parts that an observation can consist of, and the named choices of parts (presets)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ralseg.features.histograms import RELEASED_BINS, SIMILARITY_BINS, linear_edges, log_edges
from ralseg.features.unit_features import UNIT_FEATURES

READS = {
    "highest_entropy": "entropy",
    "relative_uncertainty": "uncertainty",
    "pool_shares": "shares",
    "similarity_labelled": "embedding",
    "similarity_unlabelled": "embedding",
    "kl_labelled": "shares",
    "kl_unlabelled": "shares",
    "released_kl_labelled": "released_counts",
    "released_kl_unlabelled": "released_counts",
}
"""Part of a row -> the unit feature that it is computed from, where the two names differ."""
# D_S is labelled: its disagreement under noise is not worth further forward passes.
STATE_PARTS = (*(part for part in UNIT_FEATURES if part != "disagreement"), "highest_entropy", "relative_uncertainty")
CANDIDATE_PARTS = (*UNIT_FEATURES, *READS, "labelled_shares", "iou")
CLASS_PARTS = ("shares", "probabilities", "labelled_shares", "pool_shares", "iou")
"""Parts that hold one number per class, in the order of the classes."""
FREE_PARTS = (
    "relative_uncertainty", "disagreement", "kl_labelled", "kl_unlabelled", "similarity_labelled",
    "similarity_unlabelled",
)  # fmt: skip
"""Parts whose width and meaning depend on neither the classes nor the network."""
EXTRAS = ("embedding", "labelled_shares", "iou", "disagreement")
Prior = Literal["margin", "disagreement"]
"""Measures of how unsure the network is of a candidate: the disagreement grows with it, the margin falls."""

_KL = ("kl_labelled", "kl_unlabelled")
PRESETS = {
    "1h": (("shares", "highest_entropy"), (), linear_edges),
    "3h": (("shares", "entropy"), (), linear_edges),
    "published": (("shares", "entropy"), _KL, linear_edges),
    "as_released": (
        ("released_counts", "released_entropy"),
        ("released_kl_labelled", "released_kl_unlabelled"),
        linear_edges,
    ),
    "compact": (("shares", "uncertainty"), _KL, log_edges),
    "transferable": (
        ("shares", "probabilities", "relative_uncertainty"),
        ("labelled_shares", "pool_shares", "iou", *_KL, "similarity_labelled", "similarity_unlabelled"),
        log_edges,
    ),
}
"""Preset -> parts of the state, further parts of a candidate, edges of the KL histograms."""


@dataclass(frozen=True)
class TokenLayout:
    """The layout of the rows that a network of class tokens reads: first the numbers per class, part by part.

    Attributes:
        state_tokens: numbers per class in a row of the state.
        state_free: the numbers after them.
        candidate_tokens: numbers per class in a row of a candidate.
        candidate_free: the numbers after them.
    """

    state_tokens: int
    state_free: int
    candidate_tokens: int
    candidate_free: int


def token_layout(
    state_parts: Sequence[str], candidate_parts: Sequence[str], width: Callable[[str], int]
) -> TokenLayout | None:
    """The layout of rows of these parts; None unless they are the shares, other numbers per class, and then free ones.

    Args:
        state_parts: the parts of a row of the state, in order.
        candidate_parts: the parts of a row of a candidate, in order.
        width: gives how many numbers a part has.
    """
    counts = []
    for parts in (state_parts, candidate_parts):
        tokens = sum(part in CLASS_PARTS for part in parts)
        free = parts[tokens:]
        if parts[0] != "shares" or not set(parts[:tokens]) <= set(CLASS_PARTS) or not set(free) <= set(FREE_PARTS):
            return None
        counts += [tokens, sum(width(part) for part in free)]
    return TokenLayout(*counts)


def highest_values(classes: int, embedding_width: int, kl_bins: int) -> dict[str, np.ndarray]:
    """The highest value of each number of each part: 1 for shares, ln C for entropies, infinity where it has none.

    Args:
        classes: number of classes C.
        embedding_width: principal components of the embedding.
        kl_bins: bins of the KL histograms.

    Returns:
        part -> (width,) float64.
    """
    most, shares = np.log(classes), np.ones(classes)
    return {
        **dict.fromkeys(CLASS_PARTS, shares),
        **dict.fromkeys(("entropy", "released_entropy"), np.full(192, most)),
        **dict.fromkeys(("kl_labelled", "kl_unlabelled"), np.ones(kl_bins)),
        **dict.fromkeys(("released_kl_labelled", "released_kl_unlabelled"), np.ones(RELEASED_BINS)),
        **dict.fromkeys(("similarity_labelled", "similarity_unlabelled"), np.ones(SIMILARITY_BINS)),
        "highest_entropy": np.full(64, most),
        "uncertainty": np.array([most, most, most, 1]),
        "relative_uncertainty": np.ones(4),
        "disagreement": np.array([most]),
        "embedding": np.full(embedding_width, np.inf),
        "released_counts": np.full(classes + 1, np.inf),
    }
