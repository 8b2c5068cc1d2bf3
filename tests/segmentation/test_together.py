"""The first process of a command trains with the others, as if it were alone."""

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from functools import partial
from zlib import crc32

import numpy as np
import pytest
import torch

from ralseg.foundation import RalsegError
from ralseg.segmentation.augmentation import Crops
from ralseg.segmentation.collectives import processes, rank
from ralseg.segmentation.datasets import Streets
from ralseg.segmentation.labels import revealed
from ralseg.segmentation.learners import (
    FitCheckpoint,
    FitOptions,
    FromScratchLearner,
    LearnerImages,
    LearnOptions,
    SupervisedLearner,
    TrainingSet,
    U2plLearner,
    fitted,
    taught,
)
from ralseg.segmentation.learners.together import run_together
from ralseg.segmentation.networks import SmallFPN
from ralseg.segmentation.store import ImageStore
from tests.segmentation.test_data_parallel import in_processes

FIT = FitOptions(steps=6, batch=4, train_batch_norm=False, crops=Crops((32, 48)), evaluations=3, patience=1)


class Stopped(Exception):
    """Ends a training from outside."""


class Counted(SupervisedLearner):
    """Writes how many processes take each step."""

    def objective(self, batches, weights, data, rng):
        with open(os.environ["COUNTED"], "a") as file:
            file.write(f"{rank()} of {processes()}\n")
        return super().objective(batches, weights, data, rng)


class Failing(SupervisedLearner):
    """Fails on the second process alone."""

    def objective(self, batches, weights, data, rng):
        if rank() == 1:
            raise RalsegError("this process has a fault of its own")
        return super().objective(batches, weights, data, rng)


def a_learner(make, folder, dropout=0.0, **named):
    torch.set_num_threads(1)
    streets = Streets(9, (64, 96))
    store = ImageStore(streets, streets.names, cache_dir=folder)
    torch.manual_seed(0)
    options = LearnOptions("full", steps=2, batch=3, crops=Crops((32, 48)))
    network = SmallFPN(11, widths=(8, 12, 16, 20, 24), pyramid=16, dropout=dropout)
    learner = make(network, LearnerImages(store), options, **named)
    labels = revealed(store, range(3))
    return learner, TrainingSet(labels, [(i, (0.5, 0.5)) for i in range(3)], range(3, 6))


def weights_of(learner):
    return torch.cat([value.double().flatten() for value in learner.state().values()])


def some_turns(folder):
    """Turns of three learners, of which one begins where another stands, and trainings to convergence."""
    found, rng = [], np.random.default_rng(5)
    for make, named in ((SupervisedLearner, {}), (U2plLearner, {"images": 3, "width": 8}), (FromScratchLearner, {})):
        learner, data = a_learner(make, folder, **named)
        for _ in range(2):
            taught(learner, data, rng)
            found.append(weights_of(learner))
        learner.reset()
        taught(learner, data, rng)
        ahead = learner.another(learner.options)
        taught(ahead, data, rng)
        ahead.start_from(learner)
        taught(ahead, data, rng)
        found += [weights_of(learner), weights_of(ahead)]
        scores = iter([0.3, 0.2, 0.4])
        assert fitted(learner, data, FIT, rng, lambda scores=scores: next(scores)) == 4
        found.append(weights_of(learner))
        path = folder / make.__name__
        ended = partial(FitCheckpoint, of="this one", every=0)
        if not path.with_suffix(".kept").exists():
            before = learner.state()
            with pytest.raises(Stopped):
                fitted(learner, data, FIT, np.random.default_rng(1), None, stop, ended(path))
            shutil.copy(path, path.with_suffix(".kept"))
            learner.restore(before)
        shutil.copy(path.with_suffix(".kept"), path)
        fitted(learner, data, FIT, np.random.default_rng(1), None, None, ended(path))
        assert not path.exists()
        found.append(weights_of(learner))
    return found


def stop(step, steps):
    if step == 4:
        raise Stopped


def command(rank, folder, play, device="cpu"):
    """What torchrun lets each process do."""
    run_together(device, lambda: play(folder))


def turns(folder):
    assert processes() == 1
    torch.save(some_turns(folder), folder / "found.pt")


