"""Optimisers without torch's compiler."""

import inspect
from collections.abc import Callable
from typing import Any

import torch


def eager(optimiser: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """The optimiser without its guards against being compiled: they import `torch._dynamo`, 3 CPU seconds a process."""
    guarded = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(optimiser, name)) for name in guarded}
    methods["step"] = torch.no_grad()(inspect.unwrap(optimiser.step))
    return type(optimiser.__name__, (optimiser,), methods)
