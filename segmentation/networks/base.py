"""The base of segmentation networks: stages, decoder and head, with a cut between cached and trained parts."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ralseg.features.prediction import Noise, Prediction, resized
from ralseg.foundation import RalsegError, Range
from ralseg.segmentation.devices import tensor
from ralseg.segmentation.networks.noise import dropped, jitter_of_logits, jittered

Cut = Literal["full", "partial", "frozen"]
Width = Annotated[int, Range(1, 4096)]
"""A number of channels."""
Dropout = Annotated[float, Range(0, 1, below=True)]
"""A share of values that are dropped."""
CUTS: tuple[Cut, ...] = ("full", "partial", "frozen")

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


class SegmentationNetwork(nn.Module):
    """A convolutional network in three parts: stages -> decoder -> head.

    The three games cut the same network at different places: `lower` is computed once per image and cached, `forward`
    is trained.

    - `full`: nothing is cached and everything is trained;
    - `partial`: the first `partial_stages` stages are cached;
    - `frozen`: stages and decoder are cached as one hypercolumn, and an MLP head on it is trained.

    Subclasses set `stages` and `levels` and implement `decode`.

    Args:
        classes: number of classes C, 2 or more.
        widths: channels of the stages.
        levels: indices of the stages that the decoder reads, ascending.
        partial_stages: number of stages below the cut of the partial game.
        decoded: channels of the decoder's map, at the stride of `levels[0]`.
        dropout: share of the decoder's map that is dropped in training and in noisy predictions, 0 <= p < 1.
        kernel: side of the head's convolution.
    """

    def __init__(
        self,
        classes: int,
        *,
        widths: Sequence[int],
        levels: Sequence[int],
        partial_stages: int,
        decoded: int,
        dropout: float,
        kernel: int = 1,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise RalsegError(f"a network needs 2 classes or more, not {classes}")
        if not 0 <= dropout < 1:
            raise RalsegError(f"dropout={dropout} is not a share in [0, 1)")
        self.classes = classes
        self.widths = tuple(widths)
        self.levels = tuple(levels)
        self.partial_stages = partial_stages
        self.dropout = dropout
        self.head = nn.Conv2d(decoded, classes, kernel, padding=kernel // 2)
        self.decoded = decoded
        self.frozen_head: HypercolumnHead | None = None

    stages: nn.ModuleList
    mean: tuple[float, ...] = IMAGE_MEAN
    """The mean of the input's channels, in shares of white."""
    std: tuple[float, ...] = IMAGE_STD
    """The standard deviation of the input's channels, in shares of white."""
    revision = 0
    """Raised whenever training this network gives other weights than it did; part of the name of cached weights."""
    pretrained = False
    """Whether the stages start from weights that were trained on other images."""
    per_pixel = False
    """Whether each pixel of the logits depends only on the same pixel of the maps."""

    def normalise(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 RGB -> (B, 3, H, W) float32 as the stages take them, channels last in memory."""
        return normalised(images, self.mean, self.std)

    def run_stages(self, x: Tensor, start: int, stop: int) -> list[Tensor]:
        """The outputs of the stages start..stop-1, given the input of stage `start`."""
        outputs = []
        for stage in self.stages[start:stop]:
            x = stage(x)
            outputs.append(x)
        return outputs

    def decode(self, features: list[Tensor]) -> Tensor:
        """The decoder's map (B, decoded, h, w) from the features of `levels`."""
        raise NotImplementedError

    def add_frozen_head(self, hidden: int = 64) -> None:
        """Add the MLP head of the frozen game, with new weights."""
        width = sum(self.widths[level] for level in self.levels) + self.decoded
        self.frozen_head = HypercolumnHead(width, hidden, self.classes)

    def lower(self, images: Tensor, cut: Cut) -> tuple[Tensor, ...]:
        """The pass below the cut.

        Args:
            images: (B, 3, H, W) float32, normalised.
            cut: the game.

        Returns:
            The maps that `forward` starts from, valid until the weights below the cut change.
        """
        if cut == "full":
            return (images,)
        images = images.to(self.dtype)
        if cut == "partial":
            outputs = self.run_stages(images, 0, self.partial_stages)
            read = [outputs[level] for level in self.levels if level < self.partial_stages]
            return (*read, outputs[-1]) if self.partial_stages - 1 not in self.levels else tuple(read)
        outputs = self.run_stages(images, 0, len(self.widths))
        features = [outputs[level] for level in self.levels]
        decoded = self.decode(features)
        size = features[1].shape[-2:]
        hypercolumn = [functional.interpolate(f, size=size, mode="bilinear") for f in (*features, decoded)]
        # A map without channels passes the size of the logits to the part above the cut.
        return self._frozen().norm(torch.cat(hypercolumn, dim=1)), decoded[:, :0], *features[1:]

    def forward(self, maps: tuple[Tensor, ...], cut: Cut = "full", drop: torch.Generator | None = None) -> Prediction:
        """The pass above the cut, in training and inference: the prediction from the maps of `lower`.

        Args:
            maps: the maps of `lower` for the same cut; in the full game, the normalised images alone.
            cut: the game.
            drop: draws the dropout mask of the logits; None for torch's generator in training mode, and no dropout in
                evaluation mode.
        """
        made, embedding, size = self.above(maps, cut)
        head = self.last_layer(cut)
        if self.dropout and (self.training or drop is not None):
            decoded = resized(made, size)
            own = functional.dropout(decoded, self.dropout) if drop is None else dropped(decoded, self.dropout, drop)
            logits = head(own)
        else:
            # A 1 x 1 layer commutes with the interpolation, which has fewer channels to process after it.
            logits = resized(head(made).float(), size)
        return Prediction(logits, made, embedding)

    def above(self, maps: tuple[Tensor, ...], cut: Cut) -> tuple[Tensor, tuple[Tensor, ...], tuple[int, int]]:
        """The input of the last layer, the embedding maps, and the (h, w) of the logits."""
        if cut == "frozen":
            hidden, size = self._frozen().hidden(maps[0]), maps[1]
            if size.shape[1]:
                # Gathered cells: each is the weighted sum of four neighbours on the coarser map.
                hidden = (hidden * size.transpose(1, 2)).sum(2, keepdim=True)
            return hidden, maps[2:], _size(size)
        if cut == "full":
            outputs = dict(enumerate(self.run_stages(maps[0].to(self.dtype), 0, len(self.widths))))
        else:
            below = [level for level in self.levels if level < self.partial_stages]
            outputs = dict(zip(below, maps, strict=False))
            above = self.run_stages(maps[-1], self.partial_stages, len(self.widths))
            outputs |= dict(enumerate(above, start=self.partial_stages))
        features = [outputs[level] for level in self.levels]
        made = self.decode(features)
        return made, tuple(features[1:]), _size(made)

    def noisy(self, prediction: Prediction, cut: Cut, noise: Noise, generator: torch.Generator | None) -> Tensor:
        """Noisy predictions from the input of the last layer; neither stages nor decoder run again.

        Args:
            prediction: a prediction of this network.
            cut: the game.
            noise: noise of kind `dropout` or `features`.
            generator: the generator of all draws.

        Returns:
            (M, B, C, h, w) float32 logits.

        Raises:
            RalsegError: if dropout noise is wanted from a network without dropout.
        """
        head, made, size = self.last_layer(cut), tensor(prediction.features), _size(tensor(prediction.logits))
        if noise.kind == "dropout" and not self.dropout:
            raise RalsegError(
                "noisy predictions by dropout need a network trained with dropout; set network.dropout=0.1"
            )
        if noise.kind == "features" and head.kernel_size == (1, 1):
            plain, weight = head(made).float(), head.weight[:, :, 0, 0]
            added = jitter_of_logits(made, weight, noise, generator)
            return torch.stack([resized(plain + jitter, size) for jitter in added])
        if noise.kind == "dropout":
            decoded = resized(made, size)
            disturbed = (dropped(decoded, self.dropout, generator) for _ in range(noise.draws))
        else:
            disturbed = jittered(made, noise, generator)
        return torch.stack([resized(head(maps).float(), size) for maps in disturbed])

    def example(self) -> tuple[Tensor, ...]:
        """Maps of a small image that `forward` accepts in the full game."""
        return (next(self.parameters()).new_zeros(1, 3, 64, 64),)

    def standardise(self, maps: Sequence[tuple[Tensor, ...]]) -> None:
        """Set the statistics of the frozen game's input norm from maps of the frozen game."""
        set_statistics(self._frozen().norm, [m[0] for m in maps])

    def logit_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (h, w) of the logits of an image of size (height, width)."""
        return -(-size[0] // 4), -(-size[1] // 4)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the stages' weights, and so of the maps."""
        return next(self.stage_modules()[0].parameters()).dtype

    @property
    def drops(self) -> bool:
        """Whether training draws masks of dropout."""
        return self.dropout > 0

    @property
    def embedding_width(self) -> int:
        """The number of channels of all embedding maps together."""
        return sum(self.widths[level] for level in self.levels[1:])

    def last_layer(self, cut: Cut) -> nn.Conv2d:
        """The layer between `Prediction.features` and the logits."""
        return self._frozen().last if cut == "frozen" else self.head

    def trained(self, cut: Cut) -> list[nn.Module]:
        """The modules above the cut."""
        if cut == "frozen":
            return [self._frozen().first, self._frozen().last]
        if cut == "full":
            return [module for module in self.children() if module is not self.frozen_head]
        return [*self.stage_modules()[self.partial_stages :], *self.decoder_modules(), self.head]

    def stage_modules(self) -> list[nn.Module]:
        """The encoder's stages, one module each."""
        return list(self.stages)

    def decoder_modules(self) -> list[nn.Module]:
        """The decoder's modules."""
        raise NotImplementedError

    def _frozen(self) -> "HypercolumnHead":
        if self.frozen_head is None:
            raise RalsegError("the frozen game needs a network with its MLP head; call add_frozen_head first")
        return self.frozen_head


class HypercolumnHead(nn.Module):
    """A per-pixel MLP on the hypercolumn (all features at one resolution).

    Attributes:
        norm: scales each channel to mean 0 and standard deviation 1; it is frozen and belongs below the cut.
    """

    def __init__(self, width: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width, eps=1e-5, affine=False)
        self.first = nn.Conv2d(width, hidden, 1)
        self.last = nn.Conv2d(hidden, classes, 1)

    def hidden(self, hypercolumn: Tensor) -> Tensor:
        """The hidden layer: (B, width, h, w), normalised -> (B, hidden, h, w)."""
        return functional.relu(self.first(hypercolumn))


def set_statistics(norm: nn.BatchNorm2d, columns: Sequence[Tensor]) -> None:
    """Set the mean and variance of a norm from all pixels of maps (B, D, h, w); a single pixel has no variance."""
    values = torch.cat([column.float().permute(1, 0, 2, 3).flatten(1) for column in columns], dim=1)
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.copy_(values.mean(1))
    if values.shape[1] > 1:
        norm.running_var.copy_(values.var(1))


def _size(maps: Tensor) -> tuple[int, int]:
    return maps.shape[-2], maps.shape[-1]


def normalised(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(B, H, W, 3) uint8 RGB -> (B, 3, H, W) float32 of mean 0 and deviation 1, channels last in memory.

    Args:
        images: the images.
        mean: of the channels, in shares of white.
        std: standard deviation of the channels, in shares of white.
    """
    middle = torch.tensor(mean, device=images.device) * 255
    scale = 1 / (torch.tensor(std, device=images.device) * 255)
    return ((images - middle) * scale).permute(0, 3, 1, 2)
