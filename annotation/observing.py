"""What a trained query policy sees in a project: its held-out units are in the place of D_S."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ralseg.annotation.learned import Networks, Training
from ralseg.annotation.measured import measure
from ralseg.features import PrincipalComponents, spec_from_config
from ralseg.features.reduction import reduce_units
from ralseg.features.units import Reducer
from ralseg.features.view import Rows
from ralseg.segmentation.learners import Learner


class ProjectObserver:
    """Makes the observations of a round.

    The state is of the held-out units that have a label: like the images of D_S they are a small random sample that the
    network is measured on. All images with a label are predicted once, when the object is made.

    Args:
        networks: the networks of the project, with at least one held-out unit that has a label.
        training: the network that is asked.
        learner: makes its predictions.
        features: the group `features` of the policy's training.

    Attributes:
        reducers: the reducers applied to the predictions of candidates.
    """

    def __init__(self, networks: Networks, training: Training, learner: Learner, features: Mapping[str, Any]) -> None:
        project = networks.project
        pool, spec = project.campaign.pool, spec_from_config(features, len(project.classes))
        self.reducers: Sequence[Reducer] = spec.reducers
        # As in a game, only candidates are predicted with noise.
        reducers = [reducer for reducer in self.reducers if reducer.noise is None]
        order, images, local = pool.by_image(pool.bought)
        every = {image: np.arange(len(pool.grid(image))) for image in images}
        rows = reduce_units(learner.predict(images), reducers, pool.grid, every)
        if "embedding" in spec.needs:
            fitted = PrincipalComponents.fit(
                np.concatenate(rows["embedding"]), spec.embedding_width, fewer=not spec.holds_embedding
            )
            spec = spec.with_components(fitted)
        back = np.argsort(order)
        bought: Rows = {
            name: np.concatenate([row[units] for row, units in zip(parts, local, strict=True)])[back]
            for name, parts in rows.items()
        }
        held_out = np.isin(pool.bought, pool.find(list(networks.held_out)))
        self._spec, self._state = spec, spec.state({name: part[held_out] for name, part in bought.items()})
        (measured,) = measure(networks, [training])
        counts = project.campaign.unit_counts[~held_out]
        self._known = {
            "labelled_true_shares": spec.true_shares(counts, pool.areas(pool.bought[~held_out])),
            "iou": measured.iou / 100,
            "labelled_counts": counts.sum(0),
            # D_S and what is labelled, in this order.
            "labelled_embedding": bought["embedding"][np.argsort(~held_out, kind="stable")]
            if "embedding" in bought
            else None,
        }

    def observe(self, units: np.ndarray, mask: np.ndarray, rows: Rows) -> dict[str, np.ndarray]:
        """The observation of candidates (K, N), -1 for an empty place, from their features.

        Returns:
            `state` (held-out units, F) and `candidates` (K, N, F') float32, `mask` (K, N) int8; see `ObservationSpec`.
        """
        candidates = np.zeros((*units.shape, self._spec.candidate_width), np.float32)
        if (there := units >= 0).any():
            candidates[there] = self._spec.candidates(rows, **self._known)
            candidates[~mask] = 0
        return {"state": self._state, "candidates": candidates, "mask": mask.astype(np.int8)}
