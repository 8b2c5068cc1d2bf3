"""Checkpoints, from which a killed training continues; they are written at the end of every round.

`checkpoint.json` names the state of the last complete round. It is replaced last, so that a reader finds a complete
round at any time. Next to it are `state-ROUND.safetensors` (networks, optimiser, priorities; only the newest is kept)
and `rows-ROUND.safetensors` (the env steps of that round, written once). On resume, the rows are added to the replay in
the order of the rounds, so that each has its old place.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors import numpy as arrays
from safetensors import torch as tensors

from ralseg.agents.batch_dqn import BatchModeDQN
from ralseg.agents.replay import PrioritisedReplay, Replay
from ralseg.foundation import RalsegError, atomic_write, read_json, write_json

CHECKPOINT = "checkpoint.json"


def save_checkpoint(
    folder: Path,
    round_: int,
    algorithm: BatchModeDQN,
    replay: Replay,
    rows: list[dict[str, np.ndarray]],
    record: dict[str, Any],
) -> None:
    """Write the state after a round.

    Args:
        folder: the folder of the checkpoint.
        round_: number of complete rounds, from 1.
        algorithm: its networks, optimiser, counter of updates and exploration generator are written.
        replay: its generator and priorities are written, but not its rows.
        rows: the rows added to the replay in this round, one entry per call of `add`.
        record: counters and settings of the training, JSON values.
    """
    state = _networks(algorithm) | _optimiser(algorithm)
    if isinstance(replay, PrioritisedReplay):
        state["priorities"] = torch.from_numpy(replay.weight)
    _write(folder / f"state-{round_:05d}.safetensors", tensors.save(state))
    joined = {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}
    _write(folder / f"rows-{round_:05d}.safetensors", arrays.save(joined))
    prioritised = isinstance(replay, PrioritisedReplay)
    counters = {
        "round": round_,
        "gradient_steps": algorithm.updates,
        "generators": {"exploration": algorithm.rng.bit_generator.state, "replay": replay.rng.bit_generator.state},
        "priority_extremes": [float(replay.highest), float(replay.lowest)] if prioritised else None,
    }
    write_json(folder / CHECKPOINT, record | counters)
    _remove_other_states(folder, round_)


def load_checkpoint(folder: Path, record: dict[str, Any], algorithm: BatchModeDQN, replay: Replay) -> None:
    """Load a checkpoint into new objects.

    Args:
        folder: the folder of the checkpoint.
        record: the content of its `checkpoint.json`.
        algorithm: an algorithm made with the same settings.
        replay: an empty replay.

    Raises:
        RalsegError: if a file is missing, damaged, or does not fit the algorithm.
    """
    for number in range(1, record["round"] + 1):
        rows = _read(folder / f"rows-{number:05d}.safetensors", arrays.load)
        # The rows of one `add` have the same step number; they are added together again.
        steps = rows.pop("step")
        starts = np.flatnonzero(np.r_[True, np.diff(steps) != 0])
        for start, stop in zip(starts, np.r_[starts[1:], len(steps)], strict=True):
            replay.add({key: array[start:stop] for key, array in rows.items()})
    path = folder / f"state-{record['round']:05d}.safetensors"
    state = _read(path, tensors.load)
    if isinstance(replay, PrioritisedReplay):
        replay.weight[:] = state.pop("priorities").numpy()
        replay.highest, replay.lowest = record["priority_extremes"]
    try:
        algorithm.network.load_state_dict(_part(state, "online."))
        if algorithm.target is not None:
            algorithm.target.load_state_dict(_part(state, "target."))
        algorithm.updates = record["gradient_steps"]
        _load_optimiser(algorithm, _part(state, "optimiser."))
        algorithm.rng.bit_generator.state = record["generators"]["exploration"]
        replay.rng.bit_generator.state = record["generators"]["replay"]
    except (KeyError, RuntimeError) as error:
        raise RalsegError(f"{path}: does not fit this training; start in another folder") from error
    # What was killed between writing its last state and removing the one before would keep both.
    _remove_other_states(folder, record["round"])


def read_record(folder: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Read `checkpoint.json`; None if there is none.

    Args:
        folder: the folder of the checkpoint.
        settings: the settings of the training that is to continue, JSON values.

    Raises:
        RalsegError: if it belongs to a training with other settings; the message names the first that differs.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    record = read_json(path)
    if not isinstance(record, dict) or "settings" not in record:
        raise RalsegError(f"{path}: not a checkpoint of this version; start in another folder")
    old, new = _flat(record["settings"]), _flat(settings)
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            raise RalsegError(
                f"{path}: the training was started with {name}={old.get(name)}, not {new.get(name)}; "
                "resume it with its own settings or start in another folder"
            )
    return record


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _networks(algorithm: BatchModeDQN) -> dict[str, torch.Tensor]:
    state = {f"online.{name}": tensor for name, tensor in algorithm.network.state_dict().items()}
    if algorithm.target is not None:
        state |= {f"target.{name}": tensor for name, tensor in algorithm.target.state_dict().items()}
    return {name: tensor.contiguous() for name, tensor in state.items()}


def _optimiser(algorithm: BatchModeDQN) -> dict[str, torch.Tensor]:
    parameters = algorithm.optimiser.state_dict()["state"]
    return {
        f"optimiser.{index}.{name}": value
        for index, entries in parameters.items()
        for name, value in entries.items()
        if value is not None
    }


def _load_optimiser(algorithm: BatchModeDQN, flat: dict[str, torch.Tensor]) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in flat.items():
        index, name = key.split(".")
        state.setdefault(int(index), {})[name] = value
    algorithm.optimiser.load_state_dict(
        {"state": state, "param_groups": algorithm.optimiser.state_dict()["param_groups"]}
    )


def _part(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _remove_other_states(folder: Path, round_: int) -> None:
    for state in folder.glob("state-*.safetensors"):
        if state.name != f"state-{round_:05d}.safetensors":
            state.unlink()


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path) as file:
        file.write(content)


def _read(path: Path, load: Any) -> dict[str, Any]:
    try:
        return load(path.read_bytes())
    except (FileNotFoundError, SafetensorError) as error:
        raise RalsegError(f"{path}: missing or damaged ({error}); start the training in another folder") from error
