"""The observer: what the agent of a game sees, and what of earlier turns that needs."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from ralseg.envs.pool import Pool
from ralseg.envs.reducers import UnitReducer, predicted
from ralseg.features import ObservationSpec, unit_features
from ralseg.features.prediction import FEATURE_NOISE, Prediction, as_array
from ralseg.foundation import generator
from ralseg.segmentation.evaluation import Evaluator
from ralseg.segmentation.learners import Learner

STATE_UNITS = 1000
"""Units of an image of D_S that stand for what is labelled there, where it holds more: of pixels, a sample."""


class Observed(Protocol):
    """The part of a game that an observer looks at.

    Attributes:
        learner: of the game.
        evaluator: of the game.
        pool: where the candidates are from.
        state: D_S, indices in the store.
        spec: what an observation holds; None where nobody observes.
        bought_counts: (C,) int64 pixels per class bought so far.
        seed: of the episode.
    """

    learner: Learner
    evaluator: Evaluator
    pool: Pool
    state: list[int]
    spec: ObservationSpec | None
    bought_counts: np.ndarray
    seed: int

    def reduce_candidates(
        self, units: np.ndarray, reducers: Sequence[UnitReducer], observed: bool = False
    ) -> dict[str, np.ndarray]:
        """See `Game.reduce_candidates`."""


class Observer:
    """Makes the observations of a game.

    It remembers, of what is bought, the pixels per class and, where the observation compares with them, the embeddings
    as they were when the units were on offer: to see them anew would be a forward pass over all labelled images.

    Args:
        game: whose turns are seen.
    """

    def __init__(self, game: Observed) -> None:
        self._game = game

    def reset(self) -> None:
        """Forget everything: a game begins."""
        self._counts: list[np.ndarray] = []
        self._embeddings: list[np.ndarray] = []
        self._offered: dict[int, np.ndarray] = {}

    def before_purchase(self, units: np.ndarray) -> None:
        """Keep the embeddings of units (n,) that are about to be bought, and learned from."""
        spec = self._game.spec
        if spec is None or "similarity_labelled" not in spec.candidate_parts or not len(units):
            return
        if not self._offered.keys() >= set(units.tolist()):
            # Nobody has looked at this turn's candidates.
            self._offered = self._by_unit(units, self._game.reduce_candidates(units, (), observed=True))
        self._embeddings += [self._offered[unit] for unit in units.tolist()]
        self._offered = {}

    def after_purchase(self, counts: np.ndarray) -> None:
        """Keep the pixels per class (n, C) of what was bought."""
        self._counts.append(counts)

    def observe(self, units: np.ndarray, mask: np.ndarray, features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The observation of candidates (K, N), -1 where there is none, from their features."""
        game, spec = self._game, self._game.spec
        state, iou = self._state()
        candidates = np.zeros((*units.shape, spec.candidate_width), np.float32)
        open_ = units >= 0
        if open_.any():
            counts = np.concatenate([np.empty((0, game.learner.classes), np.int64), *self._counts])
            labelled_embedding = None
            if "similarity_labelled" in spec.candidate_parts:
                self._offered = self._by_unit(units[open_], features)
                labelled_embedding = np.concatenate([state["embedding"], *(row[None] for row in self._embeddings)])
            candidates[open_] = spec.candidates(
                features,
                labelled_true_shares=spec.true_shares(counts, game.pool.areas(game.pool.bought)),
                iou=iou,
                labelled_counts=game.bought_counts,
                labelled_embedding=labelled_embedding,
            )
            candidates[~mask] = 0
        return {"state": spec.state(state), "candidates": candidates, "mask": mask.astype(np.int8)}

    def features(self, prediction: Prediction, images: Sequence[int]) -> Mapping[str, np.ndarray]:
        """The unit features that the observation needs, of every unit of images of one size."""
        needs, noisy = self._game.spec.needs, prediction.noisy.get(FEATURE_NOISE)
        embedding = [as_array(m) for m in prediction.embedding] if "embedding" in needs else []
        given = as_array(prediction.logits), embedding, self._game.pool.grid(images[0])
        if noisy is None:
            # Only candidates are predicted with noise.
            return unit_features(*given, needs - {"disagreement"})
        return unit_features(*given, needs, as_array(noisy))

    def some_units(self, image: int) -> np.ndarray:
        """All units of an image of D_S; of pixels a sample, the same in every step."""
        units = len(self._game.pool.grid(image))
        if units <= STATE_UNITS:
            return np.arange(units)
        return np.sort(generator(self._game.seed, "state", image).choice(units, STATE_UNITS, replace=False))

    def _state(self) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """Unit features of D_S and, where the observation holds it, the IoU per class on D_S, from the same passes."""
        game = self._game
        if "iou" not in game.spec.candidate_parts:
            rows = predicted(game.learner, game.state, [self.features], again=True)
            return {name: np.concatenate(parts) for name, parts in rows.items()}, None
        found: dict[int, Mapping[str, np.ndarray]] = {}

        def keep(prediction: Prediction) -> None:
            images = prediction.images
            batch = self.features(prediction, images)
            found.update({image: {k: v[row] for k, v in batch.items()} for row, image in enumerate(images)})

        iou = game.evaluator(game.learner, game.state, keep).iou
        # Of noise, D_S is told nothing: see `features`.
        names = game.spec.needs - {"disagreement"}
        return {name: np.concatenate([found[image][name] for image in game.state]) for name in names}, iou

    @staticmethod
    def _by_unit(units: np.ndarray, features: Mapping[str, np.ndarray]) -> dict[int, np.ndarray]:
        return dict(zip(units.tolist(), features["embedding"], strict=True))
