"""The seconds an image takes in a forward pass at several batch sizes, and a window in training, in both precisions."""

from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Any

import torch

from ralseg.benchmarks.measure import alternate
from ralseg.segmentation.networks import EncoderFPN, InferenceTwin, RalisFPN, SegmentationNetwork, SmallFPN

NETWORKS = {
    "FPN-ResNet50, 480x360": (RalisFPN, (360, 480)),
    "small FPN, 240x180": (SmallFPN, (180, 240)),
    "lite0, 240x180": (EncoderFPN, (180, 240)),
}
WINDOWS, WINDOW = 8, (144, 192)
PRECISIONS = ("float32", "bfloat16")
SIZES = (1, 2, 4, 8, 16)
ROUNDS = 5


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """Measure the CPU seconds an image, medians over rounds in which all batch sizes take turns.

    Args:
        overrides: not read.
        share: share of the rounds, above 0 and at most 1; below a half the largest batches are left out as well.
    """
    sizes = SIZES if share >= 0.5 else SIZES[:2]
    rounds = max(1, round(share * ROUNDS))
    found, trained = {}, {}
    for name, (make, size) in NETWORKS.items():
        torch.manual_seed(0)
        network = make(11)
        found[name] = {precision: seconds_an_image(network, size, precision, sizes, rounds) for precision in PRECISIONS}
        trained[name] = seconds_a_window(network, rounds)
    return {"seconds_an_image": found, "seconds_a_window": trained}


def seconds_an_image(
    network: SegmentationNetwork, size: tuple[int, int], precision: str, sizes: Sequence[int], rounds: int
) -> dict[str, float]:
    """Batch size -> CPU seconds that an image takes in the whole network."""
    twin = InferenceTwin(network, "full", getattr(torch, precision)).network
    images = {n: torch.zeros(n, 3, *size).to(memory_format=torch.channels_last) for n in sizes}
    with torch.inference_mode():
        found = alternate({str(n): partial(twin, (batch,)) for n, batch in images.items()}, rounds + 1)
    return {n: median(seconds[1:]) / int(n) for n, seconds in found.items()}


def seconds_a_window(network: SegmentationNetwork, rounds: int) -> dict[str, float]:
    """Precision -> CPU seconds that a window takes in a training pass of the whole network, forward and backward."""
    network = network.train().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    windows = torch.zeros(WINDOWS, 3, *WINDOW).to(memory_format=torch.channels_last)

    def train(dtype: torch.dtype) -> None:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            logits = network((windows,)).logits
        torch.as_tensor(logits).float().mean().backward()

    found = alternate({precision: partial(train, getattr(torch, precision)) for precision in PRECISIONS}, rounds + 1)
    return {precision: median(seconds[1:]) / WINDOWS for precision, seconds in found.items()}


def rows(found: dict[str, Any]) -> list[list[Any]]:
    """One line for each network and precision, and below them one for the training of each network."""
    networks = found["seconds_an_image"].items()
    lines = [[name, precision, *seconds.values()] for name, kinds in networks for precision, seconds in kinds.items()]
    sizes = next(iter(found["seconds_an_image"].values()))["float32"]
    trained = [
        [name, *seconds.values(), seconds["float32"] / seconds["bfloat16"]]
        for name, seconds in found["seconds_a_window"].items()
    ]
    return [
        ["CPU seconds an image", "precision", *(f"batch {size}" for size in sizes)],
        *lines,
        [],
        ["CPU seconds a window in training", *PRECISIONS, "float32 / bfloat16"],
        *trained,
    ]
