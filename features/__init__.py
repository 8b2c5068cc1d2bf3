"""Pure functions on arrays: features of an image's units from a prediction, and the observation made of them."""

if __name__ != "ralseg.features":
    raise ImportError("import ralseg.features: under the name features every class would exist a second time")

from ralseg.features.class_shares import (
    predicted_shares,
    released_counts,
    released_true_shares,
    square_root_gain,
    true_shares,
)
from ralseg.features.components import PrincipalComponents
from ralseg.features.config import spec_from_config
from ralseg.features.disagreement import (
    balanced_entropy_map,
    edald_as_released_map,
    edald_map,
    mutual_information_map,
    released_entropy_map,
    symmetric_divergence_map,
)
from ralseg.features.entropy import entropy_pools, released_entropy_pools, uncertainty_summary
from ralseg.features.grid import UnitGrid
from ralseg.features.histograms import kl_histogram, linear_edges, log_edges, released_histogram, similarity_histogram
from ralseg.features.impurity import impurity_map, ripu_map, unit_impurity, window_mean
from ralseg.features.observation import ObservationSpec
from ralseg.features.parts import Prior, TokenLayout
from ralseg.features.softmax_maps import class_map, confidence_map, entropy_map, margin_map
from ralseg.features.unit_features import UNIT_FEATURES, unit_features

__all__ = [
    "ObservationSpec",
    "Prior",
    "PrincipalComponents",
    "TokenLayout",
    "UNIT_FEATURES",
    "UnitGrid",
    "balanced_entropy_map",
    "class_map",
    "confidence_map",
    "edald_as_released_map",
    "edald_map",
    "entropy_map",
    "entropy_pools",
    "impurity_map",
    "kl_histogram",
    "linear_edges",
    "log_edges",
    "margin_map",
    "mutual_information_map",
    "predicted_shares",
    "released_counts",
    "released_entropy_map",
    "released_entropy_pools",
    "released_histogram",
    "released_true_shares",
    "ripu_map",
    "similarity_histogram",
    "spec_from_config",
    "square_root_gain",
    "symmetric_divergence_map",
    "true_shares",
    "uncertainty_summary",
    "unit_features",
    "unit_impurity",
    "window_mean",
]
