"""Several processes that train together take the steps of one."""

import os
import socket
from datetime import timedelta

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing

from ralseg.segmentation.augmentation import Crops
from ralseg.segmentation.datasets import Streets
from ralseg.segmentation.labels import FullLabels, PartialLabels
from ralseg.segmentation.learners import (
    FromScratchLearner,
    LearnerImages,
    LearnOptions,
    MeanTeacherLearner,
    RipuLearner,
    S4GanLearner,
    StalLearner,
    SupervisedLearner,
    TrainingSet,
    U2plLearner,
)
from ralseg.segmentation.networks import SmallFPN
from ralseg.segmentation.store import ImageStore

LEARNERS = {
    "supervised": (SupervisedLearner, {}),
    "from_scratch": (FromScratchLearner, {}),
    "mean_teacher": (MeanTeacherLearner, {"images": 5, "sure": 0.1, "ramp_up": 0.0}),
    "u2pl": (U2plLearner, {"images": 5, "width": 16, "sure": 0.05, "memory": 100}),
    "stal": (StalLearner, {"images": 6, "width": 16, "memory": 100, "contrast_from": 0.0, "source_share": 0.5}),
    "ripu": (RipuLearner, {"images": 5, "unlikely": 0.1, "source_share": 0.5}),
    "s4gan": (S4GanLearner, {"images": 5, "width": 4, "gate": 0.1, "warm_up": 0.0}),
}
CASES = [*((name, "full") for name in LEARNERS), *((name, "partial") for name in LEARNERS)]
CASES += [(name, cut) for name in ("supervised", "u2pl", "stal") for cut in ("frozen", "cells")]
"""Learners and games; `cells` is the frozen one with so few labels that only labelled cells are passed."""


def one_step(name, cut, folder, batch=4, precision="float32", steps=1):
    """A step on images of which half hold far fewer labelled pixels: its gradients, the weights after it, the loss."""
    torch.set_num_threads(1)
    streets = Streets(9, (64, 96))
    store = ImageStore(streets, streets.names, cache_dir=folder)
    torch.manual_seed(0)
    network = SmallFPN(11, widths=(8, 12, 16, 20, 24), pyramid=16)
    network.add_frozen_head(8)
    options = LearnOptions(
        "frozen" if cut == "cells" else cut, "balanced", steps=steps, batch=batch, clip=1e9, crops=Crops((32, 48))
    )
    make, told = LEARNERS[name]
    learner = make(network, LearnerImages(store), options, precision=precision, **told)
    labels, new = PartialLabels(11), []
    for i in range(4):
        height, width = ((64, 96), (8, 16), (4, 8), (1, 1))[2 * (cut == "cells") + (i % 2 == 0)]
        labels.reveal(i, (64, 96), (0, 0, height, width), store.label(i)[:height, :width])
        new.append((i, (0.05, 0.05)))
    data = TrainingSet(labels, new, range(4, 8), FullLabels(store, [8]))
    loss = learner.learn(data, np.random.default_rng(0))
    found = [p.grad.flatten() for p in learner._steps._places if p.grad is not None]
    state = torch.cat([value.double().flatten() for value in learner.state().values()])
    figures = torch.tensor(list(getattr(learner, "figures", {}).values()))
    return {"gradients": torch.cat(found), "state": state, "loss": loss, "figures": figures}


def a_process(number, count, port, play, arguments):
    own = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
    os.environ |= {key: str(value) for key, value in own.items()}
    os.environ |= {"TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
    play(number, *arguments)


def in_processes(count, play, *arguments):
    """Let several processes, with the environment of torchrun, call `play(number, ...)`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.start_processes(a_process, (count, port, play, arguments), nprocs=count, start_method="fork")


def step_in_bfloat16(rank, folder, cache):
    distributed.init_process_group("gloo", timeout=timedelta(seconds=120))
    torch.save(one_step("u2pl", "full", cache, precision="bfloat16"), f"{folder}/bfloat16-{rank}.pt")


def steps_of_all(rank, folder, cache):
    distributed.init_process_group("gloo", timeout=timedelta(seconds=120))
    for name, cut in CASES:
        torch.save(one_step(name, cut, cache), f"{folder}/{name}-{cut}-{rank}.pt")


def test_a_step_in_bfloat16(tmp_path):
    expected, exact = (one_step("u2pl", "full", tmp_path, precision=p)["gradients"] for p in ("bfloat16", "float32"))
    in_processes(2, step_in_bfloat16, str(tmp_path), str(tmp_path))
    found, other = (torch.load(tmp_path / f"bfloat16-{n}.pt", weights_only=True)["gradients"] for n in range(2))
    assert torch.equal(found, other) and torch.isfinite(found).all()
    # Each process rounds its own sums over pixels to 8 bits, so the step differs from that of one process by less than
    # that one, which rounds as well, differs from float32.
    assert (found - expected).norm() < (expected - exact).norm()


@pytest.mark.parametrize("count", [2, 4, 6])
def test_a_step_is_that_of_one_process(count, tmp_path):
    # Six processes share batches of four and five: some have no share.
    alone = {case: one_step(*case, tmp_path) for case in CASES}
    (tmp_path / "group").mkdir()
    in_processes(count, steps_of_all, str(tmp_path / "group"), str(tmp_path))
    for (name, cut), expected in alone.items():
        files = [tmp_path / f"group/{name}-{cut}-{rank}.pt" for rank in range(count)]
        first, *others = [torch.load(file, weights_only=True) for file in files]
        assert expected["gradients"].abs().max() > 0
        for other in others:
            for key, value in other.items():
                assert torch.equal(value, first[key]), (name, cut, key)
        error = (first["gradients"] - expected["gradients"]).abs().max() / expected["gradients"].abs().max()
        # Float32 sums in another order differ by half of it. s4GAN takes differences of means, which lose digits.
        assert error < (2e-6 if (name, cut) == ("s4gan", "partial") else 1e-6), (name, cut, float(error))
        assert torch.allclose(first["loss"], expected["loss"], rtol=1e-6)
        assert torch.allclose(first["figures"], expected["figures"], rtol=1e-6)
