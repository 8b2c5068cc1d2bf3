"""Batches that spread over a cloud of points by distance: k-center greedy, k-means++ (for BADGE too), TypiClust."""

import warnings

import numpy as np
from scipy.cluster.vq import kmeans2

from ralseg.agents.acquisitions.clouds import TILE, Cloud, blocks, clouds, leading
from ralseg.agents.acquisitions.limits import Free, Limits
from ralseg.foundation import RalsegError

FRONT = 2048
"""Number of points in the front of k-center; their coordinates fit into the processor's cache."""
LEAST_CLUSTER = 5
"""TypiClust uses clusters with fewer points last; the released code leaves out those of 5 points as well."""
ITERATIONS = 20
"""Number of iterations of k-means, whose seeds are already spread."""


def k_center(points: np.ndarray, labelled: np.ndarray, picks: int, limits: Limits) -> np.ndarray:
    """k-center greedy (Sener & Savarese, ICLR 2018): each pick is the open point farthest from all centres.

    Centres are the labelled points and the picks so far; without any, the first pick is the open point nearest to the
    mean of all points. Distances are Euclidean; ties go to the lowest index. The computation is exact and lazy: a
    distance to earlier centres is an upper bound, and only leading points are updated after each pick.

    Args:
        points: (n, D) float32 or float64.
        labelled: (m, D) float, m may be 0.
        picks: number of picks.
        limits: decide which points may be picked.

    Returns:
        (picks,) int64 in the order of picking, fewer if the limits allow fewer.

    Raises:
        RalsegError: if a shape is wrong or a value is not finite.
    """
    cloud, centres = clouds(points, labelled)
    chosen: list[int] = []

    def pick(index: int) -> None:
        chosen.append(index)
        limits.take(index)

    if picks > 0 and not len(centres) and limits.open.any():
        mean = cloud.points.mean(axis=0, dtype=np.float64).astype(cloud.points.dtype)
        to_mean = np.square(cloud.points - mean).sum(axis=1)
        pick(int(np.where(limits.open, to_mean, np.inf).argmin()))
        centres = cloud[chosen]
    distances, seen = np.full(len(cloud), np.inf, cloud.points.dtype), len(chosen)
    while len(chosen) < picks and limits.open.any():
        np.minimum(distances, cloud.to_nearest(centres), out=distances)
        front, rest = leading(distances, limits.open, FRONT)
        own, exact = cloud[front], distances[front]
        while len(chosen) < picks:
            exact[~limits.open[front]] = -1
            best = int(exact.argmax())
            if exact[best] < 0 or (-exact[best], front[best]) > rest:
                break
            pick(int(front[best]))
            np.minimum(exact, own.to_nearest(own[best : best + 1]), out=exact)
        centres, seen = cloud[chosen[seen:]], len(chosen)
    return np.array(chosen, np.int64)


def k_means_plus_plus(
    points: np.ndarray,
    labelled: np.ndarray,
    picks: int,
    limits: Limits,
    rng: np.random.Generator,
    first: int | None = None,
) -> np.ndarray:
    """k-means++ seeding (Arthur & Vassilvitskii, SODA 2007): picks at random, far from all centres.

    Each pick is drawn in proportion to the squared distance to the nearest labelled or picked point, uniformly if there
    is no such point or every distance is 0. On gradient embeddings this is BADGE (Ash et al., ICLR 2020), whose first
    pick is the point of largest norm.

    Args:
        points: (n, D) float32 or float64.
        labelled: (m, D) float, m may be 0.
        picks: number of picks.
        limits: decide which points may be picked.
        rng: the generator of the draws.
        first: the first pick; None to draw it like the others.

    Returns:
        (picks,) int64 in the order of picking, fewer if the limits allow fewer.

    Raises:
        RalsegError: if a shape is wrong, a value is not finite, or the first pick is not open.
    """
    cloud, centres = clouds(points, labelled)
    if first is not None and not (0 <= first < len(cloud) and limits.open[first]):
        raise RalsegError(f"the first pick {first} may not be picked; name an open one of the {len(cloud)} points")
    distances = cloud.to_nearest(centres)
    chosen: list[int] = []
    while len(chosen) < picks and limits.open.any():
        index = _drawn(distances, limits.open, rng) if first is None or chosen else first
        chosen.append(index)
        limits.take(index)
        np.minimum(distances, cloud.to_nearest(cloud[index : index + 1]), out=distances)
    return np.array(chosen, np.int64)


