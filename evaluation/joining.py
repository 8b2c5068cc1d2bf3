"""Several comparisons on the same images as one, so that what no single game can vary, the learner, shares its tables:
`python -m ralseg.evaluation.joining runs/all runs/supervised "mean teacher=runs/mean_teacher"`.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ralseg.envs import World
from ralseg.evaluation.data_record import DATA, WEIGHTS
from ralseg.evaluation.embedding import write_embedding
from ralseg.evaluation.gallery import GALLERY
from ralseg.evaluation.report import write_report
from ralseg.evaluation.results import Results, ResultsStore, load_results, write_bought
from ralseg.evaluation.run_folder import opened
from ralseg.foundation import RalsegError, read_json, write_json

JOINED = "joined"
"""Key of comparison.json: label -> folder of each part."""
SHARED = ("classes", "splits", "budgets")
"""Keys of comparison.json in which joined comparisons agree, besides the pixels of the pool: units may differ."""
SHARED_GROUPS = ("taxonomy", "protocol", "seed")
"""Groups of the configuration in which they agree, so that the same draw has the same images."""
UNTOLD = ("dataset", "policies", "only", "draws", "processes", "readings", "why", "run")
"""Settings that say nothing about how a row was made; the others are told where they differ."""


def join(parts: Mapping[str, str | Path], folder: str | Path) -> Results:
    """Join comparisons on the same images, splits and budgets.

    Rows keep their run ids, draws and training seeds, so that draws are paired across the comparisons. The first one is
    the configuration that the report shows; a note says in what the others differ.

    Args:
        parts: label -> folder of a comparison. A policy is named `policy (label)`, and by itself where the label is "".
        folder: a new folder, or one that was joined before, whose rows are replaced. Gets what a comparison has, as far
            as the parts have it.

    Returns:
        The joined results; `write_report` makes their page.

    Raises:
        RalsegError: if fewer than two are given, one cannot be read or is not on the same images, two policies or runs
            get the same name, or the folder holds anything but what was joined before, or cannot be written.
    """
    if len(parts) < 2:
        raise RalsegError(f"{len(parts)} comparisons were given; name two or more to join")
    folder, loaded = Path(folder), {label: load_results(path) for label, path in parts.items()}
    first = next(iter(loaded.values()))
    for other in loaded.values():
        _check_same(first, other)
    named = {
        label: {policy: f"{policy} ({label})" if label else policy for policy in of.comparison["policies"]}
        for label, of in loaded.items()
    }
    comparison = {
        **first.comparison,
        "policies": _distinct([name for names in named.values() for name in names.values()], "policies"),
        "references": [named[label][name] for label, of in loaded.items() for name in of.comparison["references"]],
        "run_ids": _distinct([run for of in loaded.values() for run in of.comparison["run_ids"]], "runs"),
        "command": "\n".join(of.comparison.get("command") or "not recorded" for of in loaded.values()),
        "notes": list(dict.fromkeys(note for label, of in loaded.items() for note in _notes(label, first, of))),
        JOINED: {label: str(path) for label, path in parts.items()},
    }
    with opened(folder, "comparison"):
        _check_joined(folder)
        write_json(folder / "comparison.json", comparison)
        store = ResultsStore(folder, comparison["classes"])
        store.rows.clear()
        store.put(row | {"policy": named[label][row["policy"]]} for label, of in loaded.items() for row in of.rows)
        for label, of in loaded.items():
            _copy_files(of, named[label], folder)
        return load_results(folder)


def _check_joined(folder: Path) -> None:
    """Refuse a comparison that was played, whose rows would be lost."""
    path = folder / "comparison.json"
    if (folder / "results.csv").exists() and not (path.exists() and JOINED in read_json(path)):
        raise RalsegError(f"{folder} holds a comparison that was played, whose rows would be lost; name a new folder")


def _distinct(names: list[str], what: str) -> list[str]:
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise RalsegError(f"two of the joined {what} are called {twice[0]}; give one comparison a label, LABEL=FOLDER")
    return names


def _check_same(first: Results, other: Results) -> None:
    one, two = first.comparison, other.comparison
    different = [key for key in SHARED if one[key] != two[key]]
    different += ["pool"] * (one["pool"]["class_pixels"] != two["pool"]["class_pixels"])
    different += [key for key in SHARED_GROUPS if one["config"].get(key) != two["config"].get(key)]
    if all((of.folder / DATA).exists() for of in (first, other)):
        images, others = ({**read_json(of.folder / DATA), WEIGHTS: None} for of in (first, other))
        different += ["images or labels"] * (images != others)
    elif one["config"].get("dataset") != two["config"].get("dataset"):
        different.append("dataset")
    if different:
        raise RalsegError(
            f"{first.folder} and {other.folder} differ in {', '.join(different)}; only comparisons of the same images, "
            "splits, budgets and seed can be joined"
        )


def _notes(label: str, first: Results, other: Results) -> Iterator[str]:
    yield from other.comparison["notes"]
    one, two = (_flat(of.comparison["config"]) for of in (first, other))
    changed = sorted(key for key in one.keys() | two.keys() if one.get(key) != two.get(key))
    changed = [key for key in changed if key.partition(".")[0] not in UNTOLD]
    told = [f"{key}={two[key]}" if key in two else f"no {key}" for key in changed]
    if told:
        yield f"{label or other.folder.name} was played with {' '.join(told)}"


def _flat(config: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Full key -> value."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= _flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return found


def _copy_files(part: Results, named: Mapping[str, str], folder: Path) -> None:
    for run_id in part.comparison["run_ids"]:
        if (bought := part.bought(run_id)) is not None:
            write_bought(folder, run_id, bought | {"policy": named[bought["policy"]]})
        if (maps := part.folder / GALLERY / run_id).is_dir():
            shutil.copytree(maps, folder / GALLERY / run_id, dirs_exist_ok=True)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser("joining", description="Join comparisons on the same images in one report.")
    parser.add_argument("folder", help="a new folder, or one that was joined before")
    parser.add_argument("parts", nargs="+", help="FOLDER of a comparison, or LABEL=FOLDER, which renames its policies")
    given = parser.parse_args(argv)
    parts = [part.rpartition("=")[::2] for part in given.parts]
    try:
        if len(dict(parts)) < len(parts):
            raise RalsegError("two comparisons have the same label; write LABEL=FOLDER with another one")
        results = join(dict(parts), given.folder)
        world = World(results.comparison["config"])
        write_embedding(given.folder, world)
        write_report(results, world.dataset)
    except RalsegError as error:
        print(f"joining: {error}", file=sys.stderr)
        return 2
    print(f"Everything is in {given.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
