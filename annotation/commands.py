"""The commands of `ralseg-query`: each can be interrupted, and run again it goes on."""

import time
import webbrowser
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import yaml

from ralseg.annotation.effort import effort
from ralseg.annotation.events import Event
from ralseg.annotation.formats import FORMATS
from ralseg.annotation.guide import EXAMPLES, advise, measured, pictures
from ralseg.annotation.label_files import write_png
from ralseg.annotation.learned import Networks, Training, class_map
from ralseg.annotation.measured import Measured
from ralseg.annotation.page import PageServer
from ralseg.annotation.preparing import Preparation
from ralseg.annotation.project import Project
from ralseg.annotation.query import NOT_LABELLED, Answers, OtherQuery
from ralseg.annotation.rounds import Round, collect, open_units, rounds, settle
from ralseg.annotation.steps import (
    ask_round,
    changes_in_words,
    mean_in_words,
    measure_networks,
    show_progress,
    tell_settled,
    train_network,
)
from ralseg.foundation import RalsegError, atomic_write, owned
from ralseg.segmentation.datasets import Streets
from ralseg.stats import forecast

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
        made = [path for path in (folder / "images", folder / "classes.yaml") if not path.exists()]
        try:
            if images is not None:
                _link(folder, images)
            _write_classes(folder, classes)
            project = Project.init(folder, overrides)
        except RalsegError:
            for path in made:
                # Drawn images are kept: they are the same in the next attempt.
                if path.is_symlink() or path.is_file():
                    path.unlink()
            raise
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
        found = ask_round(project)
        waiting = len(open_units(project, found))
    print(f"Round {found.query.round}: {waiting} of {len(found.query.units)} units wait for a label.")
    return found


def label(folder: Path, browser: bool, port: int | None, train: bool) -> None:
    """Serve the page of the open round until Ctrl-C, and record what was accepted.

    Args:
        folder: the project.
        browser: whether to open the page in a browser.
        port: its port, None for the project's own.
        train: whether a finished round is trained on at once, and the next round follows in the same page.
    """
    preparation, server = Preparation(folder), None
    with ExitStack() as serving:
        while True:
            with ExitStack() as owning:
                owning.enter_context(owned(folder, "folder"))
                if server is None:
                    server = serving.enter_context(_opened(folder, preparation, port, train))
                    print(f"Label round {server.query.round} at {server.url} and press Ctrl-C here to end.", flush=True)
                    if browser:
                        webbrowser.open(server.url)
                else:
                    try:
                        _show_last(folder, server)
                    except RalsegError as error:
                        preparation.fail(str(error))
                if not preparation.wait():
                    serving.close()
                    # Anew: the records may be those of the process that has trained.
                    tell_settled(collect(Project(folder)))
                    break
                if not preparation.run(owning.close):
                    break
    print(f"Next: ralseg-query {f'label {folder} --train' if train else f'train {folder}'}")


def export(folder: Path, to: str, out: Path | None) -> None:
    """Write the open round for another tool."""
    with owned(folder, "folder"):
        project = Project(folder)
        collect(project)
        asked = ask_round(project)
        place = out or folder / "exports" / f"{asked.query.round:03d}-{to}"
        files = FORMATS[to].export(asked.query, project.image, place)
    print(f"{len(files)} files for {to} in {place}. Bring the labels back by: ralseg-query import {folder} {to} <file>")


def import_(folder: Path, of: str, path: Path, skip_rest: bool = False) -> None:
    """Read labels that another tool gave back.

    Args:
        folder: the project.
        of: the tool, a key of `FORMATS`.
        path: its file.
        skip_rest: whether the units of the round that have no label after this are skipped.
    """
    with owned(folder, "folder"):
        project = Project(folder)
        collect(project)
        every = rounds(project)
        if not every:
            raise RalsegError(f"{folder}: nothing was asked for yet, so {path} cannot belong to it; query first")
        asked, answers = _owner(every, of, path)
        _note_imported(asked, answers)
        done = settle(project, asked, asked.work.answers())
        skipped = _skip(asked, open_units(project, asked)) if skip_rest else 0
    for note in answers.notes:
        print(note)
    print(f"{path}: {len(answers.labels)} of {len(asked.query.units)} units of round {asked.query.round} have a label.")
    if skipped:
        print(f"Skipped, and not asked for again: {skipped} units.")
    tell_settled(done)


def train_(folder: Path) -> None:
    """Train on all labels so far."""
    with owned(folder, "folder"):
        project = Project(folder)
        tell_settled(collect(project))
        train_network(project, show_progress("training"))
    print(f"Next: ralseg-query label {folder}, or ralseg-query status {folder}")


def status(folder: Path) -> None:
    """What was labelled and paid, how good the network is, and what to do next."""
    with owned(folder, "folder"):
        project = Project(folder)
        tell_settled(collect(project))
        every, networks = rounds(project), Networks(project)
        trainings, measured = networks.trainings, measure_networks(networks)
        waiting = len(open_units(project, every[-1])) if every else 0
        said = effort(project, every)
    paid, options = project.campaign.ledger, project.options
    print(
        f"{folder}: {len(every)} rounds, {paid.units} units labelled ({100 * paid.share:.2f} % of all pixels, on "
        f"{paid.images} of {len(project.dataset.names)} images); "
        f"{paid.paid(options.budget_measure):g} of the budget of {options.budget:g} {options.budget_measure} is spent."
    )
    print(*said, sep="\n", end="\n" * bool(said))
    for training, each in zip(trainings, measured, strict=False):
        print(f"  with {training.units} units: {mean_in_words([each])}")
    if measured:
        _print_classes(project, measured[-1])
        print(_forecast(project, trainings, measured))
    if waiting:
        print(f"{waiting} units of round {len(every)} wait for a label. Next: ralseg-query label {folder}")
    else:
        print(f"Next: ralseg-query {'train' if networks.stale else 'label'} {folder}")


