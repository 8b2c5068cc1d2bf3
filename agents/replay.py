"""Replay of env steps; every observation is stored once, and a given generator draws the samples."""

from typing import Any

import numpy as np
import torch

from ralseg.foundation import RalsegError

OBSERVATION = ("state", "candidates", "mask")
COLUMNS = (*OBSERVATION, "act", "signal", "terminated")


class Replay:
    """A ring of env steps for each game stream, drawn uniformly.

    A row holds the observation (`state`, `candidates`, `mask`), the choice (`act`), the `signal` to learn from and
    whether the episode ended with it (`terminated`). The next observation is in the next row of the stream, so each is
    stored once, and the newest rows of a running episode cannot be drawn yet. Memory is used row by row.

    Args:
        size: env steps kept over all streams, rounded up to the same number for each.
        streams: number of game streams; the rows of stream i start at i x length.
        rng: draws the samples.
        n_step: env steps of signal before the bootstrap.
    """

    def __init__(self, size: int, streams: int, *, rng: np.random.Generator, n_step: int = 1) -> None:
        self.rng, self.n_step = rng, n_step
        self.length = -(-size // streams)
        self.size = self.length * streams
        self.arrays: dict[str, torch.Tensor] = {}
        self._filled, self._place, self._running = (np.zeros(streams, np.int64) for _ in range(3))

    def __len__(self) -> int:
        return int(self._filled.sum())

    def add(self, rows: dict[str, np.ndarray]) -> np.ndarray:
        """Add one env step of some streams; in a full ring it replaces the oldest row.

        Args:
            rows: `stream` (n,), and the `COLUMNS` with one row per stream.

        Returns:
            (n,) int64, the rows that were written.
        """
        stream = rows["stream"]
        index = stream * self.length + self._place[stream]
        for key in COLUMNS:
            if key not in self.arrays:
                # Unlike torch, numpy does not occupy the memory of zeros before they are written.
                kind = bool if key in ("mask", "terminated") else rows[key].dtype
                self.arrays[key] = torch.from_numpy(np.zeros((self.size, *rows[key].shape[1:]), kind))
            self.arrays[key].numpy()[index] = rows[key]
        self._filled[stream] = np.minimum(self._filled[stream] + 1, self.length)
        self._place[stream] = (self._place[stream] + 1) % self.length
        self._running[stream] = np.where(rows["terminated"], 0, self._running[stream] + 1)
        return index

    def rows(self) -> np.ndarray:
        """All rows, (len,) int64, stream by stream, oldest first."""
        return self._rows(np.zeros_like(self._running))

    def drawable(self) -> np.ndarray:
        """The rows whose target can be computed, in the order of `rows`."""
        return self._rows(np.minimum(self._running, self.n_step))

    def _rows(self, without: np.ndarray) -> np.ndarray:
        """All rows except the newest `without` (streams,) of each stream."""
        each = zip(self._filled, self._place, np.minimum(without, self._filled), strict=True)
        return np.concatenate(
            [
                stream * self.length + np.arange(place - filled, place - newest) % self.length
                for stream, (filled, place, newest) in enumerate(each)
            ]
        )

    def next(self, rows: np.ndarray) -> np.ndarray:
        """The rows that follow `rows`; the last of an episode and the newest of a stream are followed by themselves."""
        stream, place = np.divmod(rows, self.length)
        newest = place == (self._place[stream] - 1) % self.length
        stay = newest | self.arrays["terminated"].numpy()[rows]
        return np.where(stay, rows, stream * self.length + (place + 1) % self.length)

    def sample(self, count: int) -> np.ndarray:
        """Draw `count` of the drawable rows, uniformly and with replacement."""
        return self.rng.choice(self.drawable(), count)

    def take(self, rows: np.ndarray, keys: tuple[str, ...] = OBSERVATION) -> dict[str, torch.Tensor]:
        """Copies of some columns of `rows`; features keep the precision that they are stored in."""
        index = torch.from_numpy(rows)
        return {key: self.arrays[key][index] for key in keys}

    def following(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """The observations that follow `rows`; the last row of an episode is followed by its own observation."""
        return self.take(self.next(rows))


class PrioritisedReplay(Replay):
    """Rows are drawn in proportion to priority ** alpha (Schaul et al., 2016); a new row gets the highest one so far.

    Args:
        size: env steps kept, over all streams.
        streams: number of game streams.
        alpha: exponent of the priorities, above 0, at most 1.
        beta: exponent of the importance weights, 0 to 1.
        rng: draws the samples.
        n_step: env steps of signal before the bootstrap.
    """

    def __init__(
        self, size: int, streams: int, *, alpha: float, beta: float, rng: np.random.Generator, n_step: int = 1
    ) -> None:
        super().__init__(size, streams, rng=rng, n_step=n_step)
        self.alpha, self.beta = alpha, beta
        self.weight = np.zeros(self.size)
        self.highest = self.lowest = 1.0

    def add(self, rows: dict[str, np.ndarray]) -> np.ndarray:
        """See `Replay.add`."""
        index = super().add(rows)
        self.weight[index] = self.highest**self.alpha
        return index

    def sample(self, count: int) -> np.ndarray:
        """Draw `count` of the drawable rows by their priorities, with replacement."""
        rows = self.drawable()
        return self.rng.choice(rows, count, p=self.weight[rows] / self.weight[rows].sum())

    def importance(self, rows: np.ndarray) -> np.ndarray:
        """(n,) float64 weights in the loss: weight ** -beta of each row, divided by the largest of them.

        They correct for the preference with which `rows` were drawn, completely at beta 1.
        """
        weight = (self.weight[rows] / self.lowest) ** -self.beta
        return weight / weight.max()

    def prioritise(self, rows: np.ndarray, errors: np.ndarray) -> None:
        """Set the priorities of `rows` to the absolute errors (n,) of their last update."""
        # In float64, as a checkpoint restores them, because powers of float32 are rounded differently.
        priority = errors.astype(np.float64) + float(np.finfo(np.float32).eps)
        self.weight[rows] = priority**self.alpha
        self.highest = max(self.highest, float(priority.max()))
        self.lowest = min(self.lowest, float(priority.min()))


def as_stored(observation: dict[str, np.ndarray], half: bool, where: str) -> dict[str, np.ndarray]:
    """Convert the three arrays of an observation to the types that they are stored in.

    Args:
        observation: `state`, `candidates`, `mask`.
        half: whether features become float16.
        where: names the step in errors.

    Raises:
        RalsegError: if a feature is not finite, or too large for float16.
    """
    kind = np.float16 if half else np.float32
    stored: dict[str, Any] = {"mask": np.asarray(observation["mask"], np.int8)}
    for key in ("state", "candidates"):
        with np.errstate(over="ignore"):
            stored[key] = np.asarray(observation[key], kind)
        if not np.isfinite(stored[key]).all():
            mend = "scale the features or set replay_half=false" if half else "fix the env"
            raise RalsegError(
                f"{where}: the observation's {key} contains a number that is not finite as {kind.__name__}; {mend}"
            )
    return stored
