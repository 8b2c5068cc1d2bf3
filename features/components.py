"""Principal components: the directions in which the embeddings of the units vary most."""

from dataclasses import dataclass

import numpy as np

from ralseg.foundation import RalsegError


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """A fitted projection onto principal components.

    Args:
        mean: (D,) float32, the mean of the rows of the fit.
        components: (k, D) float32, orthonormal rows in order of decreasing variance.
        scale: (k,) float32, the standard deviation along each component, above 0.

    Raises:
        RalsegError: if the shapes do not belong together, or a scale is not above 0.
    """

    mean: np.ndarray
    components: np.ndarray
    scale: np.ndarray

    def __post_init__(self):
        k, width = self.components.shape
        if self.mean.shape != (width,) or self.scale.shape != (k,) or not (self.scale > 0).all():
            raise RalsegError(
                f"principal components: mean {self.mean.shape}, components {self.components.shape} and scale "
                f"{self.scale.shape} do not belong together; fit them again"
            )

    @classmethod
    def fit(cls, x: np.ndarray, k: int, fewer: bool = False) -> "PrincipalComponents":
        """Fit the components to the rows of x.

        The largest entry of each component is positive, so that the same x always gives the same signs.

        Args:
            x: (n, D), finite.
            k: number of components, 1 to min(n - 1, D).
            fewer: whether to take fewer components where the rows differ in fewer than k directions.

        Raises:
            RalsegError: on another shape, NaN, or rows that differ in fewer than k directions (in none, with `fewer`).
        """
        x = np.asarray(x, dtype=np.float64)
        if x.ndim != 2 or not np.isfinite(x).all():
            raise RalsegError(f"principal components: rows of shape {x.shape} are not (n, D) or not finite")
        n, width = x.shape
        if fewer:
            k = min(k, n - 1, width)
        if not 1 <= k <= min(n - 1, width):
            raise RalsegError(f"principal components: {k} of {n} rows of {width}; at most {min(n - 1, width)}")
        mean = x.mean(axis=0)
        centred = x - mean
        if n > width:
            variance, directions = np.linalg.eigh(centred.T @ centred / (n - 1))
            variance, directions = variance[::-1], directions[:, ::-1].T
        else:
            _, singular, directions = np.linalg.svd(centred, full_matrices=False)
            variance = singular**2 / (n - 1)
        if fewer:
            k = max(1, int((variance[:k] > 1e-10 * variance[0]).sum()))
        if variance[k - 1] <= 1e-10 * variance[0] or variance[0] <= 0:
            raise RalsegError(f"principal components: the rows differ in fewer than {k} directions; ask for fewer")
        directions = directions[:k]
        largest = np.abs(directions).argmax(axis=1, keepdims=True)
        directions = directions * np.sign(np.take_along_axis(directions, largest, axis=1))
        return cls(*(a.astype(np.float32) for a in (mean, directions, np.sqrt(variance[:k]))))

    def __len__(self) -> int:
        return len(self.components)

    def transform(self, x: np.ndarray) -> np.ndarray:
        """The coordinates of x along the components, each divided by its standard deviation over the rows of the fit.

        Args:
            x: (..., D).

        Returns:
            (..., k) float32.

        Raises:
            RalsegError: if the width differs from the fit's.
        """
        x = np.asarray(x, dtype=np.float32)
        if x.shape[-1:] != self.mean.shape:
            raise RalsegError(f"principal components: rows {x.shape} were fitted with {len(self.mean)} numbers each")
        return (x - self.mean) @ self.components.T / self.scale
