"""Two processes that train together take the steps of one."""

import os
from datetime import timedelta

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

from ralseg.foundation import RalsegError
from ralseg.segmentation.augmentation import Crops
from ralseg.segmentation.datasets import Streets
from ralseg.segmentation.labels import PartialLabels
from ralseg.segmentation.learners import FitOptions, LearnerImages, LearnOptions, SupervisedLearner, TrainingSet
from ralseg.segmentation.learners.batches import own_share
from ralseg.segmentation.networks import SmallFPN
from ralseg.segmentation.store import ImageStore

CUTS = ("full", "partial", "frozen")


def one_step(cut, folder):
    """A step on four images of which two hold far fewer labelled pixels, and the gradients that it was taken with."""
    torch.set_num_threads(1)
    streets = Streets(9, (64, 96))
    store = ImageStore(streets, streets.names, cache_dir=folder)
    torch.manual_seed(0)
    network = SmallFPN(11, widths=(8, 12, 16, 20, 24), pyramid=16)
    network.add_frozen_head(8)
    options = LearnOptions(cut, "balanced", steps=1, batch=4, clip=1e9, crops=Crops((32, 48)))
    learner = SupervisedLearner(network, LearnerImages(store), options, precision="float32")
    labels, new = PartialLabels(11), []
    for i in range(4):
        height, width = (64, 96) if i % 2 else (8, 16)
        labels.reveal(i, (64, 96), (0, 0, height, width), store.label(i)[:height, :width])
        new.append((i, (0.05, 0.05)))
    learner.learn(TrainingSet(labels, new), np.random.default_rng(0))
    wrapped = isinstance(learner._steps.module, DistributedDataParallel)
    return torch.cat([p.grad.flatten() for p in learner._steps._trained]), learner, wrapped


def process(rank, folder):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
    store = distributed.FileStore(f"{folder}/rendezvous", 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=120))
    learners = {}
    for cut in CUTS:
        gradients, learners[cut], wrapped = one_step(cut, folder)
        assert wrapped
        torch.save(gradients, f"{folder}/{cut}-{rank}.pt")
    with pytest.raises(RalsegError, match="a batch of 1 cannot be shared by 2 processes; set a larger batch"):
        own_share([0])
    known = PartialLabels(11)
    known.reveal(0, (64, 96), (0, 0, 8, 8), np.zeros((8, 8), np.uint8))
    with pytest.raises(RalsegError, match=r"batch norm would differ between processes; set fit\.options\.train_batch"):
        learners["full"].fit(TrainingSet(known, []), FitOptions(), np.random.default_rng(0))
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_have_the_gradients_of_one(tmp_path):
    alone = {}
    for cut in CUTS:
        alone[cut], _, wrapped = one_step(cut, tmp_path)
        assert not wrapped
    multiprocessing.start_processes(process, (str(tmp_path),), nprocs=2, start_method="fork")
    for cut, expected in alone.items():
        together = [torch.load(tmp_path / f"{cut}-{rank}.pt", weights_only=True) for rank in range(2)]
        assert torch.equal(*together)
        assert (together[0] - expected).abs().max() <= 1e-6 * expected.abs().max(), cut
