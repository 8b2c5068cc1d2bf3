"""Optimiser steps: the trained weights, their optimisers, and their running average."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ralseg.foundation import RalsegError
from ralseg.segmentation.losses import processes
from ralseg.segmentation.networks import Cut, SegmentationNetwork

MakeOptimisers = Callable[[Sequence[nn.Parameter]], list[torch.optim.Optimizer]]


class Steps:
    """Trains the weights above a cut of a network; a second network follows as their running average.

    If torch.distributed is initialised, the passes go through DistributedDataParallel. Batch norm must then be frozen,
    because its statistics would differ between processes.

    Args:
        network: the network to train.
        average: a network of the same layout, which holds the average.
        cut: the cut above which weights are trained.
        make_optimisers: makes one or more optimisers of the trained weights.
        averaging: the share of itself that the average keeps in each step.
        clip: largest norm of the gradient.

    Attributes:
        optimisers: the optimisers, in the order of their steps.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        average: SegmentationNetwork,
        cut: Cut,
        make_optimisers: MakeOptimisers,
        averaging: float,
        clip: float,
    ) -> None:
        network.requires_grad_(False)
        modules, twins = network.trained(cut), average.trained(cut)
        for module in modules:
            module.requires_grad_(True)
        self._trained = [p for module in modules for p in module.parameters()]
        self._twins = [p for module in twins for p in module.parameters()]
        self._buffers = [b for m in modules for b in m.buffers()], [b for m in twins for b in m.buffers()]
        self.optimisers = make_optimisers(self._trained)
        self._averaging, self._clip = averaging, clip
        self.module: nn.Module = network
        if processes() > 1:
            self.module = DistributedDataParallel(network, broadcast_buffers=False)

    def step(self, loss: Tensor) -> Tensor:
        """Take one step down a loss, a 0-d tensor; returns its value without a graph."""
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._trained, self._clip)
        for optimiser in self.optimisers:
            optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(self._twins, self._trained, 1 - self._averaging)  # pyright: ignore
            for own, twin in zip(*self._buffers, strict=True):
                twin.copy_(own)
        return loss.detach()

    def state(self) -> dict[str, Tensor]:
        """The state of the optimisers: `<optimiser>.<parameter>.<name>` -> tensor, not copied."""
        return {
            f"{number}.{place}.{name}": value
            for number, optimiser in enumerate(self.optimisers)
            for place, parameter in enumerate(self._trained)
            for name, value in optimiser.state.get(parameter, {}).items()
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Restore a `state`.

        Raises:
            RalsegError: if it belongs to other optimisers or weights.
        """
        for key, value in state.items():
            number, place, name = key.split(".", 2)
            if int(number) >= len(self.optimisers) or int(place) >= len(self._trained):
                raise RalsegError(f"the state has {key} of another optimiser; restore it into the same kind of learner")
            parameter = self._trained[int(place)]
            # Fused optimisers need the memory layout of the weights.
            own = torch.empty_like(parameter) if value.shape == parameter.shape else torch.empty_like(value)
            self.optimisers[int(number)].state[parameter][name] = own.to(parameter.device).copy_(value)


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
