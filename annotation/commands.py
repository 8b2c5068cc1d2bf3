"""The commands of `ralseg-query`: each can be interrupted, and run again it goes on."""

import sys
import time
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import yaml

from ralseg.annotation.choosing import ask
from ralseg.annotation.formats import FORMATS
from ralseg.annotation.learned import Trained, class_map, learner, miou_with_interval, train, trainings
from ralseg.annotation.page import PageServer
from ralseg.annotation.project import Project
from ralseg.annotation.query import NOT_LABELLED
from ralseg.annotation.rounds import Round, Settled, collect, open_units, rounds, settle
from ralseg.foundation import RalsegError, atomic_write, generator, owned
from ralseg.segmentation.datasets import Streets
from ralseg.segmentation.devices import single_thread

SILENCE = 5.0
"""Seconds between lines of progress where the output is no terminal."""
DEMO_IMAGES = 60


def init(folder: Path, classes: Sequence[str], images: Path | None, demo: bool, overrides: Sequence[str]) -> None:
    """Make a project.

    Args:
        folder: its folder.
        classes: names of the classes, which are written to classes.yaml; none where the folder has that file.
        images: a folder of images elsewhere, which is linked; None where the folder holds images/.
        demo: whether to draw images of streets first.
        overrides: changes to `query_regions.yaml`.
    """
    with owned(folder, "folder"):
        if demo:
            classes = classes or _draw_streets(folder)
        if images is not None:
            _link(folder, images)
        _write_classes(folder, classes)
        project = Project.init(folder, overrides)
        units = len(project.campaign.pool)
    height, width = project.dataset.unit_size
    print(
        f"{folder}: {len(project.dataset.names)} images, {units} units of {width}x{height} pixels (width x height), "
        f"{len(project.classes)} classes. Next: ralseg-query label {folder}"
    )


def query(folder: Path) -> Round:
    """Choose the units of the next round, or name the round that waits."""
    with owned(folder, "folder"):
        project = Project(folder)
        collect(project)
        found = _asked(project)
        waiting = len(open_units(project, found))
    print(f"Round {found.query.round}: {waiting} of {len(found.query.units)} units wait for a label.")
    return found


def label(folder: Path, browser: bool, port: int | None) -> None:
    """Serve the page of the open round until Ctrl-C, and record what was accepted."""
    with owned(folder, "folder"):
        project = Project(folder)
        _told(collect(project))
        asked = _asked(project)
        done = (
            f"Press Ctrl-C in the terminal, then: ralseg-query train {folder}, and ralseg-query label {folder} again."
        )
        server = PageServer(
            asked.query,
            project.image,
            asked.work,
            port=project.port if port is None else port,
            token=project.token,
            title=f"{folder.resolve().name}, round {asked.query.round}",
            done=done,
        )
        with server:
            print(f"Label round {asked.query.round} at {server.url} and press Ctrl-C here to end.", flush=True)
            if browser:
                webbrowser.open(server.url)
            try:
                while True:
                    time.sleep(3600)
            except KeyboardInterrupt:
                print()
        _told(collect(project))
    print(f"Next: ralseg-query train {folder}")


def export(folder: Path, to: str, out: Path | None) -> None:
    """Write the open round for another tool."""
    with owned(folder, "folder"):
        project = Project(folder)
        collect(project)
        asked = _asked(project)
        place = out or folder / "exports" / f"{asked.query.round:03d}-{to}"
        files = FORMATS[to].export(asked.query, project.image, place)
    print(f"{len(files)} files for {to} in {place}. Bring the labels back by: ralseg-query import {folder} {to} <file>")


def import_(folder: Path, of: str, path: Path) -> None:
    """Read labels that another tool gave back."""
    with owned(folder, "folder"):
        project = Project(folder)
        collect(project)
        every = rounds(project)
        if not every:
            raise RalsegError(f"{folder}: nothing was asked for yet, so {path} cannot belong to it; query first")
        asked, answers = _owner(every, of, path)
        done = settle(project, asked, answers)
    for note in answers.notes:
        print(note)
    print(f"{path}: {len(answers.labels)} of {len(asked.query.units)} units of round {asked.query.round} have a label.")
    _told(done)


def train_(folder: Path) -> None:
    """Train on all labels so far."""
    with owned(folder, "folder"):
        project = Project(folder)
        _told(collect(project))
        found = train(project, _progress("training"))
    print(_measured(project, found))


def status(folder: Path) -> None:
    """What was labelled and paid, how good the network is, and what to do next."""
    with owned(folder, "folder"):
        project = Project(folder)
        _told(collect(project))
        every, done = rounds(project), trainings(project)
        waiting = len(open_units(project, every[-1])) if every else 0
    paid, options = project.campaign.ledger, project.options
    print(
        f"{folder}: {len(every)} rounds, {paid.units} units labelled ({100 * paid.share:.2f} % of all pixels, on "
        f"{paid.images} of {len(project.dataset.names)} images); "
        f"{paid.paid(options.budget_measure):g} of the budget of {options.budget:g} {options.budget_measure} is spent."
    )
    for found in done:
        print(f"after {found.paid['units']:.0f} units: {_measured(project, found)}")
    if done:
        _print_classes(project, done[-1])
    new = not done or done[-1].paid["units"] < paid.units
    step = "label" if waiting or not paid.units else "train" if new else "label"
    what = f"{waiting} units of round {len(every)} wait for a label" if waiting else ""
    print(f"Next{f' ({what})' if what else ''}: ralseg-query {step} {folder}")


