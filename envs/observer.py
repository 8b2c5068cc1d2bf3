"""The observer: makes observations, and keeps the embeddings of earlier turns that they need."""

from collections.abc import Sequence

import numpy as np

from ralseg.envs.campaign import Campaign
from ralseg.envs.pool import Pool
from ralseg.envs.reading import by_pixel, read_units, some_units
from ralseg.features import ObservationSpec
from ralseg.features.prediction import Prediction
from ralseg.features.reduction import reduce_units
from ralseg.features.units import Reducer
from ralseg.features.view import Rows
from ralseg.segmentation.evaluation import Evaluator
from ralseg.segmentation.learners import Learner

STATE_PIXELS = 96
"""The pixels of an image of D_S that an observation describes: about as many as it has regions in usual games, so that
states need no more memory."""


class Observer:
    """Makes the observations of a game.

    If the observation compares candidates with bought units, the embeddings of these are kept as they were when the
    units were on offer; computing them again would take a forward pass over all labelled images.

    Args:
        learner: makes the predictions.
        evaluate: compares predictions with the labels of D_S, for the IoU.
        campaign: what is labelled.
        state: store indices of D_S.
        spec: what an observation holds.

    Attributes:
        spec: what an observation holds.
        reducers: the reducers applied to the predictions of candidates.
    """

    def __init__(
        self, learner: Learner, evaluate: Evaluator, campaign: Campaign, state: Sequence[int], spec: ObservationSpec
    ) -> None:
        self._learner, self._evaluate, self._campaign, self._state, self.spec = learner, evaluate, campaign, state, spec
        self.reducers: Sequence[Reducer] = spec.reducers
        # Only candidates are predicted with noise.
        self._state_reducers = [reducer for reducer in self.reducers if reducer.noise is None]
        self._compares = "similarity_labelled" in spec.candidate_parts
        self.forget()

    def forget(self) -> None:
        """Forget all embeddings, at the start of a game."""
        self._asked: dict[int, np.ndarray] = {}
        self._offered: dict[int, np.ndarray] = {}

    @property
    def remembers_offer(self) -> bool:
        """Whether `remember` can be called: this turn's offer was observed, or no embeddings are needed."""
        return bool(self._offered) or not self._compares

    def remember(self, units: np.ndarray) -> None:
        """Keep the embeddings of those units (n,) of the present offer that are asked for, and drop the rest."""
        if self._compares:
            self._asked |= {unit: self._offered[unit] for unit in units.tolist()}
            self._offered = {}

    def observe(self, units: np.ndarray, mask: np.ndarray, rows: Rows) -> dict[str, np.ndarray]:
        """The observation of candidates (K, N), -1 for an empty place, from their features."""
        spec, campaign = self.spec, self._campaign
        state, iou = self._observe_state()
        candidates = np.zeros((*units.shape, spec.candidate_width), np.float32)
        there = units >= 0
        if there.any():
            labelled_embedding = None
            if self._compares:
                self._offered = dict(zip(units[there].tolist(), rows["embedding"], strict=True))
                bought = [self._asked[unit][None] for unit in campaign.pool.bought.tolist()]
                labelled_embedding = np.concatenate([state["embedding"], *bought])
            candidates[there] = spec.candidates(
                rows,
                labelled_true_shares=spec.true_shares(campaign.unit_counts, campaign.pool.areas(campaign.pool.bought)),
                iou=iou,
                labelled_counts=campaign.class_counts,
                labelled_embedding=labelled_embedding,
            )
            candidates[~mask] = 0
        return {"state": spec.state(state), "candidates": candidates, "mask": mask.astype(np.int8)}

    def _observe_state(self) -> tuple[Rows, np.ndarray | None]:
        """Unit features of D_S and, if the observation holds it, the IoU per class on D_S, from the same passes."""
        pool, predictions, iou = self._campaign.pool, [], None
        asked = {image: observed_units(pool, image) for image in self._state}
        if "iou" in self.spec.candidate_parts:

            def keep(prediction: Prediction) -> None:
                predictions.append(prediction)

            iou = self._evaluate(self._learner, self._state, keep).iou
        if not predictions or by_pixel(self._learner, pool, self._state_reducers):
            return read_units(self._learner, pool, asked, self._state_reducers, again=True), iou
        rows = reduce_units(predictions, self._state_reducers, pool.grid, asked)
        return {name: np.concatenate(parts) for name, parts in rows.items()}, iou


def observed_units(pool: Pool, image: int) -> np.ndarray:
    """The units of an image of D_S that an observation describes: all of them, or of pixels a sample."""
    return some_units(pool, image, STATE_PIXELS if pool.unit == "pixel" else len(pool.grid(image)), seed=0)
