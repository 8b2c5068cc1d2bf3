"""Batch norm that meets a single value per channel is still, in every network and at any batch."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from ralseg.segmentation.augmentation import Crops
from ralseg.segmentation.datasets import Streets
from ralseg.segmentation.labels import revealed
from ralseg.segmentation.learners import FitOptions, LearnerImages, LearnOptions, SupervisedLearner, TrainingSet
from ralseg.segmentation.networks import DeepLabWRN38, EncoderFPN, RalisFPN, SmallFPN, SmpNetwork
from ralseg.segmentation.networks.base import set_statistics
from ralseg.segmentation.networks.batch_norm import still_on_single_values
from ralseg.segmentation.store import ImageStore

NETWORKS = {
    "small_fpn": lambda: SmallFPN(11),
    "lite0": lambda: EncoderFPN(11, "resnet10t", None),
    "ralis_fpn": lambda: RalisFPN(11),
    "deeplabv3plus_wrn38": lambda: DeepLabWRN38(11, width=2, decoder=16),
    "smp_fpn": lambda: SmpNetwork(11, "fpn", "tu-mobilenetv3_small_100"),
    "deeplabv3plus": lambda: SmpNetwork(11, "deeplabv3plus", "tu-mobilenetv3_small_100"),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Images of 32 x 32, which stride 32 leaves a single cell of."""
    streets = Streets(9, (64, 64))
    return ImageStore(streets, streets.names, 0.5, tmp_path_factory.mktemp("store"))


def norms_of(network):
    return {name: module for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}


def test_by_hand():
    norm = nn.BatchNorm2d(2, eps=1e-9, momentum=0.5).train()
    norm.running_mean.copy_(torch.tensor([1.0, -1.0]))
    norm.running_var.copy_(torch.tensor([4.0, 0.25]))
    with still_on_single_values(norm):
        single = norm(torch.tensor([3.0, 1.0]).view(1, 2, 1, 1))
        np.testing.assert_allclose(single.detach().flatten(), [1, 4])
        np.testing.assert_allclose(norm.running_mean, [1, -1])
        assert norm.training and norm.num_batches_tracked == 0
        # Two values are normalised as ever, and move the statistics.
        pair = norm(torch.tensor([3.0, 1.0, 5.0, 1.0]).view(2, 2, 1, 1))
        np.testing.assert_allclose(pair.detach()[:, 0].flatten(), [-1, 1], atol=1e-6)
        np.testing.assert_allclose(norm.running_mean, [2.5, 0])
    with pytest.raises(ValueError, match="more than 1 value"):
        norm(torch.ones(1, 2, 1, 1))


@pytest.mark.parametrize("values", [1, 2, 7])
def test_all_other_batches_are_untouched_bit_for_bit(values):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU()).train()
    held = copy.deepcopy(plain)
    maps = torch.randn(2, 3, 1, values)
    expected = plain(maps)
    with still_on_single_values(held):
        assert torch.equal(held(maps), expected)
    assert torch.equal(held[1].running_var, plain[1].running_var)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_trained_on_batches_of_one(store, name):
    torch.manual_seed(0)
    network = NETWORKS[name]()
    learner = SupervisedLearner(network, LearnerImages(store), LearnOptions(cut="full"))
    before = {name: norm.running_mean.clone() for name, norm in norms_of(network).items()}
    options = FitOptions(steps=2, batch=1, crops=Crops((32, 32)))
    learner.fit(TrainingSet(revealed(store, [0]), []), options, np.random.default_rng(0))
    kept = [name for name, norm in norms_of(network).items() if torch.equal(norm.running_mean, before[name])]
    assert len(kept) < len(before)
    assert all(torch.isfinite(norm.running_var).all() for norm in norms_of(network).values())
    assert not any(
        norm.training or norm._forward_pre_hooks or norm._forward_hooks for norm in norms_of(network).values()
    )


def test_frozen_norms_stay_frozen(store):
    network = SmallFPN(11)
    learner = SupervisedLearner(network, LearnerImages(store), LearnOptions(cut="full"))
    options = FitOptions(steps=1, batch=1, crops=Crops((32, 32)))
    labels = TrainingSet(revealed(store, [0]), [])
    before = network.stages[4][0][1].running_mean.clone()
    for frozen in ({"encoder_rate": 0.0}, {"train_batch_norm": False}):
        learner.fit(labels, dataclasses.replace(options, **frozen), np.random.default_rng(0))
        assert torch.equal(network.stages[4][0][1].running_mean, before)


def test_a_single_pixel_has_a_mean_and_no_variance():
    norm = nn.BatchNorm2d(2, affine=False)
    set_statistics(norm, [torch.tensor([3.0, 5.0]).view(1, 2, 1, 1)])
    assert norm.running_mean.tolist() == [3, 5] and norm.running_var.tolist() == [1, 1]


@pytest.mark.parametrize("name", ["smp_fpn", "deeplabv3plus"])
def test_no_dropout_but_the_networks_own(name):
    found = [module for module in NETWORKS[name]().modules() if isinstance(module, nn.modules.dropout._DropoutNd)]
    assert found and not any(module.p for module in found)
