"""The rounds of a project on disk, and what their answers do to the campaign."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ralseg.annotation.label_files import read_label, write_png
from ralseg.annotation.project import Project
from ralseg.annotation.query import Answers, LabelClass, Query
from ralseg.annotation.work import WorkFolder
from ralseg.envs.records import Unit
from ralseg.foundation import RalsegError, read_json, write_json


@dataclass(frozen=True)
class Round:
    """One round.

    Attributes:
        folder: its folder: query.json, prelabels/ and the work of people in work/.
        query: its units in the order in which they should be labelled.
        held_out: for each unit, whether it was drawn at random and is kept for measuring.
        by: what chose the others, a name and perhaps why.
        changed: share of the pixels of its units in which the network that predicted them predicts another class than
            the one before; None before there are two.
    """

    folder: Path
    query: Query
    held_out: tuple[bool, ...]
    by: str
    changed: float | None

    @cached_property
    def work(self) -> WorkFolder:
        """The work of people on this round."""
        return WorkFolder(self.folder / "work", self.query)

    def write(self) -> None:
        """Write the round; query.json comes last, so that a round that has one is complete."""
        for place, label in enumerate(self.query.prelabels):
            if label is not None:
                write_png(_prelabel(self.folder, place), label)
        content = {
            "project": self.query.project,
            "round": self.query.round,
            "digest": self.query.digest,
            "by": self.by,
            "changed": self.changed,
            "classes": [[label.name, list(label.colour)] for label in self.query.classes],
            "units": self.query.units,
            "held_out": self.held_out,
            "prelabelled": [label is not None for label in self.query.prelabels],
        }
        write_json(self.folder / "query.json", content)


@dataclass
class Settled:
    """What an import or the page changed in the campaign.

    Attributes:
        answered: units that have a label now and had none.
        corrected: units whose label has changed.
    """

    answered: list[Unit] = field(default_factory=list)
    corrected: list[Unit] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.answered or self.corrected)


def round_folder(project: Project, number: int) -> Path:
    """The folder of a round."""
    return project.folder / "rounds" / f"{number:03d}"


def rounds(project: Project) -> list[Round]:
    """All complete rounds, oldest first.

    Raises:
        RalsegError: if a file is damaged or belongs to another project.
    """
    # A round that is written is never changed.
    found = project.known_rounds
    while (folder := round_folder(project, len(found) + 1)).joinpath("query.json").exists():
        found.append(_read(project, folder, len(found) + 1))
    return list(found)


def open_units(project: Project, last: Round) -> list[int]:
    """The places of the units of a round that still wait for an answer; skipped ones wait no more."""
    pending = set(project.campaign.pending)
    numbers = project.campaign.pool.find(last.query.units).tolist()
    states = last.work.states
    return [place for place, unit in enumerate(numbers) if unit in pending and states[place] != "skipped"]


def settle(project: Project, asked: Round, answers: Answers) -> Settled:
    """Record answers: new ones are paid for, changed ones corrected, equal ones change nothing.

    Args:
        project: the project; whoever calls this owns its folder.
        asked: the round that was answered.
        answers: the answers.

    Raises:
        RalsegError: if a unit was never asked for.
    """
    campaign, done = project.campaign, Settled()
    numbers = campaign.pool.find(asked.query.units)
    pending = set(campaign.pending)
    for place, label in sorted(answers.labels.items()):
        unit, name = numbers[place : place + 1], asked.query.units[place]
        if int(unit[0]) in pending:
            campaign.answer(unit, [label])
            done.answered.append(name)
        elif not np.array_equal(_known(project, name), label):
            campaign.correct(unit, [label])
            done.corrected.append(name)
    return done


def collect(project: Project) -> Settled:
    """Record what was accepted on the page since the last time, in all rounds; every command begins with it."""
    done = Settled()
    for each in rounds(project):
        part = settle(project, each, each.work.answers())
        done.answered += part.answered
        done.corrected += part.corrected
    return done


def held_out_units(project: Project) -> set[Unit]:
    """The units of all rounds that are kept for measuring."""
    return {
        unit for each in rounds(project) for unit, kept in zip(each.query.units, each.held_out, strict=True) if kept
    }


def _known(project: Project, unit: Unit) -> np.ndarray:
    name, y, x, height, width = unit
    return project.campaign.labels.label(project.world.store.index(name))[y : y + height, x : x + width]


def _read(project: Project, folder: Path, number: int) -> Round:
    path = folder / "query.json"
    content = read_json(path)
    try:
        return _made(project, folder, content, number)
    except (KeyError, TypeError, ValueError) as error:
        raise RalsegError(f"{path} is damaged ({error!r}); restore it") from error


def _made(project: Project, folder: Path, content: Mapping[str, Any], number: int) -> Round:
    units: list[Unit] = [(str(name), int(y), int(x), int(h), int(w)) for name, y, x, h, w in content["units"]]
    store = project.world.store
    sizes = {unit[0]: store.size(store.index(unit[0])) for unit in units}
    prelabels = [
        read_label(_prelabel(folder, place), unit[3:]) if given else None
        for place, (unit, given) in enumerate(zip(units, content["prelabelled"], strict=True))
    ]
    # The colours that it was asked with: those of classes.yaml may have changed since.
    classes = tuple(LabelClass(str(name), (int(r), int(g), int(b))) for name, (r, g, b) in content["classes"])
    query = Query(project.id, number, classes, sizes, tuple(units), tuple(prelabels))
    if (content["project"], content["round"], content["digest"]) != (project.id, number, query.digest):
        raise RalsegError(f"{folder / 'query.json'} is of another project or round, or its images changed; restore it")
    held_out = tuple(bool(kept) for kept in content["held_out"])
    if len(held_out) != len(units):
        raise ValueError("held_out")
    # Rounds that an earlier ralseg has asked do not say it.
    changed = content.get("changed")
    return Round(folder, query, held_out, str(content["by"]), None if changed is None else float(changed))


def _prelabel(folder: Path, place: int) -> Path:
    return folder / "prelabels" / f"{place:05d}.png"