def test_the_first_process_trains_as_if_it_were_alone(tmp_path):
    # The trainings that were stopped by one process are gone on with by two.
    expected = some_turns(tmp_path)
    in_processes(2, command, tmp_path, turns)
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    for one, two in zip(expected, found, strict=True):
        # Adam makes a whole step even of a gradient that is nothing but rounding, so a few weights differ more.
        assert (one - two).norm() < 2e-4 * one.norm()


def counted(folder):
    learner, data = a_learner(Counted, folder)
    taught(learner, data, np.random.default_rng(0))
    fitted(learner, data, replace(FIT, steps=1), np.random.default_rng(0))
    fitted(learner, data, replace(FIT, steps=1, train_batch_norm=True), np.random.default_rng(0))
    learner.learn(data, np.random.default_rng(0))


def test_who_takes_the_steps(tmp_path, monkeypatch):
    monkeypatch.setenv("COUNTED", str(tmp_path / "counted"))
    in_processes(2, command, tmp_path, counted)
    lines = (tmp_path / "counted").read_text().splitlines()
    # Where batch norm is trained, and outside of `taught` and `fitted`, the first process is alone.
    assert sorted(lines) == ["0 of 1"] * 3 + ["0 of 2"] * 3 + ["1 of 2"] * 3


def failing(folder):
    learner, data = a_learner(Failing, folder)
    taught(learner, data, np.random.default_rng(0))


def test_a_failure_ends_both(tmp_path):
    in_processes(2, failed, tmp_path)
    assert {path.name for path in tmp_path.glob("failed-*")} == {"failed-0", "failed-1"}


def failed(rank, folder):
    says = ("a process that trained along has ended; what it printed says why", "process 1: this process has a fault")
    with pytest.raises(RalsegError, match=says[rank]):
        run_together("cpu", lambda: failing(folder))
    (folder / f"failed-{rank}").touch()


def broken_off(folder):
    learner, data = a_learner(SupervisedLearner, folder)
    with pytest.raises(Stopped):
        fitted(learner, data, FIT, np.random.default_rng(0), None, stop)
    taught(learner, data, np.random.default_rng(0))


def test_no_training_follows_one_that_was_broken_off(tmp_path):
    in_processes(2, refused, tmp_path)
    assert (tmp_path / "refused").exists()


def refused(rank, folder):
    # The second process waits for the first one's gradients until that one ends.
    with pytest.raises(RalsegError if rank == 0 else RuntimeError, match="was broken off; start" if rank == 0 else ""):
        run_together("cpu", lambda: broken_off(folder))
    if rank == 0:
        (folder / "refused").touch()


class Dropping(SupervisedLearner):
    """Writes where its stream of dropout stands before each step."""

    def objective(self, batches, weights, data, rng):
        assert self._drop is not None
        with open(os.environ["COUNTED"], "a") as file:
            file.write(f"{rank()} {crc32(self._drop.get_state().numpy())}\n")
        return super().objective(batches, weights, data, rng)


def dropping(folder):
    learner, data = a_learner(Dropping, folder, dropout=0.5)
    checkpoint = FitCheckpoint(folder / "kept", of="this one", every=0)
    with suppress(Stopped):
        fitted(learner, data, FIT, np.random.default_rng(0), None, None if checkpoint.load() else stop, checkpoint)


def test_a_resumed_training_drops_differently_in_each_process(tmp_path, monkeypatch):
    monkeypatch.setenv("COUNTED", str(tmp_path / "counted"))
    dropping(tmp_path)
    (tmp_path / "counted").unlink()
    in_processes(2, command, tmp_path, dropping)
    lines = [line.split() for line in (tmp_path / "counted").read_text().splitlines()]
    first, second = ({stream for rank, stream in lines if rank == number} for number in "01")
    assert len(first) == len(second) == 3 and not first & second


def test_a_device_of_one_process_is_refused(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(RalsegError, match=r"device='cuda:1' cannot be shared by several processes; set device=cpu or"):
        run_together("cuda:1", lambda: None)
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(RalsegError, match=r"needs Lightning Fabric; pip install ralseg\[scale\], or start the command"):
        run_together("cpu", lambda: None)


def test_nothing_of_it_is_imported_without_torchrun():
    code = "import sys, ralseg.evaluate_policy, ralseg.segmentation.learners; print('lightning_fabric' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
