"""What processes that train together exchange: sums, rows and gradients.

Every process computes the loss of all of them, because `summed` and `gathered` give it what the others found. Gradients
flow through its own share alone, and `sum_gradients` adds them up, so a step is that of one process with all samples.
All processes must call these functions in the same order, whatever their share; with one process they change nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed, nn

Samples = TypeVar("Samples", bound="Sequence | np.ndarray | Tensor")

_by_itself = False


def processes() -> int:
    """Number of processes that train together now; 1 if torch.distributed is not initialised, or see `alone`."""
    return 1 if _by_itself or not connected() else distributed.get_world_size()


def rank() -> int:
    """The number of this process among `processes`, from 0 on."""
    return distributed.get_rank() if processes() > 1 else 0


def connected() -> bool:
    """Whether there are other processes, be this one alone now or not."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


@contextmanager
def alone(value: bool = True) -> Iterator[None]:
    """Until the block ends, this process works without the others, or, with False, together with them."""
    global _by_itself
    before, _by_itself = _by_itself, value
    try:
        yield
    finally:
        _by_itself = before


def own_share(samples: Samples) -> Samples:
    """Every n-th sample of a batch, those of this process; there may be none. Arrays are shared along axis 0."""
    return samples[rank() :: processes()]  # pyright: ignore[reportReturnType]


def summed(own: Tensor) -> Tensor:
    """The sum of a tensor over all processes, with the gradient of this one's part."""
    if processes() == 1:
        return own
    total = own.detach().clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return _WithGradientOf.apply(total, own)  # pyright: ignore[reportReturnType]


class _WithGradientOf(torch.autograd.Function):
    """A value, through which the gradient goes to another tensor."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, other: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return None, gradients[0]


def gathered(own: Tensor, of: Tensor | None = None) -> Tensor:
    """The rows of all processes in the order that they have in one process, with the gradient of this one's rows.

    Args:
        own: (n, ...), rows of this process.
        of: (n,) int64, the sample of the batch that each row belongs to, in ascending order; None where the rows are
            the samples of `own_share`.

    Returns:
        (N, ...), sorted by sample; the rows of a sample stay together in their order.
    """
    if processes() == 1:
        return own
    if of is None:
        of = torch.arange(len(own), device=own.device) * processes() + rank()
    counts = summed(nn.functional.one_hot(torch.tensor(rank(), device=own.device), processes()) * len(own)).tolist()
    rows, samples = (_of_each(part, counts) for part in (own.detach(), of))
    if own.requires_grad:
        rows[rank()] = own
    return torch.cat(rows)[torch.cat(samples).argsort(stable=True)]


def _of_each(own: Tensor, counts: Sequence[int]) -> list[Tensor]:
    """(n, ...) of each process, which has `counts` of them; booleans travel as bytes."""
    sent = own.new_zeros(max(counts), *own.shape[1:], dtype=torch.uint8 if own.dtype == torch.bool else own.dtype)
    sent[: len(own)] = own
    received = [torch.empty_like(sent) for _ in counts]
    distributed.all_gather(received, sent)
    return [part[:count].to(own.dtype) for part, count in zip(received, counts, strict=True)]


def sum_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Give every parameter the sum of its gradients over all processes, the same bits on each.

    Where one process has no gradient it counts as 0; where none has one, there is still none.
    """
    if processes() == 1:
        return
    for dtype in dict.fromkeys(parameter.dtype for parameter in parameters):
        group = [parameter for parameter in parameters if parameter.dtype == dtype]
        there = torch.tensor([p.grad is not None for p in group], dtype=dtype, device=group[0].device)
        parts = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in group]
        sums = torch.cat([*parts, there])
        distributed.all_reduce(sums)
        *parts, there = sums.split([*(p.numel() for p in group), len(group)])
        for parameter, part, known in zip(group, parts, there.tolist(), strict=True):
            # Fused optimisers need the memory layout of the weights.
            parameter.grad = torch.empty_like(parameter).copy_(part.view(parameter.shape)) if known else None
