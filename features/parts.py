"""The parts that an observation can be made of, by name, and the choices of them that have a name."""

from ralseg.features.kl import linear_edges, log_edges
from ralseg.features.units import UNIT_FEATURES

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
"""Part of a row -> the unit feature that it is made of, where that is not of its own name."""
# What noise would tell of D_S, which is labelled, is worth no passes.
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
PRIORS = ("margin", "disagreement")
"""Figures of a candidate that grow or, the margin, fall with how unsure the network is of it."""

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
"""Name -> parts of the state, further parts of a candidate, edges of the KL histograms."""
