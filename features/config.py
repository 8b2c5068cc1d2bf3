"""The observation that a `configs/features/*.yaml` describes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ralseg.features.observation import ObservationSpec
from ralseg.features.prediction import FEATURE_NOISE, Noise
from ralseg.foundation import Count, Settings, settings


@dataclass(frozen=True)
class FeatureOptions(Settings, group="features"):
    """The settings of an observation.

    Attributes:
        preset: name of a choice of parts, see `ObservationSpec.preset`.
        extra: names of further parts.
        components: principal components of the embedding, 1 or more.
        noise: what the extra `disagreement` is measured under.

    Raises:
        RalsegError: for a value of another kind or out of its range.
    """

    preset: str
    extra: tuple[str, ...] = ()
    components: Count = 32
    noise: Noise = FEATURE_NOISE


def spec_from_config(config: Mapping[str, Any], classes: int) -> ObservationSpec:
    """The observation of a configuration, its principal components not yet fitted.

    Args:
        config: the group `features`; see `FeatureOptions`.
        classes: number of classes C.

    Raises:
        RalsegError: for an unknown key, preset or part, or a value of another kind or out of its range.
    """
    options = settings(FeatureOptions, config, "features")
    return ObservationSpec.preset(options.preset, classes, options.extra, options.components, options.noise)
