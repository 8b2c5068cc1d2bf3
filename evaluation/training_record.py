"""What a training leaves beside its policy: `config.json` (how it learned) and `splits.json` (from what)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from ralseg.configs.identity import NAMES_IMAGES
from ralseg.envs import Pool, World
from ralseg.features import spec_from_config
from ralseg.foundation import RalsegError, Range, checked, read_json, write_json
from ralseg.segmentation.splits import Splits

CONFIG, SPLITS = "config.json", "splits.json"
GROUPS = ("training", "features", "dataset", "protocol", "game")
"""Groups that a comparison reads of the configuration of a training."""
LEARNED_FROM = ("train", "reward")
"""Roles whose labels a training reads."""


@dataclass(frozen=True)
class TrainingRecord:
    """What a comparison must know of a training.

    Attributes:
        config: the configuration; its `dataset.root` is None where the record came without the data.
        label_cost: units of the labelled images of D_T and D_R, whose labels it has read.
        learned_on: names of the images of D_T and D_R.
    """

    config: Mapping[str, Any]
    label_cost: int
    learned_on: frozenset[str]

    def shares_images_with(self, config: Mapping[str, Any]) -> bool:
        """Whether image names mean the same images in another configuration."""
        ours, theirs = ({key: one["dataset"].get(key) for key in NAMES_IMAGES} for one in (self.config, config))
        return ours == theirs or (ours["root"] is None and ours == {**theirs, "root": None})


def write_record(folder: Path, world: World, overrides: Sequence[str]) -> None:
    """Write both files, before a training begins.

    Args:
        folder: of the run.
        world: of its configuration.
        overrides: what was typed; kept.
    """
    cost = sum(len(Pool(world.store, world.labelled(role), world.unit)) for role in LEARNED_FROM)
    write_json(folder / CONFIG, {"config": dict(world.config), "overrides": list(overrides), "label_cost": cost})
    write_json(folder / SPLITS, world.splits.to_dict())


def read_record(folder: Path) -> TrainingRecord:
    """Read both files.

    Raises:
        RalsegError: if one is missing or not what `write_record` wrote.
    """
    record, roles = read_json(folder / CONFIG), read_json(folder / SPLITS)
    again = "train the policy again, or fetch it again"
    config = record.get("config") if isinstance(record, dict) else None
    if not isinstance(config, dict):
        raise RalsegError(f"{folder / CONFIG}: not the configuration of a training; {again}")
    for group in GROUPS:
        if not isinstance(config.get(group), dict):
            raise RalsegError(f"{folder / CONFIG}: config.{group} must be a group of settings; {again}")
    try:
        cost = checked(Annotated[int, Range(0)], record.get("label_cost"), "label_cost")
        checked(Annotated[int, Range(0)], config["training"].get("seed"), "config.training.seed")
        spec_from_config(config["features"], classes=2)
    except RalsegError as error:
        raise RalsegError(f"{folder / CONFIG}: {error}; {again}") from error
    for role, names in roles.items() if isinstance(roles, dict) else ():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise RalsegError(f"{folder / SPLITS}: {role} must be a list of names of images; {again}")
    try:
        splits = Splits.from_dict(roles)
    except RalsegError as error:
        raise RalsegError(f"{folder / SPLITS}: {error}; {again}") from error
    learned_on = frozenset(name for role in LEARNED_FROM for name in getattr(splits, role))
    return TrainingRecord(config, cost, learned_on)
