"""Bootstrap of runs: training seeds are resampled, and then draws."""

import numpy as np

from ralseg.foundation import RalsegError

RESAMPLES = 10_000
SEEDS_FOR_BOOTSTRAP = 5


class Resamples:
    """Resamples of runs, as the number of times that each has each run: a mean over a resample is a product.

    The resamples of a shape are drawn once and shared by all figures of that shape, so that figures are resampled
    together and thousands of intervals cost no more than as many products. They do not depend on what else was asked.

    Args:
        rng: draws the resamples.
        count: how many, 1 or more. A shape takes 8 B x count x training seeds x draws of memory.
        crossed: whether a resample has the same draws of every training seed; else (nested) draws are resampled within
            each. If the effect of a draw is common to all training seeds, as the luck of an untrained base is, nested
            intervals treat it as independent and are too narrow; docs/statistics.md has figures.

    Raises:
        RalsegError: if count is below 1.
    """

    def __init__(self, rng: np.random.Generator, count: int = RESAMPLES, crossed: bool = False) -> None:
        if count < 1:
            raise RalsegError(f"bootstrap: {count} resamples; give 1 or more")
        self.count, self.crossed = count, crossed
        self._root = int(rng.integers(2**63))
        self._times: dict[tuple[int, int], np.ndarray] = {}

    def times(self, seeds: int, draws: int) -> np.ndarray:
        """How often every resample has every run.

        Returns:
            (count, seeds * draws) float64 whole numbers; rows sum to seeds * draws. Runs are numbered seed by seed.
        """
        if (seeds, draws) not in self._times:
            rng = np.random.default_rng([self._root, seeds, draws])
            seed = rng.integers(seeds, size=(self.count, seeds, 1))
            run = seed * draws + rng.integers(draws, size=(self.count, 1 if self.crossed else seeds, draws))
            run += seeds * draws * np.arange(self.count)[:, None, None]
            times = np.bincount(run.ravel(), minlength=self.count * seeds * draws)
            self._times[seeds, draws] = times.reshape(self.count, -1).astype(np.float64)
        return self._times[seeds, draws]

    def means(self, values: np.ndarray) -> np.ndarray:
        """Means of (training_seeds, draws, ...) over each resample: (count, ...)."""
        seeds, draws, *rest = values.shape
        sums = self.times(seeds, draws) @ values.reshape(seeds * draws, -1)
        return sums.reshape(self.count, *rest) / (seeds * draws)

    def basis(self, seeds: int, draws: int) -> tuple[int, str]:
        """The number of independent units (training seeds or draws) behind a bootstrap, and its name."""
        if seeds == 1:
            return draws, "bootstrap over draws, one training seed"
        name = f"{'crossed' if self.crossed else 'nested'} bootstrap"
        return seeds, name + " of few training seeds" * (seeds < SEEDS_FOR_BOOTSTRAP)


def shared(rng: np.random.Generator | Resamples | None, count: int = RESAMPLES) -> Resamples:
    """The given resamples, or new ones from a generator.

    Raises:
        RalsegError: if rng is None.
    """
    if rng is None:
        raise RalsegError("bootstrap: give a random generator or resamples as rng")
    return rng if isinstance(rng, Resamples) else Resamples(rng, count)
