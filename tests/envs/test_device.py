"""A step on another device, played on torch's meta device: tensors without data show where data would be waited for."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ralseg.agents.acquisitions import make
from ralseg.envs import Game, Hindsight, Pool, RegionSelectionEnv, World
from ralseg.envs.reader import STATE_UNITS
from ralseg.segmentation.learners import LearnerImages, SupervisedLearner, supervised
from ralseg.segmentation.networks import CUTS


class Device(TorchDispatchMode):
    """Refuses what makes the host wait for the device, and lets host and device meet in copies to the device alone."""

    waits = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal.default", "unique", "bincount")

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        name, keywords = str(function), keywords or {}
        assert not any(wait in name for wait in self.waits), f"{name} waits for the device"
        places = {t.device.type for t in tree_leaves((arguments, keywords)) if isinstance(t, torch.Tensor) and t.dim()}
        upload = "_to_copy" in name and "meta" in str(keywords.get("device"))
        assert upload or places != {"cpu", "meta"}, f"{name} reads the host"
        return function(*arguments, **keywords)


class HostGenerator(torch.Generator):
    """Stands in for one on a device that has none."""

    def __new__(cls, device=None):
        return super().__new__(cls)


@pytest.fixture
def fetched(monkeypatch):
    """Stands in for what a meta tensor cannot do; the sizes in bytes of all that reached the host."""
    sizes, to_numpy, autocast = [], torch.Tensor.numpy, torch.autocast

    def numpy(tensor, *, force=False):
        if tensor.device.type == "cpu":
            return to_numpy(tensor, force=force)
        sizes.append(tensor.nbytes)
        return np.zeros(tensor.shape, str(tensor.dtype).removeprefix("torch."))

    monkeypatch.setattr(torch.Tensor, "numpy", numpy)
    monkeypatch.setattr(torch.Tensor, "__float__", lambda tensor: float(sizes.append(tensor.nbytes) or 0))
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda tensor: sizes.append(tensor.nbytes) or True)
    monkeypatch.setattr(torch, "autocast", lambda *a, **k: nullcontext() if a[0] == "meta" else autocast(*a, **k))
    monkeypatch.setattr(torch, "Generator", HostGenerator)
    # Its fused kernel knows the devices that compute.
    monkeypatch.setattr(
        supervised, "AdamW", lambda parameters, fused, **options: torch.optim.SGD(parameters, **options)
    )
    return sizes


@pytest.mark.parametrize("cut", CUTS)
def test_a_step_stays_on_its_device(configured, fetched, cut):
    world = World(configured(f"game={cut}"))
    learner = SupervisedLearner(world.theta0(), LearnerImages(world.store), world.learn_options, "meta", "float32")
    pool, spec = Pool(world.store, world.images("train"), world.unit), world.game("train").spec
    state, reward = world.images("state"), world.images("reward")
    options, asked = world.game_options, {"credit": True, "reference": True}
    hindsight = Hindsight(learner, world.store, reward, options, world.config["loss"], **asked)
    env = RegionSelectionEnv(Game(learner, pool, state, reward, spec, options, hindsight=hindsight))
    env.reset(seed=0)
    env.step(np.zeros(3, np.int64))  # constants of grids and sizes are made once
    fetched.clear()
    with Device():
        env.step(np.ones(3, np.int64))
    # Counts of D_R and rows of units: nothing of a pixel's.
    assert fetched
    assert max(fetched) <= 4 * len(pool.grid(state[0])) * world.network().embedding_width


LOOKING = [
    *("entropy", "margin", "class_aware_random", "cost_aware", "ripu", "coreset", "prob_cover", "badge"),
    *("bald", "balanced_entropy", "edald", "equal"),
]


@pytest.mark.parametrize("name", LOOKING)
@pytest.mark.parametrize("unit", ["[24,32]", "[20,50]", "pixel"])
def test_what_acquisitions_look_at_stays_on_its_device(configured, fetched, name, unit):
    draw = "uniform" if unit == "pixel" else "pool"
    world = World(configured(f"game.unit={unit}", f"game.draw={draw}", "features=compact", "network.dropout=0.5"))
    learner = SupervisedLearner(world.theta0(), LearnerImages(world.store), world.learn_options, "meta", "float32")
    pool, spec = Pool(world.store, world.images("train"), world.unit), world.game("train").spec
    game = Game(learner, pool, world.images("state"), world.images("reward"), spec, world.game_options)
    game.reset(0)
    (reducer,), largest = make(name).needs[:1], len(pool.grid(game.state[0]))

    def look():
        candidates = game.view([reducer], False)
        assert len(candidates.reduced(reducer.name)) == len(candidates) > 0
        if reducer.labelled:
            assert len(candidates.labelled(reducer.name)) == len(game.state) * min(largest, STATE_UNITS)

    look()  # constants of grids and sizes are made once
    fetched.clear()
    with Device():
        look()
    # Rows of the units that are looked at: of pixels, not those of a whole image.
    widest = learner.classes * world.network().embedding_width
    assert fetched
    assert max(fetched) <= 4 * min(largest, STATE_UNITS) * widest
    if unit == "pixel" and not reducer.labelled:
        assert max(fetched) <= 4 * game.offer.units.size * widest
