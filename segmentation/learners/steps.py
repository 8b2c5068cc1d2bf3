"""Optimiser steps: the trained weights, their optimisers, and their running average."""

import copy
import warnings
from collections.abc import Callable, Sequence, Set
from itertools import compress

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from ralseg.foundation import RalsegError
from ralseg.segmentation.collectives import sum_gradients
from ralseg.segmentation.networks import Cut, SegmentationNetwork

MakeOptimisers = Callable[[Sequence[nn.Parameter]], list[torch.optim.Optimizer]]


class Steps:
    """Trains the weights above a cut of a network; a second network follows as their running average.

    Where several processes train together, each goes down the sum of their gradients, so that their weights stay the
    same. Batch norm must then be frozen, because its statistics would differ between processes.

    Args:
        network: the network to train.
        average: a network of the same layout, which holds the average.
        cut: the cut above which weights are trained.
        make_optimisers: makes one or more optimisers of the trained weights, and of others if the learner has any.
        averaging: the share of itself that the average keeps in each step.
        clip: largest norm of the gradient.
        encoder_rate: the learning rate of the encoder's stages over that of the rest; at 0 they are not trained.

    Attributes:
        optimisers: the optimisers, in the order of their steps.
        averaging: see above.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        average: SegmentationNetwork,
        cut: Cut,
        make_optimisers: MakeOptimisers,
        averaging: float,
        clip: float,
        encoder_rate: float = 1.0,
    ) -> None:
        network.requires_grad_(False)
        modules, twins = network.trained(cut), average.trained(cut)
        encoder = {id(p) for stage in network.stage_modules() for p in stage.parameters()}
        parameters, averages = ([p for module in part for p in module.parameters()] for part in (modules, twins))
        chosen = [encoder_rate > 0 or id(p) not in encoder for p in parameters]
        self._trained, self._twins = (list(compress(part, chosen)) for part in (parameters, averages))
        for parameter in self._trained:
            parameter.requires_grad_(True)
        self._buffers = [b for m in modules for b in m.buffers()], [b for m in twins for b in m.buffers()]
        self.optimisers = make_optimisers(self._trained)
        own = {id(p) for p in self._trained}
        others = [p for optimiser in self.optimisers for group in optimiser.param_groups for p in group["params"]]
        self._places = [*self._trained, *(p for p in others if id(p) not in own)]
        if 0 < encoder_rate < 1:
            for optimiser in self.optimisers:
                _slow_down(optimiser, encoder, encoder_rate)
        self.averaging, self._clip = averaging, clip

    def step(self, loss: Tensor) -> Tensor:
        """Take one step down a loss, a 0-d tensor; returns its value without a graph."""
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        sum_gradients(self._places)
        nn.utils.clip_grad_norm_(self._trained, self._clip)
        for optimiser in self.optimisers:
            optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(self._twins, self._trained, 1 - self.averaging)  # pyright: ignore
            for own, twin in zip(*self._buffers, strict=True):
                twin.copy_(own)
        return loss.detach()

    def state(self) -> dict[str, Tensor]:
        """The state of the optimisers: `<optimiser>.<parameter>.<name>` -> tensor, not copied."""
        return {
            f"{number}.{place}.{name}": value
            for number, optimiser in enumerate(self.optimisers)
            for place, parameter in enumerate(self._places)
            for name, value in optimiser.state.get(parameter, {}).items()
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Restore a `state`.

        Raises:
            RalsegError: if it belongs to other optimisers or weights.
        """
        for key, value in state.items():
            number, place, name = key.split(".", 2)
            if int(number) >= len(self.optimisers) or int(place) >= len(self._places):
                raise RalsegError(f"the state has {key} of another optimiser; restore it into the same kind of learner")
            parameter = self._places[int(place)]
            # Fused optimisers need the memory layout of the weights.
            own = torch.empty_like(parameter) if value.shape == parameter.shape else torch.empty_like(value)
            self.optimisers[int(number)].state[parameter][name] = own.to(parameter.device).copy_(value)


def _slow_down(optimiser: torch.optim.Optimizer, slow: Set[int], rate: float) -> None:
    """Give the parameters whose ids are in `slow` a learning rate of their own."""
    for group in list(optimiser.param_groups):
        fast = [p for p in group["params"] if id(p) not in slow]
        rest = [p for p in group["params"] if id(p) in slow]
        if rest:
            group["params"] = fast
            optimiser.add_param_group({**group, "params": rest, "lr": group["lr"] * rate})


def above_the_cut(network: SegmentationNetwork, cut: Cut) -> dict[str, Tensor]:
    """The weights and statistics above the cut, by name; not copied."""
    above = {id(t) for m in network.trained(cut) for t in (*m.parameters(), *m.buffers())}
    named = (*network.named_parameters(), *network.named_buffers())
    return {name: tensor.detach() for name, tensor in named if id(tensor) in above}


def with_shared_stages(network: SegmentationNetwork, cut: Cut) -> SegmentationNetwork:
    """A copy of a network that shares the frozen tensors below the cut with it."""
    above = {id(t) for m in network.trained(cut) for t in (*m.parameters(), *m.buffers())}
    below = {id(t): t for t in (*network.parameters(), *network.buffers()) if id(t) not in above}
    return copy.deepcopy(network, below)


def advance(schedules: Sequence[LRScheduler], steps: int) -> None:
    """Take the schedules to where they are after so many steps of their optimisers, which a checkpoint restores."""
    # torch warns that the optimisers have not stepped: they have, before the checkpoint.
    with warnings.catch_warnings(action="ignore"):
        for schedule in schedules:
            for _ in range(steps):
                schedule.step()