def predict(folder: Path, out: Path | None) -> None:
    """Write the class of every pixel of every image, and pictures of it."""
    with owned(folder, "folder"):
        project = Project(folder)
        network, trained = learner(project)
        if not trained:
            raise RalsegError(f"{folder}: no network is trained yet; run: ralseg-query train {folder}")
        place, names = out or folder / "predictions", project.world.store.names
        show = _progress("predicting")
        colours = project.dataset.colors
        for image, name in enumerate(names):
            classes = class_map(network, image)
            overlay = (0.5 * project.image(name) + 0.5 * colours[classes]).round().astype(np.uint8)
            _write_png(place / "labels" / f"{name}.png", classes)
            _write_png(place / "overlays" / f"{name}.png", overlay[..., ::-1])
            show(image + 1, len(names))
    print(f"{len(names)} label maps (a pixel is the place of its class in classes.yaml) and overlays in {place}")


def _asked(project: Project) -> Round:
    before = len(rounds(project))
    found = ask(project)
    if found.query.round > before:
        how = "by coverage of the encoder's embeddings, as nothing is trained yet" if not trainings(project) else ""
        held = sum(found.held_out)
        print(
            f"Round {found.query.round}: {len(found.query.units) - held} units chosen by {found.by}"
            f"{f', {how}' if how else ''}, and {held} drawn at random for measuring."
        )
    return found


def _owner(every: Sequence[Round], of: str, path: Path) -> tuple[Round, object]:
    """The round that a file answers, the newest that accepts it, and its answers."""
    refused = None
    for asked in reversed(every):
        try:
            return asked, FORMATS[of].read(path, asked.query)
        except RalsegError as error:
            refused = refused or error
    assert refused is not None
    raise refused


def _told(done: Settled) -> None:
    if done.answered:
        print(f"Recorded: {len(done.answered)} units have a label now.")
    if done.corrected:
        print(f"Recorded: the labels of {len(done.corrected)} units were corrected.")


def _measured(project: Project, found: Trained) -> str:
    if len(found.counts) < 2:
        return "trained; too few held-out units have a label for a measurement"
    figures = miou_with_interval(found.counts, generator(project.seed, "interval"))
    return (
        f"mIoU {figures['miou']:.1f} [{figures['low']:.1f}, {figures['high']:.1f}] % on the held-out units of "
        f"{len(found.counts)} images"
    )


def _print_classes(project: Project, found: Trained) -> None:
    figures = miou_with_interval(found.counts, generator(project.seed, "interval"))
    pixels = found.counts.sum((0, 2))
    for place, known in enumerate(project.classes):
        iou, low, high = (figures[key][place] for key in ("iou", "iou_low", "iou_high"))
        shown = "nowhere yet" if np.isnan(iou) else f"IoU {iou:5.1f} [{low:.1f}, {high:.1f}] %"
        print(f"  {known.name:20} {shown}, {pixels[place]} held-out pixels")


def _progress(what: str) -> Callable[[int, int], None]:
    begun, told = time.perf_counter(), [0.0]

    def show(step: int, steps: int) -> None:
        now = time.perf_counter()
        if step < steps and now - told[0] < (0.2 if sys.stderr.isatty() else SILENCE):
            return
        told[0] = now
        left = (now - begun) / step * (steps - step)
        end = "\n" if step == steps or not sys.stderr.isatty() else "\r"
        print(f"{what}: {step} of {steps}, {left:.0f} s left    ", end=end, file=sys.stderr, flush=True)

    return show


def _draw_streets(folder: Path) -> Sequence[str]:
    """Draw the images of the demo, those that are missing; returns their classes."""
    streets = Streets(images=DEMO_IMAGES)
    for name in streets.names:
        path = folder / "images" / f"{name}.png"
        if not path.exists():
            _write_png(path, streets.load(name)[0][..., ::-1])
    return streets.classes


def _link(folder: Path, images: Path) -> None:
    place = folder / "images"
    if place.exists():
        if place.resolve() != images.resolve():
            raise RalsegError(f"{place} is there already; leave --images out, or choose another folder for the project")
        return
    if not images.is_dir():
        raise RalsegError(f"{images}: no such folder of images")
    try:
        place.symlink_to(images.resolve(), target_is_directory=True)
    except OSError as error:
        raise RalsegError(f"{place} cannot be linked to {images} ({error.strerror}); copy the images there") from error


def _write_classes(folder: Path, classes: Sequence[str]) -> None:
    path = folder / "classes.yaml"
    if path.exists() or not classes:
        return
    if len(set(classes)) < len(classes) or len(classes) > NOT_LABELLED:
        raise RalsegError("--classes names a class twice, or more than 255 classes; name each once")
    with atomic_write(path, "w") as file:
        yaml.safe_dump([{"name": name, "id": id_} for id_, name in enumerate(classes)], file, sort_keys=False)


def _write_png(path: Path, pixels: np.ndarray) -> None:
    with atomic_write(path) as file:
        file.write(cv2.imencode(".png", pixels)[1].tobytes())


single_thread()
