"""A twin of a network for inference, with batch norm folded into its convolutions and weights in one dtype."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ralseg.segmentation.networks.base import CUTS, Cut, SegmentationNetwork


class InferenceTwin:
    """An inference copy of a network; `refresh` copies the weights, and `network` is the copy to run.

    A frozen batch norm scales and shifts each channel; directly after a convolution, it becomes part of the weights of
    that convolution.

    Args:
        source: the network to copy.
        cut: the cut below which weights do not change.
        dtype: the dtype of the twin's weights and maps; the last layer and the remaining batch norms keep float32.
        compiled: whether the part above the cut runs through `torch.compile`.

    Attributes:
        network: the twin, in evaluation mode, channels last in memory.
    """

    def __init__(self, source: SegmentationNetwork, cut: Cut, dtype: torch.dtype, compiled: bool = False) -> None:
        self.network = copy.deepcopy(source).eval().requires_grad_(False)
        self._folds = []
        folded = set()
        for convolution, norm in _convolutions_before_norms(self.network):
            own = self.network.get_submodule(convolution)
            assert isinstance(own, nn.Conv2d)
            own.bias = nn.Parameter(own.weight.new_zeros(len(own.weight)), requires_grad=False)
            parent, _, name = norm.rpartition(".")
            setattr(self.network.get_submodule(parent), name, _after(self.network.get_submodule(norm)))
            self._folds.append((source.get_submodule(convolution), source.get_submodule(norm), own))
            folded.add(convolution)
        self.network.to(dtype, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        # Rounding the logits changes the mIoU more than rounding all earlier layers.
        exact = [self.network.last_layer(cut) for cut in CUTS if cut != "frozen" or self.network.frozen_head]
        for layer in exact:
            layer.float().register_forward_pre_hook(lambda _, inputs: tuple(maps.float() for maps in inputs))
        for module in self.network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.float()
        self._copies = [
            (source.get_submodule(name), module) for name, module in self.network.named_modules() if name not in folded
        ]
        if compiled:
            self.network.forward = torch.compile(self.network.forward, dynamic=False)
        self.refresh()
        above = {id(module) for part in source.trained(cut) for module in part.modules()}
        self._folds = [fold for fold in self._folds if id(fold[0]) in above]
        self._copies = [pair for pair in self._copies if id(pair[0]) in above]

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy the present weights of the network."""
        for module, own in self._copies:
            for theirs, ours in zip(_tensors(module), _tensors(own), strict=False):
                _round(theirs, ours)
        for convolution, norm, own in self._folds:
            scale = torch.rsqrt(norm.running_var + norm.eps)
            scale = scale if norm.weight is None else scale * norm.weight
            shift = norm.running_mean if convolution.bias is None else norm.running_mean - convolution.bias
            _round(convolution.weight * scale[:, None, None, None], own.weight)
            own.bias.copy_(-shift * scale if norm.bias is None else norm.bias - shift * scale)


def _round(exact: Tensor, own: Tensor) -> None:
    """Copy weights into another dtype, and add the rounding error of each kernel to its smallest weight.

    Neighbouring pixels are similar, so the sum of a kernel's errors matters most, and the smallest weight has the
    finest steps. Kernels of one pixel are summed over the channels.
    """
    own.copy_(exact)
    if exact.dim() == 4 and own.dtype != exact.dtype:
        # Channels last, as in memory: (outputs, axis of the sum, inputs).
        shape = (len(own), -1, 1 if own.shape[2:] == (1, 1) else own.shape[1])
        exact, own = exact.permute(0, 2, 3, 1), own.permute(0, 2, 3, 1)
        rounded = own.float().reshape(shape)
        error = (exact.reshape(shape) - rounded).sum(1, keepdim=True)
        smallest = rounded.abs().min(1, keepdim=True).indices
        own.copy_(rounded.scatter_add_(1, smallest, error).view(own.shape))


def _convolutions_before_norms(network: SegmentationNetwork) -> list[tuple[str, str]]:
    """Names of convolutions and of the batch norms that directly follow them, found by passing a small image.

    Modules that run more than once are left out, and batch norms that do more than to normalise and activate.

    Args:
        network: a network in evaluation mode.
    """
    made: dict[int, tuple[str, Tensor]] = {}
    runs: dict[str, int] = {}
    pairs: list[tuple[str, str]] = []

    def after(name: str):
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            runs[name] = runs.get(name, 0) + 1
            if isinstance(module, nn.Conv2d):
                made[id(output)] = name, output  # holding the tensor keeps its id unique
            elif (source := made.get(id(inputs[0]))) is not None:
                pairs.append((source[0], name))

        return hook

    hooks = [
        module.register_forward_hook(after(name))
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) or _after(module) is not None
    ]
    with torch.inference_mode():
        network(network.example())
    for hook in hooks:
        hook.remove()
    return [pair for pair in pairs if all(runs[name] == 1 for name in pair)]


def _after(norm: nn.Module) -> nn.Module | None:
    """What a batch norm does after normalising, which is nothing or, in timm's, an activation; None for others."""
    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    if isinstance(norm, nn.BatchNorm2d) and isinstance(getattr(norm, "drop", None), nn.Identity):
        return getattr(norm, "act", None)
    return None


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    """The floating-point parameters and buffers of a module itself."""
    for tensor in (*module._parameters.values(), *module._buffers.values()):
        if tensor is not None and tensor.is_floating_point():
            yield tensor
