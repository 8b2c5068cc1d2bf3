"""The observation that a `configs/features/*.yaml` describes."""

from collections.abc import Mapping, Sequence

from ralseg.features.observation import ObservationSpec
from ralseg.foundation import RalsegError


def spec_from_config(config: Mapping, classes: int) -> ObservationSpec:
    """The observation of a configuration, its components not yet fitted.

    Args:
        config: `preset` (a name), and optionally `extra` (a list of part names) and `components` (1 or more).
        classes: number of classes C.

    Raises:
        RalsegError: on an unknown key or a value of another kind or range.
    """
    unknown = sorted(set(config) - {"preset", "extra", "components"})
    if unknown or "preset" not in config:
        raise RalsegError(f"features config: keys {sorted(config)}; give preset, and if wanted extra and components")
    extra, components = config.get("extra", ()), config.get("components", 32)
    if isinstance(extra, str) or not isinstance(extra, Sequence) or not all(isinstance(part, str) for part in extra):
        raise RalsegError(f"features config: extra is {extra!r}; give a list of part names, [] for none")
    if not isinstance(components, int) or isinstance(components, bool) or components < 1:
        raise RalsegError(f"features config: components is {components!r}; give a whole number of 1 or more")
    return ObservationSpec.preset(config["preset"], classes, tuple(extra), components)
