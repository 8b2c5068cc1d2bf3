"""The command `evaluate_policy.py`: compare policies, write the report, show the tables."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from rich.console import Console

from ralseg.envs import World
from ralseg.evaluation.data_record import check_data
from ralseg.evaluation.embedding import write_embedding
from ralseg.evaluation.policies import NamedPolicy, make_policies
from ralseg.evaluation.report import write_report
from ralseg.evaluation.results import Results
from ralseg.evaluation.run_folder import opened
from ralseg.evaluation.runs import RunDone, compare
from ralseg.evaluation.text import terminal
from ralseg.foundation import Range, Settings, settings
from ralseg.segmentation.learners import FitOptions
from ralseg.segmentation.overview import overview


@dataclass(frozen=True)
class FitPlan(Settings, group="fit"):
    """The settings group `fit`.

    Attributes:
        draws: number of runs after which a network is trained to convergence.
        supervised: whether one is also trained with all labels of D_V.
        options: of the training.
    """

    draws: Annotated[int, Range(0)]
    supervised: bool
    options: FitOptions


def compare_and_report(
    config: Mapping[str, Any], folder: str | Path, console: Console | None = None, extra: Sequence[NamedPolicy] = ()
) -> Results:
    """Play the comparison that a configuration describes and write its report.

    Args:
        config: composed from `evaluate_policy.yaml`.
        folder: of the comparison.
        console: where progress and the table are shown.
        extra: policies that come before those that the configuration names.

    Raises:
        RalsegError: see `compare`.
    """
    console = console or Console(width=None if sys.stdout.isatty() else 120)
    fit, folder = settings(FitPlan, config["fit"], "fit"), Path(folder)
    with opened(folder, "comparison"):
        results = compare(
            config,
            [*extra, *make_policies(config["policies"], config["only"])] if config["policies"] or not extra else extra,
            folder,
            draws=config["draws"],
            budgets=config["budgets"],
            splits=config["splits"],
            processes=config["processes"],
            fit_draws=fit.draws,
            supervised=fit.supervised,
            fit=fit.options,
            why=config["why"],
            readings=config["readings"],
            command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            # The door of training has shown the data before.
            on_start=None if extra else lambda world: show_data(world, console),
            on_run=lambda run: console.print(progress_line(run), highlight=False, markup=False, soft_wrap=True),
            on_pretraining=lambda what, step, steps: _tell_pretraining(console, what, step, steps),
        )
        for note in results.comparison["notes"]:
            console.print(f"Note: {note}", highlight=False, markup=False)
        # The pictures of the report are made from the files of the data set, not from what was played on.
        world = World(config)
        check_data(folder, world)
        write_embedding(folder, world)
        console.print(terminal(write_report(results, world.dataset)))
    console.print(f"Everything is in {folder}", highlight=False)
    return results


def show_data(world: World, console: Console) -> None:
    """Show what the data set holds, so that a shifted or wrong label map is seen at once."""
    for line in overview(world.store, world.splits):
        console.print(line, highlight=False, markup=False)


def progress_line(run: RunDone) -> str:
    """A line on a finished run: how many are done, mIoU on each split at the largest budget, time left."""
    played, fitted = (
        ", ".join(f"{split} {miou:.2f}" for split, miou in _last(run, fit).items()) for fit in (False, True)
    )
    figures = "; trained to the end ".join(["mIoU " + played] * bool(played) + [fitted] * bool(fitted))
    left = "" if run.seconds_left is None else f"; {_clock(run.seconds_left)} left"
    return f"{run.done}/{run.total} {run.policy}, draw {run.seed}: {figures}{left}"


def _last(run: RunDone, fit: bool) -> dict[str, float]:
    return {row["split"]: row["miou"] for row in run.rows if row["game"].endswith("+fit") == fit}


def _tell_pretraining(console: Console, what: str, step: int, steps: int) -> None:
    if step in set(np.linspace(0, steps, 6, dtype=int)[1:]):
        console.print(f"{what}: step {step} of {steps}", highlight=False)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