def _drawn(distances: np.ndarray, open_: np.ndarray, rng: np.random.Generator) -> int:
    chances = np.where(open_, distances, 0).astype(np.float64)
    total = chances.sum()
    if not 0 < total < np.inf:
        chances = open_.astype(np.float64)
    steps = chances.cumsum()
    return int(np.searchsorted(steps, rng.random() * steps[-1], side="right"))


def typical(
    points: np.ndarray,
    labelled: np.ndarray,
    picks: int,
    limits: Limits,
    rng: np.random.Generator,
    neighbours: int = 20,
    most_clusters: int = 500,
) -> np.ndarray:
    """TypiClust (Hacohen, Dekel & Weinshall, ICML 2022): the most typical point of each cluster.

    k-means divides points and labelled points together into as many clusters as there are labelled points and picks.
    Each cluster in turn, those with the fewest labelled points first and then the largest, gives its open point of
    highest typicality, the inverse mean distance to its nearest neighbours in the cluster. This repeats until there are
    enough picks. Clusters of fewer than 5 points are used only when no other cluster has an open point.

    Args:
        points: (n, D) float32 or float64.
        labelled: (m, D) float, m may be 0.
        picks: number of picks.
        limits: decide which points may be picked.
        rng: draws the seeds of k-means.
        neighbours: number of neighbours in the mean distance, 1 or more; fewer in a cluster that has fewer.
        most_clusters: the most clusters, 1 or more.

    Returns:
        (picks,) int64 in the order of picking, fewer if the limits allow fewer.

    Raises:
        RalsegError: if a shape is wrong or a value is not finite.
    """
    cloud, known = clouds(points, labelled)
    chosen: list[int] = []
    if picks <= 0 or not limits.open.any():
        return np.array(chosen, np.int64)
    n = len(cloud)
    both = Cloud(np.concatenate([cloud.points, known.points]), np.concatenate([cloud.norms, known.norms]))
    cluster = clusters(both.points, min(len(known) + picks, most_clusters), rng)
    sizes = np.bincount(cluster)
    covered = np.bincount(cluster[n:], minlength=len(sizes))
    order = np.lexsort((-sizes, covered))
    queues: dict[int, np.ndarray] = {}
    for group in (order[sizes[order] >= LEAST_CLUSTER], order[sizes[order] < LEAST_CLUSTER]):
        while len(chosen) < picks and len(group):
            alive = []
            for label in group.tolist():
                if label not in queues:
                    members = np.flatnonzero(cluster == label)
                    apart = _mean_distances(both[members], neighbours)
                    queues[label] = members[np.argsort(apart, kind="stable")]
                    queues[label] = queues[label][queues[label] < n]
                queues[label] = queues[label][limits.open[queues[label]]]
                if len(queues[label]) and len(chosen) < picks:
                    chosen.append(int(queues[label][0]))
                    limits.take(chosen[-1])
                    alive.append(label)
            group = np.array(alive, np.int64)
    return np.array(chosen, np.int64)


def clusters(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """k-means from k-means++ seeds.

    Args:
        points: (n, D) finite, n at least 1.
        count: the most clusters, 1 or more.
        rng: draws the seeds.

    Returns:
        (n,) number of each point's cluster.
    """
    seeds = k_means_plus_plus(points, points[:0], count, Free(len(points)), rng)
    with warnings.catch_warnings():
        # A cluster may become empty if points coincide; then there is one fewer.
        warnings.filterwarnings("ignore", "One of the clusters is empty")
        return kmeans2(points, points[seeds], iter=ITERATIONS, minit="matrix")[1]


def _mean_distances(cluster: Cloud, neighbours: int) -> np.ndarray:
    """(c,) mean distance of each point to its neighbours, the inverse of its typicality; 0 for a single point."""
    count = min(neighbours, len(cluster) - 1)
    found = np.zeros(len(cluster))
    if count:
        for rows in blocks(len(cluster), TILE):
            squared = cluster[rows].squared_distances(cluster)
            squared[np.arange(len(squared)), np.arange(len(cluster))[rows]] = np.inf
            found[rows] = np.sqrt(np.partition(squared, count - 1, axis=1)[:, :count]).mean(axis=1, dtype=np.float64)
    return found