def predict(folder: Path, out: Path | None) -> None:
    """Write the class of every pixel of every image, and pictures of it."""
    with owned(folder, "folder"):
        project = Project(folder)
        networks = Networks(project)
        if not networks.trainings:
            raise RalsegError(f"{folder}: no network is trained yet; run: ralseg-query train {folder}")
        network = networks.learner(networks.trainings[-1])
        place, names = out or folder / "predictions", project.world.store.names
        show = show_progress("predicting")
        colours = project.dataset.colors
        for image, name in enumerate(names):
            classes = class_map(network, image)
            overlay = (0.5 * project.image(name) + 0.5 * colours[classes]).round().astype(np.uint8)
            write_png(place / "labels" / f"{name}.png", classes)
            write_png(place / "overlays" / f"{name}.png", overlay[..., ::-1])
            show(image + 1, len(names))
    print(f"{len(names)} label maps (a pixel is the place of its class in classes.yaml) and overlays in {place}")


def _opened(folder: Path, preparation: Preparation, port: int | None, train: bool) -> PageServer:
    """The page of the round to go on with, before it is started."""
    project = Project(folder)
    tell_settled(collect(project))
    every = rounds(project)
    # With `train`, a network that has learned from the last round asks the next one.
    asked = every[-1] if train and every and Networks(project).stale else ask_round(project)
    if not open_units(project, asked):
        preparation.ask("train")
    return PageServer(
        asked.query,
        project.image,
        asked.work,
        port=project.port if port is None else port,
        token=project.token,
        title=folder.resolve().name,
        done=f"Press Ctrl-C in the terminal, then: ralseg-query train {folder}, and ralseg-query label {folder} again.",
        changes=changes_in_words(project, asked),
        preparation=preparation if train else None,
    )


def _show_last(folder: Path, server: PageServer) -> None:
    """Go on with the last round, if it is a new one."""
    project = Project(folder)
    asked = rounds(project)[-1]
    if asked.query.round != server.query.round:
        server.show(asked.query, asked.work, changes_in_words(project, asked))


def _owner(every: Sequence[Round], of: str, path: Path) -> tuple[Round, Answers]:
    """The round that a file answers, and its answers."""
    for asked in reversed(every):
        try:
            return asked, FORMATS[of].read(path, asked.query)
        except OtherQuery:
            pass
    raise RalsegError(f"{path}: it answers no round of this project; choose a file that was exported from it")


def _note_imported(asked: Round, answers: Answers) -> None:
    """Accept imported labels on the page, too; otherwise the next command would restore what was accepted there."""
    states = asked.work.states
    for place, label in sorted(answers.labels.items()):
        known = asked.work.label(place) if states[place] == "accepted" else None
        if known is None or not np.array_equal(known, label):
            asked.work.record(Event(len(asked.work.events) + 1, place, "import", time.time(), "import"), label)


def _skip(asked: Round, places: Sequence[int]) -> int:
    for place in places:
        asked.work.record(Event(len(asked.work.events) + 1, place, "skip", time.time(), "import"))
    return len(places)


def _print_classes(project: Project, measured: Measured) -> None:
    figures = zip(project.classes, measured.iou, measured.iou_low, measured.iou_high, measured.pixels, strict=True)
    for label, iou, low, high, pixels in figures:
        shown = "nowhere yet" if np.isnan(iou) else f"IoU {iou:5.1f} % [{low:.1f}, {high:.1f}]"
        print(f"    {label.name:20} {shown}, {pixels} held-out pixels")


def _forecast(project: Project, trainings: Sequence[Training], measured: Sequence[Measured]) -> str:
    """What one more round is forecast to add."""
    pairs = [(t.units, m) for t, m in zip(trainings, measured, strict=True) if m.images > 1]
    units, figures = [units for units, _ in pairs], [each.miou for _, each in pairs]
    # All networks are measured on the same units, so that their differences are known better than each by itself.
    return forecast(units, figures, project.options.per_round).sentence("units")


def _draw_streets(folder: Path) -> Sequence[str]:
    """Draw the images of the demo, those that are missing; returns their classes."""
    streets = Streets(images=DEMO_IMAGES)
    for name in streets.names:
        path = folder / "images" / f"{name}.png"
        if not path.exists():
            write_png(path, streets.load(name)[0][..., ::-1])
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


def recommend(folder: Path, budget: int | None) -> None:
    """Say which kind of acquisition suits a folder of images, a project or not, and what that rests on.

    Args:
        folder: holds the images, or images/.
        budget: how many images will be labelled in the end; None for a tenth.

    Raises:
        RalsegError: if there are too few images, one cannot be read, or the budget is out of range.
    """
    images = pictures(folder)
    budget = max(1, len(images) // 10) if budget is None else budget
    if not 1 <= budget <= len(images):
        raise RalsegError(f"--budget {budget} is out of range; {folder} has {len(images)} images")
    advice = advise(measured(images), len(images), budget)
    kind = f"{advice.kind} ({EXAMPLES[advice.kind]})" if advice.kind in EXAMPLES else advice.kind
    teach = {True: "yes", False: "no", None: "unsure"}[advice.semi_supervised]
    print(f"Kind of acquisition: {kind}. Learn from unlabelled images, too: {teach}.")
    for sentence in advice.why:
        print(f"- {sentence}")
