"""The cost of choosing a batch: k-center greedy, MaxHerding, and regions that do not overlap."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import ceil
from statistics import median
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from ralseg.agents.acquisitions.coverage import RESOLUTION, Rbf, max_herding, median_bandwidth
from ralseg.agents.acquisitions.limits import Free
from ralseg.agents.acquisitions.overlap import separated
from ralseg.agents.acquisitions.spread import k_center
from ralseg.benchmarks.fresh import in_fresh_process
from ralseg.benchmarks.measure import alternate, cpu_seconds, one_thread, peak_megabytes, resident_megabytes
from ralseg.foundation import RalsegError, generator

ROUNDS, SAME = 10, 100
CENTRES = {"points": 100_000, "picks": 1000}
IMAGES = {"points": 10_582, "picks": 1058}
"""Of VOC with SBD, whose images Best Practices describes by 1,024 numbers each; a tenth is chosen."""
HERD = {"points": 50_000, "picks": 5000}
COMPARED = {"points": 4000, "picks": 2000}
FEATURES, COMPARED_FEATURES, IMAGE_FEATURES = 256, 64, 1024
MAP = (1024, 2048)
KINDS = ("gaussian", "clustered")


def measure(overrides: Sequence[str], share: float) -> dict[str, Any]:
    """Measure the CPU seconds of each choice, and of its plain definition where that takes a minute at most.

    Args:
        overrides: must be empty, as everything is generated.
        share: share of the points, picks and pixels, above 0 and at most 1.

    Raises:
        RalsegError: if there are overrides.
    """
    if overrides:
        raise RalsegError(
            f"selection takes no overrides, everything in it is generated; leave out {' '.join(overrides)}"
        )

    def sizes(full: dict[str, int]) -> dict[str, Any]:
        return {name: max(least, round(share * full[name])) for name, least in (("points", 100), ("picks", 10))}

    def fresh(function: Callable[..., Any], full: dict[str, int], **others: Any) -> list[dict[str, Any]]:
        return [in_fresh_process(function, kind=kind, **sizes(full), **others)["result"] for kind in KINDS]

    side = max(0.03, share**0.5)
    return {
        "k_center": fresh(centres, CENTRES),
        "k_center of images": fresh(centres, IMAGES, features=IMAGE_FEATURES),
        "max_herding": fresh(herd, HERD),
        "lazy_and_dense": [lazy_and_dense(kind, **sizes(COMPARED)) for kind in KINDS],
        "separated": [regions(round(MAP[0] * side), round(MAP[1] * side), bought) for bought in (0.022, 0.05)],
    }


def rows(found: dict[str, Any]) -> list[list[Any]]:
    """One line for each choice; below, MaxHerding and the regions beside their definitions."""
    table = [["choice", "points", "picks", "CPU seconds", "peak MB", "MB beyond the points"]]
    for name in ("k_center", "k_center of images", "max_herding"):
        for line in found[name]:
            sizes = [line["points"], line["picks"], line["seconds"], line["peak_megabytes"], line["megabytes"]]
            table.append([f"{name}, {line['kind']}", *sizes])
    table += [
        [],
        ["max_herding", "lazy s", "dense s", "ratio", "coverage, lazy", "coverage, dense", "first picks equal"],
    ]
    for line in found["lazy_and_dense"]:
        seconds, covered = line["seconds"], line["coverage"]
        ratio = seconds["dense"] / seconds["lazy"]
        table.append([line["kind"], *seconds.values(), ratio, *covered.values(), line["first_equal"]])
    table += [[], ["separated", "picks", "ms", "greedy ms", "ratio", "same"]]
    for line in found["separated"]:
        own, greedy = line["milliseconds"], line["greedy_milliseconds"]
        table.append(["{} x {}".format(*line["size"]), line["picks"], own, greedy, greedy / own, line["same"]])
    return table


def cloud(kind: str, count: int, features: int, dtype: type = np.float32) -> np.ndarray:
    """(count, features) points of one Gaussian (`gaussian`) or of 200 narrow ones (`clustered`)."""
    rng = generator(0, "selection", kind)
    points = rng.standard_normal((count, features), np.float32)
    if kind == "clustered":
        centres = rng.standard_normal((200, features), np.float32)
        points *= 0.7
        points += centres[rng.integers(len(centres), size=count)]
    return points.astype(dtype)


def centres(kind: str, points: int, picks: int, features: int = FEATURES) -> dict[str, Any]:
    """Measure k-center greedy with a hundredth of the points labelled already."""
    own = cloud(kind, points, features)
    return _charged(kind, own, picks, lambda: k_center(own, own[: points // 100], picks, Free(points)))


def herd(kind: str, points: int, picks: int) -> dict[str, Any]:
    """Measure MaxHerding with nothing labelled."""
    own = cloud(kind, points, FEATURES)
    kernel = Rbf(median_bandwidth(own, generator(0, "bandwidth")))
    return _charged(kind, own, picks, lambda: max_herding(own, own[:0], picks, Free(points), kernel))


def _charged(kind: str, own: np.ndarray, picks: int, work: Callable[[], Any]) -> dict[str, Any]:
    one_thread()
    before = resident_megabytes()
    seconds = cpu_seconds(work)
    peak = peak_megabytes()
    sizes = {"kind": kind, "points": len(own), "picks": picks, "seconds": seconds}
    return {**sizes, "peak_megabytes": peak, "megabytes": peak - before}


def lazy_and_dense(kind: str, points: int, picks: int) -> dict[str, Any]:
    """Compare lazy MaxHerding with its definition in float64: seconds, objectives, whether the first picks agree."""
    own = cloud(kind, points, COMPARED_FEATURES, np.float64)
    kernel = Rbf(median_bandwidth(own, generator(0, "bandwidth")))
    chosen: dict[str, np.ndarray] = {}

    def lazily() -> None:
        chosen["lazy"] = max_herding(own, own[:0], picks, Free(points), kernel)

    def densely() -> None:
        chosen["dense"] = dense_herding(own, picks, kernel)

    seconds = {"lazy": median(alternate({"lazy": lazily}, 3)["lazy"]), "dense": cpu_seconds(densely)}
    return {
        "kind": kind,
        "points": points,
        "picks": picks,
        "seconds": seconds,
        "coverage": {name: coverage(own, picked, kernel) for name, picked in chosen.items()},
        "first_equal": bool((chosen["lazy"][:SAME] == chosen["dense"][:SAME]).all()),
    }


def coverage(points: np.ndarray, chosen: np.ndarray, kernel: Rbf) -> float:
    """Generalised coverage, what MaxHerding raises: the mean over all points of the similarity to the nearest pick."""
    return float(kernel(cdist(points, points[chosen], "sqeuclidean")).max(axis=1).mean())


def dense_herding(points: np.ndarray, picks: int, kernel: Rbf) -> np.ndarray:
    """MaxHerding by its definition: the whole kernel matrix, and all gains computed anew for every pick."""
    norms = np.einsum("ij,ij->i", points, points)
    similar = kernel(np.maximum(norms[:, None] + norms - 2 * points @ points.T, 0))
    covered, gain, chosen = np.zeros(len(points)), np.empty_like(similar), []
    for _ in range(picks):
        np.subtract(similar, covered, out=gain)
        np.maximum(gain, 0, out=gain)
        # Rounded as in the lazy version, so that equal gains tie here as well.
        ranked = np.rint(gain.mean(axis=1) / RESOLUTION)
        ranked[chosen] = -1
        chosen.append(int(ranked.argmax()))
        np.maximum(covered, similar[chosen[-1]], out=covered)
    return np.array(chosen)


def regions_per_round(height: int, width: int, share: float, rounds: int = 5, side: int = 3) -> int:
    """RIPU's number of regions for each image and round: their pixels make up the share, rounded up.

    At 2048 x 1024, five rounds and regions of 3 x 3 that is 1026 at 2.2 % and 2331 at 5 %.

    Args:
        height: pixels of the image.
        width: pixels of the image.
        share: of all pixels that are labelled in the end, 0 to 1.
        rounds: in which they are labelled.
        side: of a region, in pixels.
    """
    # The share as it is written: 0.05 is a twentieth.
    return ceil(Fraction(str(share)) * height * width / (rounds * side**2))


def regions(height: int, width: int, share: float) -> dict[str, Any]:
    """Compare the choice of RIPU's 3 x 3 regions for one round with its greedy definition, on an equally smooth map."""
    noise = generator(0, "regions").random((height + 2, width + 2), np.float32)
    score = np.lib.stride_tricks.sliding_window_view(noise, (3, 3)).mean(axis=(2, 3), dtype=np.float32)
    picks = regions_per_round(height, width, share)
    seconds = alternate({"own": lambda: separated(score, picks, 2)}, ROUNDS)["own"]
    greedy: list[int] = []
    return {
        "size": [height, width],
        "picks": picks,
        "greedy_milliseconds": 1000 * cpu_seconds(lambda: greedy.extend(greedy_regions(score, picks, 2))),
        "milliseconds": 1000 * median(seconds),
        "same": separated(score, picks, 2).tolist() == greedy,
    }


def greedy_regions(score: np.ndarray, picks: int, radius: int) -> list[int]:
    """`separated` by its definition: a search of the whole map for every pick."""
    rest, chosen = score.copy(), []
    for _ in range(picks):
        row, column = divmod(int(rest.argmax()), score.shape[1])
        chosen.append(row * score.shape[1] + column)
        rest[max(0, row - radius) : row + radius + 1, max(0, column - radius) : column + radius + 1] = -np.inf
    return chosen
