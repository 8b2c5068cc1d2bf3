"""What each setting counts for: the one place that says which settings make two runs, trainings or images the same."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import yaml

Purpose = Literal["run", "training", "folder", "gift"]
"""What configurations are compared for:

- `run`: a run of a comparison, whose rows are not computed again under the same settings. The features and the agent of
  a trained policy do not count, since the digest of its weights stands for them.
- `training`: the training of a policy; trainings that agree are training seeds of one policy.
- `folder`: a run folder, which a training with the same settings continues.
- `gift`: a policy that is given away, with the settings that it keeps.
"""

COUNTS: dict[str, tuple[Purpose, ...]] = {
    **dict.fromkeys(("features", "agent", "training"), ("training", "folder", "gift")),
    **dict.fromkeys(("training.seed", "training.tensorboard"), ("folder", "gift")),
    **dict.fromkeys(("training.processes", "compile"), ("gift",)),
    **dict.fromkeys(("device", "source.device"), ("run", "gift")),
    **dict.fromkeys(("precision", "source.precision"), ("run", "folder", "gift")),
    # How a comparison goes and where it is kept; a run's budgets and fit are in its name beside what is returned here.
    **dict.fromkeys(("comparison", "policies", "only", "draws", "budgets", "splits", "fit", "processes"), ()),
    **dict.fromkeys(("run", "resume", "readings", "why"), ()),
}
"""Setting or group -> what it counts for. Every setting that is not named here counts for everything."""

CAME_LATER = {"learner": "supervised", "source": "stages"}
"""Groups that older records lack -> the choice that these records were made with."""

RECORDED_AS = {"dataset.require_labels": True}
"""Setting -> the value that records have. It decides whether a run is refused, not what comes of it, and its default is
another one now."""

NAMES_IMAGES = ("_target_", "root", "seed", "size", "variant")
"""Settings of a data set by which a name stands for an image. Its others choose among images, or how to read them."""


def identity(config: Mapping[str, Any], of: Purpose) -> dict[str, Any]:
    """The settings of a configuration that count for a purpose, as JSON values.

    Two configurations agree if these are equal. A group that came later is left out where it holds the choice that
    older records were made with, so that it agrees with a record that lacks it.

    Args:
        config: a composed configuration of either door, or one from a record.
        of: the purpose.
    """
    found = _counting(config, of, "")
    return {
        key: value for key, value in found.items() if key not in CAME_LATER or value != _choice(key, CAME_LATER[key])
    }


def _counting(value: Any, of: Purpose, path: str) -> Any:
    if isinstance(value, Mapping):
        parts = ((key, part, f"{path}.{key}".lstrip(".")) for key, part in value.items())
        return {
            key: RECORDED_AS.get(name, _counting(part, of, name))
            for key, part, name in parts
            if of in COUNTS.get(name, (of,))
        }
    return [_counting(part, of, path) for part in value] if isinstance(value, list | tuple) else value


@cache
def _choice(group: str, choice: str) -> dict[str, Any]:
    return yaml.safe_load((files("ralseg.configs") / group / f"{choice}.yaml").read_text())
