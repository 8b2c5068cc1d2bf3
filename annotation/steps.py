"""What several commands do and tell in the same words: asking, training, measuring."""

import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from ralseg.annotation.choosing import ask
from ralseg.annotation.learned import Networks
from ralseg.annotation.measured import Measured, measure
from ralseg.annotation.project import Project
from ralseg.annotation.rounds import Round, Settled, rounds

SILENCE = 5.0
"""Seconds between lines of progress where the output is no terminal."""


def ask_round(project: Project) -> Round:
    """The round that waits for answers, or a new one, of which the terminal is told."""
    before = len(rounds(project))
    found = ask(project, show_progress("looking at images"))
    if found.query.round > before:
        networks, held = Networks(project), sum(found.held_out)
        blind = not networks.trainings
        print(
            f"Round {found.query.round}: {len(found.query.units) - held} units chosen by {found.by}"
            f"{', which spreads them over the embeddings of the ImageNet encoder, as nothing is trained yet' * blind}"
            f", and {held} drawn at random for measuring."
        )
        if networks.stale and not blind:
            print(
                "The network that chose them has not seen the newest labels; to choose with all of them, run "
                f"ralseg-query train {project.folder} before the next round."
            )
    return found


def train_network(project: Project, on_step: Callable[[int, int], None]) -> None:
    """Train on all labels so far, measure all networks, and tell the terminal."""
    networks = Networks(project)
    found = networks.train(on_step)
    measured = measure_networks(networks)
    print(f"Trained on the labels of {found.units} units in {found.steps} steps: {mean_in_words(measured[-1:])}")


def tell_settled(done: Settled) -> None:
    """Tell the terminal which labels were recorded."""
    if done.answered:
        print(f"Recorded: {len(done.answered)} units have a label now.")
    if done.corrected:
        print(f"Recorded: the labels of {len(done.corrected)} units were corrected.")


def measure_networks(networks: Networks) -> list[Measured]:
    """All networks on all held-out units so far, for the terminal and TensorBoard."""
    trainings = networks.trainings
    measured = measure(networks, trainings)
    figures = [{"miou": each.miou} for each in measured]
    for each, row in zip(measured, figures, strict=True):
        named = zip(networks.project.classes, each.iou, strict=True)
        row |= {f"iou/{label.name}": float(iou) for label, iou in named if not np.isnan(iou)}
    networks.write_curves(trainings[: len(figures)], figures)
    return measured


def mean_in_words(measured: Sequence[Measured]) -> str:
    """The mIoU of a network with its interval, if there is one."""
    if not measured or measured[0].images < 2:
        return "too few held-out units have a label for a measurement"
    (each,) = measured
    return f"mIoU {_mean(each)} on the held-out units of {each.images} images"


def changes_in_words(project: Project, asked: Round) -> str:
    """What the last labels changed in the network, sentences for the person who labels a round.

    Args:
        project: the project; whoever calls this owns its folder.
        asked: the round.

    Returns:
        mIoU of the last network and of the one before on the same held-out units, and in what share of the round's
        pixels the network that chose it predicts another class than its predecessor. Nothing before the first training.
    """
    networks = Networks(project)
    trainings = networks.trainings[-2:]
    if not trainings:
        return ""
    measured = measure(networks, trainings)
    if not measured or measured[0].images < 2:
        told = "Too few held-out regions have a label to say how good the network is."
    else:
        means = [f"mIoU {_mean(m)} with {t.units} labelled regions" for t, m in zip(trainings, measured, strict=True)]
        before = f"; before, {means[0]}" if len(means) > 1 else ""
        told = f"{means[-1]}{before}. Measured on the held-out regions of {measured[0].images} images."
    if asked.changed is not None:
        share = f"{100 * asked.changed:.1f} %"
        told += f" In {share} of the pixels of this round's regions it predicts another class than before."
    return told


def show_progress(what: str) -> Callable[[int, int], None]:
    """What shows the steps of something long in the terminal, called with (step, steps)."""
    begun, shown = time.perf_counter(), [0.0]

    def show(step: int, steps: int) -> None:
        now = time.perf_counter()
        if step < steps and now - shown[0] < (0.2 if sys.stderr.isatty() else SILENCE):
            return
        shown[0] = now
        left = (now - begun) / step * (steps - step)
        end = "\n" if step == steps or not sys.stderr.isatty() else "\r"
        print(f"{what}: {step} of {steps}, {left:.0f} s left    ", end=end, file=sys.stderr, flush=True)

    return show


def _mean(measured: Measured) -> str:
    return f"{measured.miou:.1f} % [{measured.low:.1f}, {measured.high:.1f}]"
