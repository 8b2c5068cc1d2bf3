"""Batch norm where there is too little to normalise by."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def still_on_single_values(network: nn.Module) -> Iterator[None]:
    """Until the block ends, batch norms in training are still wherever a channel holds a single value.

    One value has no variance, so torch refuses it. A still norm normalises by its running statistics and keeps them, as
    in evaluation mode. Such maps are usual: a batch of one window, pooled to 1 x 1 or at stride 32.

    Args:
        network: the network whose norms are meant; all other batches are normalised as ever.
    """
    hooks = [m.register_forward_pre_hook(_still) for m in network.modules() if isinstance(m, _BatchNorm)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _still(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    maps = inputs[0]
    if not norm.training or maps.numel() > maps.shape[1]:
        return
    norm.eval()

    def resume(*_: object) -> None:
        norm.train()
        hook.remove()

    hook = norm.register_forward_hook(resume, always_call=True)
