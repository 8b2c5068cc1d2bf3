"""`ralseg-pack-policy RUN FOLDER` makes of a training what can be given away."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ralseg.agents.query_policy import WEIGHTS, read_policy_files, write_policy_files
from ralseg.configs.identity import identity
from ralseg.evaluation.training_record import CONFIG, SPLITS, read_record
from ralseg.features import spec_from_config
from ralseg.foundation import RalsegError, expanded, read_json, write_json

LARGEST = 2_000_000
"""Bytes that the weights of a policy may have."""


def pack(run: str | Path, folder: str | Path) -> None:
    """Write what plays of a training, and what a comparison must know of it, with no path of this machine.

    Args:
        run: its run folder.
        folder: gets `policy.safetensors`, `policy.json`, `config.json` and `splits.json`; must be empty or new.

    Raises:
        RalsegError: if a file of the run folder is missing or damaged, the policy is too large or means nothing with
            another network, or a setting names a place of this machine. Nothing is written then.
    """
    run, folder = Path(run), Path(folder)
    tensors, description = read_policy_files(run)
    record = read_record(run)
    if folder.exists() and any(folder.iterdir()):
        raise RalsegError(f"{folder}: not empty; give a new folder")
    if (size := (run / WEIGHTS).stat().st_size) > LARGEST:
        raise RalsegError(f"{run / WEIGHTS}: {size:,} bytes, more than {LARGEST:,}; train with a smaller agent.hidden")
    if spec_from_config(record.config["features"], classes=2).holds_embedding:
        raise RalsegError(
            f"{run}: its policy reads embeddings of its own network, which mean nothing with another one; train with "
            "agent=transferable features=transferable"
        )
    config = identity(record.config, "gift")
    if "root" in config["dataset"]:
        config["dataset"] = {**config["dataset"], "root": None}
    if place := next(_places(config), None):
        raise RalsegError(f"{run / CONFIG}: {place}; train without it, or correct it by hand")
    description["observation"] = {"features": config["features"], "dataset": config["dataset"]}
    write_policy_files(folder, tensors, description)
    write_json(folder / SPLITS, read_json(run / SPLITS))
    # Last: with it the policy is there.
    write_json(folder / CONFIG, {"config": config, "label_cost": record.label_cost})


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser("ralseg-pack-policy", description="Make of a training what can be given away.")
    parser.add_argument("run", help="the run folder of the training")
    parser.add_argument("folder", help="a new folder, which `policies=[run:FOLDER]` then plays from")
    arguments = parser.parse_args(argv)
    try:
        pack(arguments.run, arguments.folder)
    except RalsegError as error:
        print(f"ralseg-pack-policy: {error}", file=sys.stderr)
        return 2
    return 0


def _places(value: Any, name: str = "") -> Iterator[str]:
    """Settings that are absolute paths, as `theta0.file=/somewhere`."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _places(part, f"{name}.{key}".lstrip("."))
    elif isinstance(value, str) and expanded(value).is_absolute():
        yield f"{name}={value} is a place of this machine"


if __name__ == "__main__":
    sys.exit(main())
