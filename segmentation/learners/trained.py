"""A predictor that is trained: theta_0, the weights at present, and all that belongs to its state."""

from typing import Any, Self

import torch
from torch import Tensor, nn

from ralseg.foundation import RalsegError
from ralseg.segmentation.devices import copied
from ralseg.segmentation.learners.options import FitOptions, LearnOptions
from ralseg.segmentation.learners.predictor import Predictor
from ralseg.segmentation.learners.steps import Steps, above_the_cut
from ralseg.segmentation.networks import SegmentationNetwork


class Trained(Predictor):
    """The network, its average, which predicts, their theta_0, and what is trained beside them.

    Attributes:
        companion: see `SupervisedLearner`.
        made_with: the arguments that it was made with, by place and by name.
    """

    companion: nn.Module
    made_with: tuple[tuple[Any, ...], dict[str, Any]]
    options: LearnOptions
    _made: dict[str, Any]
    _network: SegmentationNetwork
    _averaged: SegmentationNetwork
    _theta0: dict[str, Tensor]
    _steps: Steps

    def __new__(cls, *arguments: Any, **named: Any) -> Self:
        """Keep the arguments, so that other processes can make the same learner."""
        learner = super().__new__(cls)
        learner.made_with = arguments, named
        return learner

    def reset(self) -> None:
        """See `Learner.reset`."""
        _load(self._network.eval(), self._theta0)
        _load(self._averaged, self._theta0)
        self._start_turns()

    def start_from(self, other: "Trained") -> None:
        """Make the weights that another learner of the same network predicts with the new theta_0, and reset."""
        self.start_at(above_the_cut(other._averaged, self.options.cut))

    def state(self) -> dict[str, Tensor]:
        """See `Learner.state`; the part below the cut belongs to theta_0."""
        parts = {
            "network": above_the_cut(self._network, self.options.cut),
            "averaged": above_the_cut(self._averaged, self.options.cut),
            "optimiser": self._steps.state(),
            "companion": self.companion.state_dict(),
        }
        return {f"{part}.{name}": copied(value) for part, found in parts.items() for name, value in found.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """See `Learner.restore`.

        Raises:
            RalsegError: if the state belongs to another learner.
        """
        self.reset()
        self._put(state)

    def theta0(self) -> dict[str, Tensor]:
        """A CPU copy of the weights that `reset` goes back to."""
        return {name: copied(value) for name, value in self._theta0.items()}

    def start_at(self, theta0: dict[str, Tensor]) -> None:
        """Make weights the new theta_0, and reset."""
        for name, value in theta0.items():
            self._theta0[name].copy_(value)
        self.reset()

    def trains_together(self, options: FitOptions | None) -> bool:
        """Whether several processes can share the steps of `fit` with such options, or of `learn` with None.

        Where batch norm follows the batches they cannot, because its statistics would differ between them.
        """
        return options is None or not options.train_batch_norm

    def _start_turns(self) -> None:
        raise NotImplementedError

    @property
    def _own_stages(self) -> bool:
        return self._made["source"] is None

    def _put(self, state: dict[str, Tensor]) -> None:
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "averaged": {}, "optimiser": {}, "companion": {}}
        for key, value in state.items():
            part, _, name = key.partition(".")
            if part not in parts:
                raise RalsegError(f"the state has an unknown {key}; restore it into the same kind of learner")
            parts[part][name] = value
        _load(self._network, parts["network"])
        _load(self._averaged, parts["averaged"])
        _load(self.companion, parts["companion"])
        self._steps.restore(parts["optimiser"])
        self._changed()


@torch.no_grad()
def _load(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    own = network.state_dict()
    for name, value in tensors.items():
        if name not in own or own[name].shape != value.shape:
            raise RalsegError(f"the state has {name} of another network; restore it into the same kind of learner")
        own[name].copy_(value)
