"""What labelling in the browser took so far, and what the units that wait are predicted to take."""

from collections.abc import Sequence

import numpy as np

from ralseg.annotation.project import Project
from ralseg.annotation.rounds import Round, open_units
from ralseg.features.clicks import unit_clicks
from ralseg.foundation import generator
from ralseg.stats import SecondsModel, fit_seconds


def effort(project: Project, every: Sequence[Round]) -> list[str]:
    """Sentences for `status`; none if nothing was labelled in the browser and no prediction says what is to come.

    Time is fitted to the clicks of drawing the outlines (`polygon_clicks`) of the labels, as those are what a
    prediction can tell beforehand.

    Args:
        project: the project.
        every: all its rounds.
    """
    seconds, drawn, clicks = [], [], 0
    for each in every:
        here = {event.unit for event in each.work.events if event.kind == "accept"}
        labels = {place: label for place, label in each.work.answers().labels.items() if place in here}
        took, made = each.work.seconds, each.work.clicks
        seconds += [took[place] for place in labels]
        drawn += [unit_clicks(label) for label in labels.values()]
        clicks += sum(made[place] for place in labels)
    said = []
    model = SecondsModel(len(drawn))
    if drawn:
        said.append(f"Labelled in the browser: {len(drawn)} units with {clicks} clicks in {_time(sum(seconds))}.")
        if np.ptp(drawn):
            model = fit_seconds(drawn, seconds, generator(project.seed, "seconds"))
    last = every[-1] if every else None
    waiting = [last.query.prelabels[place] for place in open_units(project, last)] if last else []
    predicted = [unit_clicks(label) for label in waiting if label is not None]
    if predicted:
        expected = model.expected(predicted)
        time = f", {_time(expected.mean)} [{_time(expected.low)}, {_time(expected.high)}]" if expected else ""
        said.append(
            f"The {len(predicted)} units that wait are predicted to take {sum(predicted)} clicks of outlines{time}."
        )
    return said


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
