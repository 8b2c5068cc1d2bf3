"""The embedding of a pool of images as it lies beside a comparison; reading it needs no torch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ralseg.evaluation.results import Results
from ralseg.foundation import RalsegError, atomic_write

EMBEDDING = "pool_embedding.safetensors"
DEPENDS_ON = ("dataset", "taxonomy", "protocol", "network", "source", "theta0", "loss", "input_scale", "seed")
"""Settings that the embedding is a matter of, beside the files that `data.json` has the digests of."""


@dataclass(frozen=True)
class PoolEmbedding:
    """The images of a pool as points.

    Attributes:
        images: n names.
        groups: n names of their groups (clips, cities).
        points: (n, D) float32, the mean over each image of the deepest map of the encoder or feature source at theta_0.
    """

    images: Sequence[str]
    groups: Sequence[str]
    points: np.ndarray


def read_embedding(folder: str | Path, config: Mapping[str, Any]) -> PoolEmbedding | None:
    """The embedding that lies in the folder of a comparison; None without one, or if it is that of other settings.

    Raises:
        RalsegError: if the file is damaged.
    """
    path = Path(folder) / EMBEDDING
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="np") as file:
            told = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            found = PoolEmbedding(told["images"], told["groups"], file.get_tensor("points"))
        if found.points.ndim != 2 or not len(found.points) == len(found.images) == len(found.groups):
            raise ValueError(f"points of shape {found.points.shape} for {len(found.images)} images")
    except (SafetensorError, ValueError, KeyError) as error:
        raise RalsegError(f"{path}: not the embedding of a pool ({error}); delete it, and it is made again") from error
    return found if told.get("settings") == _settings(config) else None


def embedding_of(results: Results) -> PoolEmbedding | None:
    """The embedding that lies beside results; see `read_embedding`."""
    return read_embedding(results.folder, results.comparison.get("config", {}))


def keep_embedding(folder: str | Path, config: Mapping[str, Any], embedding: PoolEmbedding) -> None:
    """Write what `read_embedding` reads."""
    told = {"images": embedding.images, "groups": embedding.groups, "settings": _settings(config)}
    with atomic_write(Path(folder) / EMBEDDING) as file:
        file.write(save({"points": embedding.points}, {key: json.dumps(value) for key, value in told.items()}))


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps({key: config.get(key) for key in DEPENDS_ON}))
